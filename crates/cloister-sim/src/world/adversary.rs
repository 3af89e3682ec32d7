//! Sending, and the adversary that watches what is sent.

use cloister_proto::{LinkId, Message};

use super::{SimEvent, World};
use crate::application::Application;
use crate::network::Packet;
use crate::scenario::{Adversary, Fault, MS};

impl<A: Application> World<A> {
    pub(super) fn send(&mut self, host: usize, link: LinkId, packet: Packet<A::Message>) {
        let Some(from) = self.network.open_end(host, link) else { return };
        let Some(connection) = self.network.get(link) else { return };
        let to = 1 - from;
        let to_host = connection.ends[to].host;
        let strikes = match &packet {
            Packet::Core(message) => self.sends_of_core(host, to_host, message),
            Packet::Application(message) => self.sends_of_application(message),
        };
        // A third node loses one way to the sender only where the sender has committed itself, or may have: see `strike`.
        let cuts_third = match &packet {
            Packet::Core(message) => matches!(message, Message::Commit { .. } | Message::Reply { .. }),
            Packet::Application(_) => true,
        };
        let before = strikes && self.rng.percent(50);
        if before {
            self.strike(host, to_host, link, to, cuts_third);
        }
        if self.network.get(link).is_some_and(|connection| connection.ends[to].open) {
            self.fly(link, to, packet);
        }
        if strikes && !before {
            self.strike(host, to_host, link, to, cuts_third);
        }
    }

    /// Counts a message of a core. Returns whether the adversary strikes at it.
    fn sends_of_core(&mut self, host: usize, to_host: usize, message: &Message) -> bool {
        self.outcome.messages += 1;
        if self.scenario.weighed {
            let traffic = self.outcome.traffic.entry(self.now / MS).or_default();
            traffic.messages += 1;
            traffic.bytes += message.encode().len() as u64;
        }
        let is_round =
            matches!(message, Message::Propose(_) | Message::Reply { .. } | Message::Commit { .. });
        if is_round {
            self.note(|| format!("host {host} → host {to_host}: {message:?}"));
        }
        match self.scenario.adversary {
            Adversary::None => false,
            Adversary::OneIn(n) => is_round && !self.quiet && self.rng.index(n as usize) == 0,
        }
    }

    /// Counts a message of an application. Returns whether the adversary strikes at it.
    fn sends_of_application(&mut self, message: &A::Message) -> bool {
        self.outcome.application_messages += 1;
        let one_in = self.scenario.application_adversary;
        one_in > 0 && !self.quiet && A::is_aimed_at(message) && self.flight_rng.index(one_in as usize) == 0
    }

    fn strike(&mut self, from: usize, to: usize, link: LinkId, end: usize, cuts_third: bool) {
        let now = self.now;
        let span = self.rng.between(50, 4_000) * MS;
        let later = |world: &mut Self, at: u64, fault: Fault| world.at(at, SimEvent::Fault(fault));
        match self.rng.index(9) {
            0 => {
                self.note(|| format!("adversary cuts {from}→{to} for {} ms", span / MS));
                self.network.cut(from, to);
                later(self, now + span, Fault::Heal(from, to));
            }
            1 => {
                self.note(|| format!("adversary cuts {from}↔{to} for {} ms", span / MS));
                self.network.cut(from, to);
                self.network.cut(to, from);
                later(self, now + span, Fault::Heal(from, to));
                later(self, now + span, Fault::Heal(to, from));
            }
            2 | 3 => {
                let victim = if self.rng.percent(50) { from } else { to };
                let back = self.rng.between(1, 2_500) * MS;
                let death = if self.rng.percent(60) { Fault::Kill(victim) } else { Fault::Vanish(victim) };
                later(self, now, death);
                if self.scenario.adversary_restarts {
                    later(self, now + back, Fault::Start(victim));
                }
            }
            4 => {
                let victim = if self.rng.percent(50) { from } else { to };
                later(self, now, Fault::Pause(victim, span));
            }
            5 | 6 => {
                // Holds back what flies, in order.
                self.note(|| format!("adversary holds {from}→{to} back for {} ms", span / MS));
                if let Some(connection) = self.network.get_mut(link) {
                    connection.ends[end].incoming.held_until = now + span;
                }
            }
            7 => {
                // A commit held back for about a lease, while a third node loses one way to the sender.
                let hold = self.rng.between(2_200, 2_900) * MS;
                let third = self.rng.index(self.scenario.hosts);
                self.note(|| {
                    format!("adversary holds {from}→{to} back for {} ms, cuts {third}→{from}", hold / MS)
                });
                if let Some(connection) = self.network.get_mut(link) {
                    connection.ends[end].incoming.held_until = now + hold;
                }
                if third != from && cuts_third {
                    self.network.cut(third, from);
                    later(self, now + 2 * hold, Fault::Heal(third, from));
                }
            }
            _ => later(self, now, Fault::Reset(from, to)),
        }
    }
}
