//! What must hold for every input: the wire, names, epochs, back to what went in; the ring, balanced and steady.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::ring::SLOTS;
use cloister_proto::wire::{Heartbeat, Intent, MAX_EPOCH, MAX_MEMBERS, ProposalReply, Reach};
use cloister_proto::{
    Address, Epoch, Goodbye, Hello, Incarnation, Member, Memory, Message, NodeId, NodeIdInterner, NodeName,
    Ring, Slot, View,
};
use proptest::prelude::*;

fn address() -> impl Strategy<Value = Address> {
    let v4 = any::<[u8; 4]>().prop_map(|ip| std::net::IpAddr::from(ip).to_string());
    let v6 = any::<[u8; 16]>().prop_map(|ip| std::net::IpAddr::from(ip).to_string());
    let dns = "[a-z][a-z0-9-]{0,10}(\\.[a-z0-9]{1,8}){0,3}";
    (prop_oneof![v4, v6, dns], 1_u16..)
        .prop_map(|(host, port)| Address::new(&host, port).expect("a host and a port"))
}

fn node() -> impl Strategy<Value = NodeId> {
    ("[a-zA-Z0-9_-]{1,20}", address(), any::<u64>(), any::<u64>()).prop_map(
        |(app, address, incarnation, started)| {
            let name = NodeName::new(&app, address).expect("an application's name");
            NodeId::new(name, Incarnation(incarnation), started)
        },
    )
}

fn member() -> impl Strategy<Value = Member> {
    (node(), prop::collection::btree_set("[a-z]{1,10}", 0..4))
        .prop_map(|(id, tags)| Member::new(id, Arc::new(tags)))
}

fn epoch() -> impl Strategy<Value = Epoch> {
    (0..=MAX_EPOCH.as_u64()).prop_map(Epoch::from_u64)
}

fn view() -> impl Strategy<Value = View> {
    (epoch(), prop::collection::vec(member(), 1..6), 0..=MAX_MEMBERS)
        .prop_map(|(epoch, members, size)| View::new(epoch, members).with_size(size))
}

fn goodbye() -> impl Strategy<Value = Goodbye> {
    let base =
        (epoch(), prop::collection::vec(node(), 0..6), 0..=MAX_MEMBERS).prop_map(|(epoch, ids, size)| {
            View::new(epoch, ids.into_iter().map(Member::without_tags).collect()).with_size(size)
        });
    (node(), prop::collection::vec(base, 0..4))
        .prop_map(|(incarnation, base_views)| Goodbye { node: incarnation, base_views })
}

fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    let nodes = prop::collection::btree_set(node(), 1..6)
        .prop_map(|nodes| Reach::Nodes(nodes.into_iter().collect::<Vec<_>>().into()));
    let reach = prop_oneof![nodes, any::<u64>().prop_map(Reach::Same)];
    let clocks = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let epochs = (epoch(), epoch(), epoch(), epoch(), epoch());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let members =
        prop::collection::btree_set(node(), 0..4).prop_map(|nodes| nodes.into_iter().collect::<Vec<_>>());
    let intent = (any::<u64>(), members, any::<bool>()).prop_map(|(number, members, ready)| Intent {
        number,
        members: members.into(),
        ready,
    });
    let plans = (any::<bool>(), any::<bool>(), any::<u64>(), prop::option::of(intent));
    let cluster =
        (0..=MAX_MEMBERS, prop::collection::vec(goodbye(), 0..4), prop::collection::vec(node(), 0..4));
    (clocks, reach, epochs, flags, cluster, plans).prop_map(
        |(clocks, reach, epochs, flags, (size, goodbyes, former), (warms, drains, warmed, intent))| {
            let (sent, echo, age, unix_ms) = clocks;
            let (installed, promised, retired, highest, base) = epochs;
            let (prepared, leaving, asks, objects) = flags;
            Heartbeat {
                sent,
                echo,
                age: Duration::from_nanos(age),
                reach,
                installed,
                promised,
                prepared,
                released_epoch: retired,
                max_epoch_seen: highest,
                unix_ms,
                leaving,
                wants_echo: asks,
                size,
                base,
                objects,
                goodbyes,
                former,
                warms,
                drains,
                warmed,
                intent,
            }
        },
    )
}

/// A view as a goodbye or a memory has it.
fn base() -> impl Strategy<Value = View> {
    let incarnations = prop::collection::vec(node().prop_map(Member::without_tags), 1..4);
    (epoch(), incarnations, 0..=MAX_MEMBERS)
        .prop_map(|(epoch, members, size)| View::new(epoch, members).with_size(size))
}

fn memory() -> impl Strategy<Value = Memory> {
    let views = (prop::option::of(base()), prop::collection::vec(base(), 0..3));
    let incarnations = (prop::option::of(node()), prop::collection::vec(node(), 0..3));
    (views, incarnations, prop::collection::vec(goodbye(), 0..3)).prop_map(
        |(views, incarnations, goodbyes)| Memory {
            node: incarnations.0,
            former: incarnations.1,
            installed: views.0,
            acknowledged: views.1,
            goodbyes,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let reply = prop_oneof![
        Just(ProposalReply::Promise),
        Just(ProposalReply::Ack),
        Just(ProposalReply::Leaving),
        epoch().prop_map(ProposalReply::StaleEpoch)
    ];
    let hello = (member(), 0..=3_600_000_u32, "[a-z0-9.]{0,20}").prop_map(|(member, ms, version)| {
        Message::Hello(Hello::new(member, Duration::from_millis(ms.into()), version))
    });
    prop_oneof![
        hello,
        heartbeat().prop_map(Message::Heartbeat),
        view().prop_map(Message::Propose),
        (epoch(), reply).prop_map(|(epoch, reply)| Message::Reply { epoch, reply }),
        epoch().prop_map(|epoch| Message::Commit { epoch }),
        node().prop_map(|older| Message::DuplicateName { older }),
    ]
}

proptest! {
    #[test]
    fn a_message_comes_back_from_its_bytes(message in message()) {
        let mut incarnations = NodeIdInterner::default();
        prop_assert_eq!(Message::decode_with(message.encode(), &mut incarnations), Ok(message.clone()));
        prop_assert_eq!(Message::decode_with(message.encode(), &mut incarnations), Ok(message.clone()));
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(
        message in message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Message::decode(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn a_memory_comes_back_from_its_bytes(memory in memory()) {
        prop_assert_eq!(Memory::decode(&memory.encode()), Ok(memory));
    }

    #[test]
    fn a_damaged_memory_is_a_memory_or_an_error(
        memory in memory(),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = memory.encode();
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = Memory::decode(&bytes);
        let _ = Memory::decode(&noise);
    }

    #[test]
    fn a_name_comes_back_from_its_text(node in node()) {
        prop_assert_eq!(node.name().to_string().parse::<NodeName>(), Ok(node.name().clone()));
    }

    #[test]
    fn no_text_makes_the_parser_of_names_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<NodeName>();
        let _ = text.parse::<Address>();
    }

    #[test]
    fn the_next_epoch_is_greater_and_not_before_the_clock(
        last in epoch(), unix_ms in 0_u64..1 << 43, incarnation in any::<u64>()
    ) {
        let next = last.next(unix_ms, Incarnation(incarnation));
        prop_assert!(next > last);
        prop_assert!(next.millis() >= unix_ms);
    }

    #[test]
    fn every_slot_has_an_owner_whatever_the_order(nodes in prop::collection::btree_set(node(), 1..12)) {
        let ring = Ring::new(&nodes);
        let backwards: Vec<&NodeId> = nodes.iter().rev().collect();
        prop_assert_eq!(&ring, &Ring::new(backwards));
        prop_assert_eq!(&ring, &ring.detached());
        prop_assert!(Slot::all().all(|slot| ring.owner(slot).is_some_and(|owner| nodes.contains(owner))));
        prop_assert_eq!(nodes.iter().map(|node| ring.slot_count(node)).sum::<usize>(), SLOTS);
    }

    #[test]
    fn what_one_member_gives_and_takes_is_its_part_of_all_moves(
        before in prop::collection::btree_set(node(), 0..6), after in prop::collection::btree_set(node(), 0..6)
    ) {
        let (ring, next) = (Ring::new(&before), Ring::new(&after));
        for member in before.union(&after) {
            let mut moves = ring.transfers_to(&next);
            moves.retain(|a_move| [&a_move.from, &a_move.to].contains(&&Some(member.clone())));
            prop_assert_eq!(ring.transfers_of(member, &next), moves);
        }
    }

    #[test]
    fn the_owners_of_a_key_are_distinct_and_begin_with_the_owner(
        nodes in prop::collection::btree_set(node(), 1..8), key in any::<Vec<u8>>(), n in 1_usize..10
    ) {
        let ring = Ring::new(&nodes);
        let owners = ring.owners(&key, n);
        prop_assert_eq!(owners.first().copied(), ring.owner_of(&key));
        prop_assert_eq!(owners.len(), n.min(nodes.len()));
        prop_assert_eq!(owners.iter().collect::<BTreeSet<_>>().len(), owners.len());
    }
}

/// The first `n` members of one of many clusters.
fn members(cluster: usize, n: usize) -> Vec<NodeId> {
    (0..n)
        .map(|n| {
            let name = format!("shop@10.{cluster}.{}.{}:4370", n / 250, n % 250 + 1).parse().expect("a name");
            NodeId::new(name, Incarnation(n as u64), n as u64)
        })
        .collect()
}

#[test]
fn no_member_owns_more_than_six_percent_over_the_mean() {
    for n in [2, 3, 5, 10, 50, 100, 200] {
        let members = members(0, n);
        let ring = Ring::new(&members);
        let max = members.iter().map(|member| ring.slot_count(member)).max().unwrap_or(0);
        let ratio = max as f64 * n as f64 / SLOTS as f64;
        println!("{n} members: the largest share is {ratio:.3} of the mean");
        assert!(ratio <= 1.06, "{n} members: {ratio}");
    }
}

#[test]
fn about_one_share_moves_when_one_member_comes_or_goes() {
    const CLUSTERS: usize = 5;
    for (n, bound) in [(3, 1.05), (10, 1.05), (50, 1.05), (100, 1.3), (200, 1.8)] {
        let mut moved = [0, 0];
        for cluster in 0..CLUSTERS {
            let members = members(cluster, n + 1);
            let rings = [&members[1..n], &members[..n], &members[..]].map(Ring::new);
            for (moved, step) in moved.iter_mut().zip(rings.windows(2)) {
                *moved += step[0].transfers_to(&step[1]).iter().map(|step| step.slots.len()).sum::<usize>();
            }
        }
        let share = |moved: usize, of: usize| moved as f64 / (SLOTS * CLUSTERS) as f64 * of as f64;
        // From n - 1 to n is as from n to n - 1: moves have no direction.
        let (gone, come) = (share(moved[0], n), share(moved[1], n + 1));
        println!("{n} members: {gone:.3} shares move when one goes, {come:.3} when one comes");
        assert!(gone <= bound && come <= bound, "{n}: {gone}, {come}");
    }
}
