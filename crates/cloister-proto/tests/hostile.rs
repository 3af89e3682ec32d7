//! A peer that has authenticated itself and says what it should not. What it says is not believed, and counted; what the
//! others agreed about does not move, and they can still agree about something new.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_proto::wire::{Heartbeat, MAX_EPOCH, MAX_MEMBERS, ProposalReply, Reach};
use cloister_proto::{Epoch, Incarnation, Member, Message, NodeId, Rejection, Status, View};
use cloister_testkit::memory_cluster::{MemoryCluster, START_MS};

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// The greatest epoch that comes through the wire.
const ABSURD: Epoch = Epoch::from_u64(MAX_EPOCH.as_u64());

fn epoch(millis: u64) -> Epoch {
    Epoch::from_u64(millis << 20)
}

/// A heartbeat such as Eve would honestly send next.
fn heartbeat(cluster: &MemoryCluster) -> Heartbeat {
    let honest = cluster.honest.clone().expect("Eve has spoken");
    Heartbeat { sent: honest.sent + 1, reach: Reach::Same(0), ..honest }
}

/// Eve sends each of these to every node, and nothing changes but the counter of `cause`.
fn ignored(
    what: &str,
    cause: Rejection,
    eve_is_oldest: bool,
    words: impl Fn(&MemoryCluster) -> Vec<Message>,
) {
    let mut cluster = MemoryCluster::up(4, 3, eve_is_oldest);
    let before = cluster.states();
    assert!(before.iter().all(|(status, .., acts)| *status == Status::Up && *acts), "{before:?}");
    let count =
        |cluster: &MemoryCluster, at: usize| cluster.nodes[at].rejections().get(&cause).copied().unwrap_or(0);
    for message in words(&cluster) {
        for to in 0..cluster.eve() {
            let counted = count(&cluster, to);
            assert!(cluster.eve_sends(to, &message), "{what}: {message:?} is a message");
            assert_eq!(cluster.states(), before, "{what}: {message:?}");
            assert!(count(&cluster, to) > counted, "{what}: counted, {:?}", cluster.nodes[to].rejections());
        }
    }
    for _ in 0..30 {
        cluster.advance(Duration::from_millis(100));
        assert_eq!(cluster.states(), before, "{what}: later");
    }
    assert!(!cluster.failed, "{what}");
    agrees_anew(what, cluster);
}

/// Without Eve the others agree about a view of an epoch that is not far from the present.
fn agrees_anew(what: &str, mut cluster: MemoryCluster) {
    let before = cluster.states();
    cluster.kill_eve();
    cluster.advance(Duration::from_secs(5));
    let after = cluster.states();
    for ((status, epoch, members, acts), (_, old, ..)) in after.iter().zip(&before) {
        assert_eq!((*status, members.len(), *acts), (Status::Up, 3, true), "{what}: {after:?}");
        assert!(epoch > old, "{what}: {after:?}");
        let millis = epoch.expect("it is up") >> 20;
        assert!(millis < START_MS + 2 * YEAR_MS, "{what}: the epoch of the year 1970 + {}", millis / YEAR_MS);
        assert_eq!(*epoch, after[0].1, "{what}: one view");
    }
}

#[test]
fn an_epoch_that_no_clock_can_have_given_poisons_nothing() {
    let far = [ABSURD, epoch(START_MS + 2 * YEAR_MS)];
    for oldest in [false, true] {
        ignored("hearsay", Rejection::EpochAhead, oldest, |cluster| {
            let highest = |(at, highest): (usize, &Epoch)| {
                let honest = heartbeat(cluster);
                Message::Heartbeat(Heartbeat {
                    max_epoch_seen: *highest,
                    sent: honest.sent + at as u64,
                    ..honest
                })
            };
            far.iter().enumerate().map(highest).collect()
        });
        ignored("overtaken", Rejection::EpochAhead, oldest, |_| {
            let overtaken =
                |by: &Epoch| Message::Reply { epoch: epoch(1), reply: ProposalReply::StaleEpoch(*by) };
            far.iter().map(overtaken).collect()
        });
    }
    ignored("a proposal of the oldest", Rejection::EpochAhead, true, |cluster| {
        far.iter().map(|epoch| Message::Propose(View::new(*epoch, cluster.members.clone()))).collect()
    });
}

/// Eve may report anything of its own state, and drop out by it. The others do not adopt what it reports.
#[test]
fn a_peer_that_reports_absurd_epochs_of_its_own_costs_a_round_at_most() {
    for oldest in [false, true] {
        for which in 0..3 {
            let mut cluster = MemoryCluster::up(4, 3, oldest);
            for to in 0..cluster.eve() {
                let mut said = heartbeat(&cluster);
                *[&mut said.installed, &mut said.promised, &mut said.released_epoch][which] = ABSURD;
                cluster.eve_sends(to, &Message::Heartbeat(said));
                assert!(cluster.nodes[to].rejections().contains_key(&Rejection::EpochAhead));
            }
            cluster.advance(Duration::from_secs(5));
            assert!(!cluster.failed);
            agrees_anew("claims", cluster);
        }
    }
}

/// The limit is one that honest clocks never meet: also a year off, a node takes part.
#[test]
fn an_epoch_that_a_clock_can_have_given_is_gone_on_from() {
    let mut cluster = MemoryCluster::up(4, 3, false);
    let ahead = epoch(START_MS + YEAR_MS);
    let said = Heartbeat { max_epoch_seen: ahead, ..heartbeat(&cluster) };
    for to in 0..cluster.eve() {
        cluster.eve_sends(to, &Message::Heartbeat(said.clone()));
    }
    cluster.kill_eve();
    cluster.advance(Duration::from_secs(5));
    for (status, epoch, ..) in cluster.states() {
        assert_eq!(status, Status::Up);
        assert!(epoch > Some(ahead.as_u64()), "it rises above what was said");
    }
}

/// What many say is accepted whatever the own clock shows. One peer is not many, and what it says does not add up.
#[test]
fn one_peer_pushes_no_epoch_beyond_the_clocks_of_the_others_however_often_it_tries() {
    const DAY_MS: u64 = YEAR_MS / 365;
    for oldest in [false, true] {
        let mut cluster = MemoryCluster::up(4, 3, oldest);
        for step in 1..=30 {
            let ahead = epoch(START_MS + YEAR_MS + step * DAY_MS / 2);
            let honest = heartbeat(&cluster);
            let (sent, unix_ms) = (honest.sent + step, START_MS + 10 * YEAR_MS);
            let said = Heartbeat { sent, unix_ms, max_epoch_seen: ahead, ..honest };
            for to in 0..cluster.eve() {
                cluster.eve_sends(to, &Message::Heartbeat(said.clone()));
                if oldest {
                    cluster.eve_sends(to, &Message::Propose(View::new(ahead, cluster.members.clone())));
                }
            }
            cluster.advance(Duration::from_millis(5));
        }
        cluster.kill_eve();
        cluster.advance(Duration::from_secs(5));
        for (status, epoch, members, _) in cluster.states() {
            assert_eq!((status, members.len()), (Status::Up, 3));
            let millis = epoch.expect("it is up") >> 20;
            // A year by hearsay, and a day more for a proposal.
            let days = millis.saturating_sub(START_MS) / DAY_MS;
            assert!(days <= 366, "eve_is_oldest {oldest}: {days} days ahead");
        }
    }
}

#[test]
fn foreign_rounds_and_replies_to_none_are_ignored() {
    ignored("proposals of a node that is not the oldest", Rejection::ForeignProposal, false, |cluster| {
        let all = cluster.members.clone();
        let unknown = NodeId::new("app@10.9.9.9:1".parse().expect("a name"), Incarnation(9), 0);
        let foreign = vec![Member::without_tags(unknown)];
        let later = epoch(START_MS + 10_000);
        [all.clone(), foreign.clone(), [all, foreign].concat()]
            .map(|members| Message::Propose(View::new(later, members)))
            .to_vec()
    });
    ignored("a proposal without its receiver", Rejection::ForeignProposal, true, |cluster| {
        let alone = vec![cluster.members[cluster.eve()].clone()];
        vec![Message::Propose(View::new(epoch(START_MS + 10_000), alone))]
    });
    ignored("commits and answers", Rejection::ForeignRound, false, |cluster| {
        let (_, present, ..) = cluster.state_of(0);
        let epochs = [epoch(START_MS + 9_000), Epoch::from_u64(present.expect("it is up")), epoch(1), ABSURD];
        let words = |epoch: Epoch| {
            let reply = |answer| Message::Reply { epoch, reply: answer };
            [
                Message::Commit { epoch },
                reply(ProposalReply::Promise),
                reply(ProposalReply::Ack),
                reply(ProposalReply::Leaving),
            ]
        };
        epochs.into_iter().flat_map(words).collect()
    });
}

#[test]
fn only_the_proposer_of_a_round_can_commit_it() {
    let mut cluster = MemoryCluster::up(4, 3, false);
    let later = epoch(START_MS + 10_000);
    let (oldest, promised) = (0, 1);
    cluster.deliver(promised, oldest, &Message::Propose(View::new(later, cluster.members.clone())));
    assert_eq!(cluster.state_of(promised).0, Status::Rehashing, "it has promised");
    let before = cluster.nodes[promised].rejections().get(&Rejection::ForeignRound).copied();
    cluster.eve_sends(promised, &Message::Commit { epoch: later });
    let after = cluster.nodes[promised].rejections().get(&Rejection::ForeignRound).copied();
    assert_eq!(cluster.state_of(promised).0, Status::Rehashing, "Eve has not proposed it");
    assert_eq!(after.unwrap_or_default(), before.unwrap_or_default() + 1);
    cluster.deliver(promised, oldest, &Message::Commit { epoch: later });
    assert_eq!(
        cluster.nodes[promised].rejections().get(&Rejection::ForeignRound).copied(),
        after,
        "the oldest has"
    );
    agrees_anew("after a commit by a node that did not propose", cluster);
}

#[test]
fn replayed_heartbeats_and_echoes_of_the_future_are_no_sign_of_life() {
    ignored("replayed", Rejection::Replayed, false, |cluster| {
        let old = Heartbeat { sent: 0, ..heartbeat(cluster) };
        vec![Message::Heartbeat(old.clone()), Message::Heartbeat(Heartbeat { leaving: true, ..old })]
    });
    ignored("echoes of the future", Rejection::EchoAhead, false, |cluster| {
        let absurd = |echo| Message::Heartbeat(Heartbeat { echo, age: Duration::MAX, ..heartbeat(cluster) });
        vec![absurd(u64::MAX), absurd(cluster.now().as_nanos() + 1)]
    });
}

#[test]
fn messages_out_of_place_and_a_foreign_name_are_ignored() {
    ignored("the handshake is over", Rejection::OutOfPlace, false, |_| {
        vec![Message::Refused(cloister_proto::Refusal::Identity)]
    });
    ignored("another's name", Rejection::ForeignName, false, |cluster| {
        cluster.members.iter().map(|member| Message::DuplicateName { older: member.id.clone() }).collect()
    });
}

/// Absurd ages and clocks that are allowed to say overflow nothing.
#[test]
fn absurd_clocks_and_ages_panic_nowhere() {
    let mut cluster = MemoryCluster::up(4, 3, false);
    for age in [Duration::ZERO, Duration::MAX] {
        for sent in [u64::MAX - 1, u64::MAX] {
            let said = Heartbeat { sent, age, ..heartbeat(&cluster) };
            for to in 0..cluster.eve() {
                cluster.eve_sends(to, &Message::Heartbeat(said.clone()));
            }
            cluster.advance(Duration::from_millis(300));
        }
    }
    // Eve has sent the last value that a clock can have: from now on its heartbeats are rejected, and then it is excluded.
    cluster.advance(Duration::from_secs(20));
    for (status, _, members, acts) in cluster.states() {
        assert_eq!((status, members.len(), acts), (Status::Up, 3, true));
    }
}

/// More members than a message may have are no message; as many as it may have cost little.
#[expect(clippy::disallowed_methods, reason = "it measures what the core costs, which the core cannot know")]
#[test]
fn a_million_members_are_refused_and_four_thousand_do_not_hold_up_the_others() {
    let unknown = |number: u64| {
        let name = format!("app@10.{}.{}.{}:4370", number >> 16 & 255, number >> 8 & 255, number & 255);
        NodeId::new(name.parse().expect("a name"), Incarnation(1 << 40 | number), START_MS + number)
    };
    let mut cluster = MemoryCluster::up(4, 3, false);
    let before = cluster.states();
    let reach = |number: u64| {
        let mut nodes: Vec<_> = (0..number).map(|at| unknown(at + (1 << 18))).collect();
        nodes.extend(cluster.members.iter().map(|member| member.id.clone()));
        nodes.sort();
        Message::Heartbeat(Heartbeat { reach: Reach::Nodes(Arc::from(nodes)), ..heartbeat(&cluster) })
    };
    let million = reach(1_000_000).encode();
    assert!(Message::decode(&million).is_err());
    assert!(Message::decode(&reach(MAX_MEMBERS as u64 + 1).encode()).is_err());
    let many = reach(4_000);
    let began = Instant::now();
    for to in 0..cluster.eve() {
        assert!(cluster.eve_sends(to, &many));
    }
    cluster.advance(Duration::from_secs(1));
    let took = began.elapsed();
    println!("4 000 unknown nodes in the reach of one peer cost {took:?} for three nodes and one second");
    // It was 11 s before the graph was reduced in the square of its nodes, and is below 2 s since.
    assert!(took < Duration::from_secs(6), "{took:?}");
    for ((_, _, members, acts), (_, _, old, _)) in cluster.states().iter().zip(&before) {
        assert!(*acts && members == old, "unknown nodes that no other node reaches change no view");
    }
}
