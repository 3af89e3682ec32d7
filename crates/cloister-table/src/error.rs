//! Why an operation on a table failed.

use std::time::Duration;

use cloister_core::{Epoch, NodeId};
use thiserror::Error;

use crate::options::decode;

/// Where an operation was sent last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The node.
    pub node: Option<NodeId>,
    /// The epoch of the view by which the node was chosen.
    pub epoch: Option<Epoch>,
    /// How long the operation took until its answer was there; zero if nothing was sent.
    pub waited: Duration,
}

/// Where an operation was sent last, in words.
fn at(node: Option<&NodeId>, epoch: Option<Epoch>) -> String {
    match (node, epoch) {
        (Some(node), Some(epoch)) => format!(" at {} in the view {epoch}", node.name()),
        (Some(node), None) => format!(" at {}", node.name()),
        (None, Some(epoch)) => format!(" in the view {epoch}"),
        (None, None) => String::new(),
    }
}

/// Where an operation was answered, and after how long, in words.
#[must_use]
pub fn answered(node: Option<&NodeId>, epoch: Option<Epoch>, waited: Duration) -> String {
    match waited {
        Duration::ZERO => at(node, epoch),
        waited => format!("{} after {waited:.1?}", at(node, epoch)),
    }
}

/// Why an operation on a table failed. After [`TableError::Uncertain`] it may have been done, and after [`TableError::NotDecodable`] it was;
/// after every other error it was not.
///
/// ```
/// use cloister_table::{Table, TableError};
///
/// async fn sell(stock: &Table<String, u32>, item: &String) -> Result<Option<u32>, TableError> {
///     match stock.remove(item).await {
///         // Whether it was done is not known: look before it is repeated.
///         Err(error) if error.may_be_done() => stock.get(item).await,
///         answer => answer,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// The table cannot be defined so.
    #[error("the table {table:?} cannot be defined: {cause}")]
    Definition {
        /// The table.
        table: String,
        /// What is wrong.
        cause: String,
    },
    /// The key is too long. Nothing was sent.
    #[error(
        "the key {key} of the table {table:?} has {len} bytes, over the limit of {max}, and nothing was sent: use a shorter one"
    )]
    KeyTooLarge {
        /// The table.
        table: String,
        /// The beginning of the key, as text.
        key: String,
        /// How many bytes the key has, encoded.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// The value is too long. Nothing was sent.
    #[error(
        "the value for {key} in the table {table:?} has {len} bytes, over the limit of {max}, and nothing was sent: store it in parts, or raise \
         `TableOptions::max_value_bytes` on all nodes"
    )]
    ValueTooLarge {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// How many bytes the value has, encoded.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// A key, a value or an argument cannot be encoded: its `Serialize` fails. Nothing was sent.
    #[error(
        "{} of the table {table:?} cannot be encoded, and nothing was sent: {cause}; correct its `Serialize`",
        key.as_ref().map_or("a key".to_owned(), |key| format!("what was given for {key}"))
    )]
    NotEncodable {
        /// The table.
        table: String,
        /// The key, as text; `None` if it is the key that cannot be encoded.
        key: Option<String>,
        /// What failed.
        cause: String,
    },
    /// A value, or what a function returned, cannot be decoded: another release wrote it, or the types differ. It stays as it is. The
    /// operation itself was done.
    #[error(
        "a value for {key} in the table {table:?}{} cannot be decoded, and stays as it is: {cause}; use the same types on all nodes, and \
         `#[serde(default)]` for added fields",
        answered(node.as_ref(), *epoch, *waited)
    )]
    NotDecodable {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The node that the value is from.
        node: Option<NodeId>,
        /// The epoch of the view by which the node was chosen.
        epoch: Option<Epoch>,
        /// How long the operation took.
        waited: Duration,
        /// What failed.
        cause: String,
    },
    /// No owner of the key has begun the operation in time. It was not done: repeat it.
    #[error(
        "the operation on {key} in the table {table:?} was not begun within {waited:.1?}{}: {cause}; it may be repeated",
        at(node.as_ref(), *epoch)
    )]
    Unavailable {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The node that it was sent to last.
        node: Option<NodeId>,
        /// The epoch of the view by which the node was chosen, or of the last one.
        epoch: Option<Epoch>,
        /// How long an owner was waited for.
        waited: Duration,
        /// What was waited for last.
        cause: String,
    },
    /// Whether the operation was done is not known, and it was repeated as long as that was safe. Read the key before you repeat it.
    #[error(
        "the operation on {key} in the table {table:?} has no answer after {waited:.1?}{}: {cause}; it may have been done, so read the key \
         before you repeat it",
        at(node.as_ref(), *epoch)
    )]
    Uncertain {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The node that may have done it.
        node: Option<NodeId>,
        /// The epoch of the view by which the node was chosen.
        epoch: Option<Epoch>,
        /// How long an answer was waited for.
        waited: Duration,
        /// Why there is none.
        cause: String,
    },
    /// All copies of the slot of the key are gone, and the table waits for one to come back. Nothing was done.
    #[error(
        "all copies of {key} in the table {table:?} are gone{}: start a node that has one, or accept the loss by `accept_loss`",
        answered(node.as_ref(), *epoch, *waited)
    )]
    Lost {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The owner.
        node: Option<NodeId>,
        /// The epoch of its view.
        epoch: Option<Epoch>,
        /// How long the operation took.
        waited: Duration,
    },
    /// Too many operations wait at the owner of the key. Nothing was done: repeat it later.
    #[error(
        "too many operations of the table {table:?} wait at the owner of {key}{}: it was not begun; repeat it later",
        answered(node.as_ref(), *epoch, *waited)
    )]
    Busy {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The owner.
        node: Option<NodeId>,
        /// The epoch of its view.
        epoch: Option<Epoch>,
        /// How long the operation took.
        waited: Duration,
    },
    /// The tables and entities of the owner have as many bytes as they may, and the write needs more. Nothing was done.
    #[error(
        "the write to {key} in the table {table:?} was refused{}: the tables and entities of that node have {bytes} bytes, and may have \
         {max}; remove entries, add nodes, or raise `limits.table_bytes`",
        answered(node.as_ref(), *epoch, *waited)
    )]
    Full {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The owner.
        node: Option<NodeId>,
        /// The epoch of its view.
        epoch: Option<Epoch>,
        /// How long the operation took.
        waited: Duration,
        /// How many bytes its tables and entities have, with copies.
        bytes: u64,
        /// How many they may have.
        max: u64,
    },
    /// The owner of the key has no function of this name. Nothing was done.
    #[error(
        "the owner of {key} has no function {function:?} in the table {table:?}{}: define it on all nodes by `TableOptions::function`",
        answered(node.as_ref(), *epoch, *waited)
    )]
    UnknownFunction {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The owner.
        node: Option<NodeId>,
        /// The epoch of its view.
        epoch: Option<Epoch>,
        /// How long the operation took.
        waited: Duration,
        /// The name of the function.
        function: Box<str>,
    },
    /// The function failed at the owner. The key is as it was.
    #[error(
        "the function {function:?} of the table {table:?} failed{} for {key}, which is as it was: {cause}; call it again when that \
         is corrected",
        answered(node.as_ref(), *epoch, *waited)
    )]
    FunctionFailed {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// The owner.
        node: Option<NodeId>,
        /// The epoch of its view.
        epoch: Option<Epoch>,
        /// How long the operation took.
        waited: Duration,
        /// The name of the function.
        function: Box<str>,
        /// What failed.
        cause: Box<str>,
    },
}

impl TableError {
    /// Whether the operation may have been done: whether this is [`TableError::Uncertain`] or [`TableError::NotDecodable`].
    #[must_use]
    pub const fn may_be_done(&self) -> bool {
        matches!(self, TableError::Uncertain { .. } | TableError::NotDecodable { .. })
    }
}

/// The most characters of a key in an error.
const KEY_SHOWN: usize = 64;

/// A key as text.
pub(crate) fn shown(key: &[u8]) -> String {
    // Most keys are text, which MessagePack writes after its length.
    let text = decode::<String>(key).unwrap_or_else(|_| String::from_utf8_lossy(key).into_owned());
    format!("{:?}", cloister_core::internal::text::sanitize_to(&text, KEY_SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_its_text() {
        let key = rmp_serde::to_vec_named("user:42").unwrap();
        assert_eq!(shown(&key), "\"user:42\"");
    }

    /// Each variant, with the words of its own that say what to do.
    fn all() -> Vec<(TableError, &'static str)> {
        let (table, key, node) = ("visits".to_owned(), "\"user:42\"".to_owned(), None::<NodeId>);
        let name = "shop@10.0.0.7:4370".parse().unwrap();
        let owner = Some(NodeId::new(name, cloister_core::Incarnation(7), 7));
        let (epoch, waited, cause) = (Some(Epoch::from_u64(9)), Duration::from_millis(1_234), "it is so");
        let (cause, function, len, max) = (cause.to_owned(), Box::<str>::from("sell"), 300, 200);
        let errors = [
            TableError::Definition { table: table.clone(), cause: cause.clone() },
            TableError::KeyTooLarge { table: table.clone(), key: key.clone(), len, max },
            TableError::ValueTooLarge { table: table.clone(), key: key.clone(), len, max },
            TableError::NotEncodable { table: table.clone(), key: Some(key.clone()), cause: cause.clone() },
            TableError::NotDecodable {
                table: table.clone(),
                key: key.clone(),
                node: owner.clone(),
                epoch,
                waited,
                cause: cause.clone(),
            },
            TableError::Unavailable {
                table: table.clone(),
                key: key.clone(),
                node: owner.clone(),
                epoch,
                waited,
                cause: cause.clone(),
            },
            TableError::Uncertain {
                table: table.clone(),
                key: key.clone(),
                node: owner.clone(),
                epoch,
                waited,
                cause: cause.clone(),
            },
            TableError::Lost { table: table.clone(), key: key.clone(), node: owner.clone(), epoch, waited },
            TableError::Busy { table: table.clone(), key: key.clone(), node: owner.clone(), epoch, waited },
            TableError::Full {
                table: table.clone(),
                key: key.clone(),
                node: owner.clone(),
                epoch,
                waited,
                bytes: 300,
                max: 200,
            },
            TableError::UnknownFunction {
                table: table.clone(),
                key: key.clone(),
                node: owner.clone(),
                epoch,
                waited,
                function: function.clone(),
            },
            TableError::FunctionFailed {
                table,
                key,
                node: owner,
                epoch,
                waited,
                function,
                cause: cause.into(),
            },
        ];
        assert_eq!(at(node.as_ref(), None), "");
        // A new variant does not compile unnoticed.
        let what_to_do = |error: &TableError| match error {
            TableError::Definition { .. } => "cannot be defined",
            TableError::KeyTooLarge { .. } => "use a shorter one",
            TableError::ValueTooLarge { .. } => "store it in parts",
            TableError::NotEncodable { .. } => "correct its `Serialize`",
            TableError::NotDecodable { .. } => "use the same types on all nodes",
            TableError::Unavailable { .. } => "it may be repeated",
            TableError::Uncertain { .. } => "read the key before you repeat it",
            TableError::Lost { .. } => "start a node that has one, or accept the loss",
            TableError::Busy { .. } => "repeat it later",
            TableError::Full { .. } => "remove entries, add nodes, or raise",
            TableError::UnknownFunction { .. } => "define it on all nodes",
            TableError::FunctionFailed { .. } => "call it again when that is corrected",
        };
        errors.into_iter().map(|error| (error.clone(), what_to_do(&error))).collect()
    }

    #[test]
    fn each_error_says_table_and_key_and_node_and_epoch_and_how_long_and_what_to_do() {
        let all = all();
        let kinds: std::collections::HashSet<_> =
            all.iter().map(|(error, _)| std::mem::discriminant(error)).collect();
        assert_eq!((kinds.len(), all.len()), (12, 12), "each once");
        for (error, what_to_do) in all {
            let text = error.to_string();
            let mut words = vec!["\"visits\"", what_to_do];
            if !matches!(error, TableError::Definition { .. }) {
                words.push("\"user:42\"");
            }
            let is_here = matches!(
                error,
                TableError::Definition { .. }
                    | TableError::KeyTooLarge { .. }
                    | TableError::ValueTooLarge { .. }
                    | TableError::NotEncodable { .. }
            );
            match is_here {
                true => assert!(error.to_string().contains("nothing was sent") || words.len() == 2, "{text}"),
                false => words.extend(["shop@10.0.0.7:4370", "in the view 9", "1.2s"]),
            }
            for word in words {
                assert!(text.contains(word), "{word:?} is missing: {text}");
            }
        }
    }
}
