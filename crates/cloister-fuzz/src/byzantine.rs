//! A Byzantine member: an authenticated node that sends arbitrary messages.

use std::time::Duration;

use cloister_proto::wire::{Heartbeat, Intent, MAX_EPOCH, ProposalReply, Reach};
use cloister_proto::{Epoch, Goodbye, Incarnation, Member, Message, NodeId, Refusal, Status, View};

use cloister_testkit::universe::{EVE, Universe, WALL_START_MS as START_MS};

/// The maximum number of messages.
const MAX_MESSAGES: usize = 64;

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// Reads the bytes as messages of one of four members to the others, with their times. Checks that no epoch of the others becomes
/// implausible, and that the others agree about a view after that member has left.
pub fn byzantine(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut universe = Universe::with_eve(bytes.next() & 1 == 1);
    for _ in 0..MAX_MESSAGES {
        if bytes.0.is_empty() || !universe.all_honest_run() {
            break;
        }
        let pause = bytes.next();
        universe.run(Duration::from_millis(u64::from(pause & 0x7f) * 8));
        let to = usize::from(bytes.next()) % EVE;
        let message = bytes.message(&universe);
        universe.eve_sends(to, &message);
        in_the_present(&universe);
    }
    // A node that learned that an older one has its name has ended, as it should.
    if !universe.all_honest_run() {
        return;
    }
    universe.kill(EVE);
    universe.run(Duration::from_secs(30));
    in_the_present(&universe);
    let states = universe.honest_states();
    for node in &states {
        assert_eq!((node.status, node.members.len(), node.acts), (Status::Up, 3, true), "{states:#?}");
        assert_eq!(node.epoch, states[0].epoch, "{states:#?}");
    }
}

fn in_the_present(universe: &Universe) {
    for node in universe.honest_states() {
        let millis = node.epoch.unwrap_or(0) >> 20;
        assert!(millis < START_MS + 2 * YEAR_MS, "an epoch {} years ahead", (millis - START_MS) / YEAR_MS);
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// The next byte; zero when there is no more.
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.next()))
    }

    /// An epoch that may matter, or any.
    fn epoch(&mut self, universe: &Universe) -> Epoch {
        let present = universe.node_state(0).epoch.unwrap_or(0);
        let near = |millis: u64| Epoch::from_u64(millis << 20);
        match self.next() % 10 {
            0 => Epoch::ZERO,
            1 | 2 => Epoch::from_u64(present),
            3 => Epoch::from_u64(present.saturating_add(u64::from(self.next()) << 20)),
            4 => Epoch::from_u64(present.saturating_sub(u64::from(self.next()) << 20)),
            5 => near(START_MS + YEAR_MS),
            6 => near(START_MS + 2 * YEAR_MS),
            7 => MAX_EPOCH,
            8 => universe.honest_heartbeat().map_or(Epoch::ZERO, |honest| honest.promised),
            _ => Epoch::from_u64(self.number() >> 1),
        }
    }

    fn node(&mut self, universe: &Universe) -> NodeId {
        let byte = self.next();
        let members = universe.running_members();
        let member = &members[usize::from(byte) % members.len()].id;
        match byte >> 6 {
            0 | 1 => member.clone(),
            2 => NodeId::new(member.name().clone(), Incarnation(self.number()), START_MS + 50),
            _ => {
                let name = format!("app@10.1.0.{}:4370", self.next());
                NodeId::new(name.parse().expect("invariant: a name"), Incarnation(u64::from(byte)), START_MS)
            }
        }
    }

    fn nodes(&mut self, universe: &Universe) -> Vec<NodeId> {
        match self.next() {
            byte @ 0..=200 => {
                let chosen =
                    |(at, member): (usize, &Member)| (byte >> at & 1 == 1).then(|| member.id.clone());
                universe.running_members().iter().enumerate().filter_map(chosen).collect()
            }
            _ => (0..self.next() % 16).map(|_| self.node(universe)).collect(),
        }
    }

    fn heartbeat(&mut self, universe: &Universe) -> Option<Heartbeat> {
        let mut said = universe.honest_heartbeat().cloned()?;
        said.sent += 1;
        let which = self.next();
        if which & 1 != 0 {
            let nodes = self.nodes(universe);
            said.reach =
                if nodes.is_empty() { Reach::Same(self.number()) } else { Reach::Nodes(nodes.into()) };
        }
        for (bit, epoch) in
            [&mut said.installed, &mut said.promised, &mut said.released_epoch, &mut said.max_epoch_seen]
                .into_iter()
                .enumerate()
        {
            if which >> (bit + 1) & 1 != 0 {
                *epoch = self.epoch(universe);
            }
        }
        if which & 32 != 0 {
            let flags = self.next();
            (said.prepared, said.leaving, said.wants_echo) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
            if flags & 8 != 0 {
                said.sent = self.number();
            }
            said.objects = flags & 16 != 0;
            if flags & 32 != 0 {
                (said.size, said.base) = (usize::from(self.next()), self.epoch(universe));
            }
            if flags & 64 != 0 {
                said.goodbyes = (0..self.next() % 4).map(|_| self.goodbye(universe)).collect();
            }
            if flags & 128 != 0 {
                let plans = self.next();
                (said.warms, said.drains) = (plans & 1 != 0, plans & 2 != 0);
                said.warmed = self.number();
                said.intent = (plans & 4 != 0).then(|| Intent {
                    number: self.number(),
                    members: self.nodes(universe).into(),
                    ready: plans & 8 != 0,
                });
            }
        }
        if which & 64 != 0 {
            said.echo = match self.next() % 3 {
                0 => 0,
                1 => universe.clock().as_nanos(),
                _ => self.number(),
            };
        }
        if which & 128 != 0 {
            said.age = Duration::from_nanos(self.number());
        }
        Some(said)
    }

    fn goodbye(&mut self, universe: &Universe) -> Goodbye {
        let incarnation = self.node(universe);
        let base_views = (0..self.next() % 3).map(|_| {
            let (epoch, nodes) = (self.epoch(universe), self.nodes(universe));
            let view = View::new(epoch, nodes.into_iter().map(Member::without_tags).collect());
            view.with_size(usize::from(self.next()))
        });
        Goodbye { node: incarnation, base_views: base_views.collect() }
    }

    fn message(&mut self, universe: &Universe) -> Message {
        match self.next() % 8 {
            0..=2 => match self.heartbeat(universe) {
                Some(heartbeat) => Message::Heartbeat(heartbeat),
                None => Message::Refused(Refusal::Other),
            },
            3 | 4 => {
                let (epoch, nodes) = (self.epoch(universe), self.nodes(universe));
                Message::Propose(View::new(epoch, nodes.into_iter().map(Member::without_tags).collect()))
            }
            5 => {
                let epoch = self.epoch(universe);
                let answer = match self.next() % 4 {
                    0 => ProposalReply::Promise,
                    1 => ProposalReply::Ack,
                    2 => ProposalReply::Leaving,
                    _ => ProposalReply::StaleEpoch(self.epoch(universe)),
                };
                Message::Reply { epoch, reply: answer }
            }
            6 => Message::Commit { epoch: self.epoch(universe) },
            _ => Message::DuplicateName { older: self.node(universe) },
        }
    }
}
