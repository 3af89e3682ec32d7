//! What travels of a message of the derive macro, and what does not.

use std::collections::BTreeMap;
use std::time::Duration;

use cloister_core::ractor::concurrency::oneshot;
use cloister_core::ractor::message::SerializedMessage;
use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef, Message as _, RpcReplyPort};
use cloister_testkit::alone;

/// The first release of a message.
mod first {
    use super::{BTreeMap, RpcReplyPort};

    #[derive(Debug, PartialEq, cloister_core::serde::Serialize, cloister_core::serde::Deserialize)]
    #[serde(crate = "cloister_core::serde")]
    pub(super) struct Item {
        pub(super) name: String,
        pub(super) price: Option<f64>,
    }

    #[derive(Debug, cloister_core::Message)]
    #[message(crate = "cloister_core", name = "Cart")]
    pub(super) enum Cart {
        Add(String, Vec<Item>),
        Clear,
        Tag { tags: BTreeMap<u32, Vec<String>> },
        Count(RpcReplyPort<u64>),
        Find { name: String, reply: RpcReplyPort<Result<Option<String>, String>> },
    }
}

/// The next release: a field more in two variants, one with a default and one without, and a variant more.
mod second {
    use super::{BTreeMap, RpcReplyPort, first};

    #[derive(Debug, cloister_core::Message)]
    #[message(crate = "cloister_core", name = "Cart")]
    pub(super) enum Cart {
        Add(String, Vec<first::Item>, #[serde(default)] u32),
        Tag { tags: BTreeMap<u32, Vec<String>>, by: String },
        Count(RpcReplyPort<u64>),
        Remove(String),
    }
}

/// A message of its own kind, with a variant of the same name.
#[derive(Debug, cloister_core::Message)]
#[message(crate = "cloister_core")]
enum Other {
    Add(u64),
}

/// Another type, whose variant has the very fields of a cart's.
#[derive(Debug, cloister_core::Message)]
#[message(crate = "cloister_core")]
enum Basket {
    Add(String, Vec<first::Item>),
}

/// A type of another module, with the same name and the same variants.
mod elsewhere {
    use super::first;

    #[derive(Debug, cloister_core::Message)]
    #[message(crate = "cloister_core")]
    pub(super) enum Basket {
        Add(String, Vec<first::Item>),
    }
}

/// A struct is a message, too, and keeps its name on the wire when it is renamed.
#[derive(Debug, cloister_core::Message)]
#[message(crate = "cloister_core", name = "Tick")]
struct Tock {
    at: u64,
}

/// Named by words of the language.
#[derive(Debug, cloister_core::Message)]
#[message(crate = "cloister_core")]
#[expect(non_camel_case_types)]
enum r#gen {
    r#move { r#type: u8, r#in: RpcReplyPort<u8> },
    r#for(u8),
}

/// Stays in its process, so it may carry what cannot travel, and have parameters.
#[derive(cloister_core::Message)]
#[message(crate = "cloister_core", local)]
struct Local<T: Send + 'static>(#[expect(dead_code)] fn(T));

fn travels<M: cloister_core::ractor::Message, N: cloister_core::ractor::Message>(message: M) -> Option<N> {
    N::deserialize(message.serialize().expect("it can be encoded")).ok()
}

fn items() -> Vec<first::Item> {
    vec![first::Item { name: "apple".to_owned(), price: Some(0.5) }]
}

#[tokio::test]
async fn any_type_of_serde_travels() {
    alone!();
    let message = travels(first::Cart::Add("user:42".to_owned(), items()));
    let Some(first::Cart::Add(who, got)) = message else { panic!("{message:?}") };
    assert_eq!((who.as_str(), got), ("user:42", items()));
    let tags = BTreeMap::from([(7, vec!["a".to_owned(), String::new()])]);
    let message = travels(first::Cart::Tag { tags: tags.clone() });
    assert!(matches!(&message, Some(first::Cart::Tag { tags: got }) if *got == tags), "{message:?}");
    assert!(matches!(travels(first::Cart::Clear), Some(first::Cart::Clear)));
    assert!(matches!(travels(Tock { at: 9 }), Some(Tock { at: 9 })));
    assert!(first::Cart::serializable() && !Local::<u8>::serializable());
}

#[tokio::test]
async fn raw_identifiers_travel() {
    alone!();
    let message = travels(r#gen::r#for(7));
    assert!(matches!(message, Some(r#gen::r#for(7))), "{message:?}");
    let (port, _) = oneshot();
    let message = travels(r#gen::r#move { r#type: 8, r#in: port.into() });
    assert!(matches!(message, Some(r#gen::r#move { r#type: 8, .. })), "{message:?}");
}

#[test]
fn a_thread_without_a_runtime_sends_and_receives_a_message_with_a_port() {
    alone!();
    let (port, answer) = oneshot();
    let received = travels(first::Cart::Count(port.into()));
    let Some(first::Cart::Count(reply)) = received else { panic!("{received:?}") };
    reply.send(7).unwrap();
    assert_eq!(answer.blocking_recv(), Ok(7));
}

#[tokio::test]
async fn an_answer_travels_back() {
    alone!();
    let (port, answer) = oneshot();
    let sent = first::Cart::Find { name: "apple".to_owned(), reply: port.into() };
    let Some(first::Cart::Find { name, reply }) = travels(sent) else { panic!("it is read") };
    assert_eq!(name, "apple");
    reply.send(Ok(Some("shelf 3".to_owned()))).expect("the caller waits");
    assert_eq!(answer.await, Ok(Ok(Some("shelf 3".to_owned()))));
}

#[tokio::test]
async fn a_field_and_a_variant_more_are_compatible_both_ways_as_far_as_both_know_them() {
    alone!();
    let message = travels(first::Cart::Add("user:42".to_owned(), items()));
    assert!(matches!(&message, Some(second::Cart::Add(_, _, 0))), "{message:?}");
    let message = travels(second::Cart::Add("user:42".to_owned(), items(), 3));
    assert!(matches!(&message, Some(first::Cart::Add(_, got)) if *got == items()), "{message:?}");
    let tags = BTreeMap::default();
    let message = travels(second::Cart::Tag { tags: tags.clone(), by: "me".to_owned() });
    assert!(matches!(message, Some(first::Cart::Tag { .. })), "{message:?}");
    // The field has no default.
    assert!(travels::<_, second::Cart>(first::Cart::Tag { tags }).is_none());
    // Neither release has the other's variant.
    assert!(travels::<_, first::Cart>(second::Cart::Remove("apple".to_owned())).is_none());
    assert!(travels::<_, second::Cart>(first::Cart::Clear).is_none());
}

#[tokio::test]
async fn a_message_of_another_type_is_refused_and_never_read_as_something_else() {
    alone!();
    assert!(travels::<_, first::Cart>(Other::Add(1)).is_none());
    assert!(travels::<_, Other>(first::Cart::Add("user:42".to_owned(), items())).is_none());
    assert!(travels::<_, first::Cart>(Tock { at: 9 }).is_none());
    assert!(travels::<_, first::Cart>(Basket::Add(String::new(), items())).is_none(), "it looks alike");
    assert!(travels::<_, Basket>(first::Cart::Add(String::new(), items())).is_none(), "it looks alike");
    assert!(travels::<_, Basket>(elsewhere::Basket::Add(String::new(), items())).is_none(), "it looks alike");
    // From ractor's own derive, with a variant of the same name.
    let bare = SerializedMessage::Cast { variant: "Add".to_owned(), args: vec![1; 16], metadata: None };
    assert!(first::Cart::deserialize(bare).is_err());
}

#[tokio::test]
async fn bytes_of_any_kind_are_no_message_and_no_panic() {
    alone!();
    let Ok(SerializedMessage::Cast { variant, args, .. }) =
        first::Cart::Add("user:42".to_owned(), items()).serialize()
    else {
        panic!("it is a cast")
    };
    for end in 0..args.len() {
        let mut bytes = args[..end].to_vec();
        let cast = |args| SerializedMessage::Cast { variant: variant.clone(), args, metadata: None };
        assert!(first::Cart::deserialize(cast(bytes.clone())).is_err(), "{end} bytes");
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 0xff;
        }
        let _ = first::Cart::deserialize(cast(bytes));
    }
}

/// What a receiver answers to `sent` in the place of an actor.
async fn refused(sent: SerializedMessage) -> Vec<u8> {
    let (port, answer) = oneshot::<Vec<u8>>();
    let SerializedMessage::Call { variant, args, .. } = sent else { panic!("it is a call") };
    let sent = SerializedMessage::Call { variant, args, reply: port.into(), metadata: None };
    drop(second::Cart::deserialize(sent));
    answer.await.expect("a call that cannot be read is answered")
}

#[tokio::test]
async fn a_call_that_cannot_be_read_is_answered_with_what_is_expected_and_why() {
    alone!();
    let (port, _answer) = oneshot();
    let find = first::Cart::Find { name: String::new(), reply: port.into() };
    let refusal = refused(find.serialize().unwrap()).await;
    let text = String::from_utf8_lossy(&refusal);
    assert!(text.contains("Remove { 0: String }") && text.contains("no such variant"), "{text}");
    let (port, _answer) = oneshot();
    let count = first::Cart::Count(port.into());
    let refusal = refused(count.serialize().unwrap()).await;
    assert_eq!(refusal.first(), Some(&1), "the port was dropped, which is a refusal too");
}

struct Keeper;

impl Actor for Keeper {
    type Msg = first::Cart;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<first::Cart>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<first::Cart>,
        message: first::Cart,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            first::Cart::Add(..) => *count += 1,
            first::Cart::Count(reply) => drop(reply.send(*count)),
            first::Cart::Clear => return Err("it fails".into()),
            first::Cart::Find { .. } | first::Cart::Tag { .. } => {}
        }
        Ok(())
    }
}

/// As from another node: the message waits as bytes, and is read right before the handler.
#[tokio::test]
async fn an_actor_outlives_what_it_cannot_read() {
    alone!();
    let (keeper, ended) = Actor::spawn(None, Keeper, ()).await.unwrap();
    let send = |message: SerializedMessage| keeper.get_cell().send_serialized(message).unwrap();
    send(first::Cart::Add(String::new(), items()).serialize().unwrap());
    send(Other::Add(7).serialize().unwrap());
    send(second::Cart::Remove(String::new()).serialize().unwrap());
    send(second::Cart::Add(String::new(), items(), 1).serialize().unwrap());
    let count = keeper.call(first::Cart::Count, Some(Duration::from_secs(5))).await.unwrap();
    assert_eq!(count.unwrap(), 2);
    keeper.stop(None);
    ended.await.unwrap();
}
