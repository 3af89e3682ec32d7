//! How a table is defined.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use cloister_table_proto::OnLoss;
#[cfg(feature = "test-support")]
use cloister_table_proto::rule::Rule;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::row;
use crate::wire;

/// The most copies that a table may have.
const MAX_COPIES: usize = 16;

/// The most bytes of an entry's value that may be allowed: a message brings it with its key, and with the value before.
const MAX_VALUE: usize = 4 << 20;

/// What a function makes of a value: the new one, as a row, and what its caller gets.
type Updated = (Option<Vec<u8>>, Vec<u8>);

type Function = Arc<dyn Fn(Option<&[u8]>, &[u8]) -> Result<Updated, String> + Send + Sync>;

/// How a table is defined: on all nodes alike. A node that defines [`copies`](Self::copies) or [`on_loss`](Self::on_loss) of a table
/// otherwise than another is refused by it, as one with other `[rings]` is, and both say so. To change them, stop all nodes. A table that
/// only one of the two has keeps them not apart, so a rolling update may add one.
///
/// ```
/// use cloister_table::{OnLoss, TableOptions};
///
/// let options = TableOptions::default()
///     .copies(3)
///     .on_loss(OnLoss::Wait)
///     .function("add", |count: Option<u64>, by: u64| {
///         let count = count.unwrap_or(0) + by;
///         (Some(count), count)
///     });
/// ```
#[derive(Clone)]
pub struct TableOptions {
    pub(crate) copies: usize,
    pub(crate) on_loss: OnLoss,
    pub(crate) max_value_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) time_to_live: Option<Duration>,
    /// The rule that is switched off.
    #[cfg(feature = "test-support")]
    pub(crate) disabled_rule: Option<Rule>,
    functions: BTreeMap<String, Function>,
}

impl Default for TableOptions {
    /// Two copies, values up to 1 MiB, ten seconds for an operation; a slot whose copies are all gone goes on empty.
    fn default() -> Self {
        Self {
            copies: 2,
            on_loss: OnLoss::Empty,
            max_value_bytes: 1 << 20,
            timeout: Duration::from_secs(10),
            time_to_live: None,
            #[cfg(feature = "test-support")]
            disabled_rule: None,
            functions: BTreeMap::new(),
        }
    }
}

impl TableOptions {
    /// On how many nodes each entry is: 2 by default, 16 at most. With `n` copies, `n - 1` nodes may be lost at once.
    #[must_use]
    pub fn copies(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    /// What becomes of entries whose copies are all gone: [`OnLoss::Empty`] by default.
    #[must_use]
    pub fn on_loss(mut self, on_loss: OnLoss) -> Self {
        self.on_loss = on_loss;
        self
    }

    /// How many bytes an encoded value may have: 1 MiB by default, 4 MiB at most.
    #[must_use]
    pub fn max_value_bytes(mut self, max: usize) -> Self {
        self.max_value_bytes = max;
        self
    }

    /// For how long an operation waits for an owner and its answer: 10 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// After which time without a write an entry is gone: never by default. Each write begins the time anew;
    /// [`Table::insert_for`](crate::Table::insert_for) gives an entry a time of its own.
    ///
    /// The wall clock of the owner counts. An owner whose clock is behind that of the one before keeps entries for longer by the
    /// difference. An owner removes up to 20 000 expired entries a second. In a new view it first looks for them, at about 200 000 entries a
    /// second. Until then `len` counts them, and no read shows them.
    #[must_use]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = Some(time);
        self
    }

    /// Defines a function for [`Table::update`](crate::Table::update). It runs at the owner of the key, once for each call: it gets
    /// the value, `None` if there is none, and the argument. It returns the new value, `None` to remove the key, and what the caller
    /// gets; each may have as many bytes as a value. Operations on other keys wait while it runs, so it must be short. A panic leaves the value as it was.
    #[must_use]
    pub fn function<V, A, R>(
        mut self,
        name: &str,
        function: impl Fn(Option<V>, A) -> (Option<V>, R) + Send + Sync + 'static,
    ) -> Self
    where
        V: Serialize + DeserializeOwned,
        A: DeserializeOwned,
        R: Serialize,
    {
        let call = move |value: Option<&[u8]>, argument: &[u8]| -> Result<Updated, String> {
            let value = value.map(decode::<V>).transpose().map_err(|cause| format!("the value: {cause}"))?;
            let argument = decode::<A>(argument).map_err(|cause| format!("the argument: {cause}"))?;
            let (value, returned) = function(value, argument);
            let value = value.map(|value| row::encode(&value)).transpose()?;
            Ok((value, encode(&returned)?))
        };
        // All code of the program runs in it, that of its types too: a panic would leave the shard in an unknown state.
        let function = move |value: Option<&[u8]>, argument: &[u8]| {
            catch_unwind(AssertUnwindSafe(|| call(value, argument)))
                .unwrap_or_else(|_| Err("it panicked".to_owned()))
        };
        self.functions.insert(name.to_owned(), Arc::new(function));
        self
    }

    /// Switches a rule of the protocol off. For tests: a judge that accepts such a table is worth nothing.
    ///
    /// Without [`Rule::Claim`] the table is not told either that the node is up in no view any more.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn without(mut self, rule: Rule) -> Self {
        self.disabled_rule = Some(rule);
        self
    }

    /// Whether the table is not told that the node is up in no view any more: only where a test switches the rule off.
    pub(crate) fn outlives_lease(&self) -> bool {
        #[cfg(feature = "test-support")]
        return self.disabled_rule == Some(Rule::Claim);
        #[cfg(not(feature = "test-support"))]
        false
    }

    pub(crate) fn function_of(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    /// What all nodes must define alike: a table that two nodes define otherwise would keep too few copies, or give up too early. Nodes that
    /// do not read each other's messages would get no copies of each other, and what only the nodes of the former release have would go with
    /// the last of them. The other options are those of the owner, or of the caller.
    pub(crate) fn definition(&self) -> String {
        let on_loss = match self.on_loss {
            OnLoss::Empty => "empty",
            OnLoss::Wait => "wait",
        };
        format!("copies {}, on_loss {on_loss}, format {}", self.copies, wire::VERSION)
    }

    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.copies == 0 || self.copies > MAX_COPIES {
            return Some(format!("{} copies, but 1 to {MAX_COPIES} are possible", self.copies));
        }
        (self.max_value_bytes > MAX_VALUE)
            .then(|| format!("values of {} bytes, over the limit of {MAX_VALUE}", self.max_value_bytes))
    }
}

impl fmt::Debug for TableOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableOptions")
            .field("copies", &self.copies)
            .field("on_loss", &self.on_loss)
            .field("max_value_bytes", &self.max_value_bytes)
            .field("timeout", &self.timeout)
            .field("time_to_live", &self.time_to_live)
            .field("functions", &self.functions.keys())
            .finish()
    }
}

/// MessagePack with the names of fields, as messages are encoded.
///
/// # Errors
///
/// The text of the error of its `Serialize`.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    rmp_serde::to_vec_named(value).map_err(|error| error.to_string())
}

pub(crate) fn encode_into<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) -> Result<(), String> {
    rmp_serde::encode::write_named(bytes, value).map_err(|error| error.to_string())
}

/// Reads what [`encode`] writes.
///
/// # Errors
///
/// What is wrong with the bytes, as text.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_gets_the_value_and_a_panic_or_another_type_is_an_error() {
        let options = TableOptions::default().function("add", |count: Option<u64>, by: u64| {
            assert!(by != 13, "an unlucky number");
            (Some(count.unwrap_or(0) + by), "done".to_owned())
        });
        let add = options.function_of("add").unwrap();
        let (value, returned) = add(Some(&encode(&4_u64).unwrap()), &encode(&3_u64).unwrap()).unwrap();
        assert_eq!(decode::<u64>(row::value(&value.unwrap())), Ok(7));
        assert_eq!(decode::<String>(&returned), Ok("done".to_owned()));
        assert_eq!(add(None, &encode(&13_u64).unwrap()).unwrap_err(), "it panicked");
        assert!(add(None, &encode("text").unwrap()).unwrap_err().starts_with("the argument: "));
        assert!(options.function_of("subtract").is_none());
    }

    /// Panics where a number is unlucky: when it is read, and when it is written.
    struct Unlucky(u64);

    impl Serialize for Unlucky {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(self.0 != 13, "an unlucky number");
            self.0.serialize(serializer)
        }
    }

    impl<'de> serde::Deserialize<'de> for Unlucky {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let number = u64::deserialize(deserializer)?;
            assert!(number != 7, "an unlucky number");
            Ok(Self(number))
        }
    }

    #[test]
    fn a_panic_of_a_type_that_is_read_or_written_is_an_error_too() {
        let options = TableOptions::default()
            .function("keep", |value: Option<Unlucky>, _: Unlucky| (value, ()))
            .function("swap", |_: Option<Unlucky>, argument: Unlucky| (Some(argument), ()))
            .function("return", |_: Option<Unlucky>, argument: Unlucky| (None::<Unlucky>, argument));
        let number = |number: u64| encode(&number).unwrap();
        let call = |name, value: u64, argument: u64| {
            (options.function_of(name).expect("it is defined"))(Some(&number(value)), &number(argument))
                .map(drop)
        };
        assert_eq!(call("keep", 1, 2), Ok(()));
        for (name, value, argument) in [("keep", 7, 1), ("keep", 1, 7), ("swap", 1, 13), ("return", 1, 13)] {
            assert_eq!(
                call(name, value, argument),
                Err("it panicked".to_owned()),
                "{name} {value} {argument}"
            );
        }
    }

    #[test]
    fn copies_and_values_have_bounds() {
        assert_eq!(TableOptions::default().fault(), None);
        for options in [
            TableOptions::default().copies(0),
            TableOptions::default().copies(17),
            TableOptions::default().max_value_bytes(5 << 20),
        ] {
            assert!(options.fault().is_some(), "{options:?}");
        }
    }
}
