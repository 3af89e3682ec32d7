//! One node more: from its first link until every node is in the new view.

use std::time::{SystemTime, UNIX_EPOCH};

use cloister_integration::Node;
use jiff::Timestamp;

use super::cluster::{Cluster, plans};
use super::{Measuring, millis_between, now};

/// What the newcomer logs: nothing but its links.
const LOG: &str = "error,cloister_net::session=debug";

/// A node joins `n` others.
pub(crate) fn join(measuring: &mut Measuring<'_>, n: usize) {
    let ips = measuring.ips(n + 1);
    let mut all = plans(&ips);
    let consensus = n / 2 + 1;
    all = all.into_iter().map(|plan| plan.set("CONSENSUS", consensus)).collect();
    let newcomer = all.pop().expect("there is one more").variable("RUST_LOG", LOG);
    let olds = all.into_iter().map(|plan| plan.seeds(&ips[..n])).collect();
    let mut cluster = Cluster::start(olds);
    measuring.each_run(|measuring, _| {
        let offset = clock_offset();
        let began = now();
        cluster.nodes.push(Node::start(&newcomer));
        let all_up = cluster.up();
        let mut joined = cluster.nodes.pop().expect("it was pushed");
        let linked = joined.log().find(|lines| lines.iter().find_map(|line| first_link(line)));
        let linked = linked.expect("it logs its links").saturating_sub(offset);
        measuring.note("join", n, millis_between(linked, all_up));
        measuring.note("join-start", n, millis_between(began, all_up));
        joined.signal("TERM");
        joined.wait();
        drop(joined);
        cluster.up();
    });
}

/// The moment at which the line says that a link is there, in nanoseconds of the wall clock.
fn first_link(line: &str) -> Option<u64> {
    let (at, _) = line.split_once(' ').filter(|(_, rest)| rest.contains(": peer connected "))?;
    u64::try_from(at.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

/// How far the wall clock is ahead of the clock that all processes share.
fn clock_offset() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX).saturating_sub(now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_says_when_a_link_was_there() {
        let line =
            "2026-11-24T19:00:00.000001Z DEBUG cloister_net::session::state: peer connected peer=a link=1";
        assert_eq!(first_link(line), Some(1_795_546_800_000_001_000));
        assert_eq!(first_link("2026-11-24T19:00:00Z DEBUG it: peer disconnected peer=a"), None);
        assert_eq!(first_link("thread main panicked"), None);
    }
}
