//! A peer that has the cookie and says whatever comes to its mind: the nodes live, count what they do not believe, and move nothing.
//!
//! The peer is the link layer of this very process, which can send bytes that no node would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloister::clock::Clock;
use cloister_core::internal::runtime::Application;
use cloister_core::links::{LinkEvent, LinkSettings, Links};
use cloister_discovery::{Entry, List};
use cloister_integration::{Block, Node, Plan, Random, WAIT_TIMEOUT, agree, eventually, report, start_all};
use cloister_proto::wire::{Heartbeat, MAX_EPOCH, MAX_FRAME_LEN, ProposalReply, Reach};
use cloister_proto::{Epoch, Goodbye, Hello, Incarnation, LinkId, Member, Message, NodeId, Timing, View};
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// For how long it lies.
const LYING: Duration = Duration::from_secs(3);

/// How many kinds of lies there are, and the one that is a heartbeat with one bit turned.
const KINDS: u64 = 20;
const OTHER_BIT: u64 = 4;

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

    let addresses: Vec<SocketAddr> = nodes.iter().map(Node::address).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let near = Epoch::from_u64(before.epoch + (60_000 << 20));
    let lies = runtime.block_on(lie(SocketAddr::from((ips[3], 4370)), addresses, near));
    report(&format!("{lies} lies in {LYING:?}, and the nodes live"));

    for node in &mut nodes {
        assert!(node.is_running(), "{}: {:#?}", node.name(), node.log().lines());
        assert_eq!(node.log().count("panicked"), 0, "{}", node.name());
        for cause in COUNTED {
            let counter = format!("cloister_rejected_total{{reason=\"{cause}\"}}");
            eventually(&format!("{} counts", node.name()), || match node.counter(&counter) {
                0 => Err(counter.clone()),
                _ => Ok(()),
            });
        }
    }
    let (after, _) = agree(&nodes);
    assert_eq!(after, before, "no message of the Byzantine member has moved a node");
    for ((node, mark), memory) in nodes.iter().zip(marks).zip(memory) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
        let grown = node.memory().saturating_sub(memory);
        assert!(grown < 20 << 10, "{}: memory grew by {grown} KiB", node.name());
    }
    after.check_claims(&mut nodes);
}

#[test]
fn a_peer_whose_hello_has_another_name_than_it_authenticated_with_is_rejected() {
    let ips = Block::new(4).ips();
    let plans = Plan::list(&ips[..3]).into_iter().map(|plan| plan.set("COOKIE", "another"));
    let mut nodes = start_all(&plans.collect::<Vec<_>>());
    let (before, _) = agree(&nodes);
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    let addresses: Vec<SocketAddr> = nodes.iter().map(Node::address).collect();
    let me = SocketAddr::from((ips[3], 4370));
    let id = NodeId::new(format!("it@{me}").parse().expect("a name"), Incarnation(7), u64::MAX >> 20);
    // As the sentry, in an incarnation that is younger than all.
    let victim = read(&before.members[0]);
    let mask = NodeId::new(victim.name().clone(), Incarnation(u64::MAX >> 1), u64::MAX >> 20);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let linked = runtime.block_on(async {
        let (supervisor, _) = Actor::spawn(None, Supervisor, ()).await.expect("an actor");
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |event| linked(&sender.lock().expect("it is not poisoned"), event));
        let mut settings = settings(&id, me, &addresses);
        settings.hello.member = Member::without_tags(mask.clone());
        // A turned bit in the address of the other test may lead here: its cookie must not.
        "another".clone_into(&mut settings.cookie);
        let links = Links::start(settings, supervisor.get_cell(), Clock, sink).await.expect("a link layer");
        tokio::time::sleep(LYING).await;
        links.stop().await;
        receiver.try_iter().count()
    });
    report(&format!("{linked} links of its own, as it sees it"));
    for (node, mark) in nodes.iter_mut().zip(marks) {
        assert!(node.is_running(), "{}: {:#?}", node.name(), node.log().lines());
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
        assert!(
            node.counter("cloister_rejected_total{reason=\"incompatible\"}") > 0,
            "{:#?}",
            node.log().lines()
        );
        let why = format!("its name is not the one it authenticated with: it calls itself {mask}");
        assert!(node.log().count(&why) > 0, "{:#?}", node.log().lines());
    }
    assert_eq!(agree(&nodes).0, before);
}

/// The incarnation of a member, from `app@host:port#incarnation`.
fn read(member: &str) -> NodeId {
    let (name, incarnation) = member.rsplit_once('#').expect("with its incarnation");
    let incarnation = Incarnation(incarnation.parse().expect("a number"));
    NodeId::new(name.parse().expect("a name"), incarnation, 1)
}

/// Links to all, lies to each in turn, and goes. How often it lied.
async fn lie(me: SocketAddr, addresses: Vec<SocketAddr>, near: Epoch) -> u64 {
    let id = NodeId::new(format!("it@{me}").parse().expect("a name"), Incarnation(7), u64::MAX >> 20);
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let (supervisor, _) = Actor::spawn(None, Supervisor, ()).await.expect("an actor");
    let sink = Arc::new(move |event| linked(&sender.lock().expect("it is not poisoned"), event));
    let links = Links::start(settings(&id, me, &addresses), supervisor.get_cell(), Clock, sink);
    let links = links.await.expect("a link layer");
    let mut open = BTreeMap::new();
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while open.len() < addresses.len() {
        assert!(Instant::now() < deadline, "{} links", open.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
        open.extend(receiver.try_iter());
    }
    // The very incarnations, with the time at which they began: a view of others is none that could be.
    let victims: Vec<NodeId> = open.values().cloned().collect();
    let mut random = Random::new("a byzantine node");
    let mut sent = 0;
    // Each kind once, and only then by chance: a heartbeat with another bit may say that it is of the far future, and
    // then all that follow are not newer, whatever else is wrong with them.
    let mut first = (0..KINDS).filter(|kind| *kind != OTHER_BIT);
    let end = Instant::now() + LYING;
    while Instant::now() < end {
        let kind = first.next();
        for link in open.keys() {
            let kind = kind.unwrap_or_else(|| random.below(KINDS));
            links.send_bytes(*link, &one(&mut random, kind, &id, &victims, near));
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    links.stop().await;
    sent
}

fn linked(sender: &Sender<(LinkId, NodeId)>, event: LinkEvent) {
    if let LinkEvent::Linked { link, peer, .. } = event {
        let _ = sender.send((link, peer.id));
    }
}

fn settings(id: &NodeId, me: SocketAddr, addresses: &[SocketAddr]) -> LinkSettings {
    let (timing, member) = (Timing::default(), Member::without_tags(id.clone()));
    let addresses = addresses
        .iter()
        .map(|address| Entry::parse(&address.to_string(), address.port()).expect("an address"));
    LinkSettings {
        hello: Hello::new(member.clone(), timing.lease, "byzantine".to_owned()),
        me: member,
        cookie: "secret".to_owned(),
        tls: None,
        cluster: "it".to_owned(),
        bind: me,
        timing,
        strategies: vec![Arc::new(List::new(addresses))],
        max_frame: 16 << 20,
        link_bytes: 64 << 20,
        application: Application::here(),
    }
}

/// One lie.
fn one(random: &mut Random, kind: u64, me: &NodeId, victims: &[NodeId], near: Epoch) -> Vec<u8> {
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
        released_epoch: Epoch::ZERO,
        max_epoch_seen: Epoch::ZERO,
        unix_ms: 0,
        leaving: false,
        wants_echo: false,
        size: 0,
        base: Epoch::ZERO,
        objects: false,
        goodbyes: Vec::new(),
        former: Vec::new(),
        warms: false,
        drains: false,
        warmed: 0,
        intent: None,
    };
    let goodbye = |incarnation: &NodeId| Goodbye {
        node: incarnation.clone(),
        base_views: vec![View::new(far, Vec::new())],
    };
    let all: Vec<Member> = victims.iter().chain([me]).cloned().map(Member::without_tags).collect();
    let message = match kind {
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
        OTHER_BIT => {
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
        8 => Message::Heartbeat(Heartbeat { max_epoch_seen: far, ..heartbeat }),
        9 => Message::Heartbeat(Heartbeat { installed: Epoch::from_u64(u64::MAX), ..heartbeat }),
        // It could be, if it came from the oldest of them.
        15 => Message::Propose(View::new(near, all)),
        10 => Message::Propose(View::new(far, all)),
        11 => Message::Propose(View::new(Epoch::from_u64(1), vec![Member::without_tags(me.clone())])),
        12 => Message::Commit { epoch: far },
        13 => Message::Reply { epoch: Epoch::from_u64(random.below(1 << 60)), reply: ProposalReply::Ack },
        14 => Message::Reply { epoch: far, reply: ProposalReply::StaleEpoch(far) },
        // That others have left, that it cannot go on, and that the cluster counts thousands.
        16 => Message::Heartbeat(Heartbeat { goodbyes: victims.iter().map(goodbye).collect(), ..heartbeat }),
        17 => Message::Heartbeat(Heartbeat { objects: true, base: near, size: 4000, ..heartbeat }),
        // That the processes of others have ended.
        18 => Message::Heartbeat(Heartbeat { former: victims.to_vec(), ..heartbeat }),
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
