//! What is checked in the middle of a run, and at its end.

use std::collections::BTreeMap;

use cloister_proto::{CloseReason, Epoch, LinkId, Status};

use super::{LOOK_EVERY, MUST_LAST, SimEvent, World};
use crate::application::Application;
use crate::host::{Host, Process};
use crate::laws::Violation;
use crate::scenario::{Expectation, MS};

impl<A: Application> World<A> {
    pub(super) fn calm_down(&mut self) -> Result<(), Violation> {
        self.note(|| "all is healed".into());
        self.quiet = true;
        self.heal_all();
        for host in 0..self.hosts.len() {
            self.hosts[host].hold = 0;
            self.hosts[host].rejected = false;
            let now = self.now;
            if let Some(process) = &mut self.hosts[host].process {
                process.paused_until = process.paused_until.min(now);
                process.hung_until = process.hung_until.min(now);
                process.slow = 0;
                process.hold = 0;
                self.run_application(host)?;
                self.work(host)?;
            }
            self.start(host)?;
        }
        self.at(self.now, SimEvent::Look);
        Ok(())
    }

    /// Whether all nodes are up in one view of all, and have been for long enough.
    pub(super) fn look(&mut self) -> Result<(), Violation> {
        for host in 0..self.hosts.len() {
            // A process that left during the faults comes back.
            self.start(host)?;
        }
        let now = self.now;
        let common = self.common_epoch();
        match (self.agreed, common) {
            (Some((since, epoch)), Some(now_epoch)) if epoch == now_epoch => {
                if now >= since + MUST_LAST {
                    self.outcome.healed_after = Some(since - self.scenario.quiet_at);
                    self.done = self.application_has_finished()?;
                }
            }
            (_, common) => {
                self.agreed = common.map(|epoch| (now, epoch));
                self.unfinished = None;
            }
        }
        if self.outcome.assembled_at.is_none() && common.is_some() {
            self.outcome.assembled_at = Some(now);
        }
        self.at(now + LOOK_EVERY, SimEvent::Look);
        Ok(())
    }

    /// The time in which all should have healed is over.
    pub(super) fn not_healed(&self) -> Violation {
        let within = self.scenario.heal_within / MS;
        match &self.unfinished {
            Some(why) => {
                Violation(format!("the application has not finished {within} ms after all was healed: {why}"))
            }
            None => Violation(format!(
                "not one view of all {within} ms after all was healed: {}",
                self.standing()
            )),
        }
    }

    pub(super) fn expect(&mut self, expectation: &Expectation) -> Result<(), Violation> {
        let mut up = BTreeMap::<(Epoch, usize), usize>::new();
        for process in self.hosts.iter().filter_map(|host| host.process.as_ref()) {
            let state = process.node.state();
            if let (Status::Up, Some(view)) = (state.status, &state.view) {
                *up.entry((view.epoch(), view.size())).or_default() += 1;
            }
        }
        let largest = up.into_iter().max_by_key(|(_, up)| *up);
        let max = largest.map_or(0, |(_, up)| up);
        if max >= expectation.up {
            return match (largest, expectation.size) {
                (Some(((epoch, size), _)), Some(expected)) if size != expected => Err(Violation(format!(
                    "the view {epoch} counts {size} nodes, {expected} should be: {}",
                    self.standing()
                ))),
                _ => Ok(()),
            };
        }
        Err(Violation(format!(
            "{max} nodes are up in one view at {} ms, {} should be: {}",
            self.now / MS,
            expectation.up,
            self.standing()
        )))
    }

    /// A peer that runs and is not cut off must not be taken for silent.
    pub(super) fn check_close(
        &self,
        host: usize,
        link: LinkId,
        reason: CloseReason,
    ) -> Result<(), Violation> {
        if self.scenario.may_misjudge || reason != CloseReason::Silent || !self.network.cuts().is_empty() {
            return Ok(());
        }
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let Some(end) = self.network.open_end(host, link) else { return Ok(()) };
        let Some(connection) = self.network.get(link) else { return Ok(()) };
        let other = &connection.ends[1 - end];
        // One that has just come back may not have been heard yet.
        let runs = |p: &Process| p.id == other.incarnation && p.paused_until + 1_000 * MS < self.now;
        if self.hosts[other.host].process.as_ref().is_some_and(runs) {
            return Err(Violation(format!(
                "{} takes {} for silent, which runs",
                process.id, other.incarnation
            )));
        }
        Ok(())
    }

    pub(super) fn common_epoch(&self) -> Option<Epoch> {
        let mut common = None;
        for host in &self.hosts {
            let process = host.process.as_ref()?;
            let state = process.node.state();
            if state.status != Status::Up || state.members.len() != self.hosts.len() {
                return None;
            }
            let epoch = state.epoch()?;
            if *common.get_or_insert(epoch) != epoch {
                return None;
            }
        }
        common
    }

    pub(super) fn standing(&self) -> String {
        let of = |host: &Host| match &host.process {
            Some(process) => {
                let state = process.node.state();
                let why: Vec<String> =
                    process.node.obstacles(host.clock(self.now)).iter().map(ToString::to_string).collect();
                format!("{} {} {:?} {}", process.id, state.status, state.epoch(), why.join("; "))
            }
            None => format!("{} down", host.address),
        };
        self.hosts.iter().map(of).collect::<Vec<_>>().join(" | ")
    }
}
