//! Several nodes, seen together.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::{Budget, Node, Notice, Plan, between, eventually, report};

/// What all nodes of a cluster agree about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The epoch of their view.
    pub epoch: u64,
    /// The name and incarnation of their sentry.
    pub sentry: String,
    /// The names and incarnations of the members, the oldest first.
    pub members: Vec<String>,
}

/// Starts all of them, one at once after another.
pub fn start_all(plans: &[Plan]) -> Vec<Node> {
    plans.iter().map(Node::start).collect()
}

/// Waits until all nodes are up with one view that has just them as members, and stays so to the end of what they
/// have said. The second value is when the last of them got there.
#[track_caller]
pub fn agree<'a>(nodes: impl IntoIterator<Item = &'a Node> + Clone) -> (Agreement, u64) {
    eventually("one view", || agreement(nodes.clone()))
}

/// Waits until all nodes agree, measures since a moment when the last of them got there, and checks what they answer
/// to questions.
#[track_caller]
pub fn reunite(what: &str, nodes: &mut [Node], since: u64, bar: Budget) -> Agreement {
    let (view, up) = agree(&*nodes);
    bar.meet(what, between(since, up));
    view.check_claims(nodes);
    view
}

/// What all nodes agree about now, and since when; the error says what they say instead.
pub fn agreement<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Result<(Agreement, u64), String> {
    let nodes: Vec<_> = nodes.into_iter().collect();
    let last: Vec<Notice> = nodes.iter().filter_map(|node| node.last_notice()).collect();
    let mut names: Vec<_> = nodes.iter().map(|node| node.name()).collect();
    names.sort_unstable();
    let views: BTreeSet<_> =
        last.iter().map(|notice| (notice.epoch, &notice.sentry, &notice.members)).collect();
    let all_up = last.iter().all(|notice| notice.is_up() && notice.names() == names);
    match views.first() {
        Some((Some(epoch), Some(sentry), members))
            if views.len() == 1 && last.len() == nodes.len() && all_up =>
        {
            let at = last.iter().map(|notice| notice.at).max().unwrap_or_default();
            let sentry = (*sentry).clone();
            Ok((Agreement { epoch: *epoch, sentry, members: (*members).clone() }, at))
        }
        _ => Err(format!("{last:#?}")),
    }
}

impl Agreement {
    /// How many members are older than the one of this name. Panics if it is none.
    #[track_caller]
    pub fn age_of(&self, name: &str) -> usize {
        let is_it = |id: &String| id.rsplit_once('#').is_some_and(|(its, _)| its == name);
        self.members.iter().position(is_it).unwrap_or_else(|| panic!("{name} is no member of {self:?}"))
    }

    /// Checks what the nodes answer to questions. Each of a thousand keys has one owner that all name, and only that one claims the key.
    /// There is one sentry, which alone claims to be it. A node whose lease has lapsed claims nothing at all: where a link has just come
    /// back, that is waited for.
    #[track_caller]
    pub fn check_claims(&self, nodes: &mut [Node]) {
        let answers = eventually("claims of every node", || {
            let answers: Vec<Value> = nodes.iter_mut().map(|node| node.ask("claims 1000")).collect();
            match answers.iter().find(|answer| has_lapsed(answer)) {
                Some(lapsed) => Err(format!("{} claims nothing", lapsed["me"])),
                None => Ok(answers),
            }
        });
        let owners = &answers[0]["owners"];
        let sentry = self.sentry.as_str();
        for (node, answer) in nodes.iter().zip(&answers) {
            assert_eq!(answer["owners"], *owners, "{} names other owners", node.name());
            let me = answer["me"].as_str().expect("a node knows its name");
            let named = owners.as_array().expect("a list").iter();
            let named: Vec<_> =
                named.enumerate().filter(|(_, owner)| *owner == me).map(|(key, _)| key).collect();
            assert_eq!(answer["mine"], Value::from(named), "what {me} claims and what the others give it");
            assert_eq!(answer["is_sentry"], me == sentry, "{me} and the sentry {sentry}");
        }
        assert_eq!(owners.as_array().map(Vec::len), Some(1000));
    }

    /// Every listener heard once that each member is up, and never that one is down.
    #[track_caller]
    pub fn check_one_up_each(&self, nodes: &[Node]) {
        for node in nodes {
            let notices = node.notices();
            let count = |kind: &str, id: &str| {
                let changes = notices.iter().flat_map(|notice| &notice.changes);
                changes.filter(|change| change.kind == kind && change.node.as_deref() == Some(id)).count()
            };
            for member in &self.members {
                let counts = (count("node_up", member), count("node_down", member));
                assert_eq!(counts, (1, 0), "{member} at {}: {notices:#?}", node.name());
            }
        }
    }
}

/// Whether a node that owns keys claims none of them.
fn has_lapsed(claims: &Value) -> bool {
    let is_empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    let owns = claims["owners"].as_array().is_some_and(|owners| owners.contains(&claims["me"]));
    owns && is_empty(&claims["mine"]) && claims["is_sentry"] == false
}

/// How many rounds nodes that start together may need. Most often it is one; with twenty nodes on two processors that have ten times
/// as much to do, three were seen.
const ROUNDS: usize = 4;

/// What a node may cost the processors until it is there, without its links.
const START: Duration = Duration::from_millis(100);

/// What a link may cost the processors, by both ends together, at most: measured 10 to 20 ms, debug build.
const LINK: Duration = Duration::from_millis(30);

/// That nodes which have just come together needed few rounds for it, and no more of the processors than their links
/// explain. Both say what the time says, where a busy machine makes that many times longer.
#[track_caller]
pub fn check_assembly(nodes: &[Node]) {
    let epochs = nodes.iter().flat_map(Node::notices).filter(Notice::is_up).filter_map(|notice| notice.epoch);
    let rounds = epochs.collect::<BTreeSet<_>>().len();
    let cost: Duration = nodes.iter().map(Node::processor_time).sum();
    let links = u32::try_from(nodes.len() * (nodes.len() - 1) / 2).expect("there are few nodes");
    report(&format!("    {} nodes together after {rounds} rounds and {cost:.1?} of processors", nodes.len()));
    assert!(rounds <= ROUNDS, "{rounds} rounds, over {ROUNDS}");
    let max = START * u32::try_from(nodes.len()).expect("there are few nodes") + LINK * links;
    assert!(cost <= max, "{cost:?} of processors, over {max:?}");
}

/// The names of nodes.
pub fn names<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<&'a str> {
    nodes.into_iter().map(Node::name).collect()
}

/// How much each node has heard so far.
pub fn marks<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<usize> {
    nodes.into_iter().map(Node::mark).collect()
}

/// From the last start of a process until all were up.
pub fn assembly_time(nodes: &[Node], up: u64) -> Duration {
    let last = nodes.iter().map(Node::started).max().unwrap_or_default();
    between(last, up)
}
