//! How the applications of processes run: what waits for them, what they ask for, and what they send.

use std::collections::{BTreeMap, VecDeque};

use cloister_proto::{Event, Held, LinkId, NodeId};

use super::{SimEvent, World};
use crate::application::{Application, Context, Finished, HOLD_GRACE, Input, Output};
use crate::host::Host;
use crate::laws::Violation;
use crate::network::Packet;

/// The application of one process.
pub(super) struct Running<A: Application> {
    app: A,
    /// What has happened and is not handled yet, in order.
    inbox: VecDeque<Input<A::Message>>,
    /// The newest open link to each process.
    links: BTreeMap<NodeId, LinkId>,
    /// What listeners hold.
    offers: Vec<Offer>,
    /// Wake-ups with another number are of the past.
    wake: u64,
}

/// A hold that was offered to an application and is not released.
#[derive(Clone, Copy, Debug)]
struct Offer {
    held: Held,
    taken: bool,
}

/// The applications of processes that run, with their hosts and names.
fn running<'a, A: Application>(
    hosts: &'a [Host],
    apps: &'a [Option<Running<A>>],
) -> impl Iterator<Item = (usize, &'a NodeId, &'a A)> {
    hosts
        .iter()
        .zip(apps)
        .enumerate()
        .filter_map(|(at, (host, running))| Some((at, &host.process.as_ref()?.id, &running.as_ref()?.app)))
}

impl<A: Application> World<A> {
    /// The applications of all processes that run, with their hosts and names, in the order of the hosts.
    pub fn applications(&self) -> impl Iterator<Item = (usize, &NodeId, &A)> {
        running(&self.hosts, &self.apps)
    }

    /// Whether the application says that the run may end.
    pub(super) fn application_has_finished(&mut self) -> Result<bool, Violation> {
        let apps = running(&self.hosts, &self.apps).map(|(at, id, app)| (at, id.clone(), app)).collect();
        match A::finished(apps, &mut self.oracle, self.now) {
            Finished::NotYet(why) => {
                self.unfinished = Some(why);
                Ok(false)
            }
            Finished::Done => Ok(true),
            Finished::Broken(violation) => Err(violation),
        }
    }

    /// What is known of the whole run.
    pub fn oracle(&self) -> &A::Oracle {
        &self.oracle
    }

    /// What the application of this host may do now, with the application.
    fn context(&mut self, host: usize) -> Option<(Context<'_, A>, &mut Option<Running<A>>)> {
        let process = self.hosts[host].process.as_ref()?;
        let claims = process.claims(self.now, self.hosts[host].clock(self.now));
        let ctx = Context {
            now: self.now,
            host,
            node: process.id.clone(),
            claim: process.node.state().epoch().filter(|_| claims),
            quiet: self.quiet,
            rng: &mut self.app_rng,
            oracle: &mut self.oracle,
            traced: self.traced,
            outputs: Vec::new(),
        };
        Some((ctx, &mut self.apps[host]))
    }

    /// Starts the application of a new process. Returns whether its listeners warm up.
    pub(super) fn start_application(&mut self, host: usize) -> bool {
        let Some((mut ctx, slot)) = self.context(host) else { return false };
        let app = A::start(&mut ctx);
        let outputs = ctx.outputs;
        let warms_up = app.warms_up();
        *slot = Some(Running {
            app,
            inbox: VecDeque::new(),
            links: BTreeMap::new(),
            offers: Vec::new(),
            wake: 0,
        });
        self.apply(host, outputs);
        warms_up
    }

    /// The process of this host ends, and its application with it.
    pub(super) fn end_application(&mut self, host: usize) {
        let Some((mut ctx, slot)) = self.context(host) else { return };
        let Some(running) = slot.take() else { return };
        running.app.ended(&mut ctx);
        for output in ctx.outputs {
            if let Output::Note(line) = output {
                self.note(|| line);
            }
        }
    }

    /// Adds to what waits for an application.
    pub(super) fn queue_input(&mut self, host: usize, input: Input<A::Message>) {
        if let Some(running) = &mut self.apps[host] {
            running.inbox.push_back(input);
        }
    }

    /// Lets an application handle what waits for it, unless its process is paused.
    pub(super) fn run_application(&mut self, host: usize) -> Result<(), Violation> {
        if A::IS_ABSENT {
            return Ok(());
        }
        loop {
            let now = self.now;
            if self.hosts[host].process.as_ref().is_none_or(|process| process.is_paused(now)) {
                return Ok(());
            }
            let Some((mut ctx, Some(running))) = self.context(host) else { return Ok(()) };
            let Some(input) = running.inbox.pop_front() else { return Ok(()) };
            let handled = running.app.handle(&mut ctx, input);
            let outputs = ctx.outputs;
            self.apply(host, outputs);
            handled?;
        }
    }

    /// Does what an application asks for. Its core hears of it only after what it handles now.
    fn apply(&mut self, host: usize, outputs: Vec<Output<A::Message>>) {
        for output in outputs {
            match output {
                Output::Send(to, message) => {
                    let link = self.apps[host].as_ref().and_then(|running| running.links.get(&to).copied());
                    if let Some(link) = link {
                        self.send(host, link, Packet::Application(message));
                    }
                }
                Output::TakeHold(held) => {
                    let offers = self.apps[host].iter_mut().flat_map(|running| &mut running.offers);
                    offers.filter(|offer| offer.held == held).for_each(|offer| offer.taken = true);
                }
                Output::ReleaseHold(held) => self.release(host, held, true),
                Output::WakeAt(at) => {
                    let Some(process) = &self.hosts[host].process else { continue };
                    let Some(running) = &mut self.apps[host] else { continue };
                    running.wake += 1;
                    let (incarnation, wake) = (process.id.clone(), running.wake);
                    if at < u64::MAX {
                        let at = at.max(self.now + 1);
                        self.at(at, SimEvent::WakeApplication { host, incarnation, wake });
                    }
                }
                Output::Note(line) => self.note(|| line),
            }
        }
    }

    /// The time has come that an application asked for.
    pub(super) fn wake_application(
        &mut self,
        host: usize,
        incarnation: &NodeId,
        wake: u64,
    ) -> Result<(), Violation> {
        let is_current = self.apps[host].as_ref().is_some_and(|running| running.wake == wake);
        if !is_current || !self.is_incarnation(host, incarnation) {
            return Ok(());
        }
        self.queue_input(host, Input::Wake);
        self.run_application(host)
    }

    /// Offers a hold to an application, for a while unless it takes it.
    pub(super) fn offer_hold(&mut self, host: usize, held: Held) {
        let Some(process) = &self.hosts[host].process else { return };
        let Some(running) = &mut self.apps[host] else { return };
        running.offers.push(Offer { held, taken: false });
        let incarnation = process.id.clone();
        self.at(self.now + HOLD_GRACE, SimEvent::GraceOver { host, incarnation, held });
    }

    /// The application of a process no longer holds this; or the grace is over, and it did not take it. The core gets that if it was held.
    pub(super) fn release(&mut self, host: usize, held: Held, even_if_taken: bool) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(running) = &mut self.apps[host] else { return };
        let before = running.offers.len();
        running.offers.retain(|offer| offer.held != held || (offer.taken && !even_if_taken));
        if running.offers.len() == before {
            return;
        }
        process.inbox.push_back(Event::HoldReleased { held });
        let incarnation = process.id.clone();
        self.at(self.now, SimEvent::Work { host, incarnation });
    }

    /// A link to a process is open. One that was open before is over for the application.
    pub(super) fn link_application(&mut self, host: usize, link: LinkId, peer: &NodeId) {
        let Some(running) = &mut self.apps[host] else { return };
        if running.links.insert(peer.clone(), link).is_some() {
            running.inbox.push_back(Input::Unlinked(peer.clone()));
        }
        running.inbox.push_back(Input::Linked(peer.clone()));
    }

    /// A link is closed.
    pub(super) fn unlink_application(&mut self, host: usize, link: LinkId) {
        let Some(running) = &mut self.apps[host] else { return };
        let Some(peer) = running.links.iter().find(|(_, open)| **open == link).map(|(peer, _)| peer.clone())
        else {
            return;
        };
        running.links.remove(&peer);
        running.inbox.push_back(Input::Unlinked(peer));
    }

    /// A message has arrived for an application.
    pub(super) fn receive(
        &mut self,
        host: usize,
        link: LinkId,
        from: NodeId,
        message: A::Message,
    ) -> Result<(), Violation> {
        let is_newest =
            self.apps[host].as_ref().is_some_and(|running| running.links.get(&from) == Some(&link));
        if is_newest {
            self.queue_input(host, Input::Received { from, message });
            self.run_application(host)?;
        }
        Ok(())
    }
}
