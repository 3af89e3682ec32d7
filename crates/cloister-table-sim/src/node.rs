//! What runs on each process: the table, the client, and what a shell does around them.

use std::collections::{BTreeMap, VecDeque};

use cloister_proto::{Epoch, Held, NodeId, Status, Transition, View};
use cloister_sim::{Application, Context, Finished, Input, MS, Violation};
use cloister_table_proto::{
    Action, Bytes, Clients, Decision, Event, Message, OperationId, Options, Placement, Refusal, Table, Token,
    Uncertain,
};

use crate::client::{Client, Wish};
use crate::history::AppendId;
use crate::oracle::{KEYS, Oracle, append, decode};

/// How often a table gets the time.
const TICK: u64 = 200 * MS;

/// For how long slots wait for a copy after all is healed.
const ACCEPT_AFTER: u64 = 5_000 * MS;

/// For how many milliseconds a node handles a message at most before it commits.
const MAX_HANDLING: u64 = 2_000;

/// What processes say to each other.
#[derive(Clone, Debug)]
pub enum NodeMessage {
    /// From table to table.
    Table(Message),
    /// From a client to an owner.
    Request {
        /// What names the operation at its client.
        id: OperationId,
        /// The view of the client.
        epoch: Epoch,
        /// What it wants.
        wish: Wish,
    },
    /// From an owner to a client.
    Reply {
        /// The operation's number at the client.
        number: u64,
        /// How it ended.
        answer: Reply,
    },
}

/// How an operation ended at an owner.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It was done; a read shows this.
    Done(Bytes),
    /// It was not begun.
    Refused,
    /// It is not known.
    Uncertain,
}

/// The table and the client of one process.
#[derive(Debug)]
pub struct TableNode {
    table: Table,
    client: Client,
    /// Changes that the table has not heard of yet, with when it does.
    late: VecDeque<(u64, Transition, Option<Epoch>)>,
    /// Appends that this node has accepted and handles.
    accepted: Vec<Accepted>,
    /// What is known of those that sent them.
    clients: Clients,
    held: Vec<Held>,
    placement: Option<Placement>,
    planned: bool,
    /// The view that was proposed last, with the one before it.
    predecessor: Option<(Epoch, Epoch)>,
    tokens: BTreeMap<Token, (NodeId, u64)>,
    next_token: u64,
    next_tick: u64,
    next_wish: u64,
    /// Since when slots wait for a copy.
    waits_since: Option<u64>,
    /// The view that waits for this table, and since when.
    view_waits: Option<(Epoch, u64)>,
}

/// An append that an owner has accepted, and commits later.
#[derive(Debug)]
struct Accepted {
    commit_at: u64,
    from: NodeId,
    id: OperationId,
    /// The view in which it came.
    epoch: Epoch,
    key: u8,
}

type NodeContext<'a> = Context<'a, TableNode>;

impl Application for TableNode {
    type Message = NodeMessage;
    type Oracle = Oracle;

    fn start(ctx: &mut NodeContext<'_>) -> Self {
        let settings = &ctx.oracle.settings;
        let options = Options {
            slots: ctx.oracle.slots.clone(),
            on_loss: settings.on_loss,
            chunk_bytes: settings.chunk_bytes,
        };
        let mut table = Table::new(ctx.node.clone(), options);
        table.disable_rule(settings.disabled_rule);
        let next_tick = ctx.now + ctx.rng.between(0, TICK);
        ctx.wake_at(next_tick);
        Self {
            table,
            client: Client::new(ctx.node.incarnation().0),
            late: VecDeque::new(),
            accepted: Vec::new(),
            clients: Clients::default(),
            held: Vec::new(),
            placement: None,
            planned: false,
            predecessor: None,
            tokens: BTreeMap::new(),
            next_token: 0,
            next_tick,
            next_wish: ctx.now,
            waits_since: None,
            view_waits: None,
        }
    }

    fn warms_up(&self) -> bool {
        true
    }

    fn handle(&mut self, ctx: &mut NodeContext<'_>, input: Input<NodeMessage>) -> Result<(), Violation> {
        match input {
            Input::Changed { change, predecessor } => {
                let lags = ctx.rng.percent(ctx.oracle.settings.lags);
                let lag = if lags { ctx.rng.between(1, 500) * MS } else { 0 };
                let at = self.late.back().map_or(0, |(at, ..)| *at).max(ctx.now + lag);
                self.late.push_back((at, change, predecessor));
            }
            Input::Linked(peer) => self.table.handle(ctx.claim, Event::Linked(peer)),
            Input::Unlinked(peer) => self.table.handle(ctx.claim, Event::Unlinked(peer)),
            Input::Received { from, message } => self.receive(ctx, &from, message)?,
            Input::Wake => {}
        }
        while self.late.front().is_some_and(|(at, ..)| *at <= ctx.now) {
            if let Some((_, change, predecessor)) = self.late.pop_front() {
                self.change(ctx, &change, predecessor)?;
                self.perform(ctx)?;
            }
        }
        if self.next_tick <= ctx.now {
            self.next_tick = ctx.now + TICK;
            if let Some(wait) = self.table.view_wait().filter(|_| self.view_waits.is_some()) {
                ctx.note(|| format!("    a view waits for {wait:?}"));
            }
            self.table.handle(ctx.claim, Event::Tick);
            // The operator accepts the loss once every node that may come back has.
            if ctx.quiet && self.waits_since.take_if(|since| ctx.now > *since + ACCEPT_AFTER).is_some() {
                self.table.handle(ctx.claim, Event::AcceptLoss);
            }
        }
        self.perform(ctx)?;
        self.commit(ctx)?;
        self.play_client(ctx)?;
        self.perform(ctx)?;
        self.show(ctx)?;
        let late = self.late.front().map_or(u64::MAX, |(at, ..)| *at);
        let commit = self.accepted.iter().map(|accepted| accepted.commit_at).min().unwrap_or(u64::MAX);
        ctx.wake_at(self.next_tick.min(self.next_wish).min(late).min(commit));
        Ok(())
    }

    fn ended(self, ctx: &mut NodeContext<'_>) {
        let node = ctx.node.clone();
        ctx.oracle.drops(&node, None);
    }

    fn is_aimed_at(message: &NodeMessage) -> bool {
        match message {
            NodeMessage::Table(message) => {
                !matches!(message, Message::Replicate { .. } | Message::Replicated { .. })
            }
            NodeMessage::Request { .. } | NodeMessage::Reply { .. } => false,
        }
    }

    fn finished(apps: Vec<(usize, NodeId, &Self)>, oracle: &mut Oracle, _: u64) -> Finished {
        let incarnations: Vec<u64> = apps.iter().map(|(_, id, _)| id.incarnation().0).collect();
        for (host, id, app) in &apps {
            let Some(placement) = &app.placement else {
                return Finished::NotYet(format!("host {host} is not up"));
            };
            if app.table.fetching() > 0 {
                return Finished::NotYet(format!("host {host} fetches"));
            }
            for slot in app.table.owned_slots() {
                let Some(status) = app.table.slot_status(slot) else { continue };
                if !status.serves || status.complete != status.wanted || status.leftovers > 0 {
                    return Finished::NotYet(format!("host {host}, slot {slot}: {status:?}"));
                }
            }
            for (slot, stamp, content) in app.table.held_slots() {
                if stamp.learning || !placement.copies_of(slot).any(|node| node == id) {
                    return Finished::NotYet(format!("host {host} has slot {slot}: {stamp:?}"));
                }
                if !content.is_of_clients(&incarnations) {
                    return Finished::NotYet(format!("host {host} has answers for clients that are gone"));
                }
            }
        }
        match oracle.read_in_quiet.iter().position(|read| !read) {
            Some(key) => Finished::NotYet(format!("key {key} was not read")),
            None => Finished::Done,
        }
    }
}

impl TableNode {
    fn placement_of(&self, ctx: &mut NodeContext<'_>, view: &View) -> Placement {
        let predecessor = self.predecessor.filter(|(epoch, _)| *epoch == view.epoch());
        let predecessor = predecessor.map_or(Epoch::ZERO, |(_, before)| before);
        let members: Vec<NodeId> = view.ids().cloned().collect();
        let replicas = ctx.oracle.replicas(&members);
        Placement::new(view.epoch(), predecessor, members.into(), replicas)
    }

    /// Tells the table what the core told its listeners.
    fn change(
        &mut self,
        ctx: &mut NodeContext<'_>,
        change: &Transition,
        predecessor: Option<Epoch>,
    ) -> Result<(), Violation> {
        if let Some(proposed) = &change.state.proposed
            && self.predecessor.is_none_or(|(epoch, _)| epoch != proposed.epoch())
        {
            self.predecessor = Some((proposed.epoch(), predecessor.unwrap_or_default()));
            ctx.note(|| format!("    view {} follows {predecessor:?}", proposed.epoch()));
            ctx.oracle.follows(proposed, predecessor.unwrap_or_default());
        }
        self.view_is_over(ctx);
        if let Some(held) = change.hold {
            if let Held::View(epoch) = held {
                self.view_waits = Some((epoch, ctx.now));
            }
            self.held.push(held);
            ctx.take_hold(held);
        }
        let event = match (change.to, &change.state.proposed, &change.state.view) {
            (Status::Rehashing, Some(proposed), _) => {
                self.placement = None;
                let placement = self.placement_of(ctx, proposed);
                self.client.named(&placement);
                Event::Promised(placement)
            }
            (Status::Up, _, Some(view)) => {
                let placement = self.placement_of(ctx, view);
                self.placement = Some(placement.clone());
                self.client.named(&placement);
                for first in self.client.up(placement.epoch()) {
                    let node = ctx.node.clone();
                    ctx.oracle.gives_up(&node, first, placement.epoch())?;
                }
                self.clients.up(&placement);
                Event::Up(placement)
            }
            (Status::Stopping | Status::Stopped, ..) => {
                self.placement = None;
                Event::Leaves
            }
            _ => {
                self.placement = None;
                Event::Down
            }
        };
        self.table.handle(ctx.claim, event);
        let planned = change.state.planned.as_ref().map(|view| self.placement_of(ctx, view));
        if planned.is_some() || self.planned {
            self.planned = planned.is_some();
            self.table.handle(ctx.claim, Event::Planned(planned));
        } else if let Some(held @ Held::Intent(_)) = change.hold {
            self.release(ctx, |its| *its == held);
        }
        Ok(())
    }

    /// No view waits for this table any more.
    fn view_is_over(&mut self, ctx: &mut NodeContext<'_>) {
        if let Some((epoch, since)) = self.view_waits.take() {
            let waited = ctx.now - since;
            ctx.oracle.longest_wait = ctx.oracle.longest_wait.max(waited);
            if waited > 1_000 * MS {
                ctx.note(|| format!("    view {epoch} waited {} ms for this table", waited / MS));
            }
        }
    }

    fn release(&mut self, ctx: &mut NodeContext<'_>, is_meant: impl Fn(&Held) -> bool) {
        self.held.retain(|held| {
            let meant = is_meant(held);
            if meant {
                ctx.release_hold(*held);
            }
            !meant
        });
    }

    fn receive(
        &mut self,
        ctx: &mut NodeContext<'_>,
        from: &NodeId,
        message: NodeMessage,
    ) -> Result<(), Violation> {
        match message {
            NodeMessage::Table(message) => {
                ctx.note(|| format!("    from {from}: {message:?}"));
                self.table.handle(ctx.claim, Event::Received { from: from.clone(), message });
                Ok(())
            }
            NodeMessage::Request { id, epoch, wish } => {
                let answer = self.serve(ctx, from, id, epoch, wish)?;
                if let Some(answer) = answer {
                    ctx.send(from, NodeMessage::Reply { number: id.number, answer });
                }
                Ok(())
            }
            NodeMessage::Reply { number, answer } => self.answered(ctx, number, answer),
        }
    }

    /// An operation of a client; returns the answer if there is one already.
    fn serve(
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
            ctx.oracle.key(key).applied(append_id);
        }
        self.tokens.insert(token, (from.clone(), id.number));
        Ok(())
    }

    /// Commits what this node has accepted, and has handled now.
    fn commit(&mut self, ctx: &mut NodeContext<'_>) -> Result<(), Violation> {
        let due = self.accepted.extract_if(.., |accepted| accepted.commit_at <= ctx.now);
        for Accepted { from, id, epoch, key, .. } in due.collect::<Vec<_>>() {
            let number = id.number;
            let begun = match self.clients.are_remembered(id.client, epoch) {
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
    fn answered(&mut self, ctx: &mut NodeContext<'_>, number: u64, answer: Reply) -> Result<(), Violation> {
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

    fn play_client(&mut self, ctx: &mut NodeContext<'_>) -> Result<(), Violation> {
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

    /// Does what the table asks for.
    fn perform(&mut self, ctx: &mut NodeContext<'_>) -> Result<(), Violation> {
        while let Some(action) = self.table.next_action() {
            match action {
                Action::Send { to, message } => {
                    if ctx.rng.between(0, 1_000) >= ctx.oracle.settings.drops || ctx.quiet {
                        ctx.send(&to, NodeMessage::Table(message));
                    }
                }
                Action::Answer { token, answer } => {
                    let Some((to, number)) = self.tokens.remove(&token) else { continue };
                    let answer = match answer {
                        Ok(_) => Reply::Done(Bytes::default()),
                        Err(Uncertain) => Reply::Uncertain,
                    };
                    if to == ctx.node {
                        self.answered(ctx, number, answer)?;
                    } else {
                        ctx.send(&to, NodeMessage::Reply { number, answer });
                    }
                }
                Action::Serves(slot) => {
                    if let Some(placement) = &self.placement {
                        ctx.oracle.begins(slot, placement, ctx.now);
                    }
                }
                Action::Lost { slot, is_certain } => {
                    ctx.note(|| format!("    slot {slot} is lost"));
                    let members = self.placement.as_ref().map(|its| its.members().to_vec());
                    ctx.oracle.is_lost(slot, &members.unwrap_or_default(), ctx.now, is_certain)?;
                }
                Action::WaitsForCopy(slot) => {
                    ctx.note(|| format!("    slot {slot} waits for a copy"));
                    self.waits_since.get_or_insert(ctx.now);
                }
                Action::ReleaseView(epoch) => {
                    self.view_is_over(ctx);
                    self.release(ctx, |held| *held == Held::View(epoch));
                }
                Action::ReleasePlanned => self.release(ctx, |held| matches!(held, Held::Intent(_))),
                Action::ReleaseLeave => self.release(ctx, |held| *held == Held::Leave),
            }
        }
        Ok(())
    }

    /// Shows the oracle what this node has.
    fn show(&mut self, ctx: &mut NodeContext<'_>) -> Result<(), Violation> {
        let node = ctx.node.clone();
        let mut gone = ctx.oracle.held_slots(&node);
        for (slot, stamp, content) in self.table.held_slots() {
            gone.retain(|its| *its != slot);
            ctx.oracle.holds(&node, slot, stamp, content)?;
        }
        gone.into_iter().for_each(|slot| ctx.oracle.drops(&node, Some(slot)));
        Ok(())
    }
}
