//! One part of the slots of a table at this node: a state machine, and the operations that wait for it.

mod decision;
mod dropper;
mod status;
#[cfg(test)]
mod tests;
mod watchers;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use cloister_core::{Epoch, NodeId, Slot};
use cloister_table_proto::{
    Action, Bytes, Clients, Decision, Event, Message, OperationId, Options, Refusal, Settled, Table, Token,
    Uncertain,
};

use crate::blob::Blob;
use crate::core::Core;
use crate::delivery::{Delivery, MAX_NAMES};
use crate::holds::Waits;
use crate::message::{Answer, Operation, Outcome, Request};
use crate::options::TableOptions;
use crate::reply::Reply;
use crate::row::{self, Expiries};
use crate::watching::Watchers;
use crate::wire::Batch;
use dropper::Dropper;

/// About how many bytes of entries a message brings when a slot moves.
const CHUNK_BYTES: usize = 224 << 10;

/// How many operations wait in a shard at most, and how many bytes they have: for their slot to be served, and as many again for copies.
const MAX_WAITING: (usize, usize) = (10_000, 32 << 20);

/// How many expired entries are removed at a tick.
const MAX_EXPIRED: usize = 1_000;

/// After how many rows a tick looks at no further slot for values that expire: they take about a millisecond.
const ROWS_A_TICK: usize = 10_000;

/// For how long an operation waits in a shard at most. Its client sends it again.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Why an operation is not begun that its client does not wait for any more.
const GIVEN_UP: &str = "its client has given it up";

/// What is thought of an operation at this moment.
enum Progress {
    Answered(Answer),
    /// It was begun: the answer comes when all copies have it.
    Begun(Token),
    /// The service answers it.
    Delivered,
    /// The slot is not served yet, or the view of the operation is not that of this node yet.
    Waits,
}

/// An operation that waits until its slot is served.
struct Waiting {
    slot: Slot,
    request: Request,
    reply: Reply,
    since: Instant,
}

/// A write that not all copies have.
struct UnderWay {
    /// What waits for it, if anything does.
    reply: Option<Reply>,
    /// What it makes of its key, for those that watch.
    effect: Option<(Bytes, Option<Bytes>)>,
    bytes: usize,
}

/// What a shard has to tell the program.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Slots that go on empty, and whether that is certain.
    pub(crate) lost: Vec<(Slot, bool)>,
    /// Slots that wait for a copy.
    pub(crate) waiting: Vec<Slot>,
}

/// One part of the slots of a table at this node.
pub(crate) struct Shard {
    index: u8,
    table: Table,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    under_way: HashMap<Token, UnderWay>,
    under_way_bytes: usize,
    watchers: Watchers,
    tokens: u64,
    clients: Clients,
    /// The last view that has ended here.
    ended: Epoch,
    /// The announced round whose placement the table got last.
    planned: u64,
    /// The keys whose values expire.
    expiries: Expiries,
    /// The slots whose rows are still to be looked at for such values.
    unread: VecDeque<Slot>,
    /// What is sent when all that is to be done at once is done.
    outbox: BTreeMap<NodeId, Batch>,
    /// The view in which all slots have all their copies.
    replicated: Option<Epoch>,
    dropper: Dropper,
}

impl Shard {
    pub(crate) fn new(index: u8, shards: u8, me: NodeId, options: &TableOptions) -> Self {
        let slots = Slot::all().filter(|slot| slot.number() % u16::from(shards) == u16::from(index));
        let table = Table::new(
            me,
            Options { slots: slots.collect(), on_loss: options.on_loss, chunk_bytes: CHUNK_BYTES },
        );
        #[cfg(feature = "test-support")]
        let table = without(table, options);
        Self {
            index,
            table,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            under_way: HashMap::new(),
            under_way_bytes: 0,
            watchers: Watchers::default(),
            tokens: 0,
            clients: Clients::default(),
            ended: Epoch::ZERO,
            planned: 0,
            expiries: Expiries::default(),
            unread: VecDeque::new(),
            outbox: BTreeMap::new(),
            replicated: None,
            dropper: Dropper::default(),
        }
    }

    /// Takes notice of messages of a peer, in order.
    pub(crate) fn receive(&mut self, core: &Core, from: &NodeId, messages: Vec<Message>) {
        for message in messages {
            self.table.handle(core.claim(), Event::Received { from: from.clone(), message });
        }
        self.perform(core);
    }

    /// Takes notice of an event, and does what follows from it.
    pub(crate) fn handle(&mut self, core: &Core, event: Event) {
        let changes_view = matches!(event, Event::Promised(_) | Event::Up(_) | Event::Down | Event::Leaves);
        let before = self.table.view();
        if let Event::Up(placement) = &event {
            self.clients.up(placement);
        }
        self.table.handle(core.claim(), event);
        self.perform(core);
        if changes_view {
            let after = self.table.view();
            if let Some((epoch, true)) = before.filter(|_| before != after) {
                self.ended = epoch.max(self.ended);
                self.expiries.clear();
                self.unread.clear();
            }
            if let Some((epoch, _)) = after {
                self.watchers.begin(epoch);
            }
            self.look_again(core, None);
            self.perform(core);
        }
    }

    /// The copies of an announced round are these; releases name its number.
    pub(crate) fn plan(&mut self, core: &Core, number: u64, event: Event) {
        self.planned = number;
        self.handle(core, event);
    }

    /// An operation that came in.
    pub(crate) fn operate(&mut self, core: &Core, slot: Slot, request: Request, reply: Reply) {
        self.judge(core, Waiting { slot, request, reply, since: Instant::now() });
        self.perform(core);
    }

    /// The value of a key that this node serves at this moment.
    pub(crate) fn read(&self, core: &Core, slot: Slot, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let claim = core.claim();
        let value = self.table.read(claim, slot, key)?.filter(|row| is_shown(core, row, row::now()));
        // A process may have stood still since.
        if claim == core.claim() { Ok(value) } else { Err(Refusal::NoClaim) }
    }

    /// Does with an operation what can be done now.
    fn judge(&mut self, core: &Core, waiting: Waiting) {
        match self.consider(core, waiting.slot, &waiting.request) {
            Progress::Answered(answer) => waiting.reply.send(answer),
            Progress::Begun(token) => self.reply_later(token, waiting.reply),
            Progress::Delivered => deliver(core, waiting),
            Progress::Waits => {
                let bytes = waiting.request.len();
                let (max, max_bytes) = MAX_WAITING;
                if self.waiting.len() >= max || self.waiting_bytes + bytes > max_bytes {
                    waiting.reply.send(Answer::Busy);
                } else {
                    self.waiting_bytes += bytes;
                    self.waiting.push_back(waiting);
                }
            }
        }
    }

    fn consider(&mut self, core: &Core, slot: Slot, request: &Request) -> Progress {
        let refused = |why: &str| Progress::Answered(Answer::Refused(why.to_owned()));
        let (view, up) = self.table.view().unwrap_or((Epoch::ZERO, false));
        let theirs = Epoch::from_u64(request.epoch);
        if theirs < view || theirs <= self.ended {
            return refused("the operation is of a view that has ended");
        }
        if theirs > view || !up {
            // This node is about to hear of that view. In one that it leaves it owns nothing any more.
            return if core.is_stopping() { refused("the node leaves") } else { Progress::Waits };
        }
        if let Some(id) = request.id.map(OperationId::from) {
            self.clients.settle(id);
            if self.clients.is_settled(id) {
                return refused(GIVEN_UP);
            }
        }
        if self.is_busy() && !matches!(request.operation, Operation::Get) {
            return Progress::Answered(Answer::Busy);
        }
        let begun = match &request.operation {
            Operation::Get => self
                .read(core, slot, &request.key.0)
                .map(|value| Progress::Answered(Answer::Done(Outcome::Value(value.map(Blob))))),
            // Also one that was committed before: what its answer of then means is for the service to say.
            Operation::Deliver { .. } => self.read(core, slot, &request.key.0).map(|_| Progress::Delivered),
            write => self.write(core, slot, request, write).map(Progress::Begun),
        };
        begun.unwrap_or_else(|refusal| match refusal {
            Refusal::NotReady | Refusal::NoClaim => Progress::Waits,
            Refusal::Lost => Progress::Answered(Answer::Lost),
            Refusal::Settled => refused(GIVEN_UP),
            _ => refused("the node does not own the key"),
        })
    }

    /// Judges what waits anew: all of it, or what is for these slots.
    fn look_again(&mut self, core: &Core, only: Option<&BTreeSet<Slot>>) {
        let is_meant = |waiting: &Waiting| only.is_none_or(|slots| slots.contains(&waiting.slot));
        if !self.waiting.iter().any(is_meant) {
            return;
        }
        self.waiting_bytes = 0;
        for waiting in std::mem::take(&mut self.waiting) {
            if is_meant(&waiting) {
                self.judge(core, waiting);
            } else {
                self.waiting_bytes += waiting.request.len();
                self.waiting.push_back(waiting);
            }
        }
    }

    /// What clients have said of their operations here.
    pub(crate) fn settled(&self) -> &Settled {
        self.table.settled()
    }

    /// Time has passed. Clients have said this to all shards: the last ones that one hears of are settled by what another one hears.
    pub(crate) fn tick(&mut self, core: &Core, settled: &Settled) {
        self.table.handle(core.claim(), Event::Settled(settled.clone()));
        self.handle(core, Event::Tick);
        let (now, claim) = (Instant::now(), core.claim());
        let is_over = |waiting: &Waiting| now.duration_since(waiting.since) > MAX_WAIT;
        while self.waiting.front().is_some_and(is_over)
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.waiting_bytes -= waiting.request.len();
            waiting.reply.send(Answer::Refused("the slot was not served in time".to_owned()));
        }
        // The lease may have come back.
        if claim.is_some() {
            self.look_again(core, None);
            self.read_expiries();
            self.expire(core);
            self.perform(core);
            self.tell_again(core);
        }
    }

    /// The entries that this node serves and that have not expired, with values that all copies have.
    pub(crate) fn entries(&self, core: &Core) -> Vec<(Bytes, Bytes)> {
        let (claim, now) = (core.claim(), row::now());
        let mut entries = Vec::new();
        for (slot, _, content) in self.table.held_slots() {
            for (key, _) in content.entries() {
                if let Ok(Some(value)) = self.table.read(claim, slot, key)
                    && is_shown(core, &value, now)
                {
                    entries.push((key.into(), value));
                }
            }
        }
        if claim == core.claim() { entries } else { Vec::new() }
    }

    /// Does what the table asks for. What is to be sent waits until the core sends it.
    fn perform(&mut self, core: &Core) {
        self.act(core);
        for (to, batch) in std::mem::take(&mut self.outbox) {
            core.exchange.add_batch(to, self.index, batch);
        }
    }

    fn act(&mut self, core: &Core) {
        loop {
            let (mut slots, losses) = self.perform_all(core);
            let waiting = losses.waiting.clone();
            // Before anything that follows from it leaves this node: should it end, nothing else tells.
            core.report_losses(losses);
            self.show(core, &slots);
            // Requests for a slot that waits for a copy are answered so.
            slots.extend(waiting);
            if slots.is_empty() {
                break;
            }
            self.look_again(core, Some(&slots));
        }
    }

    /// Takes note of what there is in slots that are served from now on.
    fn show(&mut self, core: &Core, slots: &BTreeSet<Slot>) {
        if slots.is_empty() {
            return;
        }
        self.send_slots(core, slots);
        let service = core.service();
        for slot in slots {
            let Some(content) = self.table.content(*slot).filter(|content| !content.is_empty()) else {
                continue;
            };
            match &service {
                Some((service, table)) => service.serves(table, *slot, &mut content.entries()),
                None => self.unread.push_back(*slot),
            }
        }
    }

    /// Sends a message with others that go to the same node.
    fn post(&mut self, core: &Core, to: NodeId, message: &Message) {
        let batch = self.outbox.entry(to.clone()).or_insert_with(|| Batch::new(core.copies()));
        if batch.add(message) >= CHUNK_BYTES
            && let Some(batch) = self.outbox.remove(&to)
        {
            core.exchange.add_batch(to, self.index, batch);
        }
    }

    /// Does what the table asks for; returns the slots that are served from now on, and the events for the program.
    fn perform_all(&mut self, core: &Core) -> (BTreeSet<Slot>, Losses) {
        let (mut slots, mut losses) = (BTreeSet::new(), Losses::default());
        while let Some(action) = self.table.next_action() {
            match action {
                Action::Send { to, message } => {
                    // Of most there are thousands, and they are small.
                    if !matches!(message, Message::Relabel { .. }) {
                        self.post(core, to, &message);
                        continue;
                    }
                    for message in in_parts(message) {
                        self.post(core, to.clone(), &message);
                    }
                }
                Action::Answer { token, answer } => {
                    let Some(UnderWay { reply, effect, bytes }) = self.under_way.remove(&token) else {
                        continue;
                    };
                    self.under_way_bytes -= bytes;
                    if let Some((key, value)) = effect.filter(|_| answer.is_ok()) {
                        self.notify_watchers(core, &key, value);
                    }
                    let Some(reply) = reply else { continue };
                    let answer = match answer {
                        Ok(outcome) => Answer::Written(Blob(outcome)),
                        Err(Uncertain) => Answer::Uncertain,
                    };
                    reply.send(answer);
                }
                Action::Serves(slot) => drop(slots.insert(slot)),
                Action::Lost { slot, is_certain } => losses.lost.push((slot, is_certain)),
                Action::WaitsForCopy(slot) => losses.waiting.push(slot),
                Action::ReleaseView(epoch) => core.holds.release(Waits::View(epoch.as_u64()), self.index),
                Action::ReleasePlanned => core.holds.release(Waits::Planned(self.planned), self.index),
                Action::Discard(discarded) => self.dropper.take(&core.tasks, discarded),
                Action::ReleaseLeave => core.holds.release(Waits::Leave, self.index),
                Action::Follows { epoch, predecessor } => {
                    core.view.follows(epoch, predecessor);
                    if let Some((service, _)) = core.service() {
                        service.follows(epoch, predecessor);
                    }
                }
            }
        }
        (slots, losses)
    }
}

/// Whether a read shows this row. Those of entities have no time at which they expire.
fn is_shown(core: &Core, row: &[u8], now: u64) -> bool {
    core.is_entity() || row::is_live(row, now)
}

/// The decision, unless the tables of this node have as many bytes as they may, and it needs more.
fn within_limits(
    core: &Core,
    shard: u8,
    decision: Decision,
    key: &Bytes,
    before: Option<&Bytes>,
) -> Decision {
    let Decision::Insert { value, answer } = &decision else { return decision };
    let (needs, has) = (key.len() + value.len(), before.map_or(0, |before| key.len() + before.len()));
    // The answer is kept for a while, so it counts. That of a write in place does not make it one that needs more.
    match core.grow(shard, (needs + answer.len()).saturating_sub(has)) {
        Err((bytes_held, max)) if needs > has => {
            Decision::Keep { answer: Outcome::Full { bytes: bytes_held, max }.encoded() }
        }
        _ => decision,
    }
}

/// For tests: the rule that is left out.
#[cfg(feature = "test-support")]
fn without(mut table: Table, options: &TableOptions) -> Table {
    table.disable_rule(options.disabled_rule);
    table
}

/// Gives a message to the service of the table.
fn deliver(core: &Core, Waiting { request, reply, .. }: Waiting) {
    let Some((service, table)) = core.service() else {
        return reply.send(Answer::Done(Outcome::NoService));
    };
    if let Operation::Deliver { message, one_way, mut names } = request.operation {
        let Request { key, id, epoch, .. } = request;
        let epoch = Epoch::from_u64(epoch);
        names.truncate(MAX_NAMES);
        let delivery = Delivery { key: key.0, message: message.0, one_way, id, names, epoch, reply };
        service.deliver(&table, delivery);
    }
}

/// A message, in as many parts as bring no more than a few chunks each.
fn in_parts(message: Message) -> Vec<Message> {
    let Message::Relabel { epoch, slots } = message else { return vec![message] };
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for slot in slots {
        let operations = slot.missing.iter().flatten();
        bytes += operations
            .map(|write| {
                let answer = write.id.as_ref().map_or(0, |(_, answer)| answer.len());
                write.key.len() + write.value.as_ref().map_or(0, |value| value.len()) + answer
            })
            .sum::<usize>();
        part.push(slot);
        if bytes > CHUNK_BYTES {
            parts.push(Message::Relabel { epoch, slots: std::mem::take(&mut part) });
            bytes = 0;
        }
    }
    if !part.is_empty() {
        parts.push(Message::Relabel { epoch, slots: part });
    }
    parts
}
