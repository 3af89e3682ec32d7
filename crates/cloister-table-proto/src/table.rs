//! The state machine of a table at one node.

mod alike;
mod copy;
mod decide;
mod event;
mod fetches;
mod holding;
mod memory;
mod nodes;
mod owed;
mod owned;
mod owner;
mod pace;
mod progress;
mod reported;
mod round;
mod settling;
mod shared;
mod slots;
mod status;
mod transfer;
mod unanswered;
mod view;
mod writes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_proto::{Epoch, NodeId, Slot};

use crate::label::Seen;
use crate::message::{Message, ViewMembers};
use crate::placement::Placement;
use crate::rule::Rule;
use crate::settled::Settling;
use crate::shared_knowledge::SharedKnowledge;
pub use event::{Action, Event};
pub use holding::Discarded;
use holding::Holding;
use memory::Memory;
use nodes::{NodeSet, Nodes, Peer};
use owed::Owed;
use owned::Owned;
use pace::Paces;
use progress::Fetches;
use round::Round;
use shared::SharedMap;
use slots::{SlotArray, SlotList, SlotMap};
use transfer::Pull;
use view::{Copies, View};
use writes::Writes;

pub use owner::Refusal;
pub use status::{SlotStatus, ViewWait};

/// How many promised views are remembered.
const MAX_VIEWS: usize = 64;

/// Room for how many actions is kept.
const MAX_ACTIONS: usize = 64;

/// What becomes of a slot when all its complete copies are gone.
///
/// ```
/// use cloister_table_proto::OnLoss;
///
/// let on_loss = OnLoss::Wait; // for `TableOptions::on_loss` of the crate `cloister`
/// # assert_ne!(on_loss, OnLoss::Empty);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLoss {
    /// It goes on empty.
    #[default]
    Empty,
    /// It refuses reads and writes until a copy is back, or [`Event::AcceptLoss`].
    Wait,
}

/// How a table works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The slots of this table.
    pub slots: Arc<[Slot]>,
    /// What becomes of a slot whose copies are all gone.
    pub on_loss: OnLoss,
    /// About how many bytes of keys and values a message brings when a slot moves.
    pub chunk_bytes: usize,
}

/// A table at one node.
#[derive(Debug)]
pub struct Table {
    options: Options,
    slots: Arc<SlotList>,
    nodes: Nodes,
    /// The greatest epoch that this node promised or was asked with.
    fence: Epoch,
    /// The greatest epoch of a view that is known to be installed.
    installed: Epoch,
    /// The view promised or installed last.
    view: Option<View>,
    /// The greatest epoch of an installed view before that one that this node has heard of.
    follows: Epoch,
    /// Whether this node is up in that view.
    up: bool,
    leaves: bool,
    /// Whether the present view, the planned one and the leave are waiting for this node.
    holds_view: bool,
    holds_planned: bool,
    holds_leave: bool,
    planned: Option<View>,
    /// What is asked for in the present view; gone once it is decided for every slot.
    round: Option<Round>,
    /// Members that asked in a view of which this node has not heard yet.
    asked: BTreeMap<(Epoch, NodeId), Vec<Slot>>,
    owned: SharedMap<Owned, owned::Change>,
    /// What all members are to know to have been seen of the slots that this node owns.
    seals: SlotArray<Seen>,
    writes: SlotMap<Writes>,
    settling: Settling,
    paces: Paces,
    /// What is sent at the end of the present call.
    owed: Owed,
    /// A slot that the present view waits for, and one that the planned view waits for.
    unsettled: Option<Slot>,
    cold: Option<Slot>,
    holdings: SharedMap<Holding, holding::Change>,
    /// What is known to have been seen of each slot.
    seen: SlotArray<Seen>,
    memory: Memory,
    /// The views that this node promised last, with the incarnations of their members.
    views: VecDeque<ViewMembers>,
    /// Up to which view this node knows all that was seen of each slot.
    knows: SharedKnowledge,
    pulls: SlotMap<Pull>,
    fetches: Fetches,
    attempts: u64,
    /// The epoch under which this node may act, at the present call.
    claim: Option<Epoch>,
    actions: VecDeque<Action>,
    disabled_rule: Option<Rule>,
}

impl Table {
    /// The table of this node, empty.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the table is this node's")]
    pub fn new(me: NodeId, options: Options) -> Self {
        let slots = SlotList::new(&options.slots);
        Self {
            options,
            nodes: Nodes::new(&me),
            owned: SharedMap::new(&slots),
            seals: SlotArray::new(&slots),
            writes: SlotMap::new(&slots),
            settling: Settling::default(),
            paces: Paces::default(),
            holdings: SharedMap::new(&slots),
            seen: SlotArray::new(&slots),
            memory: Memory::new(&slots),
            knows: SharedKnowledge::new(slots.len()),
            pulls: SlotMap::new(&slots),
            fetches: Fetches::default(),
            slots,
            fence: Epoch::ZERO,
            installed: Epoch::ZERO,
            view: None,
            follows: Epoch::ZERO,
            up: false,
            leaves: false,
            holds_view: false,
            holds_planned: false,
            holds_leave: false,
            planned: None,
            round: None,
            asked: BTreeMap::new(),
            owed: Owed::default(),
            unsettled: None,
            cold: None,
            views: VecDeque::new(),
            attempts: 0,
            claim: None,
            actions: VecDeque::new(),
            disabled_rule: None,
        }
    }

    /// Switches a rule off, or none. For tests.
    #[cfg(feature = "test-support")]
    pub fn disable_rule(&mut self, rule: Option<Rule>) {
        self.disabled_rule = rule;
    }

    fn enabled(&self, rule: Rule) -> bool {
        self.disabled_rule != Some(rule)
    }

    /// Takes notice of an event. `claim` is the epoch under which this node may act at this moment, if it may.
    pub fn handle(&mut self, claim: Option<Epoch>, event: Event) {
        self.claim = claim;
        match event {
            Event::Promised(placement) => self.promised(placement),
            Event::Up(placement) => self.up(placement),
            Event::Down => self.down(),
            Event::Planned(placement) => self.plan(placement),
            Event::Leaves => self.leave(),
            Event::Linked(peer) => {
                let peer = self.nodes.number_of(&peer);
                self.nodes.linked_mut().insert(peer);
                self.ask_visitor(peer);
                self.send_again(Some(peer));
                self.fetch_from(peer);
            }
            Event::Unlinked(peer) => {
                let peer = self.nodes.number_of(&peer);
                self.unlinked(peer);
            }
            Event::Received { from, message } => {
                let from = self.nodes.number_of(&from);
                self.received(from, message);
            }
            Event::AcceptLoss => self.accept_loss(),
            Event::Settled(settled) => self.add_settled(&settled),
            Event::Tick => {
                self.send_again(None);
                self.forget_what_is_over();
                self.drop_settled();
            }
        }
        self.send_owed();
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        let next = self.actions.pop_front();
        if next.is_none() && self.actions.capacity() > MAX_ACTIONS {
            // A view has thousands.
            self.actions = VecDeque::new();
        }
        next
    }

    fn promised(&mut self, placement: Placement) {
        self.begin(placement);
        self.holds_view = true;
        self.release_view_if_ready();
    }

    /// Takes up a view: what this node owned in the one before is over.
    fn begin(&mut self, placement: Placement) {
        self.end_ownership();
        self.up = false;
        let epoch = placement.epoch();
        // A message may have told of a view that no member of this one had installed.
        let predecessor = placement.predecessor().max(self.installed);
        self.follows = predecessor;
        self.fence = self.fence.max(epoch);
        self.knows.change_all(|knows| knows.promised(epoch, predecessor));
        let members = placement.members().iter().map(|member| member.incarnation().0).collect();
        self.views.push_back((epoch, members));
        while self.views.len() > MAX_VIEWS || self.views.front().is_some_and(|(its, _)| *its < self.installed)
        {
            self.views.pop_front();
        }
        self.number_nodes(placement);
        self.answer_askers();
        self.ask_labels();
    }

    fn up(&mut self, placement: Placement) {
        let epoch = placement.epoch();
        if self.up && self.epoch() == epoch {
            return;
        }
        if self.epoch() != epoch {
            self.begin(placement);
        }
        self.up = true;
        self.holds_view = false;
        if let Some(view) = &self.view {
            self.memory.up(view, self.follows, self.nodes.me());
        }
        if self.is_fenced(epoch) {
            // A later view asks already: this node's content stays as it was reported.
            self.end_ownership();
            return;
        }
        self.prove(epoch);
        let with_clients = self.holdings.iter().filter(|(_, holding)| !holding.content.is_without_clients());
        for slot in with_clients.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.forget_clients(slot);
        }
        self.forget_settled();
        let lost = self.owned.iter().filter(|(_, owned)| owned.waits_for_copy);
        self.actions.extend(lost.map(|(slot, _)| Action::WaitsForCopy(slot)));
        let ready = self.owned.iter().filter(|(_, owned)| owned.ready).map(|(slot, _)| slot);
        for slot in ready.collect::<Vec<_>>() {
            self.serve_if_sealed(slot);
        }
    }

    /// Numbers the nodes anew, for this view.
    fn number_nodes(&mut self, placement: Placement) {
        let planned = self.planned.take().map(View::into_placement);
        let others = planned.iter().flat_map(|planned| planned.members());
        self.nodes.renumber(placement.members().iter().chain(others));
        self.view = Some(View::new(placement, &mut self.nodes));
        self.planned = planned.map(|planned| View::new(planned, &mut self.nodes));
    }

    /// Clients that are no members repeat nothing any more.
    fn forget_clients(&mut self, slot: Slot) {
        let has_any = |holding: &Holding| !holding.content.is_without_clients();
        if let Some(view) = self.view.as_ref().filter(|_| self.up)
            && self.holdings.get(slot).is_some_and(has_any)
            && let Some(holding) = self.holdings.get_mut(slot)
        {
            view.forget_clients(&mut holding.content);
        }
    }

    fn down(&mut self) {
        self.end_ownership();
        self.view = None;
        self.up = false;
        self.holds_view = false;
    }

    fn leave(&mut self) {
        self.leaves = true;
        self.holds_leave = true;
        self.down();
        self.release_leave_if_empty();
    }

    fn unlinked(&mut self, peer: Peer) {
        self.nodes.linked_mut().remove(peer);
        self.forget_visitor(peer);
        let streams = self.owned.iter().filter(|(_, owned)| owned.has_stream_to(peer));
        for slot in streams.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.owned.change(slot, owned::Change::Unlinked(peer), |owned| owned.stop_stream(peer));
        }
        self.pull_from_another(peer);
        self.release_planned_if_warm();
    }

    fn received(&mut self, from: Peer, message: Message) {
        let epoch = message.epoch();
        if self.is_fenced(epoch) {
            // A node that takes no part in the view, and hands nothing over, has nothing to keep from it. Without its answer, the asker
            // would wait for it until its round is over.
            if matches!(message, Message::Ask { member: false, .. }) && !self.leaves {
                self.report(from, epoch, false, Vec::new());
            }
            return;
        }
        match message {
            Message::Ask { epoch, member, slots } => self.report(from, epoch, member, slots),
            Message::Reports { installed, views, reports, .. } => {
                self.take_reports(from, epoch, (installed, views), reports);
            }
            Message::Relabel { epoch, slots } => self.relabel(from, epoch, slots),
            Message::Relabelled { slots, .. } => self.relabelled(from, epoch, slots),
            Message::Inform { follows, slots, .. } => self.inform(from, epoch, follows, slots),
            Message::Informed { slots, .. } => self.informed(from, epoch, slots),
            Message::Learn { slot, .. } => self.learn(from, epoch, slot),
            Message::Fetch { slot, attempt, have, cursor, .. } => {
                self.provide(from, (epoch, slot, attempt), have, cursor);
            }
            Message::Chunk { slot, attempt, cursor, label, written, body, .. } => {
                let attempt = (epoch, slot, attempt);
                self.take_chunk(from, attempt, cursor.as_ref(), (label, written), body);
            }
            Message::Replicate { slot, operation, .. } => self.replicate(from, epoch, slot, &operation),
            Message::Replicated { slot, number, .. } => self.replicated(from, epoch, slot, number),
            Message::Count { slot, number, .. } => self.count(from, epoch, slot, number),
            Message::Counted { slot, .. } => self.counted(from, epoch, slot),
            Message::Seal { slots, .. } => self.seal(from, epoch, slots),
            Message::Sealed { slots, .. } => self.sealed_by(from, epoch, slots),
            Message::Release { slot, .. } => self.release(from, epoch, slot),
            Message::Released { slot, .. } => self.released(from, epoch, slot),
        }
    }

    fn send(&mut self, to: Peer, message: Message) {
        if self.nodes.linked().contains(to) {
            self.actions.push_back(Action::Send { to: self.nodes.id_of(to).clone(), message });
        }
    }

    /// Whether this node takes no part in the view of `epoch` any more.
    fn is_fenced(&self, epoch: Epoch) -> bool {
        epoch < self.fence && self.enabled(Rule::Fence)
    }

    fn epoch(&self) -> Epoch {
        self.view.as_ref().map_or(Epoch::ZERO, View::epoch)
    }

    fn is_member(&self, peer: Peer) -> bool {
        self.view.as_ref().is_some_and(|view| view.members().contains(peer))
    }

    /// The members but for this node.
    fn others(&self) -> NodeSet {
        self.view.as_ref().map(|view| view.others().clone()).unwrap_or_default()
    }

    /// The nodes that have the copies of a slot in the present view; none without a view.
    fn copies_of(&self, slot: Slot) -> Copies<'_> {
        self.view.as_ref().map(|view| view.copies_of(slot)).unwrap_or_default()
    }

    /// In the view of `epoch` this node learned what was seen of a slot before.
    fn learned_seen(&mut self, slot: Slot, epoch: Epoch) {
        if let Some(place) = self.slots.place_of(slot) {
            self.knows.informed(place, epoch, self.installed == epoch);
        }
    }

    /// The view of `epoch` is installed: what was brought into place for it is its content.
    fn prove(&mut self, epoch: Epoch) {
        if self.is_fenced(epoch) || epoch <= self.installed {
            return;
        }
        self.installed = epoch;
        self.knows.change_all(|knows| knows.installed(epoch));
        let was_prepared =
            |holding: &Holding| holding.stamp.candidate == epoch && !holding.is_unreported_loss;
        self.holdings
            .change_all(was_prepared, holding::Change::Proved(epoch), |holding| holding.prove(epoch));
    }
}
