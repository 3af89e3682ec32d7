//! The operations of clients: what an owner does with them, and the client of this process.

use cloister_proto::{Epoch, NodeId};
use cloister_sim::{MS, Violation};
use cloister_table_proto::{Bytes, Decision, OperationId, Refusal, Token};

use super::{Accepted, NodeContext, NodeMessage, Reply, TableNode};
use crate::client::Wish;
use crate::history::AppendId;
use crate::oracle::{KEYS, append, decode};

/// For how many milliseconds a node handles a message at most before it commits.
const MAX_HANDLING: u64 = 2_000;

impl TableNode {
    /// An operation of a client; returns the answer if there is one already.
    pub(super) fn serve(
        &mut self,
        ctx: &mut NodeContext<'_>,
        from: &NodeId,
        id: OperationId,
        epoch: Epoch,
        wish: Wish,
    ) -> Result<Option<Reply>, Violation> {
        if self.table.view() != Some((epoch, true)) {
            return Ok(Some(Reply::Refused));
        }
        let slot = ctx.oracle.slot_of(wish.key());
        let key: Bytes = [wish.key()].into();
        let refused: Result<Option<Reply>, Refusal> = match wish {
            Wish::Read(_) => self
                .table
                .read(ctx.claim, slot, &key)
                .map(|value| Some(Reply::Done(value.unwrap_or_default()))),
            Wish::Append(key) if ctx.oracle.settings.commits_late > 0 => {
                let late = ctx.rng.percent(ctx.oracle.settings.commits_late);
                match self.table.read(ctx.claim, slot, &[key]) {
                    Ok(_) if late => {
                        let commit_at = ctx.now + ctx.rng.between(1, MAX_HANDLING) * MS;
                        ctx.note(|| format!("    accepts {id:?}, an append to {key}"));
                        self.accepted.push(Accepted { commit_at, from: from.clone(), id, epoch, key });
                        return Ok(None);
                    }
                    Ok(_) => self.append(ctx, from, id, key).map(|()| None),
                    Err(refusal) => Err(refusal),
                }
            }
            Wish::Append(key) => self.append(ctx, from, id, key).map(|()| None),
        };
        match refused {
            Ok(answer) => {
                let node = ctx.node.clone();
                ctx.oracle.serves(&node, slot, epoch)?;
                Ok(answer)
            }
            Err(_) => Ok(Some(Reply::Refused)),
        }
    }

    /// Appends to a key for a client.
    fn append(
        &mut self,
        ctx: &mut NodeContext<'_>,
        from: &NodeId,
        id: OperationId,
        key: u8,
    ) -> Result<(), Refusal> {
        self.next_token += 1;
        let (token, slot) = (Token(self.next_token), ctx.oracle.slot_of(key));
        let append_id: AppendId = (id.client, id.number);
        let mut applied = false;
        self.table.write(ctx.claim, (slot, &[key].into()), Some(id), token, |value| {
            applied = true;
            Decision::Insert { value: append(value, append_id), answer: Bytes::default() }
        })?;
        if applied {
            ctx.note(|| format!("    applies {id:?}, an append to {key}"));
            ctx.oracle.key(key).applied(append_id);
        }
        self.tokens.insert(token, (from.clone(), id.number));
        Ok(())
    }

    /// Commits what this node has accepted, and has handled now.
    pub(super) fn commit(&mut self, ctx: &mut NodeContext<'_>) -> Result<(), Violation> {
        let due = self.accepted.extract_if(.., |accepted| accepted.commit_at <= ctx.now);
        for Accepted { from, id, epoch, key, .. } in due.collect::<Vec<_>>() {
            let number = id.number;
            let slot = ctx.oracle.slot_of(key);
            let is_remembered =
                self.clients.are_remembered(id.client, epoch) && self.table.remembers(slot, epoch);
            let begun = match is_remembered {
                true => self.append(ctx, &from, id, key),
                false => Err(Refusal::NoClaim),
            };
            match begun {
                Ok(()) => self.perform(ctx)?,
                Err(_) if from == ctx.node => self.answered(ctx, number, Reply::Refused)?,
                Err(_) => ctx.send(&from, NodeMessage::Reply { number, answer: Reply::Refused }),
            }
        }
        Ok(())
    }

    /// An operation of this node's client has ended.
    pub(super) fn answered(
        &mut self,
        ctx: &mut NodeContext<'_>,
        number: u64,
        answer: Reply,
    ) -> Result<(), Violation> {
        let value = match answer {
            Reply::Done(value) => value,
            Reply::Refused => {
                let at = ctx.now + ctx.rng.between(5, 60) * MS;
                self.client.send_again(number, at);
                return Ok(());
            }
            Reply::Uncertain => {
                self.client.send_again(number, ctx.now + 5 * MS);
                return Ok(());
            }
        };
        let Some(open) = self.client.end(number) else { return Ok(()) };
        ctx.oracle.done += 1;
        let key = open.wish.key();
        match open.wish {
            Wish::Append(_) => {
                let id = (ctx.node.incarnation().0, number);
                ctx.note(|| format!("    the append {id:?} to {key} is answered"));
                ctx.oracle.key(key).answered(id, ctx.now);
            }
            Wish::Read(_) => {
                ctx.oracle.read_in_quiet[usize::from(key)] |= ctx.quiet;
                let read = ctx.oracle.key(key).read(&decode(&value), open.invoked, ctx.now);
                read.map_err(|why| Violation(format!("key {key}: {why}")))?;
            }
        }
        Ok(())
    }

    pub(super) fn play_client(&mut self, ctx: &mut NodeContext<'_>) -> Result<(), Violation> {
        if self.next_wish > ctx.now {
            return Ok(());
        }
        self.next_wish = ctx.now + ctx.rng.between(5, 60) * MS;
        ctx.oracle.uncertain += self.client.give_up(ctx.now);
        let Some(placement) = self.placement.clone() else { return Ok(()) };
        let key = ctx.rng.index(KEYS.into()) as u8;
        let wish = if ctx.rng.percent(60) { Wish::Append(key) } else { Wish::Read(key) };
        if let (Some(number), Wish::Append(_)) = (self.client.begin(wish, ctx.now), wish) {
            let id = (ctx.node.incarnation().0, number);
            ctx.oracle.key(key).invoked(id, ctx.now);
        }
        let epoch = placement.epoch();
        for (number, wish) in self.client.due(ctx.now, epoch) {
            let id = self.client.id(number);
            let slot = ctx.oracle.slot_of(wish.key());
            let Some(owner) = placement.owner_of(slot) else { continue };
            if *owner == ctx.node {
                let me = ctx.node.clone();
                if let Some(answer) = self.serve(ctx, &me, id, epoch, wish)? {
                    self.answered(ctx, number, answer)?;
                }
            } else {
                ctx.send(owner, NodeMessage::Request { id, epoch, wish });
            }
        }
        Ok(())
    }
}
