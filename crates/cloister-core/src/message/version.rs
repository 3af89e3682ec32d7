//! Versions of message types whose bytes do not name what is in them: those of ractor's own derive.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use ractor::Message;

/// What stands between the name of a type and its version.
const MARK: &str = ", version ";

/// The names, with their versions, of the types that have one. They belong to the process, as the types do.
static VERSIONED: LazyLock<ArcSwap<HashMap<TypeId, &'static str>>> = LazyLock::new(ArcSwap::default);

/// Gives messages of type `M` a version, for the rest of this process. It is for a type of ractor's own `RactorClusterMessage`, whose
/// variants or fields change while its name stays.
///
/// Other nodes compare it, both ways: a message of another version, or of none, is refused as one of another type is
/// ([`CallError::WrongMessage`](crate::CallError::WrongMessage)). Call it before an actor of this type is registered and before a message is sent, on nodes
/// that only send, too. By a reference ([`locate`](crate::Cloister::locate), [`actor_on`](crate::Cloister::actor_on)) nothing is compared.
///
/// Types of [`derive(Message)`](macro@crate::Message) need none, and none is compared for them: their variants and fields travel by name. A change that keeps the
/// names is made known there by `#[message(name = "…")]`.
///
/// ```
/// use cloister_core::ractor_cluster::RactorClusterMessage;
/// # use cloister_core::ractor;
///
/// #[derive(RactorClusterMessage)]
/// enum CartMessage {
///     Add(String, u64),
/// }
///
/// // Of the second release: the first one had no number.
/// cloister_core::set_message_version::<CartMessage>(2);
/// ```
pub fn set_message_version<M: Message>(version: u32) {
    let name = format!("{}{MARK}{version}", type_name::<M>());
    if name_of::<M>() == name {
        return;
    }
    // Kept for ever, as the name of a type is. A program does this once for each of its types.
    let name: &'static str = Box::leak(name.into_boxed_str());
    VERSIONED.rcu(|versioned| {
        let mut versioned = HashMap::clone(versioned);
        versioned.insert(TypeId::of::<M>(), name);
        Arc::new(versioned)
    });
}

/// The name of the type, with its version if it has one.
pub(crate) fn name_of<M: Message>() -> &'static str {
    let versioned = VERSIONED.load();
    if versioned.is_empty() {
        return type_name::<M>();
    }
    versioned.get(&TypeId::of::<M>()).copied().unwrap_or_else(type_name::<M>)
}

/// Whether these are names of one type in two versions.
pub(crate) fn differ_by_version(one: &str, other: &str) -> bool {
    let unversioned = |name: &str| name.rsplit_once(MARK).map_or(name, |(name, _)| name).to_owned();
    one != other && unversioned(one) == unversioned(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One for this test alone, since a version belongs to the process.
    struct Versioned;

    impl Message for Versioned {}

    #[test]
    fn a_version_is_part_of_the_name_and_the_last_one_counts() {
        let plain = type_name::<Versioned>();
        assert_eq!(name_of::<Versioned>(), plain);
        for version in [2, 3, 3] {
            set_message_version::<Versioned>(version);
            let name = name_of::<Versioned>();
            assert_eq!(name, format!("{plain}, version {version}"));
            assert!(differ_by_version(name, plain) && differ_by_version(plain, name));
            assert!(!differ_by_version(name, name));
            assert!(differ_by_version(name, &format!("{plain}, version 7")));
            assert!(!differ_by_version(name, "shop::Cart, version 2"));
        }
    }
}
