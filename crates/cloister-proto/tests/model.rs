//! Every course of a few faults through three real nodes (stateright).
//!
//! The model is the universe of the scripts. Time passes in steps: a millisecond while a round is under way and messages
//! fly, so that a fault can come between any two of them; else half a second, a heartbeat. Before each step any fault may happen,
//! up to a bound. From the last one on there is only one course, which is run to its end in one step: the universe keeps the first
//! law that is broken. What a cut stops arrives when it is healed, so a cut that is healed is also a delay, of any number of
//! messages, against all others.
//!
//! Covered is every placement of that many faults from a cluster that is up, and from three processes that start, for
//! the time that the bound gives; not longer courses, other speeds of messages and clocks, or more nodes: those are the
//! simulator's.

use std::time::Duration;

use cloister_proto::rule::Rule;
use cloister_proto::{SplitPolicy, Status};
use cloister_testkit::universe::{Law, Universe, letter};
use stateright::{Checker, HasDiscoveries, Model, Property};

const NODES: usize = 3;
const HOP: Duration = Duration::from_millis(1);
const BEAT: Duration = Duration::from_millis(500);

/// Three nodes, and what may befall them.
#[derive(Clone, Debug)]
struct Cluster {
    /// Whether the course begins with a view of three, or with processes that have just started.
    assembled: bool,
    split: SplitPolicy,
    without: Option<Rule>,
    faults: usize,
    /// How long a course goes on.
    lasts: Duration,
}

/// A moment of a course.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Moment {
    universe: Universe,
    faults: usize,
    /// The fault that came last at this moment: faults of one moment come in order, which halves the courses.
    last: Option<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Kill(usize),
    Restart(usize),
    /// It leaves in order.
    Leave(usize),
    Cut(usize, usize),
    Isolate(usize),
    /// Cut off, and the links reset at the other ends alone.
    HalfReset(usize),
    Reset(usize, usize),
    Heal,
    /// Time passes.
    Pass,
}

impl Step {
    /// As a script would say it.
    fn command(self) -> String {
        match self {
            Step::Kill(at) => format!("kill {}", letter(at)),
            Step::Restart(at) => format!("kill {0}; start {0}", letter(at)),
            Step::Leave(at) => format!("leave {}", letter(at)),
            Step::Cut(from, to) => format!("cut {}->{}", letter(from), letter(to)),
            Step::Isolate(at) => format!("cut {} from all", letter(at)),
            Step::HalfReset(at) => format!("cut {0} from all, whose links to {0} are reset", letter(at)),
            Step::Reset(a, b) => format!("reset {}-{}", letter(a), letter(b)),
            Step::Heal => "heal".to_owned(),
            Step::Pass => "run".to_owned(),
        }
    }
}

impl Cluster {
    fn begin(&self) -> Universe {
        let mut universe = Universe::new(NODES, 2).by(self.split).without(self.without);
        (0..NODES).for_each(|at| universe.start(at));
        if self.assembled {
            assert!(universe.run_until(|universe| (0..NODES).all(|at| universe.members(at) == NODES)));
        }
        universe
    }
}

/// Whether a fault can happen to this universe.
fn may(universe: &Universe, fault: Step) -> bool {
    match fault {
        Step::Kill(at) => universe.is_running(at),
        Step::Leave(at) => universe.is_running(at) && universe.status(at) != Status::Stopping,
        Step::Cut(from, to) => !universe.is_cut(from, to),
        Step::Reset(a, b) => universe.has_link(a, b),
        Step::Heal => universe.has_cuts(),
        _ => true,
    }
}

fn take(universe: &mut Universe, step: Step, left: Duration) {
    match step {
        Step::Kill(at) => universe.kill(at),
        Step::Restart(at) => {
            universe.kill(at);
            universe.start(at);
        }
        Step::Leave(at) => universe.leave(at),
        Step::Cut(from, to) => universe.cut(from, to),
        Step::Isolate(at) => universe.isolate(at),
        Step::HalfReset(at) => universe.half_reset(at),
        Step::Reset(a, b) => universe.reset(a, b),
        Step::Heal => universe.heal_all(),
        Step::Pass if universe.is_mid_round() => universe.run(HOP.min(left)),
        Step::Pass => universe.run(BEAT.min(left)),
    }
}

fn faults() -> impl Iterator<Item = Step> {
    let pairs = || (0..NODES).flat_map(|a| (0..NODES).filter(move |b| *b != a).map(move |b| (a, b)));
    let each = |make: fn(usize) -> Step| (0..NODES).map(make);
    each(Step::Kill)
        .chain(each(Step::Restart))
        .chain(each(Step::Leave))
        .chain(pairs().map(|(from, to)| Step::Cut(from, to)))
        .chain(each(Step::Isolate))
        .chain(each(Step::HalfReset))
        .chain(pairs().filter(|(a, b)| a < b).map(|(a, b)| Step::Reset(a, b)))
        .chain([Step::Heal])
}

impl Model for Cluster {
    type State = Moment;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment> {
        vec![Moment { universe: self.begin(), faults: 0, last: None }]
    }

    fn actions(&self, moment: &Moment, steps: &mut Vec<Step>) {
        if moment.universe.now() < self.lasts {
            steps.push(Step::Pass);
            let in_order = |step: &Step| moment.last.is_none_or(|last| last <= *step);
            steps.extend(faults().filter(in_order).filter(|step| may(&moment.universe, *step)));
        }
    }

    fn next_state(&self, moment: &Moment, step: Step) -> Option<Moment> {
        let mut next = moment.clone();
        let left = self.lasts - next.universe.now();
        take(&mut next.universe, step, left);
        next.last = None;
        if step != Step::Pass {
            next.faults += 1;
            if next.faults == self.faults {
                // From the last fault on there is one course.
                next.universe.run(left);
            } else {
                next.last = Some(step);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_SENTRY, |_, moment: &Moment| {
                moment.universe.broken != Some(Law::TwoSentries)
            }),
            Property::always(ONE_OWNER, |_, moment: &Moment| moment.universe.broken != Some(Law::KeyTwice)),
            Property::always(ONE_VIEW, |_, moment: &Moment| moment.universe.broken != Some(Law::EpochTwice)),
            Property::always(IN_ROUND, |_, moment: &Moment| {
                moment.universe.broken != Some(Law::ProposedOutOfRound)
            }),
            Property::sometimes(THREE_UP, |_, moment: &Moment| are_up(moment, 3)),
            Property::sometimes(TWO_GO_ON, |_, moment: &Moment| moment.faults > 0 && are_up(moment, 2)),
            Property::sometimes(ONE_STAYS, |_, moment: &Moment| are_up(moment, 1)),
        ]
    }
}

const ONE_SENTRY: &str = "at most one node acts as sentry";
const ONE_OWNER: &str = "no key is mine twice";
const ONE_VIEW: &str = "no epoch is installed twice with different members";
const THREE_UP: &str = "a view of three is installed";
const TWO_GO_ON: &str = "two go on in a view of two";
const ONE_STAYS: &str = "one stays in a view of one";
const IN_ROUND: &str = "a view is proposed in a round only";
const LAWS: [&str; 4] = [ONE_SENTRY, ONE_OWNER, ONE_VIEW, IN_ROUND];

/// Whether so many nodes are up in a view of so many.
fn are_up(moment: &Moment, members: usize) -> bool {
    (0..NODES).filter(|at| moment.universe.members(*at) == members).count() == members
}

/// Looks at every course.
fn explore(cluster: &Cluster) -> impl Checker<Cluster> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let finish = HasDiscoveries::AnyFailures;
    // Depth first: what waits to be looked at is a stack of moments, not half of all.
    let checker = cluster.clone().checker().threads(threads).finish_when(finish).spawn_dfs().join();
    println!(
        "{cluster:?}: {} states, {} of them different, {} steps at most",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
    );
    checker
}

/// Looks at every course; tells the first that breaks a law, as a script would.
fn broken_by(cluster: &Cluster) -> Option<String> {
    let checker = explore(cluster);
    let broken = LAWS.into_iter().find_map(|law| Some((law, checker.discovery(law)?)));
    if broken.is_none() {
        checker.assert_any_discovery(THREE_UP);
        checker.assert_any_discovery(TWO_GO_ON);
        // Fewer than `consensus` go on only where leavers count no more.
        assert_eq!(checker.discovery(ONE_STAYS).is_some(), cluster.split == SplitPolicy::Majority);
    }
    broken.map(|(law, course)| {
        let commands: Vec<String> = course.into_actions().into_iter().map(Step::command).collect();
        format!("not so: {law}: {}", commands.join("; "))
    })
}

/// From a view of three: over the first lease and a little more.
const SHORT: Cluster = Cluster {
    assembled: true,
    split: SplitPolicy::Consensus,
    without: None,
    faults: 3,
    lasts: Duration::from_millis(2_500),
};

/// From a view of three: until a silent peer has been given up, and the others have gone on.
const LONG: Cluster = Cluster {
    assembled: true,
    split: SplitPolicy::Consensus,
    without: None,
    faults: 2,
    lasts: Duration::from_millis(6_000),
};

#[test]
fn no_three_faults_within_a_lease_break_a_law() {
    assert_eq!(broken_by(&SHORT), None);
}

#[test]
fn no_two_faults_until_a_silent_peer_is_given_up_break_a_law() {
    assert_eq!(broken_by(&LONG), None);
}

#[test]
fn no_two_faults_of_a_first_assembly_break_a_law() {
    assert_eq!(broken_by(&Cluster { assembled: false, ..LONG }), None);
}

#[test]
fn by_majority_no_two_faults_until_a_silent_peer_is_given_up_break_a_law() {
    assert_eq!(broken_by(&Cluster { split: SplitPolicy::Majority, ..LONG }), None);
}

#[test]
fn by_majority_no_two_faults_of_a_first_assembly_break_a_law() {
    assert_eq!(broken_by(&Cluster { split: SplitPolicy::Majority, assembled: false, ..LONG }), None);
}

#[test]
fn without_a_rule_some_course_breaks_a_law() {
    let courses = [
        (Rule::Guard, LONG),
        (Rule::ReleasedUpTo, LONG),
        (Rule::NewRound, LONG),
        (Rule::ClosedIsNotExpired, SHORT),
        (Rule::Forgotten, SHORT),
        (Rule::LeaveAtOnce, SHORT),
        (Rule::MajorityOfMembers, Cluster { split: SplitPolicy::Majority, ..LONG }),
    ];
    for (rule, cluster) in courses {
        let broken = broken_by(&Cluster { without: Some(rule), ..cluster });
        println!("without {rule:?}: {}", broken.as_deref().unwrap_or("nothing is broken"));
        assert!(broken.is_some(), "no course misses {rule:?}");
    }
}

#[test]
fn without_discounting_leavers_no_course_ends_with_one() {
    let cluster = Cluster { split: SplitPolicy::Majority, faults: 2, ..SHORT };
    let without = Cluster { without: Some(Rule::LeaversDiscounted), ..cluster.clone() };
    let ends_with_one = [cluster, without].map(|cluster| explore(&cluster).discovery(ONE_STAYS).is_some());
    assert_eq!(ends_with_one, [true, false]);
}
