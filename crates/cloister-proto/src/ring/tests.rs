use super::*;

#[test]
fn every_member_ranks_every_slot_and_no_two_alike() {
    for name in ["a@10.0.0.1:4370", "b@10.0.0.2:4370", "app@node.example:1"] {
        let member = NodeId::new(name.parse().unwrap(), crate::name::Incarnation(7), 0);
        let preference = Preference::of(&member);
        let ranks: std::collections::BTreeSet<u64> =
            Slot::all().map(|slot| u64::from(RankPermutation::of(preference).rank(slot.0))).collect();
        assert_eq!((ranks.len(), ranks.last()), (SLOTS, Some(&(SLOTS as u64 - 1))));
    }
}

/// The same claims, each member asked by itself, the strongest first.
fn plainly(preferences: &[Preference], slot: Slot) -> Vec<Bid> {
    let strengths =
        preferences.iter().zip(0..).map(|(preference, member)| (preference.strength(slot), member));
    let mut strengths: Vec<(u64, u16)> = strengths.collect();
    strengths.sort_by(|a, b| b.cmp(a));
    let bid = |(strength, member)| Bid { rank: (strength >> RANK_SHIFT) as u16, slot, member };
    strengths.into_iter().map(bid).collect()
}

#[test]
fn members_asked_side_by_side_bid_what_each_bids_by_itself() {
    for n in [1_u16, 2, 3, 7, 8, 9, 200] {
        let member = |number: u16| {
            let name = format!("app@10.0.{}.{}:4370", number / 250, number % 250 + 1).parse().unwrap();
            NodeId::new(name, crate::name::Incarnation(7), 0)
        };
        let members: Vec<NodeId> = (0..n).map(member).collect();
        let mut matcher = Matcher::of(&members);
        let mut first_bids = Vec::new();
        matcher.first_choices(|bid| first_bids.push(bid));
        assert_eq!(first_bids.len(), SLOTS);
        for (slot, first) in Slot::all().zip(first_bids) {
            let plainly = plainly(&matcher.preferences.preferences, slot);
            assert_eq!(first, plainly[0], "{n} members");
            // Through many ties of rank for many.
            if n < 200 || slot.0 % 7 == 0 {
                for (lost, next) in plainly.iter().zip(plainly.iter().skip(1)).take(60) {
                    assert_eq!(matcher.next(*lost), Some(*next), "{n} members");
                }
                assert_eq!(matcher.next(plainly[plainly.len() - 1]), None);
            }
        }
    }
}

#[test]
fn each_slot_whose_owner_changes_is_in_one_move_from_the_one_to_the_other() {
    let member = |n: u64| NodeId::new(format!("a@h{n}:1").parse().unwrap(), crate::name::Incarnation(n), n);
    let (before, after) = (Ring::new(&[1, 2, 3].map(member)), Ring::new(&[2, 3, 4].map(member)));
    let mut moved = 0;
    for step in before.transfers_to(&after) {
        assert!(step.from != step.to && step.slots.is_sorted());
        for slot in &step.slots {
            assert_eq!((before.owner(*slot), after.owner(*slot)), (step.from.as_ref(), step.to.as_ref()));
        }
        moved += step.slots.len();
    }
    assert_eq!(moved, Slot::all().filter(|slot| before.owner(*slot) != after.owner(*slot)).count());
    assert!(moved >= before.slot_count(&member(1)) && before.slot_count(&member(1)) > 5_000);
}

#[test]
fn a_ring_lists_its_members_in_order_of_age_and_each_once() {
    let member = |n: u64| NodeId::new(format!("a@h{n}:1").parse().unwrap(), crate::name::Incarnation(n), n);
    let ring = Ring::new(&[member(2), member(1), member(2)]);
    assert_eq!(ring.members(), [member(1), member(2)]);
    assert!(Ring::new([]).members().is_empty());
    assert_eq!(Slot::new(16_383).map(|slot| slot.to_string()), Some("16383".to_owned()));
    assert_eq!(Slot::new(16_384), None);
}
