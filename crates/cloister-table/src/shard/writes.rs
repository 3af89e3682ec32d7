//! What a shard writes: operations, entries whose time has come, and what a service commits.

use cloister_core::{MAX_MESSAGE_LEN, Slot};
use cloister_table_proto::{Bytes, Decision, OperationId, Refusal, Token};

use super::decision::decide;
use super::{GIVEN_UP, MAX_EXPIRED, MAX_WAITING, ROWS_A_TICK, Shard, UnderWay, within_limits};
use crate::blob::Blob;
use crate::core::Core;
use crate::delivery::{Accepted, Commit};
use crate::message::{Answer, Operation, Outcome, Request, RequestId};
use crate::reply::Reply;
use crate::row;

/// How many bytes a write of a service may have: it travels in one message, after others.
const MAX_WRITE_BYTES: usize = MAX_MESSAGE_LEN - (1 << 20);

/// The decision, unless no message can bring it to a copy.
fn sendable(decision: Decision, key: &Bytes) -> Decision {
    let bytes = key.len()
        + match &decision {
            Decision::Insert { value, answer } => value.len() + answer.len(),
            Decision::Remove { answer } => answer.len(),
            Decision::Keep { .. } => 0,
        };
    if bytes <= MAX_WRITE_BYTES {
        return decision;
    }
    let cause = format!("a state and its answer have {bytes} bytes, over the limit of {MAX_WRITE_BYTES}");
    Decision::Keep { answer: Outcome::Failed(cause).encoded() }
}

impl Shard {
    pub(super) fn write(
        &mut self,
        core: &Core,
        slot: Slot,
        request: &Request,
        operation: &Operation,
    ) -> Result<Token, Refusal> {
        let (now, shard, mut expires, mut is_stale) = (row::now(), self.index, None, false);
        let decide = |before: Option<&Bytes>| {
            let decision = decide(&core.options, operation, before.filter(|row| row::is_live(row, now)), now);
            let decision = within_limits(core, shard, decision, &request.key.0, before);
            let known = before.and_then(|before| row::expires_at(before));
            let next = match &decision {
                Decision::Insert { value, .. } => row::expires_at(value),
                Decision::Remove { .. } => None,
                Decision::Keep { .. } => known,
            };
            // A row that expires earlier is looked at then.
            expires = next.filter(|at| known.is_none_or(|known| *at < known));
            is_stale = known.is_some() && (next.is_none() || expires.is_some());
            decision
        };
        let token = self.begin(core, (slot, &request.key.0), request.id, decide)?;
        if is_stale {
            self.expiries.is_stale();
        }
        if let Some(at) = expires {
            self.expiries.add(at, Bytes::clone(&request.key.0));
        }
        if is_stale || expires.is_some() {
            let row_of = |key: &Bytes| self.table.content(Slot::of(key))?.get(key);
            self.expiries.prune(|key| row_of(key).and_then(|row| row::expires_at(&row)));
        }
        Ok(token)
    }

    /// Finds the rows that expire in slots which are served since a short time ago. A reader sees none that has expired, so there is time, and
    /// writes do not wait until all are read.
    pub(super) fn read_expiries(&mut self) {
        let mut rows = 0;
        while rows < ROWS_A_TICK
            && let Some(slot) = self.unread.pop_front()
        {
            let Some(content) = self.table.content(slot) else { continue };
            rows += content.len();
            for (key, row) in content.entries() {
                if let Some(at) = row::expires_at(row) {
                    self.expiries.add(at, key.into());
                }
            }
        }
    }

    /// Removes entries whose time has come.
    pub(super) fn expire(&mut self, core: &Core) {
        let now = row::now();
        for _ in 0..MAX_EXPIRED {
            if self.is_busy() {
                break;
            }
            let Some(key) = self.expiries.take_due(now) else { break };
            let (mut later, mut was_stale) = (None, false);
            let decide = |before: Option<&Bytes>| {
                let answer = Bytes::default();
                was_stale = before.is_none_or(|row| row::expires_at(row).is_none());
                later = before.and_then(|row| row::expires_at(row)).filter(|at| now < *at);
                match before {
                    Some(row) if !row::is_live(row, now) => Decision::Remove { answer },
                    _ => Decision::Keep { answer },
                }
            };
            match self.begin(core, (Slot::of(&key), &key), None, decide) {
                Ok(_) => {
                    if was_stale {
                        self.expiries.was_stale();
                    }
                    if let Some(at) = later {
                        self.expiries.add(at, key);
                    }
                }
                // The lease has lapsed, and may come back.
                Err(Refusal::NoClaim) => {
                    self.expiries.add(now, key);
                    break;
                }
                // The next owner of the slot finds it.
                Err(_) => {}
            }
        }
    }

    fn begin(
        &mut self,
        core: &Core,
        key: (Slot, &Bytes),
        id: Option<RequestId>,
        decide: impl FnOnce(Option<&Bytes>) -> Decision,
    ) -> Result<Token, Refusal> {
        self.tokens += 1;
        let token = Token(self.tokens);
        let (mut effect, mut bytes) = (None, 0);
        let decide = |before: Option<&Bytes>| {
            let decision = decide(before);
            let (value, answer) = match &decision {
                Decision::Insert { value, answer } => (Some(Some(Bytes::clone(value))), answer),
                Decision::Remove { answer } => (Some(None), answer),
                Decision::Keep { answer } => (None, answer),
            };
            let of = |value: Option<&Bytes>| value.map_or(0, |value| value.len());
            bytes = key.1.len() + of(before) + of(value.iter().flatten().next()) + answer.len();
            effect = value.map(|value| (Bytes::clone(key.1), value));
            decision
        };
        self.table.write(core.claim(), key, id.map(OperationId::from), token, decide)?;
        self.under_way_bytes += bytes;
        self.under_way.insert(token, UnderWay { reply: None, effect, bytes });
        Ok(token)
    }

    /// The answer to a write that is under way is sent once all copies have it.
    pub(super) fn reply_later(&mut self, token: Token, reply: Reply) {
        if let Some(under_way) = self.under_way.get_mut(&token) {
            under_way.reply = Some(reply);
        }
    }

    /// Whether so much waits for copies that nothing more is begun. A copy may be silent until the next view.
    pub(super) fn is_busy(&self) -> bool {
        let (max, max_bytes) = MAX_WAITING;
        self.under_way.len() >= max || self.under_way_bytes >= max_bytes
    }

    /// Writes for a message that was delivered here.
    pub(crate) fn commit(
        &mut self,
        core: &Core,
        slot: Slot,
        message: &Accepted,
        commit: Commit,
        reply: Reply,
    ) {
        let ids = match self.committed_as(slot, message) {
            Ok(ids) => ids,
            Err(cause) => return reply.send(Answer::Refused(cause.to_owned())),
        };
        let (key, Commit { expected, new, answer }) = ((slot, &message.key), commit);
        let answer = Outcome::Returned(Blob(answer)).encoded();
        let (shard, mut is_written) = (self.index, false);
        let decide = |before: Option<&Bytes>| {
            if before != expected.as_ref() {
                return Decision::Keep { answer: Outcome::Other(None).encoded() };
            }
            let answer = Bytes::clone(&answer);
            let decision = match new {
                _ if new == expected => Decision::Keep { answer },
                Some(value) => Decision::Insert { value, answer },
                None => Decision::Remove { answer },
            };
            let decision = sendable(within_limits(core, shard, decision, key.1, before), key.1);
            is_written = !matches!(decision, Decision::Keep { .. });
            decision
        };
        match self.begin(core, key, ids.first().copied(), decide) {
            Ok(token) => {
                self.reply_later(token, reply);
                if is_written {
                    ids.iter().skip(1).for_each(|id| self.note_done(core, key, *id, &answer));
                }
            }
            Err(refusal) => {
                let cause = format!("the node does not serve the key at this moment: {refusal:?}");
                reply.send(Answer::Refused(cause));
            }
        }
        self.perform(core);
    }

    /// Keeps the answer of a message that was written under another of its names: whichever of its senders repeats it is answered so.
    fn note_done(&mut self, core: &Core, key: (Slot, &Bytes), id: RequestId, answer: &Bytes) {
        let decide = |before: Option<&Bytes>| {
            let answer = Bytes::clone(answer);
            match before {
                Some(value) => Decision::Insert { value: Bytes::clone(value), answer },
                None => Decision::Remove { answer },
            }
        };
        // The write before it was begun at this instant, so this is begun, too.
        let _ = self.begin(core, key, Some(id), decide);
    }

    /// The names under which a message is to be committed. If it was committed before, that is the one name of then. Else it is each
    /// that may still be repeated. An error if it is not known whether it was committed.
    fn committed_as(&self, slot: Slot, message: &Accepted) -> Result<Vec<RequestId>, &'static str> {
        let is_settled = |id: &RequestId| {
            self.clients.is_settled((*id).into())
                || self.table.content(slot).is_some_and(|content| content.is_settled((*id).into()))
        };
        if message.one_way {
            if let Some(id) = message.request_ids().find(|id| self.has_answered(slot, *id)) {
                return Ok(vec![id]);
            }
            // Its sender went on as soon as it was accepted, and the message is still to be handled.
            return Ok(message.request_ids().filter(|id| !is_settled(id)).collect());
        }
        match message.id {
            None => Ok(Vec::new()),
            Some(id) if is_settled(&id) => Err(GIVEN_UP),
            Some(id) if !self.clients.are_remembered(id.client, message.epoch) => {
                Err("its client was no member in a view since it was accepted")
            }
            Some(_) if !self.table.remembers(slot, message.epoch) => {
                Err("since it was accepted, its slot was lost or another node owned it")
            }
            Some(id) => Ok(vec![id]),
        }
    }

    /// Whether an operation was applied before.
    pub(crate) fn has_answered(&self, slot: Slot, id: RequestId) -> bool {
        self.table.has_answered(slot, id.into())
    }
}
