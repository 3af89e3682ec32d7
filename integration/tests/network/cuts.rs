//! Packets of one node get lost, or those between two.

use std::net::IpAddr;
use std::time::Duration;

use cloister_integration::{
    Bar, Cut, Node, Site, agree, agreement, between, eventually, marks, names, reunite,
};

use crate::{HEALED, NOTICED, after, five, is_told};

/// How long a cut lasts when all that follows from it has been seen.
const LONGER: Duration = Duration::from_secs(2);

#[test]
fn a_node_that_is_cut_off_is_given_up_by_both_sides_and_comes_back() {
    let Some(site) = five("a_node_that_is_cut_off_is_given_up_by_both_sides_and_comes_back") else { return };
    cut_off(site, 3, "a member cut off", Cut::Off);
}

#[test]
fn a_sentry_that_is_cut_off_is_given_up_by_both_sides_and_comes_back() {
    let Some(site) = five("a_sentry_that_is_cut_off_is_given_up_by_both_sides_and_comes_back") else {
        return;
    };
    cut_off(site, 0, "the sentry cut off", Cut::Off);
}

#[test]
fn a_node_that_nobody_hears_is_given_up_by_both_sides_and_comes_back() {
    let Some(site) = five("a_node_that_nobody_hears_is_given_up_by_both_sides_and_comes_back") else {
        return;
    };
    cut_off(site, 2, "a member that nobody hears", Cut::From);
}

#[test]
fn a_node_that_hears_nobody_is_given_up_by_both_sides_and_comes_back() {
    let Some(site) = five("a_node_that_hears_nobody_is_given_up_by_both_sides_and_comes_back") else {
        return;
    };
    cut_off(site, 0, "a sentry that hears nobody", Cut::To);
}

fn cut_off(mut site: Site, victim: usize, what: &str, cut: fn(IpAddr) -> Cut) {
    let all = marks(&site.nodes);
    let at = site.hub().cut(&[cut(site.ip(victim))]);
    let lost = site.nodes.remove(victim);
    let mut noticed = Duration::ZERO;
    for (node, mark) in site.nodes.iter().zip(all.iter().enumerate().filter(|(at, _)| *at != victim)) {
        let told = node.hears("a silence", *mark.1, |heard| heard.tells("node_down", lost.name()));
        let reason = told.change("node_down", lost.name()).and_then(|change| change.reason.clone());
        assert_eq!(reason.as_deref(), Some("unreachable"), "{} is told why", node.name());
        let up = node.up_with(&names(&site.nodes), *mark.1);
        noticed = noticed.max(between(at, up.at));
    }
    Bar::millis(NOTICED).meet(&format!("{what}: the other four up without it"), noticed);
    let mark = all[victim];
    let down = after(at, &lost, "it is alone", mark, |heard| heard.to == "assembling");
    Bar::millis(NOTICED).meet(&format!("{what}: it has stepped down"), down);
    let split = after(at, &lost, "the network is split", mark, |heard| is_told(heard, "network_split"));
    Bar::millis(NOTICED).meet(&format!("{what}: it says that the network is split"), split);
    let (without, _) = agree(&site.nodes);
    std::thread::sleep(LONGER);
    let (still, _) = agreement(&site.nodes).expect("nothing happens any more");
    assert_eq!(still, without);

    site.nodes.insert(victim, lost);
    let healed = site.hub().heal();
    let what = format!("{what}: from heal to one view");
    reunite(&what, &mut site.nodes, healed, Bar::millis(HEALED));
    site.nodes[victim].hears("it is whole again", mark, |heard| is_told(heard, "network_healed"));
    site.record().check();
}

#[test]
fn a_cut_between_two_of_five_costs_one_node_at_most() {
    let Some(mut site) = five("a_cut_between_two_of_five_costs_one_node_at_most") else { return };
    for (one, other) in [(0, 1), (3, 4), (0, 4)] {
        let what = format!("a cut between number {one} and number {other} by age");
        // Who was left out comes back as young as before: it is the same process.
        let all = marks(&site.nodes);
        let at = site.hub().cut(&[Cut::Pair(site.ip(one), site.ip(other))]);
        let (out, up) = eventually("four are up without the fifth", || four(&site.nodes));
        assert!(out == one || out == other, "{what}: number {out} left");
        Bar::millis(5000).meet(&format!("{what}: number {out} left, four up"), between(at, up));
        std::thread::sleep(LONGER);
        let (still, since) = four(&site.nodes).expect("nothing happens any more");
        assert_eq!((still, since), (out, up), "{what}");

        let healed = site.hub().heal();
        reunite(&format!("{what}: from heal to one view"), &mut site.nodes, healed, Bar::millis(HEALED));
        for (at, (node, mark)) in site.nodes.iter().zip(all).enumerate() {
            let left_out = |heard: &&cloister_integration::Heard| heard.is_up() && heard.members.len() < 4;
            assert_eq!(node.heard().iter().skip(mark).find(left_out), None, "{what}: seen by number {at}");
        }
    }
    site.record().check();
}

/// Which of five is not in the view of the other four, and since when they are up.
fn four(nodes: &[Node]) -> Result<(usize, u64), String> {
    let without = |out: usize| {
        let others = nodes.iter().enumerate().filter(move |(at, _)| *at != out).map(|(_, node)| node);
        agreement(others).map(|(_, up)| (out, up))
    };
    let found = (0..nodes.len()).find_map(|out| without(out).ok());
    found.ok_or_else(|| without(0).err().unwrap_or_default())
}
