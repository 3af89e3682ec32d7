//! What runs on each process: the table, the client, and what a shell does around them.

mod operations;

use std::collections::{BTreeMap, VecDeque};

use cloister_proto::{Epoch, Held, NodeId, Status, Transition, View};
use cloister_sim::{Application, Context, Finished, Input, MS, Violation};
use cloister_table_proto::{
    Action, Bytes, Clients, Event, Message, OperationId, Options, Placement, Table, Token, Uncertain,
};

use crate::client::{Client, Wish};
use crate::oracle::Oracle;

/// How often a table gets the time.
const TICK: u64 = 200 * MS;

/// For how long slots wait for a copy after all is healed.
const ACCEPT_AFTER: u64 = 5_000 * MS;

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
                self.give_up(ctx, placement.epoch())?;
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
                Action::Discard(_) => {}
                Action::ReleaseLeave => self.release(ctx, |held| *held == Held::Leave),
                Action::Follows { epoch, predecessor } => {
                    ctx.note(|| format!("    view {epoch} follows {predecessor}, as nodes that left tell"));
                    ctx.oracle.hears(epoch, predecessor);
                    self.client.follows(epoch, predecessor);
                    if self.table.view() == Some((epoch, true)) {
                        self.give_up(ctx, epoch)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The client gives up what it began before it was a member all the time.
    fn give_up(&mut self, ctx: &mut NodeContext<'_>, epoch: Epoch) -> Result<(), Violation> {
        let node = ctx.node.clone();
        self.client.up(epoch).into_iter().try_for_each(|first| ctx.oracle.gives_up(&node, first, epoch))
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
