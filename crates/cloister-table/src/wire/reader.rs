//! Bytes to messages. They may be anything.

use std::sync::Arc;

use cloister_core::{Epoch, Slot};
use cloister_table_proto::{
    Answers, Bytes, ChunkBody, Cursor, Knowledge, Label, Message, Operation, OperationId, Relabel, Seen,
    SlotReport, SlotReports, Stamp,
};

use super::error::WireError;

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
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

    /// A value, unless it is the one before. Returns whether it is not.
    fn changed<T>(
        &mut self,
        before: &mut T,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<bool, WireError> {
        let is_new = self.flag()?;
        if is_new {
            *before = read(self)?;
        }
        Ok(is_new)
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

    fn reports(&mut self) -> Result<SlotReports, WireError> {
        let (mut stamp, mut seen, mut knows) = (Stamp::NONE, Seen::NOTHING, Arc::default());
        let mut reports = SlotReports::default();
        for _ in 0..self.length()? {
            let slot = self.slot()?;
            let is_new = self.changed(&mut stamp, Self::stamp)?
                | self.changed(&mut seen, Self::seen)?
                | self.changed(&mut knows, |input| input.knowledge().map(Arc::new))?;
            if is_new {
                reports.push(SlotReport { slot, stamp, seen, knows: Arc::clone(&knows) });
            } else {
                reports.push_same(slot);
            }
        }
        Ok(reports)
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

    pub(super) fn message(&mut self) -> Result<Message, WireError> {
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
            5 => Message::Inform { epoch, follows: self.epoch()?, slots: self.seen_slots()? },
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
