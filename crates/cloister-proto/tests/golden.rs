//! Bytes and owners that must never change: nodes of different builds run in one cluster during a rolling update.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::wire::{Heartbeat, Intent, ProposalReply, Reach};
use cloister_proto::{
    CloseReason, CommonSettings, DownReason, Epoch, Goodbye, Hello, Incarnation, Member, Memory, Message,
    NodeId, Refusal, Rejection, Ring, Slot, SplitPolicy, Status, View,
};

fn node(n: u64) -> NodeId {
    NodeId::new(format!("shop@10.0.0.{n}:4370").parse().expect("a name"), Incarnation(0xa0 + n), 1_000 + n)
}

fn member(n: u64) -> Member {
    Member::new(node(n), Arc::new(BTreeSet::from(["ssd".to_owned()])))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_a_later_build_says_in_its_hello_and_this_one_does_not_know_changes_nothing() {
    let hello = Hello::new(member(1), Duration::from_secs(2), "1.2.3".to_owned());
    let later = Hello { unknown_fields: b"\xa2\x06\x04more".to_vec(), ..hello.clone() };
    let (bytes, more) = (Message::Hello(hello.clone()).encode(), Message::Hello(later).encode());
    assert_eq!(hex(&more), hex(&bytes) + "0a07a206046d6f7265");
    assert_eq!(Message::decode(&more), Ok(Message::Hello(hello)));
}

#[test]
fn frames_have_the_bytes_they_always_had() {
    let hello = Hello::new(member(1), Duration::from_secs(2), "1.2.3".to_owned());
    let rings = [("cache".to_owned(), vec!["ssd".to_owned()])].into();
    let alike = CommonSettings::new([("split", "consensus".to_owned())], &rings);
    let definitions = BTreeMap::from([("table stock".to_owned(), "copies 2, on_loss empty".to_owned())]);
    let defining = alike.clone().with_definitions(&definitions);
    let told = Hello { owns_address: true, common_settings: Some(alike), ..hello.clone() };
    let defining = Hello { common_settings: Some(defining), ..told.clone() };
    let definition = Refusal::Definition {
        name: "table stock".to_owned(),
        definition: "copies 2, on_loss empty".to_owned(),
        yours: "copies 3, on_loss empty".to_owned(),
    };
    let rings = Refusal::Rings { rings: "none".to_owned(), yours: "cache = {\"ssd\"}".to_owned() };
    let heartbeat = Heartbeat {
        sent: 5,
        echo: 4,
        age: Duration::from_nanos(3),
        reach: Reach::Nodes([node(1), node(2)].into()),
        installed: Epoch::from_u64(7),
        promised: Epoch::from_u64(8),
        prepared: true,
        released_epoch: Epoch::from_u64(6),
        max_epoch_seen: Epoch::from_u64(9),
        unix_ms: 0,
        leaving: false,
        wants_echo: true,
        size: 0,
        base: Epoch::ZERO,
        objects: false,
        goodbyes: Vec::new(),
        former: Vec::new(),
        warms: false,
        drains: false,
        warmed: 0,
        intent: None,
    };
    let base = View::new(Epoch::from_u64(7), vec![Member::without_tags(node(1))]).with_size(3);
    let goodbye = Heartbeat {
        reach: Reach::Same(0x1122),
        size: 5,
        base: Epoch::from_u64(8),
        objects: true,
        goodbyes: vec![Goodbye { node: node(2), base_views: vec![base] }],
        ..heartbeat.clone()
    };
    let former = Heartbeat { reach: Reach::Same(0x1122), former: vec![node(2)], ..heartbeat.clone() };
    let same = Heartbeat { reach: Reach::Same(0x1122), ..heartbeat.clone() };
    let planned = Heartbeat {
        reach: Reach::Same(0x1122),
        warms: true,
        drains: true,
        warmed: 5,
        intent: Some(Intent { number: 6, members: [node(1), node(2)].into(), ready: true }),
        ..heartbeat.clone()
    };
    let frames = [
        (Message::Hello(hello), HELLO),
        (Message::Hello(told), HELLO_ALIKE),
        (Message::Hello(defining), HELLO_DEFINING),
        (Message::Refused(rings), REFUSED_RINGS),
        (Message::Refused(definition), REFUSED_DEFINITION),
        (Message::Heartbeat(heartbeat), HEARTBEAT),
        (Message::Heartbeat(same), HEARTBEAT_SAME),
        (Message::Heartbeat(goodbye), HEARTBEAT_GOODBYE),
        (Message::Heartbeat(former), HEARTBEAT_FORMER),
        (Message::Heartbeat(planned), HEARTBEAT_PLANNED),
        (Message::Propose(View::new(Epoch::from_u64(8), vec![member(2), member(1)])), PROPOSE),
        (
            Message::Propose(View::new(Epoch::from_u64(8), vec![member(2), member(1)]).with_size(3)),
            PROPOSE_OF_THREE,
        ),
        (Message::Reply { epoch: Epoch::from_u64(8), reply: ProposalReply::Ack }, ACK),
        (
            Message::Reply {
                epoch: Epoch::from_u64(8),
                reply: ProposalReply::StaleEpoch(Epoch::from_u64(9)),
            },
            NACK,
        ),
        (Message::Commit { epoch: Epoch::from_u64(8) }, COMMIT),
        (Message::DuplicateName { older: node(1) }, DUPLICATE),
    ];
    for (message, golden) in frames {
        assert_eq!(hex(&message.encode()), golden, "{}", message.kind());
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

/// A build must be able to read what the one before it has written.
#[test]
fn a_memory_has_the_bytes_it_always_had() {
    let view = |epoch, members: &[u64]| {
        let members = members.iter().map(|at| Member::without_tags(node(*at))).collect();
        View::new(Epoch::from_u64(epoch), members).with_size(3)
    };
    let memory = Memory {
        node: Some(node(1)),
        former: vec![node(2)],
        installed: Some(view(7, &[1, 2])),
        acknowledged: vec![view(8, &[1])],
        goodbyes: vec![Goodbye { node: node(3), base_views: vec![view(6, &[3])] }],
    };
    assert_eq!(hex(&memory.encode()), MEMORY);
    assert_eq!(Memory::decode(&memory.encode()), Ok(memory));
    assert_eq!(Memory::decode(&[]), Ok(Memory::default()));
}

#[test]
fn a_frame_with_a_field_of_a_later_version_is_read() {
    let mut bytes = Message::Commit { epoch: Epoch::from_u64(8) }.encode();
    // Field 99, a number: unknown as yet.
    bytes.extend([0x98, 0x06, 0x01]);
    assert_eq!(Message::decode(&bytes), Ok(Message::Commit { epoch: Epoch::from_u64(8) }));
}

#[test]
fn keys_have_the_slots_they_always_had() {
    let slots = ["", "apple", "banana", "user:42", "日本"].map(|key| Slot::of(key.as_bytes()).number());
    assert_eq!(slots, SLOTS_OF_KEYS);
}

#[test]
fn slots_have_the_owners_they_always_had() {
    let nodes: Vec<NodeId> = (1..=5).map(node).collect();
    let ring = Ring::new(&nodes);
    let owner = |slot: Slot| nodes.iter().position(|node| ring.owner(slot) == Some(node)).expect("an owner");
    let first: Vec<usize> = Slot::all().take(24).map(owner).collect();
    assert_eq!(first, FIRST_OWNERS);
    let all = Slot::all().fold(0_u64, |sum, slot| sum.wrapping_mul(31).wrapping_add(owner(slot) as u64));
    assert_eq!(all, ALL_OWNERS);
}

/// Of many members several rank a slot alike: what decides between them must not change either.
#[test]
fn slots_of_many_members_have_the_owners_they_always_had() {
    let nodes: Vec<NodeId> = (1..=60).map(node).collect();
    let ring = Ring::new(&nodes);
    let owner = |slot: Slot| nodes.iter().position(|node| ring.owner(slot) == Some(node)).expect("an owner");
    let all = Slot::all().fold(0_u64, |sum, slot| sum.wrapping_mul(31).wrapping_add(owner(slot) as u64));
    assert_eq!(all, ALL_OWNERS_OF_SIXTY);
}

#[test]
fn words_in_configuration_logs_json_and_metrics_are_what_they_always_were() {
    use Status::{Assembling, Down, Rehashing, Stopped, Stopping, Up};
    let statuses = [Down, Assembling, Rehashing, Up, Stopping, Stopped];
    let words = ["down", "assembling", "rehashing", "up", "stopping", "stopped"];
    assert_eq!(statuses.map(Status::as_str), words);
    assert_eq!(statuses.map(|status| status.to_string()), words);

    let reasons = [DownReason::Left, DownReason::Crashed, DownReason::Unreachable, DownReason::Replaced];
    let words = ["left", "crashed", "unreachable", "replaced"];
    assert_eq!(reasons.map(DownReason::as_str), words);
    assert_eq!(reasons.map(|reason| reason.to_string()), words);

    use CloseReason::{DuplicateName, Hung, Replaced, Silent};
    assert_eq!(
        [Silent, Hung, Replaced, DuplicateName].map(CloseReason::as_str),
        ["silent", "no heartbeat", "replaced by a younger process", "its name is taken"]
    );
    let policies = [SplitPolicy::Majority, SplitPolicy::Consensus, SplitPolicy::KeepOldest];
    assert_eq!(policies.map(SplitPolicy::as_str), ["majority", "consensus", "keep-oldest"]);
    assert_eq!(Rejection::ALL.map(Rejection::as_str).join(" "), REJECTIONS);
}

const REJECTIONS: &str = "link_closed replayed epoch_ahead foreign_proposal old_proposal foreign_round echo_ahead out_of_place foreign_name";
const HELLO: &str = "0a3e0a270a200a1273686f704031302e302e302e313a3433373011a10000000000000018e90712037373641001180120022880a8d6b90730033a05312e322e33";
const HELLO_ALIKE: &str = "0a700a270a200a1273686f704031302e302e302e313a3433373011a10000000000000018e90712037373641001180120022880a8d6b90730033a05312e322e3340014a2e0a120a0573706c69741209636f6e73656e737573120f6361636865203d207b22737364227d19ac3d6fd67eac8511";
const HELLO_DEFINING: &str = "0a98010a270a200a1273686f704031302e302e302e313a3433373011a10000000000000018e90712037373641001180120022880a8d6b90730033a05312e322e3340014a560a120a0573706c69741209636f6e73656e737573120f6361636865203d207b22737364227d19ac3d6fd67eac851122260a0b7461626c652073746f636b1217636f7069657320322c206f6e5f6c6f737320656d707479";
const REFUSED_DEFINITION: &str = "124108052a17636f7069657320332c206f6e5f6c6f737320656d707479320b7461626c652073746f636b3a17636f7069657320322c206f6e5f6c6f737320656d707479";
const REFUSED_RINGS: &str = "1219080422046e6f6e652a0f6361636865203d207b22737364227d";
const HEARTBEAT: &str = "1a7208051004180322200a1273686f704031302e302e302e313a3433373011a10000000000000018e90722200a1273686f704031302e302e302e323a3433373011a20000000000000018ea0731070000000000000039080000000000000040014906000000000000005109000000000000006001";
const HEARTBEAT_SAME: &str = "1a3708051004180329221100000000000031070000000000000039080000000000000040014906000000000000005109000000000000006001";
const PROPOSE: &str = "225b09080000000000000012270a200a1273686f704031302e302e302e313a3433373011a10000000000000018e907120373736412270a200a1273686f704031302e302e302e323a3433373011a20000000000000018ea071203737364";
const HEARTBEAT_GOODBYE: &str = "1a980108051004180329221100000000000031070000000000000039080000000000000040014906000000000000005109000000000000006001680571080000000000000078018201510a200a1273686f704031302e302e302e323a3433373011a20000000000000018ea07122d09070000000000000012200a1273686f704031302e302e302e313a3433373011a10000000000000018e9071803";
const PROPOSE_OF_THREE: &str = "225d09080000000000000012270a200a1273686f704031302e302e302e313a3433373011a10000000000000018e907120373736412270a200a1273686f704031302e302e302e323a3433373011a20000000000000018ea0712037373641803";
const HEARTBEAT_FORMER: &str = "1a5a080510041803292211000000000000310700000000000000390800000000000000400149060000000000000051090000000000000060019201200a1273686f704031302e302e302e323a3433373011a20000000000000018ea07";

const HEARTBEAT_PLANNED: &str = "1a8b010805100418032922110000000000003107000000000000003908000000000000004001490600000000000000510900\
     0000000000006001980101a00101a80105b20148080612200a1273686f704031302e302e302e313a3433373011a100000000\
     00000018e90712200a1273686f704031302e302e302e323a3433373011a20000000000000018ea071801";
const MEMORY: &str = "0a200a1273686f704031302e302e302e313a3433373011a10000000000000018e90712200a1273686f704031302e302e302e323a3433373011a20000000000000018ea071a4f09070000000000000012200a1273686f704031302e302e302e313a3433373011a10000000000000018e90712200a1273686f704031302e302e302e323a3433373011a20000000000000018ea071803222d09080000000000000012200a1273686f704031302e302e302e313a3433373011a10000000000000018e90718032a510a200a1273686f704031302e302e302e333a3433373011a30000000000000018eb07122d09060000000000000012200a1273686f704031302e302e302e333a3433373011a30000000000000018eb071803";
const ACK: &str = "2a0b0908000000000000001002";
const NACK: &str = "2a140908000000000000001003190900000000000000";
const COMMIT: &str = "310800000000000000";
const DUPLICATE: &str = "3a200a1273686f704031302e302e302e313a3433373011a10000000000000018e907";
const SLOTS_OF_KEYS: [u16; 5] = [5314, 2560, 4684, 13482, 7104];
const FIRST_OWNERS: [usize; 24] = [3, 4, 1, 2, 1, 3, 3, 4, 4, 0, 0, 4, 0, 1, 1, 4, 2, 2, 0, 3, 0, 1, 0, 3];
const ALL_OWNERS_OF_SIXTY: u64 = 8716612134101863417;
const ALL_OWNERS: u64 = 5687384828647229999;
