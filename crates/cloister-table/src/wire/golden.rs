//! The bytes of each kind of message, which must not change unnoticed: nodes of two builds run in one cluster during an update.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloister_core::{Epoch, Slot};
use cloister_table_proto::{
    Answers, Bytes, ChunkBody, Cursor, Knowledge, Label, Operation, OperationId, Relabel, Seen, SlotReport,
    SlotReports, Stamp,
};

use super::*;

/// What to do where a frame is red.
const CHANGED: &str = "The bytes of a message of tables have changed. Is it not meant? Restore the writer and the reader. \
     Is it meant? Raise `VERSION` in `wire.rs`, and take the new bytes over here: a node of another version is \
     refused, where one of the same version would misread it.";

// The parts that several frames have. No two numbers in one frame are equal, so that fields that change places are found.
const EPOCH: &str = "0000000000000070";
const SLOT: &str = "3fff";
const OTHER: &str = "0000";
const STAMP: &str =
    "0000000000000001 0000000000000002  0000000000000003  01  0000000000000004 0000000000000005";
const SEEN: &str = "0000000000000006  0000000000000007 0000000000000008";
const KNOWS: &str = "0000000000000009  00000002 000000000000000a 000000000000000b";
const LABELS: &str = "0000000000000021 0000000000000022  0000000000000023 0000000000000024";
const WRITE: &str = "0000000000000011  00000001 6b  01 00000002 7631  01 0000000000000012 0000000000000013 0000000000000014 00000003 616e73";
const REMOVAL: &str = "0000000000000015  00000000  00  00";
/// Nothing of it is other than for the slot before.
const SAME: &str = "00 00 00";

fn epoch(number: u64) -> Epoch {
    Epoch::from_u64(number)
}

fn label(view: u64, number: u64) -> Label {
    Label { epoch: epoch(view), number }
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn slot() -> Slot {
    Slot::new(16_383).unwrap()
}

fn other() -> Slot {
    Slot::new(0).unwrap()
}

fn stamp() -> Stamp {
    Stamp { label: label(1, 2), candidate: epoch(3), learning: true, written: label(4, 5) }
}

fn seen() -> Seen {
    Seen { writes: epoch(6), start: label(7, 8) }
}

fn write() -> Operation {
    let id = OperationId { client: 0x12, number: 0x13, settled: 0x14 };
    Operation { number: 0x11, key: bytes("k"), value: Some(bytes("v1")), id: Some((id, bytes("ans"))) }
}

fn removal() -> Operation {
    Operation { number: 0x15, key: bytes(""), value: None, id: None }
}

/// What the owner of a view asks of slots and reports of them.
fn beginnings() -> Vec<(Message, Vec<&'static str>)> {
    let (epoch_of, epoch) = (epoch, epoch(0x70));
    let knows =
        Arc::new(Knowledge { certain: epoch_of(9), if_installed: vec![epoch_of(0xa), epoch_of(0xb)] });
    let report = |slot, stamp| SlotReport { slot, stamp, seen: seen(), knows: Arc::clone(&knows) };
    let nothing =
        SlotReport { slot: other(), stamp: Stamp::NONE, seen: Seen::NOTHING, knows: Arc::default() };
    let third = Slot::new(5).unwrap();
    // The first two are alike, the third has lost its content, and the last is as the first two.
    let alike = [
        report(slot(), stamp()),
        report(other(), stamp()),
        report(third, Stamp::NONE),
        report(slot(), stamp()),
    ];
    let relabel = |slot, missing| Relabel {
        slot,
        reported: stamp(),
        label: label(0x21, 0x22),
        written: label(0x23, 0x24),
        missing,
    };
    let no_stamp =
        "0000000000000000 0000000000000000  0000000000000000  00  0000000000000000 0000000000000000";
    let nothing_seen = "0000000000000000  0000000000000000 0000000000000000";
    vec![
        (
            Message::Ask { epoch, member: true, slots: vec![slot(), other()] },
            vec!["01", EPOCH, "01", "00000002", SLOT, OTHER],
        ),
        (Message::Ask { epoch, member: false, slots: vec![] }, vec!["01", EPOCH, "00", "00000000"]),
        (
            Message::Reports {
                epoch,
                installed: epoch_of(0x60),
                views: Some(vec![(epoch_of(0x61), vec![0x62, u64::MAX]), (epoch_of(0x63), vec![])]),
                reports: alike.into_iter().collect(),
            },
            vec![
                "02",
                EPOCH,
                "0000000000000060",
                "01 00000002",
                "0000000000000061 00000002 0000000000000062 ffffffffffffffff",
                "0000000000000063 00000000",
                "00000004",
                SLOT,
                "01",
                STAMP,
                "01",
                SEEN,
                "01",
                KNOWS,
                OTHER,
                SAME,
                "0005",
                "01",
                no_stamp,
                "00",
                "00",
                SLOT,
                "01",
                STAMP,
                "00",
                "00",
            ],
        ),
        (
            Message::Reports {
                epoch,
                installed: Epoch::ZERO,
                views: Some(vec![]),
                reports: [nothing].into_iter().collect(),
            },
            vec!["02", EPOCH, "0000000000000000", "01 00000000", "00000001", OTHER, SAME],
        ),
        (
            Message::Reports { epoch, installed: Epoch::ZERO, views: None, reports: SlotReports::default() },
            vec!["02", EPOCH, "0000000000000000", "00", "00000000"],
        ),
        (
            Message::Relabel {
                epoch,
                slots: vec![
                    relabel(slot(), None),
                    relabel(other(), Some(vec![write(), removal()])),
                    Relabel { reported: Stamp::NONE, ..relabel(slot(), Some(vec![])) },
                ],
            },
            vec![
                "03",
                EPOCH,
                "00000003",
                SLOT,
                "01",
                STAMP,
                "01",
                LABELS,
                "00",
                OTHER,
                "00",
                "00",
                "01 00000002",
                WRITE,
                REMOVAL,
                SLOT,
                "01",
                no_stamp,
                "00",
                "01 00000000",
            ],
        ),
        (
            Message::Relabelled { epoch, slots: vec![slot(), other()] },
            vec!["04", EPOCH, "00000002", SLOT, OTHER],
        ),
        (
            Message::Inform {
                epoch,
                follows: epoch_of(0x6f),
                slots: vec![(slot(), seen()), (other(), seen()), (slot(), Seen::NOTHING)],
            },
            vec![
                "05",
                EPOCH,
                "000000000000006f",
                "00000003",
                SLOT,
                "01",
                SEEN,
                OTHER,
                "00",
                SLOT,
                "01",
                nothing_seen,
            ],
        ),
        (
            Message::Informed { epoch, slots: vec![other(), slot()] },
            vec!["06", EPOCH, "00000002", OTHER, SLOT],
        ),
    ]
}

/// How a copy fetches a content.
fn transfers() -> Vec<(Message, Vec<&'static str>)> {
    let epoch = epoch(0x70);
    let fetch = |have, cursor| Message::Fetch { epoch, slot: slot(), attempt: 0x31, have, cursor };
    let chunk = |cursor, body| Message::Chunk {
        epoch,
        slot: slot(),
        attempt: 0x31,
        cursor,
        label: label(0x21, 0x22),
        written: label(0x23, 0x24),
        body,
    };
    let entries = |entries, clients, is_last| ChunkBody::Entries { entries, clients, is_last };
    let rows = vec![(bytes("k"), bytes("v1")), (bytes("ke"), bytes(""))];
    let answers = Answers { settled: 0x41, answers: vec![(0x42, bytes("ans")), (0x43, bytes(""))] };
    let clients = vec![(0x44, answers), (0x45, Answers { settled: 0x46, answers: vec![] })];
    let attempt = "0000000000000031";
    vec![
        (Message::Learn { epoch, slot: slot() }, vec!["07", EPOCH, SLOT]),
        (fetch(None, None), vec!["08", EPOCH, SLOT, attempt, "00", "00"]),
        (
            fetch(Some(label(0x21, 0x22)), Some(Cursor::Key(bytes("k")))),
            vec!["08", EPOCH, SLOT, attempt, "01 0000000000000021 0000000000000022", "01 01 00000001 6b"],
        ),
        (
            fetch(None, Some(Cursor::Answer { client: 0x32, number: 0x33 })),
            vec!["08", EPOCH, SLOT, attempt, "00", "01 00 0000000000000032 0000000000000033"],
        ),
        (
            chunk(None, ChunkBody::Tail(vec![write(), removal()])),
            vec!["09", EPOCH, SLOT, attempt, "00", LABELS, "00 00000002", WRITE, REMOVAL],
        ),
        (chunk(None, ChunkBody::Tail(vec![])), vec!["09", EPOCH, SLOT, attempt, "00", LABELS, "00 00000000"]),
        (
            chunk(Some(Cursor::Key(bytes(""))), entries(rows, clients, false)),
            vec![
                "09",
                EPOCH,
                SLOT,
                attempt,
                "01 01 00000000",
                LABELS,
                "01",
                "00000002",
                "00000001 6b 00000002 7631",
                "00000002 6b65 00000000",
                "00000002",
                "0000000000000044 0000000000000041 00000002 0000000000000042 00000003 616e73 0000000000000043 00000000",
                "0000000000000045 0000000000000046 00000000",
                "00",
            ],
        ),
        (
            chunk(Some(Cursor::Answer { client: 0x32, number: 0 }), entries(vec![], vec![], true)),
            vec![
                "09",
                EPOCH,
                SLOT,
                attempt,
                "01 00 0000000000000032 0000000000000000",
                LABELS,
                "01",
                "00000000",
                "00000000",
                "01",
            ],
        ),
    ]
}

/// Writes and the end of a view.
fn writes() -> Vec<(Message, Vec<&'static str>)> {
    let (epoch, slot) = (epoch(0x70), slot());
    let number = "0000000000000051";
    vec![
        (Message::Replicate { epoch, slot, operation: write() }, vec!["0a", EPOCH, SLOT, WRITE]),
        (Message::Replicate { epoch, slot, operation: removal() }, vec!["0a", EPOCH, SLOT, REMOVAL]),
        (Message::Replicated { epoch, slot, number: 0x51 }, vec!["0b", EPOCH, SLOT, number]),
        (Message::Count { epoch, slot, number: 0x51 }, vec!["0c", EPOCH, SLOT, number]),
        (Message::Counted { epoch, slot }, vec!["0d", EPOCH, SLOT]),
        (
            Message::Seal { epoch, slots: vec![(slot, seen()), (other(), seen())] },
            vec!["0e", EPOCH, "00000002", SLOT, "01", SEEN, OTHER, "00"],
        ),
        (
            Message::Sealed { epoch, slots: vec![(slot, Seen::NOTHING)] },
            vec!["0f", EPOCH, "00000001", SLOT, "00"],
        ),
        (Message::Release { epoch, slot }, vec!["10", EPOCH, SLOT]),
        (Message::Released { epoch, slot }, vec!["11", EPOCH, SLOT]),
    ]
}

fn all() -> Vec<(Message, Vec<u8>)> {
    let frames = [beginnings(), transfers(), writes()].into_iter().flatten();
    frames.map(|(message, golden)| (message, unhex(&golden.concat()))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(golden: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        golden.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What stands before the messages.
const HEAD: [u8; 2] = [3, 3];

#[test]
fn messages_have_the_bytes_they_always_had() {
    for (message, golden) in all() {
        let mut batch = Batch::new(HEAD[1]);
        batch.add(&message);
        let written = batch.into_bytes();
        assert_eq!(hex(&written[2..]), hex(&golden), "{message:?}\n{CHANGED}");
        let read = decode(HEAD[1], &[&HEAD, golden.as_slice()].concat());
        assert_eq!(read, Ok(vec![message]), "{CHANGED}");
    }
}

#[test]
fn messages_that_travel_together_stand_behind_version_and_copies() {
    let (messages, goldens): (Vec<_>, Vec<_>) = all().into_iter().unzip();
    let mut batch = Batch::new(HEAD[1]);
    for message in &messages {
        batch.add(message);
    }
    let golden = [HEAD.as_slice(), &goldens.concat()].concat();
    assert_eq!(hex(&batch.into_bytes()), hex(&golden), "{CHANGED}");
    assert_eq!(decode(HEAD[1], &golden), Ok(messages), "{CHANGED}");
    assert_eq!(Batch::new(HEAD[1]).into_bytes(), HEAD, "{CHANGED}");
}

#[test]
fn every_kind_that_is_read_has_its_bytes_here() {
    let here: BTreeSet<u8> = all().iter().map(|(_, golden)| golden[0]).collect();
    let is_read = |kind: &u8| {
        let read = decode(HEAD[1], &[&HEAD, [*kind].as_slice(), &[0; 100]].concat());
        read != Err(WireError::Unknown(u16::from(*kind), "message"))
    };
    let read: BTreeSet<u8> = (0..=u8::MAX).filter(is_read).collect();
    assert_eq!(read, here, "a kind of message has no frame in this file");
}
