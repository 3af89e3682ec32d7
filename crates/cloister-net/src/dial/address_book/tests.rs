mod places;

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use cloister_proto::{Incarnation, NodeId};

use super::*;
use crate::links::DialState;

/// A book at 10.0.0.5, and a clock that the test moves.
struct Desk {
    book: AddressBook,
    now: Instant,
    start: Instant,
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4370))
}

fn peer(last: u8) -> NodeId {
    NodeId::new(format!("app@{}", at(last)).parse().unwrap(), Incarnation(u64::from(last)), 0)
}

impl Desk {
    fn new() -> Self {
        let start = Instant::now();
        // The book has an IP address of its own, so it asks for no source.
        let book = AddressBook::new(Address::from(at(5)), Jitter::new(NonZeroU64::MIN), |_| None);
        Self { book, now: start, start }
    }

    fn discovered(&mut self, found: &[u8]) {
        self.name(found.iter().copied().map(at));
    }

    /// Discovery names these nodes.
    fn name(&mut self, found: impl IntoIterator<Item = SocketAddr>) {
        let found = found.into_iter().collect();
        self.book.discovered(self.now, &Discovered { found, aliases: BTreeSet::new(), complete: true });
    }

    fn due(&mut self) -> Vec<(SocketAddr, Attempt)> {
        self.take_due().into_iter().map(|due| (due.target, due.attempt)).collect()
    }

    fn take_due(&mut self) -> Vec<Due> {
        let since = self.now.duration_since(self.start);
        self.book.take_due(self.now, Time::ZERO + since)
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Waits until something is due, and takes it.
    fn next(&mut self) -> Vec<(SocketAddr, Attempt)> {
        self.now = self.now.max(self.book.next_due().unwrap());
        self.due()
    }

    fn tried(&mut self, last: u8, attempt: Attempt, outcome: Outcome) {
        self.book.tried(self.now, at(last), attempt, &outcome);
    }

    /// A link to `last` by our dial, as ractor would report it.
    fn link_out(&mut self, link: u64, last: u8) {
        self.book.linked(self.now, LinkId(link), &peer(last), Some(at(last)), at(last));
    }

    fn link_in(&mut self, link: u64, last: u8) {
        let remote = SocketAddr::from(([10, 0, 0, last], 50_000));
        self.book.linked(self.now, LinkId(link), &peer(last), None, remote);
    }

    fn unlink(&mut self, link: u64) {
        self.book.unlinked(self.now, LinkId(link));
    }

    fn state(&self, last: u8) -> DialState {
        let report = self.book.reports().into_iter().find(|report| report.address == Address::from(at(last)));
        report.unwrap().state
    }

    fn survey(&self) -> Survey {
        self.book.survey(None).unwrap()
    }

    fn unverified(&self) -> Vec<Address> {
        self.survey().unverified.into_iter().map(Address::from).collect()
    }
}

#[test]
fn the_greater_address_dials_at_once_and_the_lesser_looks_and_dials_after_100_ms() {
    let mut desk = Desk::new();
    desk.discovered(&[3, 7]);
    assert_eq!(desk.due(), [(at(3), Attempt::Dial), (at(7), Attempt::Probe)]);
    desk.tried(7, Attempt::Probe, Outcome::Connected);
    desk.wait(99);
    assert_eq!(desk.due(), []);
    desk.wait(1);
    assert_eq!(desk.due(), [(at(7), Attempt::Dial)]);
}

#[test]
fn a_node_that_looks_for_us_is_dialled_at_once_if_that_is_ours_to_do() {
    let mut desk = Desk::new();
    desk.discovered(&[3, 7]);
    assert_eq!(desk.due().len(), 2);
    for _ in 0..8 {
        desk.tried(3, Attempt::Dial, Outcome::Refused);
        desk.tried(7, Attempt::Probe, Outcome::Refused);
        desk.wait(10_000);
        assert_eq!(desk.due().len(), 2);
    }
    desk.tried(3, Attempt::Dial, Outcome::Refused);
    desk.tried(7, Attempt::Probe, Outcome::Refused);
    desk.wait(100);
    desk.book.on_probe(desk.now, at(3).ip());
    desk.book.on_probe(desk.now, at(7).ip());
    desk.book.on_probe(desk.now, at(9).ip());
    assert_eq!(desk.due(), [(at(3), Attempt::Dial)]);
    // However often it looks, it is not dialled all the time.
    desk.tried(3, Attempt::Dial, Outcome::Refused);
    desk.book.on_probe(desk.now, at(3).ip());
    assert_eq!(desk.due(), []);
}

#[test]
fn of_two_dials_at_the_same_time_the_one_that_has_said_nothing_yields() {
    let mut desk = Desk::new();
    desk.discovered(&[3]);
    assert_eq!(desk.due().len(), 1);
    desk.book.pending(LinkId(1), at(3).ip());
    assert!(!desk.book.still_wanted(desk.now, at(3)));
    desk.book.deferred(desk.now, at(3));
    desk.link_in(1, 3);
    desk.wait(1000);
    assert_eq!(desk.due(), []);
    assert!(!desk.book.still_wanted(desk.now, at(3)));
}

#[test]
fn after_dials_that_came_to_nothing_the_greater_has_its_turn_first() {
    let mut desk = Desk::new();
    desk.discovered(&[3, 7]);
    assert_eq!(desk.due(), [(at(3), Attempt::Dial), (at(7), Attempt::Probe)]);
    desk.tried(7, Attempt::Probe, Outcome::Connected);
    desk.wait(100);
    assert_eq!(desk.due(), [(at(7), Attempt::Dial)]);
    for (link, last) in [(1, 3), (2, 7)] {
        desk.tried(last, Attempt::Dial, Outcome::Connected);
        desk.book.ended(desk.now, LinkId(link), Some(at(last)), "it took too long".to_owned());
    }
    let ended = desk.now;
    assert_eq!(desk.next(), [(at(3), Attempt::Dial)], "this node is the greater");
    let first = desk.now.duration_since(ended);
    assert_eq!(desk.next(), [(at(7), Attempt::Dial)], "and here the lesser");
    assert!(desk.now.duration_since(ended) > 2 * first, "the other has had its turn");
}

#[test]
fn a_node_that_dialled_us_in_time_is_not_dialled() {
    let mut desk = Desk::new();
    desk.discovered(&[7]);
    assert_eq!(desk.due(), [(at(7), Attempt::Probe)]);
    desk.tried(7, Attempt::Probe, Outcome::Connected);
    desk.wait(10);
    desk.link_in(1, 7);
    desk.wait(1000);
    assert_eq!(desk.due(), []);
    assert_eq!(desk.state(7), DialState::Linked);
}

#[test]
fn a_connection_under_way_from_there_holds_a_dial_back_but_not_for_ever() {
    let mut desk = Desk::new();
    desk.discovered(&[3]);
    desk.book.pending(LinkId(1), at(3).ip());
    assert_eq!(desk.due(), []);
    desk.book.ended(desk.now, LinkId(1), None, String::new());
    assert_eq!(desk.next(), [(at(3), Attempt::Dial)]);

    let mut desk = Desk::new();
    desk.discovered(&[3]);
    desk.book.pending(LinkId(1), at(3).ip());
    let mut held = Duration::ZERO;
    let begin = desk.now;
    while desk.next().is_empty() {
        held = desk.now.duration_since(begin);
        assert!(held < Duration::from_secs(2));
    }
    assert!(held >= Duration::from_millis(900), "held back for {held:?}");
}

#[test]
fn waits_grow_from_100_ms_to_5_s_and_go_on_for_ever() {
    let mut desk = Desk::new();
    desk.discovered(&[3]);
    assert_eq!(desk.due().len(), 1);
    let mut waits = Vec::new();
    for _ in 0..100 {
        desk.tried(3, Attempt::Dial, Outcome::Failed("no answer".to_owned()));
        let before = desk.now;
        assert_eq!(desk.next(), [(at(3), Attempt::Dial)]);
        waits.push(desk.now.duration_since(before).as_millis());
    }
    assert!((75..=125).contains(&waits[0]) && (150..=250).contains(&waits[1]), "{waits:?}");
    assert!(waits[10..].iter().all(|wait| (3750..=6250).contains(wait)), "{waits:?}");
}

#[test]
fn after_a_close_both_look_at_once_and_again_until_no_process_can_be_dying_there() {
    let mut desk = Desk::new();
    desk.link_out(1, 3);
    desk.link_in(2, 7);
    desk.wait(5000);
    desk.book.unlinked(desk.now, LinkId(1));
    desk.unlink(2);
    let both = [(at(3), Attempt::Probe), (at(7), Attempt::Probe)];
    assert_eq!(desk.due(), both);
    for millis in [2, 2, 4, 8, 16, 32] {
        desk.tried(3, Attempt::Probe, Outcome::Connected);
        desk.tried(7, Attempt::Probe, Outcome::Failed("connection reset".to_owned()));
        desk.wait(millis - 1);
        assert_eq!(desk.due(), []);
        desk.wait(1);
        assert_eq!(desk.due(), both);
    }
    // A process listens there. The lesser one is dialled, and the greater one gets its 100 ms to dial us.
    for last in [3, 7] {
        desk.tried(last, Attempt::Probe, Outcome::Connected);
    }
    assert_eq!(desk.due(), [(at(3), Attempt::Dial)]);
    desk.wait(99);
    assert_eq!(desk.due(), []);
    desk.wait(1);
    assert_eq!(desk.due(), [(at(7), Attempt::Dial)]);
}

#[test]
fn a_link_that_never_lasts_is_probed_at_once_and_dialled_ever_more_slowly() {
    let mut desk = Desk::new();
    desk.discovered(&[3]);
    assert_eq!(desk.due().len(), 1);
    let mut waits = Vec::new();
    for link in 0..10 {
        desk.tried(3, Attempt::Dial, Outcome::Connected);
        desk.link_out(link, 3);
        desk.wait(10);
        desk.unlink(link);
        assert_eq!(desk.due(), [(at(3), Attempt::Probe)]);
        desk.wait(50);
        desk.tried(3, Attempt::Probe, Outcome::Connected);
        let before = desk.now;
        assert_eq!(desk.next(), [(at(3), Attempt::Dial)]);
        waits.push(desk.now.duration_since(before));
    }
    assert!(waits[9] > Duration::from_secs(3), "{waits:?}");
}

#[test]
fn the_lesser_looks_for_a_lost_peer_without_racing_it() {
    let mut desk = Desk::new();
    desk.discovered(&[7]);
    assert_eq!(desk.due(), [(at(7), Attempt::Probe)]);
    desk.tried(7, Attempt::Probe, Outcome::Refused);
    assert_eq!(desk.next(), [(at(7), Attempt::Probe)]);
    desk.tried(7, Attempt::Probe, Outcome::Connected);
    let up = desk.now;
    assert_eq!(desk.next(), [(at(7), Attempt::Dial)]);
    assert_eq!(desk.now.duration_since(up), DIAL_DEFER);
}

#[test]
fn a_take_over_is_not_redialled() {
    let mut desk = Desk::new();
    desk.link_out(1, 3);
    desk.link_in(2, 3);
    desk.wait(5000);
    desk.unlink(1);
    assert_eq!(desk.due(), []);
    assert_eq!(desk.state(3), DialState::Linked);
}

#[test]
fn the_survey_leaves_out_addresses_that_are_linked_or_refuse_and_our_own() {
    let mut desk = Desk::new();
    let first = desk.survey();
    assert!(!first.complete);
    assert!(desk.book.survey(Some(&first)).is_none(), "nothing new");
    desk.discovered(&[1, 2, 3, 4, 5]);
    assert_eq!(desk.unverified(), [1, 2, 3, 4].map(|last| Address::from(at(last))));
    assert!(desk.book.survey(Some(&first)).is_some_and(|survey| survey.complete));
    assert_eq!(desk.due().len(), 4);
    desk.link_out(1, 1);
    desk.tried(2, Attempt::Dial, Outcome::Refused);
    desk.tried(3, Attempt::Dial, Outcome::Failed("no answer".to_owned()));
    desk.tried(4, Attempt::Dial, Outcome::Connected);
    desk.book.mark_self(desk.now, at(4));
    assert_eq!(desk.unverified(), [Address::from(at(3))]);
    assert_eq!(desk.survey().refusing, [at(2)].into());
    // A retry that has no answer yet changes nothing.
    let _ = desk.next();
    assert_eq!(desk.unverified(), [Address::from(at(3))]);
    let states = [1, 2, 3, 4, 5].map(|last| desk.state(last).as_str());
    assert_eq!(states, ["linked", "refused", "unreachable", "self", "self"]);
    // Its link closed, and it does not refuse.
    desk.unlink(1);
    assert_eq!(desk.unverified(), [Address::from(at(1)), Address::from(at(3))]);
}

#[test]
fn a_further_address_of_a_node_is_dialled_and_counts_as_no_node() {
    let mut desk = Desk::new();
    let discovered = |found: &[u8], aliases: &[u8]| {
        let [found, aliases] = [found, aliases].map(|last| last.iter().copied().map(at).collect());
        Discovered { found, aliases, complete: true }
    };
    desk.book.discovered(desk.now, &discovered(&[1, 2], &[]));
    desk.book.discovered(desk.now, &discovered(&[1], &[2, 3]));
    assert_eq!(desk.due().len(), 3);
    desk.tried(3, Attempt::Dial, Outcome::Refused);
    let survey = desk.survey();
    assert_eq!((survey.unverified, survey.refusing), ([at(1)].into(), [].into()));
    assert_eq!(desk.survey().named(), [Address::from(at(1))].into());
    desk.wait(59_000);
    desk.discovered(&[1]);
    assert_eq!(desk.state(3), DialState::Refused, "it is dialled as long as it is named");
}

#[test]
fn our_own_address_is_not_dialled() {
    let mut desk = Desk::new();
    desk.discovered(&[5]);
    desk.wait(10_000);
    assert_eq!(desk.due(), []);
    assert_eq!(desk.state(5), DialState::Local);
}

#[test]
fn what_turned_out_to_be_us_is_tried_again_only_after_a_minute() {
    let mut desk = Desk::new();
    desk.discovered(&[3]);
    assert_eq!(desk.due().len(), 1);
    desk.tried(3, Attempt::Dial, Outcome::Connected);
    desk.book.mark_self(desk.now, at(3));
    desk.wait(59_000);
    assert_eq!(desk.due(), []);
    desk.wait(1_000);
    assert_eq!(desk.due(), [(at(3), Attempt::Dial)]);
}

#[test]
fn discovery_drops_no_link_and_forgets_only_what_leads_nowhere() {
    let mut desk = Desk::new();
    desk.discovered(&[1, 2]);
    assert_eq!(desk.due().len(), 2);
    desk.tried(1, Attempt::Dial, Outcome::Connected);
    desk.link_out(1, 1);
    desk.tried(2, Attempt::Dial, Outcome::Refused);
    desk.discovered(&[]);
    assert_eq!(desk.state(1), DialState::Linked);
    assert_eq!(desk.state(2), DialState::Refused, "it is still dialled for a while");
    desk.wait(61_000);
    desk.discovered(&[]);
    assert_eq!(desk.state(1), DialState::Linked);
    assert_eq!(desk.book.reports().len(), 1);
}

#[test]
fn a_peer_that_must_be_met_is_not_waited_for() {
    let mut desk = Desk::new();
    desk.discovered(&[3]);
    assert_eq!(desk.due().len(), 1);
    for _ in 0..8 {
        desk.tried(3, Attempt::Dial, Outcome::Refused);
        let _ = desk.next();
    }
    desk.tried(3, Attempt::Dial, Outcome::Refused);
    desk.wait(600);
    assert_eq!(desk.due(), []);
    desk.book.gossiped(desk.now, at(3));
    assert_eq!(desk.due(), [(at(3), Attempt::Dial)]);
    // But it is not hammered, however often it is asked for.
    desk.tried(3, Attempt::Dial, Outcome::Refused);
    desk.book.gossiped(desk.now, at(3));
    assert_eq!(desk.due(), []);
}

#[test]
fn on_loopback_the_source_of_a_connection_tells_nothing() {
    let mut desk = Desk::new();
    let loopback = |last: u8, port| SocketAddr::from(([127, 0, 0, last], port));
    desk.name([loopback(1, 4370)]);
    // A node at 127.0.0.2 dialled us, and the kernel let it send from 127.0.0.1.
    let id = NodeId::new("app@127.0.0.2:4370".parse().unwrap(), Incarnation(1), 0);
    desk.book.linked(desk.now, LinkId(1), &id, None, loopback(1, 50_000));
    assert_eq!(desk.unverified(), [Address::from(loopback(1, 4370))]);
}

/// Addresses that are not in the network of the desk, and lesser.
fn silent(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([10, 0, 1 + high, low], 4370))
}

/// A crowd of addresses of which only `living` answers; the rest lets every attempt time out. Tells after how long it was
/// linked, and how many attempts were under way at most.
fn meet_in_a_crowd(desk: &mut Desk, crowd: u16, living: SocketAddr) -> (Duration, usize) {
    desk.name((0..crowd).map(silent).chain([living]));
    let began = desk.now;
    let mut under_way: Vec<(Instant, Due)> = Vec::new();
    let mut max = 0;
    loop {
        for due in desk.take_due() {
            let takes = Duration::from_millis(match (due.target == living, due.hurried) {
                (true, _) => 1,
                (false, true) => 500,
                (false, false) => 2000,
            });
            under_way.push((desk.now + takes, due));
        }
        max = max.max(under_way.len());
        under_way.sort_by_key(|(until, _)| *until);
        let ends = under_way.first().map(|(until, _)| *until).into_iter().chain(desk.book.next_due()).min();
        desk.now = desk.now.max(ends.expect("something happens next"));
        while let Some((until, due)) = under_way.first().copied().filter(|(until, _)| *until <= desk.now) {
            under_way.remove(0);
            let silence = Outcome::Failed("no answer".to_owned());
            if due.target == living {
                desk.book.tried(desk.now, living, due.attempt, &Outcome::Refused);
                for (_, due) in under_way {
                    desk.book.tried(desk.now, due.target, due.attempt, &silence);
                }
                return (until - began, max);
            }
            desk.book.tried(desk.now, due.target, due.attempt, &silence);
        }
    }
}

#[test]
fn three_thousand_silent_addresses_take_64_places_and_do_not_hide_one_that_answers() {
    let mut desk = Desk::new();
    // It is the last in every order.
    let (took, max) = meet_in_a_crowd(&mut desk, 3000, SocketAddr::from(([10, 0, 200, 1], 4370)));
    assert_eq!(max, 48);
    // 3000 / 48 times half a second.
    assert!(took <= Duration::from_secs(34), "{took:?}");

    // By now the others are known to be silent, and new ones come first.
    desk.wait(1000);
    let (took, max) = meet_in_a_crowd(&mut desk, 3000, SocketAddr::from(([10, 0, 200, 2], 4370)));
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert!(max <= 64);
}

#[test]
fn an_address_where_a_peer_was_linked_comes_before_the_silent_ones_and_has_its_full_time() {
    let mut desk = Desk::new();
    desk.discovered(&[4]);
    desk.due();
    desk.link_out(1, 4);
    desk.name((0..1000).map(silent).chain([at(4)]));
    assert_eq!(desk.due().len(), MAX_UNKNOWN_ATTEMPTS);
    desk.wait(5000);
    desk.unlink(1);
    // It was lost just now, and the others wait since 5 s.
    let looks = |hurried| Due { target: at(4), attempt: Attempt::Probe, hurried };
    assert_eq!(desk.take_due(), [looks(false)]);
    assert_eq!(desk.book.next_due(), None, "the rest waits for a place");
    desk.book.tried(desk.now, at(4), Attempt::Probe, &Outcome::Failed("no answer".to_owned()));
    let again = desk.book.next_due().expect("it is looked at again, by the clock");
    assert!(again > desk.now);
    desk.now = again;
    assert_eq!(desk.take_due(), [looks(false)]);
}

#[test]
fn a_dial_that_is_being_introduced_keeps_its_place_until_it_ends() {
    let mut desk = Desk::new();
    desk.name((0..100).map(silent));
    let due = desk.take_due();
    assert_eq!(due.len(), MAX_UNKNOWN_ATTEMPTS);
    for due in &due {
        desk.book.tried(desk.now, due.target, Attempt::Dial, &Outcome::Connected);
    }
    assert_eq!(desk.due(), [], "they say nothing, and hold a descriptor each");
    desk.book.ended(desk.now, LinkId(1), Some(due[0].target), "it was not introduced".to_owned());
    assert_eq!(desk.due().len(), 1);
}
