//! One part of the slots of a table at this node: a state machine, and the operations that wait for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use cloister_core::{Epoch, NodeId, Slot};
use cloister_table_proto::{
    Action, Bytes, Decision, Event, Message, OperationId, Options, Refusal, Table, Token, Uncertain,
};
use ractor::RpcReplyPort;

use crate::core::Core;
use crate::holds::Waits;
use crate::message::{Answer, Blob, Operation, Outcome, Request};
use crate::options::{TableOptions, encode};
use crate::wire::Batch;

/// About how many bytes of entries a message brings when a slot moves.
const CHUNK_BYTES: usize = 224 << 10;

/// How many operations wait in a shard at most, and how many bytes they have.
const MAX_WAITING: (usize, usize) = (10_000, 32 << 20);

/// For how long an operation waits in a shard at most. Its client sends it again.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What is thought of an operation at this moment.
enum Verdict {
    Answered(Answer),
    /// It was begun: the answer comes when all copies have it.
    Begun(Token),
    /// The slot is not served yet, or the view of the operation is not that of this node yet.
    Waits,
}

/// An operation that waits until its slot is served.
struct Waiting {
    slot: Slot,
    request: Request,
    reply: RpcReplyPort<Answer>,
    since: Instant,
}

/// How a shard stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardStatus {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) under_replicated: usize,
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
    replies: HashMap<Token, RpcReplyPort<Answer>>,
    tokens: u64,
    /// Below which number each client repeats nothing.
    settled: HashMap<u64, u64>,
    /// The last view that has ended here.
    ended: Epoch,
    /// The announced round whose placement the table was told last.
    planned: u64,
    losses: Losses,
    /// What is sent when all that is to be done at once is done.
    outbox: BTreeMap<NodeId, Batch>,
    /// The view in which all slots have all their copies.
    replicated: Option<Epoch>,
}

impl Shard {
    pub(crate) fn new(index: u8, shards: u8, me: NodeId, options: &TableOptions) -> Self {
        let slots = Slot::all().filter(|slot| slot.number() % u16::from(shards) == u16::from(index));
        let options = Options { slots: slots.collect(), on_loss: options.on_loss, chunk_bytes: CHUNK_BYTES };
        Self {
            index,
            table: Table::new(me, options),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            replies: HashMap::new(),
            tokens: 0,
            settled: HashMap::new(),
            ended: Epoch::ZERO,
            planned: 0,
            losses: Losses::default(),
            outbox: BTreeMap::new(),
            replicated: None,
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
        self.table.handle(core.claim(), event);
        self.perform(core);
        if changes_view {
            let after = self.table.view();
            if let Some((epoch, true)) = before.filter(|_| before != after) {
                self.ended = epoch.max(self.ended);
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
    pub(crate) fn operate(&mut self, core: &Core, slot: Slot, request: Request, reply: RpcReplyPort<Answer>) {
        self.judge(core, Waiting { slot, request, reply, since: Instant::now() });
        self.perform(core);
    }

    /// The value of a key that this node serves at this moment.
    pub(crate) fn read(&self, core: &Core, slot: Slot, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let claim = core.claim();
        let value = self.table.read(claim, slot, key)?.cloned();
        // A process may have stood still since.
        if claim == core.claim() { Ok(value) } else { Err(Refusal::NoClaim) }
    }

    /// Does with an operation what can be done now.
    fn judge(&mut self, core: &Core, waiting: Waiting) {
        match self.consider(core, waiting.slot, &waiting.request) {
            // The caller may have given up.
            Verdict::Answered(answer) => drop(waiting.reply.send(answer)),
            Verdict::Begun(token) => drop(self.replies.insert(token, waiting.reply)),
            Verdict::Waits => {
                let bytes = waiting.request.len();
                let (most, most_bytes) = MAX_WAITING;
                if self.waiting.len() >= most || self.waiting_bytes + bytes > most_bytes {
                    drop(waiting.reply.send(Answer::Busy));
                } else {
                    self.waiting_bytes += bytes;
                    self.waiting.push_back(waiting);
                }
            }
        }
    }

    fn consider(&mut self, core: &Core, slot: Slot, request: &Request) -> Verdict {
        let refused = |why: &str| Verdict::Answered(Answer::Refused(why.to_owned()));
        let (view, up) = self.table.view().unwrap_or((Epoch::ZERO, false));
        let theirs = Epoch::from_u64(request.epoch);
        if theirs < view || theirs <= self.ended {
            return refused("the operation is of a view that has ended");
        }
        if theirs > view || !up {
            // This node is about to be told of that view. In one that it leaves it owns nothing any more.
            return if core.is_stopping() { refused("the node leaves") } else { Verdict::Waits };
        }
        if let Some(id) = request.id {
            let settled = self.settled.entry(id.client).or_default();
            *settled = id.settled.max(*settled);
            if id.number < *settled {
                return refused("its client has given it up");
            }
        }
        let begun = match &request.operation {
            Operation::Get => self
                .read(core, slot, &request.key.0)
                .map(|value| Verdict::Answered(Answer::Done(Outcome::Value(value.map(Blob))))),
            write => self.write(core, slot, request, write).map(Verdict::Begun),
        };
        begun.unwrap_or_else(|refusal| match refusal {
            Refusal::NotReady | Refusal::NoClaim => Verdict::Waits,
            Refusal::Lost => Verdict::Answered(Answer::Lost),
            _ => refused("the node does not own the key"),
        })
    }

    fn write(
        &mut self,
        core: &Core,
        slot: Slot,
        request: &Request,
        operation: &Operation,
    ) -> Result<Token, Refusal> {
        let id =
            request.id.map(|id| OperationId { client: id.client, number: id.number, settled: id.settled });
        self.tokens += 1;
        let token = Token(self.tokens);
        let decide = |before: Option<&Bytes>| decide(&core.options, operation, before);
        self.table.write(core.claim(), (slot, &request.key.0), id, token, decide)?;
        Ok(token)
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

    /// Time has passed. Returns what the program is to be told.
    pub(crate) fn tick(&mut self, core: &Core) -> Losses {
        self.handle(core, Event::Tick);
        let (now, claim) = (Instant::now(), core.claim());
        let is_over = |waiting: &Waiting| now.duration_since(waiting.since) > MAX_WAIT;
        while self.waiting.front().is_some_and(is_over)
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.waiting_bytes -= waiting.request.len();
            drop(waiting.reply.send(Answer::Refused("the slot was not served in time".to_owned())));
        }
        // The lease may have come back.
        if claim.is_some() {
            self.look_again(core, None);
            self.perform(core);
        }
        std::mem::take(&mut self.losses)
    }

    /// How the shard stands. Costs a pass over its slots, until all of them have all their copies.
    pub(crate) fn status(&mut self) -> ShardStatus {
        let mut status = ShardStatus::default();
        for (_, _, content) in self.table.held_slots() {
            status.rows += content.len();
            status.bytes += content.bytes();
        }
        let view = self.table.view().filter(|(_, up)| *up).map(|(epoch, _)| epoch);
        if view.is_some() && self.replicated != view {
            let owned = self.table.owned_slots().filter_map(|slot| self.table.slot_status(slot));
            status.under_replicated =
                owned.filter(|slot| slot.complete < slot.wanted || !slot.serves).count();
            self.replicated = view.filter(|_| status.under_replicated == 0);
        }
        status
    }

    /// How many entries the slots have that this node serves in the view of `epoch`; `None` if it does not serve all that it owns.
    pub(crate) fn count(&self, core: &Core, epoch: Epoch) -> Option<u64> {
        if core.claim() != Some(epoch) || self.table.view() != Some((epoch, true)) {
            return None;
        }
        let owned: Vec<Slot> = self.table.owned_slots().collect();
        if !owned.iter().all(|slot| self.table.slot_status(*slot).is_some_and(|slot| slot.serves)) {
            return None;
        }
        let held = self.table.held_slots().filter(|(slot, ..)| owned.binary_search(slot).is_ok());
        Some(held.map(|(_, _, content)| content.len() as u64).sum())
    }

    /// The entries that this node serves, with values that all copies have.
    pub(crate) fn entries(&self, core: &Core) -> Vec<(Bytes, Bytes)> {
        let claim = core.claim();
        let mut entries = Vec::new();
        for (slot, _, content) in self.table.held_slots() {
            for (key, _) in content.entries() {
                if let Ok(Some(value)) = self.table.read(claim, slot, key) {
                    entries.push((key.clone(), value.clone()));
                }
            }
        }
        if claim == core.claim() { entries } else { Vec::new() }
    }

    /// Does what the table asks for.
    fn perform(&mut self, core: &Core) {
        loop {
            let slots = self.perform_all(core);
            if slots.is_empty() {
                break;
            }
            self.look_again(core, Some(&slots));
        }
        for (to, batch) in std::mem::take(&mut self.outbox) {
            core.send(&to, self.index, batch);
        }
    }

    /// Sends a message with others that go to the same node.
    fn post(&mut self, core: &Core, to: NodeId, message: &Message) {
        let batch = self.outbox.entry(to.clone()).or_insert_with(|| Batch::new(core.copies()));
        if batch.add(message) >= CHUNK_BYTES
            && let Some(batch) = self.outbox.remove(&to)
        {
            core.send(&to, self.index, batch);
        }
    }

    /// Does what the table asks for; returns the slots for which what waits can go on.
    fn perform_all(&mut self, core: &Core) -> BTreeSet<Slot> {
        let mut slots = BTreeSet::new();
        while let Some(action) = self.table.next_action() {
            match action {
                Action::Send { to, message } => {
                    for message in in_parts(message) {
                        self.post(core, to.clone(), &message);
                    }
                }
                Action::Answer { token, answer } => {
                    let Some(reply) = self.replies.remove(&token) else { continue };
                    let answer = match answer {
                        Ok(outcome) => Answer::Written(Blob(outcome)),
                        Err(Uncertain) => Answer::Uncertain,
                    };
                    // The caller may have given up.
                    drop(reply.send(answer));
                }
                Action::Serves(slot) => drop(slots.insert(slot)),
                Action::Lost { slot, is_certain } => self.losses.lost.push((slot, is_certain)),
                Action::WaitsForCopy(slot) => {
                    self.losses.waiting.push(slot);
                    slots.insert(slot);
                }
                Action::ReleaseView(epoch) => core.holds.release(Waits::View(epoch.as_u64()), self.index),
                Action::ReleasePlanned => core.holds.release(Waits::Planned(self.planned), self.index),
                Action::ReleaseLeave => core.holds.release(Waits::Leave, self.index),
            }
        }
        slots
    }
}

/// What an operation makes of the value of its key.
fn decide(options: &TableOptions, operation: &Operation, before: Option<&Bytes>) -> Decision {
    let blob = || before.cloned().map(Blob);
    let insert = |value: &Blob, outcome| Decision::Insert { value: value.0.clone(), answer: bytes(&outcome) };
    let remove = |outcome| match before {
        Some(_) => Decision::Remove { answer: bytes(&outcome) },
        None => Decision::Keep { answer: bytes(&outcome) },
    };
    match operation {
        Operation::Get => Decision::Keep { answer: bytes(&Outcome::Value(blob())) },
        Operation::Insert(value) => insert(value, Outcome::Value(blob())),
        Operation::Remove => remove(Outcome::Value(blob())),
        Operation::Swap { expected, new } => {
            if before != expected.as_ref().map(|expected| &expected.0) {
                return Decision::Keep { answer: bytes(&Outcome::Other(blob())) };
            }
            match new {
                Some(value) => insert(value, Outcome::Swapped),
                None => remove(Outcome::Swapped),
            }
        }
        Operation::Update { function, argument } => {
            let Some(function) = options.function_of(function) else {
                return Decision::Keep { answer: bytes(&Outcome::UnknownFunction) };
            };
            let failed = |cause| Decision::Keep { answer: bytes(&Outcome::Failed(cause)) };
            match function(before.map(AsRef::as_ref), &argument.0) {
                Err(cause) => failed(cause),
                Ok((Some(value), _)) if value.len() > options.max_value_bytes => failed(format!(
                    "the new value has {} bytes, over the limit of {}",
                    value.len(),
                    options.max_value_bytes
                )),
                Ok((Some(value), returned)) => insert(&value.into(), Outcome::Returned(returned.into())),
                Ok((None, returned)) if before.is_none() => {
                    // It is written down all the same: the function ran, and runs once.
                    Decision::Remove { answer: bytes(&Outcome::Returned(returned.into())) }
                }
                Ok((None, returned)) => remove(Outcome::Returned(returned.into())),
            }
        }
    }
}

fn bytes(outcome: &Outcome) -> Bytes {
    // Bytes and text: it cannot fail.
    encode(outcome).unwrap_or_default().into()
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
