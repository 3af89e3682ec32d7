//! Messages to bytes.

use std::sync::Arc;

use cloister_core::{Epoch, Slot};
use cloister_table_proto::{
    ChunkBody, Cursor, Knowledge, Label, Message, Operation, Relabel, Seen, SlotReports, Stamp,
};

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn length(&mut self, length: usize) {
        // What is longer is over the limit of a message, and is not sent.
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn slot(&mut self, slot: Slot) {
        self.0.extend_from_slice(&slot.number().to_be_bytes());
    }

    fn epoch(&mut self, epoch: Epoch) {
        self.u64(epoch.as_u64());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.length(values.len());
        for value in values {
            write(self, value);
        }
    }

    /// A value, or that it is the one before.
    fn changed<T: PartialEq + Clone>(
        &mut self,
        before: &mut T,
        value: &T,
        write: impl FnOnce(&mut Self, &T),
    ) {
        let is_new = before != value;
        self.u8(u8::from(is_new));
        if is_new {
            write(self, value);
            before.clone_from(value);
        }
    }

    fn slots(&mut self, slots: &[Slot]) {
        self.list(slots, |out, slot| out.slot(*slot));
    }

    fn label(&mut self, label: Label) {
        self.epoch(label.epoch);
        self.u64(label.number);
    }

    fn stamp(&mut self, stamp: Stamp) {
        self.label(stamp.label);
        self.epoch(stamp.candidate);
        self.u8(u8::from(stamp.learning));
        self.label(stamp.written);
    }

    fn seen(&mut self, seen: Seen) {
        self.epoch(seen.writes);
        self.label(seen.start);
    }

    fn seen_slots(&mut self, slots: &[(Slot, Seen)]) {
        let mut before = Seen::NOTHING;
        self.list(slots, |out, (slot, seen)| {
            out.slot(*slot);
            out.changed(&mut before, seen, |out, seen| out.seen(*seen));
        });
    }

    fn reports(&mut self, reports: &SlotReports) {
        let (mut stamp, mut seen, mut knows) = (Stamp::NONE, Seen::NOTHING, Arc::default());
        let (out, mut before) = (self, None);
        out.length(reports.len());
        for (slot, kind, report) in reports.with_kinds() {
            out.slot(slot);
            if before.replace(kind) == Some(kind) {
                out.0.extend_from_slice(&[0; 3]);
                continue;
            }
            out.changed(&mut stamp, &report.stamp, |out, stamp| out.stamp(*stamp));
            out.changed(&mut seen, &report.seen, |out, seen| out.seen(*seen));
            out.changed(&mut knows, &report.knows, |out, knows| out.knowledge(knows));
        }
    }

    fn knowledge(&mut self, knowledge: &Knowledge) {
        self.epoch(knowledge.certain);
        self.list(&knowledge.if_installed, |out, epoch| out.epoch(*epoch));
    }

    fn operation(&mut self, operation: &Operation) {
        self.u64(operation.number);
        self.bytes(&operation.key);
        self.option(operation.value.as_ref(), |out, value| out.bytes(value));
        self.option(operation.id.as_ref(), |out, (id, answer)| {
            out.u64(id.client);
            out.u64(id.number);
            out.u64(id.settled);
            out.bytes(answer);
        });
    }

    fn relabels(&mut self, relabels: &[Relabel]) {
        let (mut reported, mut labels) = (Stamp::NONE, (Label::NONE, Label::NONE));
        self.list(relabels, |out, relabel| {
            out.slot(relabel.slot);
            out.changed(&mut reported, &relabel.reported, |out, stamp| out.stamp(*stamp));
            out.changed(&mut labels, &(relabel.label, relabel.written), |out, (label, written)| {
                out.label(*label);
                out.label(*written);
            });
            out.option(relabel.missing.as_ref(), |out, missing| out.list(missing, Self::operation));
        });
    }

    fn body(&mut self, body: &ChunkBody) {
        match body {
            ChunkBody::Tail(operations) => {
                self.u8(0);
                self.list(operations, Self::operation);
            }
            ChunkBody::Entries { entries, clients, is_last } => {
                self.u8(1);
                self.list(entries, |out, (key, value)| {
                    out.bytes(key);
                    out.bytes(value);
                });
                self.list(clients, |out, (client, answers)| {
                    out.u64(*client);
                    out.u64(answers.settled);
                    out.length(answers.answers.len());
                    for (number, answer) in &answers.answers {
                        out.u64(*number);
                        out.bytes(answer);
                    }
                });
                self.u8(u8::from(*is_last));
            }
        }
    }

    fn cursor(&mut self, cursor: &Cursor) {
        match cursor {
            Cursor::Answer { client, number } => {
                self.u8(0);
                self.u64(*client);
                self.u64(*number);
            }
            Cursor::Key(key) => {
                self.u8(1);
                self.bytes(key);
            }
        }
    }

    pub(super) fn message(&mut self, message: &Message) {
        let kind = match message {
            Message::Ask { .. } => 1,
            Message::Reports { .. } => 2,
            Message::Relabel { .. } => 3,
            Message::Relabelled { .. } => 4,
            Message::Inform { .. } => 5,
            Message::Informed { .. } => 6,
            Message::Learn { .. } => 7,
            Message::Fetch { .. } => 8,
            Message::Chunk { .. } => 9,
            Message::Replicate { .. } => 10,
            Message::Replicated { .. } => 11,
            Message::Count { .. } => 12,
            Message::Counted { .. } => 13,
            Message::Seal { .. } => 14,
            Message::Sealed { .. } => 15,
            Message::Release { .. } => 16,
            Message::Released { .. } => 17,
        };
        self.u8(kind);
        self.epoch(message.epoch());
        match message {
            Message::Ask { member, slots, .. } => {
                self.u8(u8::from(*member));
                self.slots(slots);
            }
            Message::Reports { installed, views, reports, .. } => {
                self.epoch(*installed);
                self.option(views.as_ref(), |out, views| {
                    out.list(views, |out, (epoch, members)| {
                        out.epoch(*epoch);
                        out.list(members, |out, member| out.u64(*member));
                    });
                });
                self.reports(reports);
            }
            Message::Relabel { slots, .. } => self.relabels(slots),
            Message::Relabelled { slots, .. } | Message::Informed { slots, .. } => self.slots(slots),
            Message::Inform { follows, slots, .. } => {
                self.epoch(*follows);
                self.seen_slots(slots);
            }
            Message::Seal { slots, .. } | Message::Sealed { slots, .. } => self.seen_slots(slots),
            Message::Learn { slot, .. }
            | Message::Counted { slot, .. }
            | Message::Release { slot, .. }
            | Message::Released { slot, .. } => self.slot(*slot),
            Message::Fetch { slot, attempt, have, cursor, .. } => {
                self.slot(*slot);
                self.u64(*attempt);
                self.option(have.as_ref(), |out, label| out.label(*label));
                self.option(cursor.as_ref(), Self::cursor);
            }
            Message::Chunk { slot, attempt, cursor, label, written, body, .. } => {
                self.slot(*slot);
                self.u64(*attempt);
                self.option(cursor.as_ref(), Self::cursor);
                self.label(*label);
                self.label(*written);
                self.body(body);
            }
            Message::Replicate { slot, operation, .. } => {
                self.slot(*slot);
                self.operation(operation);
            }
            Message::Replicated { slot, number, .. } | Message::Count { slot, number, .. } => {
                self.slot(*slot);
                self.u64(*number);
            }
        }
    }
}
