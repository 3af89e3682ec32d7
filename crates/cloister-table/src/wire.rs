//! The bytes of the messages between the tables of two nodes.
//!
//! ```text
//!  version │ copies │ message │ message │ …        a message: kind │ epoch │ the fields of the kind
//! ```
//!
//! What a shard has to say at once travels together: the copies of a slot take six messages to make, and there are thousands of slots.
//!
//! In a list of slots a byte stands for what is as it was for the slot before: nearly all of it, where slots are not written.
//!
//! Numbers are big-endian. The length of a list comes before it, and of bytes before them. What comes in may be anything: it decodes to a
//! [`Result`], and a length never reserves more memory than the bytes that are left could fill.

mod error;

use std::sync::Arc;

use cloister_core::{Epoch, Slot};
use cloister_table_proto::{
    Answers, Bytes, ChunkBody, Cursor, Knowledge, Label, Message, Operation, OperationId, Relabel, Seen,
    SlotReport, Stamp,
};

pub(crate) use self::error::WireError;

/// The version of the bytes that this release writes and reads.
const VERSION: u8 = 2;

/// How many bytes there is room for at first: for the writes of a few small entries.
const FEW_BYTES: usize = 1 << 10;

/// Messages of a table that travel together, in order.
pub(crate) struct Batch(Writer);

impl Batch {
    /// None yet, of a table that is defined with so many copies.
    pub(crate) fn new(copies: u8) -> Self {
        let mut bytes = Vec::with_capacity(FEW_BYTES);
        bytes.extend([VERSION, copies]);
        Self(Writer(bytes))
    }

    /// Adds a message; returns how many bytes there are.
    pub(crate) fn add(&mut self, message: &Message) -> usize {
        self.0.message(message);
        self.0.0.len()
    }

    /// The bytes of all of them.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.0
    }
}

/// The messages of these bytes, which may be anything.
pub(crate) fn decode(copies: u8, bytes: &[u8]) -> Result<Vec<Message>, WireError> {
    let mut input = Reader(bytes);
    let version = input.u8()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let theirs = input.u8()?;
    if theirs != copies {
        return Err(WireError::Copies { theirs, ours: copies });
    }
    let mut messages = Vec::new();
    while !input.0.is_empty() {
        messages.push(input.message()?);
    }
    Ok(messages)
}

struct Writer(Vec<u8>);

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

    fn reports(&mut self, reports: &[SlotReport]) {
        let (mut stamp, mut seen, mut knows) = (Stamp::NONE, Seen::NOTHING, Arc::default());
        self.list(reports, |out, report| {
            out.slot(report.slot);
            out.changed(&mut stamp, &report.stamp, |out, stamp| out.stamp(*stamp));
            out.changed(&mut seen, &report.seen, |out, seen| out.seen(*seen));
            out.changed(&mut knows, &report.knows, |out, knows| out.knowledge(knows));
        });
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

    fn message(&mut self, message: &Message) {
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
            Message::Inform { slots, .. } | Message::Seal { slots, .. } | Message::Sealed { slots, .. } => {
                self.seen_slots(slots);
            }
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

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, WireError> {
        usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| WireError::Short)
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Unknown(other.into(), "flag")),
        }
    }

    fn slot(&mut self) -> Result<Slot, WireError> {
        let number = u16::from_be_bytes(self.array()?);
        Slot::new(number).ok_or(WireError::Unknown(number, "slot"))
    }

    fn epoch(&mut self) -> Result<Epoch, WireError> {
        Ok(Epoch::from_u64(self.u64()?))
    }

    fn bytes(&mut self) -> Result<Bytes, WireError> {
        let length = self.length()?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(head.into())
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let length = self.length()?;
        // It begins with no more memory than there are bytes, and grows with what is there: each element takes at least a byte.
        let mut list = Vec::with_capacity(length.min(self.0.len() / size_of::<T>().max(1)));
        for _ in 0..length {
            list.push(read(self)?);
        }
        Ok(list)
    }

    /// A value, unless it is the one before.
    fn changed<T>(
        &mut self,
        before: &mut T,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<(), WireError> {
        if self.flag()? {
            *before = read(self)?;
        }
        Ok(())
    }

    fn slots(&mut self) -> Result<Vec<Slot>, WireError> {
        self.list(Self::slot)
    }

    fn label(&mut self) -> Result<Label, WireError> {
        Ok(Label { epoch: self.epoch()?, number: self.u64()? })
    }

    fn stamp(&mut self) -> Result<Stamp, WireError> {
        let (label, candidate) = (self.label()?, self.epoch()?);
        Ok(Stamp { label, candidate, learning: self.flag()?, written: self.label()? })
    }

    fn seen(&mut self) -> Result<Seen, WireError> {
        Ok(Seen { writes: self.epoch()?, start: self.label()? })
    }

    fn seen_slots(&mut self) -> Result<Vec<(Slot, Seen)>, WireError> {
        let mut seen = Seen::NOTHING;
        self.list(|input| {
            let slot = input.slot()?;
            input.changed(&mut seen, Self::seen)?;
            Ok((slot, seen))
        })
    }

    fn reports(&mut self) -> Result<Vec<SlotReport>, WireError> {
        let (mut stamp, mut seen, mut knows) = (Stamp::NONE, Seen::NOTHING, Arc::default());
        self.list(|input| {
            let slot = input.slot()?;
            input.changed(&mut stamp, Self::stamp)?;
            input.changed(&mut seen, Self::seen)?;
            input.changed(&mut knows, |input| input.knowledge().map(Arc::new))?;
            Ok(SlotReport { slot, stamp, seen, knows: Arc::clone(&knows) })
        })
    }

    fn knowledge(&mut self) -> Result<Knowledge, WireError> {
        Ok(Knowledge { certain: self.epoch()?, if_installed: self.list(Self::epoch)? })
    }

    fn operation(&mut self) -> Result<Operation, WireError> {
        Ok(Operation {
            number: self.u64()?,
            key: self.bytes()?,
            value: self.option(Self::bytes)?,
            id: self.option(|input| {
                let (client, number, settled) = (input.u64()?, input.u64()?, input.u64()?);
                Ok((OperationId { client, number, settled }, input.bytes()?))
            })?,
        })
    }

    fn relabels(&mut self) -> Result<Vec<Relabel>, WireError> {
        let (mut reported, mut labels) = (Stamp::NONE, (Label::NONE, Label::NONE));
        self.list(|input| {
            let slot = input.slot()?;
            input.changed(&mut reported, Self::stamp)?;
            input.changed(&mut labels, |input| Ok((input.label()?, input.label()?)))?;
            let missing = input.option(|input| input.list(Self::operation))?;
            Ok(Relabel { slot, reported, label: labels.0, written: labels.1, missing })
        })
    }

    fn body(&mut self) -> Result<ChunkBody, WireError> {
        match self.u8()? {
            0 => Ok(ChunkBody::Tail(self.list(Self::operation)?)),
            1 => {
                let entries = self.list(|input| Ok((input.bytes()?, input.bytes()?)))?;
                let clients = self.list(|input| {
                    let (client, settled) = (input.u64()?, input.u64()?);
                    let answers = input.list(|input| Ok((input.u64()?, input.bytes()?)))?;
                    Ok((client, Answers { settled, answers }))
                })?;
                Ok(ChunkBody::Entries { entries, clients, is_last: self.flag()? })
            }
            other => Err(WireError::Unknown(other.into(), "body")),
        }
    }

    fn cursor(&mut self) -> Result<Cursor, WireError> {
        match self.u8()? {
            0 => Ok(Cursor::Answer { client: self.u64()?, number: self.u64()? }),
            1 => Ok(Cursor::Key(self.bytes()?)),
            other => Err(WireError::Unknown(other.into(), "cursor")),
        }
    }

    fn message(&mut self) -> Result<Message, WireError> {
        let (kind, epoch) = (self.u8()?, self.epoch()?);
        Ok(match kind {
            1 => Message::Ask { epoch, member: self.flag()?, slots: self.slots()? },
            2 => {
                let installed = self.epoch()?;
                let views =
                    self.option(|input| input.list(|input| Ok((input.epoch()?, input.list(Self::u64)?))))?;
                Message::Reports { epoch, installed, views, reports: self.reports()? }
            }
            3 => Message::Relabel { epoch, slots: self.relabels()? },
            4 => Message::Relabelled { epoch, slots: self.slots()? },
            5 => Message::Inform { epoch, slots: self.seen_slots()? },
            6 => Message::Informed { epoch, slots: self.slots()? },
            7 => Message::Learn { epoch, slot: self.slot()? },
            8 => Message::Fetch {
                epoch,
                slot: self.slot()?,
                attempt: self.u64()?,
                have: self.option(Self::label)?,
                cursor: self.option(Self::cursor)?,
            },
            9 => Message::Chunk {
                epoch,
                slot: self.slot()?,
                attempt: self.u64()?,
                cursor: self.option(Self::cursor)?,
                label: self.label()?,
                written: self.label()?,
                body: self.body()?,
            },
            10 => Message::Replicate { epoch, slot: self.slot()?, operation: self.operation()? },
            11 => Message::Replicated { epoch, slot: self.slot()?, number: self.u64()? },
            12 => Message::Count { epoch, slot: self.slot()?, number: self.u64()? },
            13 => Message::Counted { epoch, slot: self.slot()? },
            14 => Message::Seal { epoch, slots: self.seen_slots()? },
            15 => Message::Sealed { epoch, slots: self.seen_slots()? },
            16 => Message::Release { epoch, slot: self.slot()? },
            17 => Message::Released { epoch, slot: self.slot()? },
            other => return Err(WireError::Unknown(other.into(), "message")),
        })
    }
}

#[cfg(test)]
mod tests;
