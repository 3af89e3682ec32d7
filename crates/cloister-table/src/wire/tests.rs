use std::sync::Arc;

use cloister_core::{Epoch, Slot};
use cloister_table_proto::{
    Answers, Bytes, ChunkBody, Cursor, Knowledge, Label, Operation, OperationId, Relabel, Seen, SlotReport,
    Stamp,
};

use super::*;

fn samples() -> Vec<Message> {
    let (epoch, slot) = (Epoch::from_u64(7 << 40), Slot::new(16_383).unwrap());
    let label = Label { epoch, number: 9 };
    let stamp = Stamp { label, candidate: epoch, learning: true, written: Label::NONE };
    let seen = Seen { writes: epoch, start: label };
    let id = OperationId { client: u64::MAX, number: 3, settled: 2 };
    let bytes = |text: &str| Bytes::from(text.as_bytes());
    let write = Operation {
        number: 4,
        key: bytes("key"),
        value: Some(bytes("value")),
        id: Some((id, bytes("answer"))),
    };
    let removal = Operation { number: 5, key: bytes(""), value: None, id: None };
    let relabel = |missing| Relabel { slot, reported: stamp, label, written: label, missing };
    let chunk = |body| Message::Chunk { epoch, slot, attempt: 8, cursor: None, label, written: label, body };
    let answers = Answers { settled: 2, answers: vec![(3, bytes("answer"))] };
    let entries = ChunkBody::Entries {
        entries: vec![(bytes("key"), bytes("value")), (bytes("other"), bytes(""))],
        clients: vec![(1, answers)],
        is_last: true,
    };
    let knows = Arc::new(Knowledge { certain: epoch, if_installed: vec![Epoch::from_u64(8), epoch] });
    let report =
        |slot, stamp, knows: &Arc<Knowledge>| SlotReport { slot, stamp, seen, knows: Arc::clone(knows) };
    let other = Slot::new(0).unwrap();
    let slots = vec![slot, other];
    vec![
        Message::Ask { epoch, member: true, slots: slots.clone() },
        Message::Reports {
            epoch,
            installed: Epoch::ZERO,
            views: Some(vec![(epoch, vec![1, u64::MAX])]),
            reports: [
                report(slot, stamp, &knows),
                report(other, stamp, &knows),
                report(slot, Stamp::NONE, &Arc::default()),
            ]
            .into_iter()
            .collect(),
        },
        Message::Relabel {
            epoch,
            slots: vec![
                relabel(None),
                relabel(Some(vec![write.clone(), removal.clone()])),
                Relabel { reported: Stamp::NONE, ..relabel(None) },
            ],
        },
        Message::Relabelled { epoch, slots: slots.clone() },
        Message::Inform {
            epoch,
            follows: Epoch::from_u64(4),
            slots: vec![(slot, seen), (other, seen), (slot, Seen::NOTHING)],
        },
        Message::Informed { epoch, slots },
        Message::Learn { epoch, slot },
        Message::Fetch {
            epoch,
            slot,
            attempt: 8,
            have: Some(label),
            cursor: Some(Cursor::Key(bytes("key"))),
        },
        Message::Fetch {
            epoch,
            slot,
            attempt: 8,
            have: None,
            cursor: Some(Cursor::Answer { client: u64::MAX, number: 3 }),
        },
        Message::Fetch { epoch, slot, attempt: 8, have: None, cursor: None },
        chunk(ChunkBody::Tail(vec![removal])),
        chunk(entries),
        Message::Replicate { epoch, slot, operation: write },
        Message::Replicated { epoch, slot, number: 4 },
        Message::Count { epoch, slot, number: 4 },
        Message::Counted { epoch, slot },
        Message::Seal { epoch, slots: vec![(slot, seen)] },
        Message::Sealed { epoch, slots: vec![(slot, Seen::NOTHING)] },
        Message::Release { epoch, slot },
        Message::Released { epoch, slot },
    ]
}

fn encode(copies: u8, message: &Message) -> Vec<u8> {
    let mut batch = Batch::new(copies);
    batch.add(message);
    batch.into_bytes()
}

#[test]
fn every_message_survives_the_wire_alone_and_with_others() {
    let mut batch = Batch::new(2);
    for message in samples() {
        batch.add(&message);
        assert_eq!(decode(2, &encode(2, &message)), Ok(vec![message]));
    }
    assert_eq!(decode(2, &batch.into_bytes()), Ok(samples()));
    assert_eq!(decode(2, &Batch::new(2).into_bytes()), Ok(vec![]));
}

#[test]
fn slots_that_are_alike_take_a_few_bytes_each() {
    let knows = Arc::new(Knowledge { certain: Epoch::ZERO, if_installed: vec![Epoch::from_u64(8)] });
    let report =
        |slot| SlotReport { slot, stamp: Stamp::NONE, seen: Seen::NOTHING, knows: Arc::clone(&knows) };
    let (reports, slots): (Vec<_>, Vec<_>) =
        Slot::all().map(|slot| (report(slot), (slot, Seen::NOTHING))).unzip();
    let epoch = Epoch::from_u64(8);
    let reports = Message::Reports {
        epoch,
        installed: Epoch::ZERO,
        views: None,
        reports: reports.into_iter().collect(),
    };
    for (message, each) in [(reports, 5), (Message::Inform { epoch, follows: Epoch::ZERO, slots }, 3)] {
        let bytes = encode(2, &message);
        assert!(bytes.len() <= each * Slot::all().count() + 100, "{} bytes", bytes.len());
        assert_eq!(decode(2, &bytes), Ok(vec![message]));
    }
}

#[test]
fn bytes_that_were_cut_are_an_error_and_bytes_that_were_changed_are_no_panic() {
    for message in samples() {
        let bytes = encode(2, &message);
        for end in (0..bytes.len()).filter(|end| *end != 2) {
            assert!(decode(2, &bytes[..end]).is_err(), "{message:?} cut to {end} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                // Whatever it is now.
                let _ = decode(2, &changed);
            }
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(decode(2, &longer), Err(WireError::Short));
    }
}

#[test]
fn another_version_another_definition_and_a_slot_that_is_none_are_named() {
    let released = Message::Released { epoch: Epoch::ZERO, slot: Slot::new(1).unwrap() };
    let mut bytes = encode(2, &released);
    assert_eq!(decode(3, &bytes), Err(WireError::Copies { theirs: 2, ours: 3 }));
    bytes[0] = VERSION + 1;
    assert_eq!(decode(2, &bytes), Err(WireError::Version(VERSION + 1)));
    bytes[0] = VERSION;
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&u16::MAX.to_be_bytes());
    assert_eq!(decode(2, &bytes), Err(WireError::Unknown(u16::MAX, "slot")));
}

#[test]
fn a_length_beyond_the_bytes_reserves_nothing() {
    let epoch = Epoch::ZERO.as_u64().to_be_bytes();
    let bytes = [&[VERSION, 2, 1][..], &epoch, &[0], &u32::MAX.to_be_bytes()].concat();
    assert_eq!(decode(2, &bytes), Err(WireError::Short));
}
