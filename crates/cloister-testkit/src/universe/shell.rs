//! What the shell around each node does: hand in events, perform actions.

use std::collections::BTreeSet;

use cloister_proto::{Action, Address, Event};

use super::{Pace, Universe};

impl Universe {
    pub(super) fn give(&mut self, at: usize, event: Event) {
        if let Some(process) = &mut self.hosts[at].process {
            process.inbox.push_back(event);
        }
    }

    /// Handles what has come in, until there is nothing more to do at this instant.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some((from, to)) = self.meets.pop_front() {
                self.dial(from, to);
            } else if let Some((at, event)) = self.take() {
                self.handle(at, event);
            } else if !self.survey() {
                return;
            }
        }
    }

    fn take(&mut self) -> Option<(usize, Event)> {
        self.hosts.iter_mut().enumerate().find_map(|(at, host)| {
            let process = host.process.as_mut().filter(|process| process.pace == Pace::Running)?;
            Some((at, process.inbox.pop_front()?))
        })
    }

    pub(super) fn tick(&mut self, at: usize) {
        for link in self.links_that_pass(at) {
            self.handle(at, Event::BytesReceived { link, at: self.now });
        }
        if self.hosts[at].clock_ms.is_some() {
            self.handle(at, Event::WallClock { unix_ms: self.wall_clock_ms(at) });
        }
        self.handle(at, Event::Tick);
    }

    fn handle(&mut self, at: usize, event: Event) {
        if let Some(process) = &mut self.hosts[at].process {
            process.node.handle(self.now, event);
            self.perform(at);
            self.check_claims();
            self.check_timeout(at);
        }
    }

    pub(super) fn perform(&mut self, at: usize) {
        while let Some(action) =
            self.hosts[at].process.as_mut().and_then(|process| process.node.next_action())
        {
            match action {
                Action::Send { link, message } => self.send(at, link, message),
                Action::Close { link, reason } => self.close(at, link, reason),
                Action::Connect { peer } => {
                    let there = peer.name().address();
                    let to = self.hosts.iter().position(|host| Some(&host.address) == there);
                    self.meets.extend(to.map(|to| (at, to)));
                }
                Action::Notify(change) => {
                    self.note_change(at, &change);
                    self.check_changes(at, &change);
                    self.check_epoch(&change);
                    self.check_proposed(&change);
                    if let (Some(held), Some(process)) = (change.hold, &mut self.hosts[at].process) {
                        match process.holds {
                            true => process.held.push(held),
                            false => process.inbox.push_back(Event::HoldReleased { held }),
                        }
                    }
                }
                Action::LeavePrepared => {
                    self.note(at, "may leave");
                    if let Some(process) = &mut self.hosts[at].process {
                        process.inbox.push_back(Event::Leave);
                    }
                }
                Action::Persist { seq, memory } => self.write(at, seq, memory),
                Action::Fail(fatal) => {
                    self.note(at, &format!("ends: {fatal}"));
                    return self.kill(at);
                }
                Action::Stopped => return self.kill(at),
            }
        }
    }

    /// Tells every node which addresses may hide a node that it does not know of; tells whether there was news.
    fn survey(&mut self) -> bool {
        let mut news = false;
        for at in 0..self.hosts.len() {
            let surveyed = self.surveyed_by(at);
            let Some(process) =
                self.hosts[at].process.as_ref().filter(|process| process.surveyed != surveyed)
            else {
                continue;
            };
            let runs = process.pace == Pace::Running;
            let [unverified, refusing, named] = surveyed.unwrap_or_default().map(|hosts| {
                let is_of = |to: &usize| hosts & 1 << to != 0;
                (0..self.hosts.len())
                    .filter(is_of)
                    .map(|to| self.hosts[to].address.clone())
                    .collect::<BTreeSet<Address>>()
            });
            let update = Event::DiscoveryUpdate { unverified, refusing, named, complete: true };
            if let Some(process) = &mut self.hosts[at].process {
                process.surveyed = surveyed;
                process.inbox.push_back(update);
                news |= runs;
            }
        }
        news
    }

    /// Which hosts the process on this host may not know of, which of them refuse, and which discovery names. A bit for each host: this is
    /// asked after every event, and the answer is nearly always what it was.
    fn surveyed_by(&self, at: usize) -> Option<[u64; 3]> {
        let process = self.hosts[at].process.as_ref()?;
        let mut surveyed = [0; 3];
        for to in (0..self.hosts.len()).filter(|to| *to != at && self.names(at, *to)) {
            surveyed[2] |= 1 << to;
            if !self.network.is_linked(at, to) {
                surveyed[usize::from(process.refused.contains(&to))] |= 1 << to;
            }
        }
        Some(surveyed)
    }
}
