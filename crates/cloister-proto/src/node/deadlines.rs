//! The clock of the failure detector: when a peer has to be looked at again.

use super::state::Node;
use crate::time::Time;

impl Node {
    /// The first deadline of a peer after now, if it is before `wake_at`.
    pub(super) fn deadline_before(&mut self, due: Time) -> Option<Time> {
        if self.deadlines.is_due(self.now) || self.deadlines.next < due {
            self.deadlines.next = self.next_deadline();
        }
        (self.deadlines.next < due).then_some(self.deadlines.next)
    }

    fn next_deadline(&self) -> Time {
        let timing = &self.settings.timing;
        let (unreachable, hung, repair) =
            (timing.unreachable_after, timing.hung_after(), timing.reconnect_grace());
        let mut next = Time::from_nanos(u64::MAX);
        let mut at = |time: Time| {
            if time > self.now {
                next = next.min(time);
            }
        };
        for peer in self.peers.values() {
            if peer.open().is_some() {
                at(peer.last_received + unreachable);
                at(peer.last_heartbeat + hung);
            }
            if let Some(since) = peer.disconnected_at {
                at(since + repair);
            }
            if let Some(since) = peer.suspected_at {
                at(since + repair);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::state::PeerDeadlines;
    use super::*;
    use crate::event::{Event, LinkId};
    use crate::hello::PeerTerms;
    use crate::message::{Heartbeat, Message, Reach};
    use crate::name::{Incarnation, NodeId};
    use crate::settings::Settings;
    use crate::view::Member;

    fn incarnation(host: u64, incarnation: u64) -> Member {
        let name = format!("a@h{host}:1").parse().expect("a name");
        Member::without_tags(NodeId::new(name, Incarnation(10 * host + incarnation), 10 * host + incarnation))
    }

    /// Whatever happens, a node that looks at every peer at every event does the same, and wants to be woken at the same time.
    #[test]
    fn a_node_that_looks_at_every_peer_at_every_event_does_the_same() {
        let mut random = crate::backoff::Xorshift::new(11);
        let mut next = |max: u64| (random.next_u64() >> 33) % max;
        for _ in 0..300 {
            let mut now = Time::from_nanos(1_000_000_000);
            let consensus = NonZeroUsize::new(2).expect("at least one");
            let mut node = Node::new(Settings::new(incarnation(2, 0), consensus, 7), now);
            let mut links: Vec<(LinkId, Member)> = Vec::new();
            for turn in 1..120 {
                now = match next(8) {
                    0 => node.next_timeout().unwrap_or(now).max(now),
                    1 => now + Duration::from_millis(next(4_000)),
                    _ => now + Duration::from_millis(next(80)),
                };
                let link = links.get(next(8) as usize % links.len().max(1)).cloned();
                let event = match (next(8), link) {
                    (0 | 1, _) | (_, None) => {
                        let peer = incarnation(next(5), next(2));
                        links.push((LinkId(turn), peer.clone()));
                        Event::Linked {
                            link: LinkId(turn),
                            peer,
                            terms: PeerTerms::new(Duration::from_secs(2)),
                        }
                    }
                    (2, Some((link, _))) => {
                        links.retain(|(known, _)| *known != link);
                        Event::Unlinked { link, at: now }
                    }
                    (3, Some((_, peer))) => {
                        let address = peer.id.name().address().expect("it has one").clone();
                        Event::Refused { address, began: now }
                    }
                    (4, Some((link, _))) => Event::BytesReceived { link, at: now },
                    (5 | 6, Some((link, peer))) => {
                        let nodes: Arc<[NodeId]> = [incarnation(2, 0).id, peer.id].into();
                        let message = Message::Heartbeat(Heartbeat {
                            sent: now.as_nanos(),
                            echo: next(2) * turn.min(1),
                            age: Duration::from_secs(next(10)),
                            reach: if next(2) == 0 { Reach::Nodes(nodes) } else { Reach::Same(0) },
                            leaving: next(20) == 0,
                            ..Heartbeat::first()
                        });
                        Event::Received { link, message }
                    }
                    _ => Event::Tick,
                };
                let mut looks = node.clone();
                looks.deadlines = PeerDeadlines::new();
                looks.handle(now, event.clone());
                node.handle(now, event);
                assert_eq!(format!("{node:?}"), format!("{looks:?}"));
                while node.next_action().is_some() {}
            }
        }
    }
}
