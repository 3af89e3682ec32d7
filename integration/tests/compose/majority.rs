//! The default split policy, with the compose file as it is shipped: nothing says how many nodes there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cloister_integration::{eventually_within, report, required};
use cloister_json::{Event, Readiness, Split, Whois};

use crate::node::Node;
use crate::project::{Project, run};
use crate::{View, WAIT_TIMEOUT, agreed, scale};

/// For how long a node that stays may not be up while members come and go, at most, on any machine.
const NOT_UP: Duration = Duration::from_secs(10);

/// How long the watch of one container rests between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The keys that are asked for.
const KEYS: [&str; 4] = ["a", "user/7", "0123456789", "key"];

/// Containers of the shipped compose file that agree, and nothing in their environment that says how many there are.
fn started(project: &Project, size: usize) -> View {
    scale(project, size);
    let nodes = project.nodes();
    let view = settled(&nodes, size);
    for node in &nodes {
        let environment = node.environment();
        for key in ["CLOISTER__CONSENSUS", "CLOISTER__SPLIT"] {
            assert!(!environment.contains(key), "{key} is set in {node}: {environment}");
        }
        assert_eq!(split(node).policy.as_deref(), Some("majority"));
    }
    view
}

/// As [`agreed`], however long it takes until then.
fn settled(nodes: &[Node], size: usize) -> View {
    eventually_within("one view", WAIT_TIMEOUT, || {
        let views: Vec<View> = nodes.iter().map(Node::view).collect::<Result<_, String>>()?;
        let one = views.iter().all(|view| view.is_up() && view.same_as(&views[0]));
        if one && views[0].members.len() == size { Ok(()) } else { Err(format!("{views:#?}")) }
    });
    agreed(nodes, size)
}

/// What `/members` says of a loss or a split.
fn split(node: &Node) -> Split {
    node.members().expect("a node that is up answers").split.expect("it is in a view")
}

#[track_caller]
fn can_lose(nodes: &[Node], members: u64, counted: u64, spare: u64) {
    for node in nodes {
        let split = split(node);
        let expected = (Some(members), Some(counted), Some(spare));
        assert_eq!((split.members, split.counted, split.spare), expected, "{node}");
    }
}

/// Takes the container out that is the sentry.
fn take_sentry(nodes: &mut Vec<Node>) -> Node {
    let is_sentry = |node: &Node| node.view().is_ok_and(|view| view.is_sentry);
    let at = nodes.iter().position(is_sentry).expect("one is the sentry");
    nodes.remove(at)
}

#[test]
fn one_of_three_is_killed_and_two_go_on() {
    if !required("docker", "one_of_three_is_killed_and_two_go_on") {
        return;
    }
    let project = Project::new("majority-kill", &[]);
    let three = started(&project, 3);
    let mut nodes = project.nodes();
    can_lose(&nodes, 3, 3, 1);
    let mut watch = Watch::default();
    nodes.iter().for_each(|node| watch.begin(node));

    let killed = take_sentry(&mut nodes);
    run(&["docker", "kill", killed.container()]);
    let two = settled(&nodes, 2);
    assert!(two.epoch > three.epoch, "the epoch must rise: {three:?}, then {two:?}");
    can_lose(&nodes, 2, 3, 0);
    let account = watch.end();
    for node in &nodes {
        account.never_lost_its_view(node);
    }

    // One of two is not more than half of the three that the cluster counts.
    let killed = take_sentry(&mut nodes);
    let last = nodes.pop().expect("one is left");
    run(&["docker", "kill", killed.container()]);
    eventually_within("it says what is missing", WAIT_TIMEOUT, || {
        let (ready, view) = (last.get("/readyz")?, last.view()?);
        let missing = ready.parsed::<Readiness>()?.missing;
        let names = missing.iter().any(|line| line.contains("needed"));
        let waits = ready.code == 503 && names && !view.is_up() && !view.is_sentry;
        if waits { Ok(()) } else { Err(format!("{ready:?}, {view:?}")) }
    });
    scale(&project, 3);
    let after = settled(&project.nodes(), 3);
    assert!(after.epoch > two.epoch, "the epoch must rise: {two:?}, then {after:?}");
    can_lose(&project.nodes(), 3, 3, 1);
}

#[test]
fn a_service_scaled_from_five_to_two_in_order_goes_on_with_two() {
    if !required("docker", "a_service_scaled_from_five_to_two_in_order_goes_on_with_two") {
        return;
    }
    let project = Project::new("majority-scale", &[]);
    let five = started(&project, 5);
    let nodes = project.nodes();
    can_lose(&nodes, 5, 5, 2);
    let mut watch = Watch::default();
    nodes.iter().for_each(|node| watch.begin(node));

    scale(&project, 2);
    let nodes = project.nodes();
    let two = settled(&nodes, 2);
    assert!(two.epoch > five.epoch, "the epoch must rise: {five:?}, then {two:?}");
    can_lose(&nodes, 2, 2, 0);
    let account = watch.end();
    for node in &nodes {
        account.never_lost_its_view(node);
    }
}

#[test]
fn a_rollout_that_starts_one_before_it_stops_one_has_one_cluster_at_any_time() {
    if !required("docker", "a_rollout_that_starts_one_before_it_stops_one_has_one_cluster_at_any_time") {
        return;
    }
    let project = Project::new("majority-rollout", &[]);
    let mut view = started(&project, 3);
    let old: BTreeSet<String> = project.nodes().iter().map(|node| node.container().to_owned()).collect();
    let mut watch = Watch::default();
    project.nodes().iter().for_each(|node| watch.begin(node));
    for _ in 0..old.len() {
        scale(&project, 4);
        let mut nodes = project.nodes();
        let four = settled(&nodes, 4);
        assert!(four.epoch > view.epoch, "the epoch must rise: {view:?}, then {four:?}");
        can_lose(&nodes, 4, 4, 1);
        watch.begin_others(&nodes);
        // The oldest, so that each step takes the sentry.
        let leaver = take_sentry(&mut nodes);
        assert!(old.contains(leaver.container()), "the oldest is an old one");
        report(&format!("docker stop took {} ms", leaver.stop().as_millis()));
        assert_eq!(leaver.exit_code(), 0, "it leaves in time, and is not killed");
        leaver.remove();
        view = settled(&nodes, 3);
        assert!(view.epoch > four.epoch, "the epoch must rise: {four:?}, then {view:?}");
        can_lose(&nodes, 3, 3, 1);
    }
    let nodes = project.nodes();
    assert!(nodes.iter().all(|node| !old.contains(node.container())), "{nodes:?} are new");
    let account = watch.end();
    account.all_never_lost_their_view();
}

/// Looks at containers all the time.
#[derive(Default)]
struct Watch {
    over: Arc<AtomicBool>,
    watched: BTreeMap<String, Watched>,
}

struct Watched {
    looks: JoinHandle<Vec<Look>>,
    events: JoinHandle<Vec<Event>>,
}

/// What one process claimed in a view, at some moments between two of this machine.
#[derive(Clone, Debug)]
struct Look {
    /// Its incarnation: addresses of containers are used again.
    process: String,
    began: Instant,
    ended: Instant,
    epoch: u64,
    is_sentry: bool,
    mine: Vec<&'static str>,
}

/// All that the containers told, by the id of the container.
struct Account(BTreeMap<String, Vec<Event>>);

impl Watch {
    fn begin(&mut self, node: &Node) {
        let container = node.container().to_owned();
        let (of_looks, events) = (Node::of_container(&container), node.events());
        let (over, also) = (Arc::clone(&self.over), Arc::clone(&self.over));
        let watched = Watched {
            looks: thread::spawn(move || looks(&of_looks, &over)),
            events: thread::spawn(move || events.follow(&also)),
        };
        self.watched.insert(container, watched);
    }

    /// Begins to watch those that are not watched yet.
    fn begin_others(&mut self, nodes: &[Node]) {
        let new: Vec<&Node> =
            nodes.iter().filter(|node| !self.watched.contains_key(node.container())).collect();
        new.into_iter().for_each(|node| self.begin(node));
    }

    /// Ends, and checks that there was one cluster at any time.
    #[track_caller]
    fn end(self) -> Account {
        self.over.store(true, Ordering::SeqCst);
        let (mut looks, mut events) = (Vec::new(), BTreeMap::new());
        for (container, watched) in self.watched {
            looks.extend(watched.looks.join().expect("the watch does not fail"));
            events.insert(container, watched.events.join().expect("the watch does not fail"));
        }
        one_cluster(looks);
        Account(events)
    }
}

/// Asks at the address of a container again and again what is claimed. Each look is of one process in one view: both are the same at
/// its beginning and its end.
fn looks(node: &Node, over: &AtomicBool) -> Vec<Look> {
    let mut looks = Vec::new();
    while !over.load(Ordering::SeqCst) {
        // A container that is gone, or that leaves, claims nothing.
        if let Ok(Some(look)) = look(node) {
            looks.push(look);
        }
        thread::sleep(PAUSE);
    }
    looks
}

fn look(node: &Node) -> Result<Option<Look>, String> {
    let began = Instant::now();
    let before = node.view()?;
    let mut mine = Vec::new();
    for key in KEYS {
        let path = format!("/whois/{}", key.replace('/', "%2F"));
        if node.get(&path)?.parsed::<Whois>()?.is_mine {
            mine.push(key);
        }
    }
    let after = node.view()?;
    let (process, ended) = (before.incarnation, Instant::now());
    let is_one = before.epoch == after.epoch && process == after.incarnation;
    let look = |epoch| Look { process, began, ended, epoch, is_sentry: before.is_sentry, mine };
    Ok(before.epoch.filter(|_| is_one).map(look))
}

/// A claim in a view ends all claims in earlier views, and in one view no two nodes claim one thing. Two clusters
/// beside each other would claim in an earlier epoch after one of them has claimed in a later one.
#[track_caller]
fn one_cluster(mut looks: Vec<Look>) {
    looks.retain(|look| look.is_sentry || !look.mine.is_empty());
    assert!(!looks.is_empty(), "nothing was claimed, so nothing was compared");
    let mut holders: BTreeMap<(u64, &str), &str> = BTreeMap::new();
    for look in &looks {
        let claims = look.mine.iter().copied().chain(look.is_sentry.then_some("(sentry)"));
        for claim in claims {
            let holder = holders.entry((look.epoch, claim)).or_insert(&look.process);
            assert_eq!(*holder, look.process, "two claim {claim} in one view: {look:?}");
        }
    }
    let mut ended: Vec<&Look> = looks.iter().collect();
    ended.sort_by_key(|look| look.ended);
    let mut began = ended.clone();
    began.sort_by_key(|look| look.began);
    let mut ended = ended.into_iter().peekable();
    let mut newest: Option<&Look> = None;
    for look in began {
        while let Some(before) = ended.next_if(|before| before.ended < look.began) {
            newest = newest.filter(|newest| newest.epoch >= before.epoch).or(Some(before));
        }
        if let Some(newest) = newest {
            assert!(
                look.epoch >= newest.epoch,
                "a claim in an earlier view:\n{newest:?}, and then\n{look:?}"
            );
        }
    }
    let epochs: BTreeSet<u64> = looks.iter().map(|look| look.epoch).collect();
    report(&format!("{} looks with claims, in {} views, none beside a later one", looks.len(), epochs.len()));
}

impl Account {
    #[track_caller]
    fn all_never_lost_their_view(&self) {
        self.0.keys().for_each(|container| self.check(container));
    }

    #[track_caller]
    fn never_lost_its_view(&self, node: &Node) {
        self.check(node.container());
    }

    /// It went from view to view and never without one, and no change took it long.
    #[track_caller]
    fn check(&self, container: &str) {
        let events = &self.0[container];
        assert!(events.iter().any(|event| event.to == "up"), "{container} was up: {events:?}");
        assert!(
            events.iter().all(|event| event.to != "assembling"),
            "{container} never lost its view: {events:?}"
        );
        let mut down: Option<u64> = None;
        let mut longest = 0;
        for event in events {
            match event.to.as_str() {
                "up" => longest = longest.max(down.take().map_or(0, |since| event.at.saturating_sub(since))),
                _ => down = down.or(Some(event.at)),
            }
        }
        report(&format!("{container} was not up for {longest} ms at the longest"));
        assert!(Duration::from_millis(longest) <= NOT_UP, "{container}: {events:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(process: &str, from: u64, to: u64, epoch: u64) -> Look {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let at = |ms| *START + Duration::from_millis(ms);
        let (began, ended) = (at(from), at(to));
        Look { process: process.to_owned(), began, ended, epoch, is_sentry: true, mine: vec!["a"] }
    }

    #[test]
    fn views_one_after_the_other_are_one_cluster() {
        one_cluster(vec![look("1", 0, 1, 7), look("1", 2, 3, 7), look("2", 4, 5, 8), look("1", 6, 7, 9)]);
    }

    #[test]
    fn looks_at_one_time_prove_nothing() {
        one_cluster(vec![look("1", 0, 5, 7), look("2", 1, 6, 8)]);
    }

    #[test]
    #[should_panic(expected = "a claim in an earlier view")]
    fn two_clusters_beside_each_other_are_found() {
        one_cluster(vec![look("1", 0, 1, 7), look("2", 2, 3, 8), look("1", 4, 5, 7)]);
    }

    #[test]
    #[should_panic(expected = "two claim a in one view")]
    fn two_owners_in_one_view_are_found() {
        one_cluster(vec![look("1", 0, 1, 7), look("2", 2, 3, 7)]);
    }
}
