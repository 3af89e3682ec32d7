//! A peer that has the cookie and says whatever comes to its mind: the nodes live, count what they do not believe, and move nothing.
//!
//! The peer is the link layer of this very process, which can send bytes that no node would.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloister::clock::Clock;
use cloister_core::links::{LinkEvent, LinkSettings, Links};
use cloister_discovery::{Entry, List};
use cloister_integration::{Block, Node, PATIENCE, Plan, Random, agree, eventually, report, start_all};
use cloister_proto::wire::{Answer, Heartbeat, MAX_EPOCH, MAX_FRAME_LEN, Reach};
use cloister_proto::{Epoch, Hello, Incarnation, LinkId, Member, Message, NodeId, Timing, View};
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// For how long it lies.
const LYING: Duration = Duration::from_secs(3);

/// What each node must have counted at least once.
const COUNTED: [&str; 6] =
    ["malformed", "replayed", "echo_ahead", "epoch_ahead", "foreign_proposal", "foreign_round"];

#[test]
fn whatever_a_peer_with_the_cookie_says_the_nodes_live_and_move_nothing() {
    let ips = Block::new(4).ips();
    let plans = Plan::list(&ips[..3]).into_iter().map(|plan| plan.set("COOKIE", "secret"));
    let mut nodes = start_all(&plans.collect::<Vec<_>>());
    let (before, _) = agree(&nodes);
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    let memory: Vec<_> = nodes.iter().map(Node::memory).collect();

    let doors: Vec<SocketAddr> = nodes.iter().map(Node::address).collect();
    let victims = before.members.iter().map(|member| read(member)).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let told = runtime.block_on(lie(SocketAddr::from((ips[3], 4370)), doors, victims));
    report(&format!("{told} lies in {LYING:?}, and the nodes live"));

    for node in &mut nodes {
        assert!(node.is_running(), "{}: {:#?}", node.name(), node.log().lines());
        assert_eq!(node.log().count("panicked"), 0, "{}", node.name());
        for cause in COUNTED {
            let counter = format!("cloister_refused_total{{cause=\"{cause}\"}}");
            eventually(&format!("{} counts", node.name()), || match node.counter(&counter) {
                0 => Err(counter.clone()),
                _ => Ok(()),
            });
        }
    }
    let (after, _) = agree(&nodes);
    assert_eq!(after, before, "nothing that the liar said has moved anybody");
    for ((node, mark), memory) in nodes.iter().zip(marks).zip(memory) {
        assert_eq!(node.heard().split_off(mark), [], "{} was moved", node.name());
        let grown = node.memory().saturating_sub(memory);
        assert!(grown < 20 << 10, "{}: memory grew by {grown} KiB", node.name());
    }
    after.check_claims(&mut nodes);
}

/// The life of a member, from `app@host:port#incarnation`.
fn read(member: &str) -> NodeId {
    let (name, incarnation) = member.rsplit_once('#').expect("with its incarnation");
    let incarnation = Incarnation(incarnation.parse().expect("a number"));
    NodeId::new(name.parse().expect("a name"), incarnation, 1)
}

/// Links to all, lies to each in turn, and goes. How often it lied.
async fn lie(me: SocketAddr, doors: Vec<SocketAddr>, victims: Vec<NodeId>) -> u64 {
    let id = NodeId::new(format!("it@{me}").parse().expect("a name"), Incarnation(7), u64::MAX >> 20);
    let (tell, hear) = channel();
    let tell = Mutex::new(tell);
    let (supervisor, _) = Actor::spawn(None, Supervisor, ()).await.expect("an actor");
    let sink = Arc::new(move |event| linked(&tell.lock().expect("it is not poisoned"), event));
    let links = Links::start(settings(&id, me, &doors), supervisor.get_cell(), Clock, sink);
    let links = links.await.expect("a link layer");
    let mut open = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while open.len() < doors.len() {
        assert!(Instant::now() < deadline, "{} links", open.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
        open.extend(hear.try_iter());
    }
    let mut random = Random::new("a liar");
    let mut told = 0;
    let end = Instant::now() + LYING;
    while Instant::now() < end {
        for link in &open {
            links.send_bytes(*link, &one(&mut random, &id, &victims));
            told += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    links.stop().await;
    told
}

fn linked(tell: &Sender<LinkId>, event: LinkEvent) {
    if let LinkEvent::Linked { link, .. } = event {
        let _ = tell.send(link);
    }
}

fn settings(id: &NodeId, me: SocketAddr, doors: &[SocketAddr]) -> LinkSettings {
    let (timing, member) = (Timing::default(), Member::untagged(id.clone()));
    let doors = doors.iter().map(|door| Entry::parse(&door.to_string(), door.port()).expect("an address"));
    LinkSettings {
        hello: Hello::new(member.clone(), timing.lease, NonZeroUsize::MIN, "liar".to_owned()),
        me: member,
        cookie: "secret".to_owned(),
        tls: None,
        cluster: "it".to_owned(),
        bind: me,
        timing,
        strategies: vec![Arc::new(List::new(doors))],
        max_frame: 16 << 20,
    }
}

/// One lie.
fn one(random: &mut Random, me: &NodeId, victims: &[NodeId]) -> Vec<u8> {
    let now = Clock.now().as_nanos();
    let far = Epoch::from_u64(MAX_EPOCH.as_u64() - 1);
    let heartbeat = Heartbeat {
        sent: now,
        echo: 0,
        age: Duration::MAX / 4,
        reach: Reach::Nodes([me.clone()].into()),
        installed: Epoch::ZERO,
        promised: Epoch::ZERO,
        prepared: true,
        retired: Epoch::ZERO,
        highest: Epoch::ZERO,
        leaving: false,
        asks: false,
    };
    let all: Vec<Member> = victims.iter().chain([me]).cloned().map(Member::untagged).collect();
    let message = match random.below(16) {
        0 => return Vec::new(),
        1 => {
            return (0..random.below(400))
                .flat_map(|_| random.below(1 << 8).to_be_bytes().last().copied())
                .collect();
        }
        2 => return vec![0xff; MAX_FRAME_LEN],
        3 => {
            let mut bytes = Message::Heartbeat(heartbeat).encode();
            bytes.truncate(bytes.len() / 2);
            return bytes;
        }
        4 => {
            let mut bytes = Message::Heartbeat(heartbeat).encode();
            let len = bytes.len() as u64;
            let place = random.below(len);
            let byte = (0..len).zip(&mut bytes).find(|(number, _)| *number == place);
            *byte.expect("there is one").1 ^= 1 << random.below(8);
            return bytes;
        }
        // More members than there may be.
        5 => {
            Message::Heartbeat(Heartbeat { reach: Reach::Nodes(vec![me.clone(); 5000].into()), ..heartbeat })
        }
        // Not newer than the last one.
        6 => Message::Heartbeat(Heartbeat { sent: 1, ..heartbeat }),
        7 => Message::Heartbeat(Heartbeat { echo: u64::MAX, ..heartbeat }),
        8 => Message::Heartbeat(Heartbeat { highest: far, ..heartbeat }),
        9 => Message::Heartbeat(Heartbeat { installed: Epoch::from_u64(u64::MAX), ..heartbeat }),
        10 => Message::Propose(View::new(far, all)),
        11 => Message::Propose(View::new(Epoch::from_u64(1), vec![Member::untagged(me.clone())])),
        12 => Message::Commit { epoch: far },
        13 => Message::Reply { epoch: Epoch::from_u64(random.below(1 << 60)), answer: Answer::Ack },
        14 => Message::Reply { epoch: far, answer: Answer::Overtaken(far) },
        _ => Message::Heartbeat(heartbeat),
    };
    message.encode()
}

struct Supervisor;

impl Actor for Supervisor {
    type Msg = u8;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<u8>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
