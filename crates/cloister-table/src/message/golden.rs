//! The bytes of what the actors of a table are sent and answer, which must not change unnoticed: nodes of two builds run in one cluster
//! during an update.

use ractor::Message as _;
use ractor::concurrency::oneshot;
use ractor::message::SerializedMessage;
use serde::de::DeserializeOwned;

use super::*;
use crate::options::decode;
use crate::watching::Range;

/// What to do where bytes are red.
const CHANGED: &str = "The bytes of what the actors of a table say have changed. Is it not meant? Restore the names and types of the fields. \
     Is it meant? A node of the build before cannot read it, so add a field with `#[serde(default)]`, or a variant, and keep the old ones. \
     Then add its bytes here, and leave those that are here as they are.";

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn blob(bytes: &str) -> Blob {
    Blob::from(bytes.as_bytes().to_vec())
}

/// The value is written as `golden`, and what is read from that is written so, too.
#[track_caller]
fn frozen<T: Serialize + DeserializeOwned>(value: &T, golden: &[u8]) {
    assert_eq!(shown(&encode(value).unwrap()), shown(golden), "{CHANGED}");
    let read: T = decode(golden).unwrap_or_else(|error| panic!("{error}: {}\n{CHANGED}", shown(golden)));
    assert_eq!(shown(&encode(&read).unwrap()), shown(golden), "{CHANGED}");
}

fn id(number: u64) -> RequestId {
    RequestId { client: 0x12, number, settled: 0x14 }
}

fn request(operation: Operation) -> Request {
    Request { epoch: 0x70, key: blob("k"), id: None, operation }
}

fn operations() -> [(Operation, &'static [u8]); 9] {
    let deliver = |names| Operation::Deliver { message: blob("m"), one_way: true, names };
    [
        (Operation::Get, b"\xa3Get"),
        (Operation::Insert { value: blob("v"), for_ms: None }, b"\x81\xa6Insert\x82\xa5value\xc4\x01v\xa6for_ms\xc0"),
        (Operation::Insert { value: blob(""), for_ms: Some(0x1234) }, b"\x81\xa6Insert\x82\xa5value\xc4\x00\xa6for_ms\xcd\x124"),
        (Operation::Remove, b"\xa6Remove"),
        (Operation::Swap { expected: Some(blob("e")), new: Some(blob("n")) }, b"\x81\xa4Swap\x82\xa8expected\xc4\x01e\xa3new\xc4\x01n"),
        (Operation::Swap { expected: None, new: None }, b"\x81\xa4Swap\x82\xa8expected\xc0\xa3new\xc0"),
        (
            Operation::Update { function: "add".to_owned(), argument: blob("a") },
            b"\x81\xa6Update\x82\xa8function\xa3add\xa8argument\xc4\x01a",
        ),
        (deliver(vec![]), b"\x81\xa7Deliver\x82\xa7message\xc4\x01m\xa7one_way\xc3"),
        (
            deliver(vec![id(0x13)]),
            b"\x81\xa7Deliver\x83\xa7message\xc4\x01m\xa7one_way\xc3\xa5names\x91\x83\xa6client\x12\xa6number\x13\xa7settled\x14",
        ),
    ]
}

fn outcomes() -> [(Outcome, &'static [u8]); 10] {
    [
        (Outcome::Value(Some(blob("v"))), b"\x81\xa5Value\xc4\x01v"),
        (Outcome::Value(None), b"\x81\xa5Value\xc0"),
        (Outcome::Swapped, b"\xa7Swapped"),
        (Outcome::Other(Some(blob("o"))), b"\x81\xa5Other\xc4\x01o"),
        (Outcome::Other(None), b"\x81\xa5Other\xc0"),
        (Outcome::Returned(blob("r")), b"\x81\xa8Returned\xc4\x01r"),
        (Outcome::UnknownFunction, b"\xafUnknownFunction"),
        (Outcome::Failed("why".to_owned()), b"\x81\xa6Failed\xa3why"),
        (Outcome::NoService, b"\xa9NoService"),
        (Outcome::Full { bytes: 300, max: 200 }, b"\x81\xa4Full\x82\xa5bytes\xcd\x01,\xa4most\xcc\xc8"),
    ]
}

fn answers() -> [(Answer, &'static [u8]); 7] {
    [
        (Answer::Done(Outcome::Value(None)), b"\x81\xa4Done\x81\xa5Value\xc0"),
        (Answer::Written(blob("w")), b"\x81\xa7Written\xc4\x01w"),
        (Answer::Refused("why".to_owned()), b"\x81\xa7Refused\xa3why"),
        (Answer::Uncertain, b"\xa9Uncertain"),
        (Answer::Lost, b"\xa4Lost"),
        (Answer::Busy, b"\xa4Busy"),
        (Answer::Dropped, b"\xa7Dropped"),
    ]
}

/// What is sent and not answered, its name, and its bytes.
fn casts() -> [(TableMessage, &'static str, &'static [u8]); 9] {
    let packet = Packet {
        batches: vec![(3, blob("wire"))],
        requests: vec![(0x15, request(Operation::Remove))],
        answers: vec![(0x16, Answer::Busy)],
    };
    let whole = Watched { watch: 0x21, epoch: 0x70, slots: vec![], range: Range::default(), changes: vec![] };
    let changes = vec![(blob("k"), Some(blob("v"))), (blob("gone"), None)];
    let range = Range { after: Some(blob("a")), until: Some(blob("z")) };
    let part = Watched { slots: vec![0, 16_383], range, changes, ..whole.clone() };
    let watch = |filter| TableMessage::Watch { from: 0x12, watch: 0x21, epoch: 0x70, filter };
    [
        (
            TableMessage::Packet { from: 0x12, packet: Packet::default() },
            "cloister.table::Packet",
            b"\x82\xa4from\x12\xa6packet\x80",
        ),
        (
            TableMessage::Packet { from: 0x12, packet },
            "cloister.table::Packet",
            b"\x82\xa4from\x12\xa6packet\x83\xa7batches\x91\x92\x03\xc4\x04wire\xa8requests\x91\x92\x15\x84\xa5epochp\xa3key\xc4\x01k\xa2id\xc0\xa9operation\xa6Remove\xa7answers\x91\x92\x16\xa4Busy",
        ),
        (watch(Filter::All), "cloister.table::Watch", b"\x84\xa4from\x12\xa5watch!\xa5epochp\xa6filter\xa3All"),
        (
            watch(Filter::Key(blob("k"))),
            "cloister.table::Watch",
            b"\x84\xa4from\x12\xa5watch!\xa5epochp\xa6filter\x81\xa3Key\xc4\x01k",
        ),
        (
            watch(Filter::Prefix("p".to_owned())),
            "cloister.table::Watch",
            b"\x84\xa4from\x12\xa5watch!\xa5epochp\xa6filter\x81\xa6Prefix\xa1p",
        ),
        (
            TableMessage::Unwatch { from: 0x12, watch: 0x21 },
            "cloister.table::Unwatch",
            b"\x82\xa4from\x12\xa5watch!",
        ),
        (
            TableMessage::Watched { watched: whole },
            "cloister.table::Watched",
            b"\x81\xa7watched\x85\xa5watch!\xa5epochp\xa5slots\x90\xa5range\x82\xa5after\xc0\xa5until\xc0\xa7changes\x90",
        ),
        (
            TableMessage::Watched { watched: part },
            "cloister.table::Watched",
            b"\x81\xa7watched\x85\xa5watch!\xa5epochp\xa5slots\x92\x00\xcd?\xff\xa5range\x82\xa5after\xc4\x01a\xa5until\xc4\x01z\xa7changes\x92\x92\xc4\x01k\xc4\x01v\x92\xc4\x04gone\xc0",
        ),
        (TableMessage::Leaves { from: 0x12 }, "cloister.table::Leaves", b"\x81\xa4from\x12"),
    ]
}

#[test]
fn operations_have_the_bytes_they_always_had() {
    for (operation, golden) in operations() {
        frozen(&operation, golden);
    }
    let named = Request { id: Some(id(0x13)), ..request(Operation::Get) };
    frozen(&named, b"\x84\xa5epochp\xa3key\xc4\x01k\xa2id\x83\xa6client\x12\xa6number\x13\xa7settled\x14\xa9operation\xa3Get");
    frozen(&request(Operation::Get), b"\x84\xa5epochp\xa3key\xc4\x01k\xa2id\xc0\xa9operation\xa3Get");
}

/// Copies keep an outcome for when its client asks again, so a build reads what the one before has kept.
#[test]
fn outcomes_and_answers_have_the_bytes_they_always_had() {
    for (outcome, golden) in outcomes() {
        frozen(&outcome, golden);
        assert_eq!(shown(&outcome.encoded()), shown(golden), "{CHANGED}");
    }
    for (answer, golden) in answers() {
        frozen(&answer, golden);
    }
}

#[test]
fn messages_without_an_answer_have_the_bytes_they_always_had() {
    for (message, name, golden) in casts() {
        let cast = |message: TableMessage| match message.serialize() {
            Ok(SerializedMessage::Cast { variant, args, .. }) => (variant, shown(&args)),
            other => panic!("{other:?} is not sent"),
        };
        assert_eq!(cast(message), (name.to_owned(), shown(golden)), "{CHANGED}");
        let sent =
            SerializedMessage::Cast { variant: name.to_owned(), args: golden.to_vec(), metadata: None };
        let read =
            TableMessage::deserialize(sent).unwrap_or_else(|_| panic!("{name} is not read\n{CHANGED}"));
        assert_eq!(cast(read), (name.to_owned(), shown(golden)), "{CHANGED}");
    }
}

#[tokio::test]
async fn messages_with_an_answer_have_the_bytes_they_always_had() {
    let count = TableMessage::Count { epoch: 0x70, reply: oneshot().0.into() };
    let calls: [(TableMessage, &str, &[u8]); 1] = [(count, "cloister.table::Count", b"\x81\xa5epochp")];
    for (message, name, golden) in calls {
        let call = |message: TableMessage| match message.serialize() {
            Ok(SerializedMessage::Call { variant, args, .. }) => (variant, shown(&args)),
            other => panic!("{other:?} is not sent"),
        };
        assert_eq!(call(message), (name.to_owned(), shown(golden)), "{CHANGED}");
        let (variant, args) = (name.to_owned(), golden.to_vec());
        let sent = SerializedMessage::Call { variant, args, reply: oneshot().0.into(), metadata: None };
        let read =
            TableMessage::deserialize(sent).unwrap_or_else(|_| panic!("{name} is not read\n{CHANGED}"));
        assert_eq!(call(read), (name.to_owned(), shown(golden)), "{CHANGED}");
    }
}

/// They name the slot, too.
#[test]
fn keys_have_the_bytes_they_always_had() {
    frozen(&"apple".to_owned(), b"\xa5apple");
    frozen(&42_u64, b"*");
    frozen(&300_u64, b"\xcd\x01,");
    frozen(&("user".to_owned(), 7_u8), b"\x92\xa4user\x07");
}
