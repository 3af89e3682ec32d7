//! Applications on simulated processes: what they are told and when, what they send, and what they hold.

use std::collections::{BTreeMap, BTreeSet};

use cloister_proto::{Epoch, Held, NodeId, Status, TrustRefusal};
use cloister_sim::{
    Adversary, Amnesia, Application, Context, Fault, Finished, HOLD_GRACE, Input, MS, Outcome, Scenario,
    Violation, World,
};
use cloister_testkit::random::Rng;

/// How often a process pings.
const PING_EVERY: u64 = 50 * MS;

/// A ping: numbered by its sender for its receiver, over all links.
#[derive(Clone, Debug)]
struct Ping {
    from: NodeId,
    number: u64,
    sent_at: u64,
}

/// Pings each linked process.
struct Pinger {
    host: usize,
    seq: u64,
    status: Status,
    /// The next number for each process.
    next: BTreeMap<NodeId, u64>,
    /// The linked processes, with what came last over the link.
    links: BTreeMap<NodeId, Option<u64>>,
    /// From which processes a ping came since all is healed.
    heard_in_quiet: BTreeSet<NodeId>,
    wakes_at: u64,
    /// What is held, and until when.
    held: Option<(Held, u64)>,
    offered: BTreeMap<Epoch, u64>,
}

/// What processes do with a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// They do not take it.
    Grace,
    /// They release it at once.
    AtOnce,
    /// The process on host 0 takes it for this long, the others release it at once.
    ByOne(u64),
    /// Each takes it with its own luck, and for how long.
    Random,
}

/// What is known of a run.
#[derive(Debug)]
struct Oracle {
    holding: Holding,
    never_finishes: bool,
    ends_broken: bool,
    running: BTreeSet<NodeId>,
    /// What each process handled: when, on which host, what.
    handled: Vec<(u64, usize, String)>,
    received: u64,
    relinked: u64,
    ended: Vec<(u64, usize, Status)>,
    /// The longest flight of a ping.
    slowest: u64,
    /// How long views took from their offer to their begin, with how many members they have.
    rounds: Vec<(u64, usize)>,
    claims: Vec<(u64, usize, Option<Epoch>)>,
}

impl Oracle {
    fn new(holding: Holding) -> Self {
        Self {
            holding,
            never_finishes: false,
            ends_broken: false,
            running: BTreeSet::new(),
            handled: Vec::new(),
            received: 0,
            relinked: 0,
            ended: Vec::new(),
            slowest: 0,
            rounds: Vec::new(),
            claims: Vec::new(),
        }
    }
}

/// Fails with `what` unless `holds`.
fn law(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(what())) }
}

impl Pinger {
    fn on_changed(
        &mut self,
        ctx: &mut Context<'_, Self>,
        change: &cloister_proto::Transition,
    ) -> Result<(), Violation> {
        law(change.seq == self.seq + 1, || {
            format!("{}: change {} after {}", ctx.node, change.seq, self.seq)
        })?;
        self.seq = change.seq;
        self.status = change.to;
        if change.to == Status::Up
            && let Some(epoch) = change.state.epoch()
            && let Some(offered) = self.offered.remove(&epoch)
        {
            ctx.oracle.rounds.push((ctx.now - offered, change.state.members.len()));
        }
        let Some(held) = change.hold else { return Ok(()) };
        if let Held::View(epoch) = held {
            self.offered.insert(epoch, ctx.now);
        }
        let span = match ctx.oracle.holding {
            Holding::Grace => return Ok(()),
            Holding::ByOne(span) if ctx.host == 0 => span,
            Holding::AtOnce | Holding::ByOne(_) => 0,
            Holding::Random if ctx.rng.percent(30) => return Ok(()),
            Holding::Random => ctx.rng.between(0, 2_000) * MS,
        };
        if span == 0 {
            ctx.release_hold(held);
        } else {
            ctx.take_hold(held);
            self.held = Some((held, ctx.now + span));
        }
        Ok(())
    }

    fn on_received(
        &mut self,
        ctx: &mut Context<'_, Self>,
        from: NodeId,
        ping: &Ping,
    ) -> Result<(), Violation> {
        law(from == ping.from, || format!("{from} is said to have sent what {} sent", ping.from))?;
        law(ctx.now > ping.sent_at, || format!("a ping of {from} takes no time"))?;
        let Some(last) = self.links.get_mut(&from) else {
            return Err(Violation(format!("{} hears {from}, which is not linked", ctx.node)));
        };
        if let Some(last) = last.replace(ping.number) {
            law(ping.number == last + 1, || format!("ping {} of {from} comes after {last}", ping.number))?;
        }
        ctx.oracle.received += 1;
        ctx.oracle.slowest = ctx.oracle.slowest.max(ctx.now - ping.sent_at);
        if ctx.quiet {
            self.heard_in_quiet.insert(from);
        }
        Ok(())
    }

    fn on_wake(&mut self, ctx: &mut Context<'_, Self>) -> Result<(), Violation> {
        law(ctx.now >= self.wakes_at, || format!("{} is woken too early", ctx.node))?;
        self.wakes_at = ctx.now + PING_EVERY;
        ctx.wake_at(ctx.now + 10 * PING_EVERY);
        ctx.wake_at(self.wakes_at);
        if let Some((held, _)) = self.held.take_if(|(_, until)| *until <= ctx.now) {
            ctx.release_hold(held);
        }
        for peer in self.links.keys() {
            let number = self.next.entry(peer.clone()).or_default();
            *number += 1;
            let ping = Ping { from: ctx.node.clone(), number: *number, sent_at: ctx.now };
            ctx.send(peer, ping);
        }
        let claim = ctx.claim;
        ctx.oracle.claims.push((ctx.now, ctx.host, claim));
        ctx.note(|| format!("wakes under {claim:?}"));
        Ok(())
    }
}

impl Application for Pinger {
    type Message = Ping;
    type Oracle = Oracle;

    fn start(ctx: &mut Context<'_, Self>) -> Self {
        ctx.oracle.running.insert(ctx.node.clone());
        let wakes_at = ctx.now + ctx.rng.between(0, PING_EVERY);
        ctx.wake_at(wakes_at);
        Self {
            host: ctx.host,
            seq: 0,
            status: Status::Assembling,
            next: BTreeMap::new(),
            links: BTreeMap::new(),
            heard_in_quiet: BTreeSet::new(),
            wakes_at,
            held: None,
            offered: BTreeMap::new(),
        }
    }

    fn handle(&mut self, ctx: &mut Context<'_, Self>, input: Input<Ping>) -> Result<(), Violation> {
        let what = format!("{input:?}");
        ctx.oracle.handled.push((ctx.now, ctx.host, what));
        law(ctx.host == self.host, || "an application has moved".to_owned())?;
        law(ctx.oracle.running.contains(&ctx.node), || format!("{} has ended", ctx.node))?;
        match input {
            Input::Changed { change, .. } => self.on_changed(ctx, &change),
            Input::Linked(peer) => {
                law(!self.links.contains_key(&peer), || format!("{peer} is linked twice"))?;
                ctx.oracle.relinked += u64::from(self.next.contains_key(&peer));
                self.links.insert(peer, None);
                Ok(())
            }
            Input::Unlinked(peer) => {
                let was_linked = self.links.remove(&peer).is_some();
                law(was_linked, || format!("{peer} is unlinked, and was not linked"))
            }
            Input::Received { from, message } => self.on_received(ctx, from, &message),
            Input::Wake => self.on_wake(ctx),
        }
    }

    fn ended(self, ctx: &mut Context<'_, Self>) {
        assert!(ctx.oracle.running.remove(&ctx.node), "{} ends twice", ctx.node);
        ctx.oracle.ended.push((ctx.now, ctx.host, self.status));
    }

    fn warms_up(&self) -> bool {
        self.host == 1
    }

    fn is_aimed_at(ping: &Ping) -> bool {
        ping.number.is_multiple_of(20)
    }

    fn finished(apps: Vec<(usize, NodeId, &Self)>, oracle: &mut Oracle, now: u64) -> Finished {
        if oracle.ends_broken {
            return Finished::Broken(Violation(format!("broken at {} ms", now / MS)));
        }
        let deaf = apps.iter().find(|(_, _, app)| app.heard_in_quiet.len() + 1 < apps.len());
        match deaf {
            Some((host, ..)) => Finished::NotYet(format!("host {host} does not hear all")),
            None if oracle.never_finishes => Finished::NotYet("it never does".to_owned()),
            None => Finished::Done,
        }
    }
}

fn run(scenario: Scenario, holding: Holding) -> (Outcome, Oracle) {
    World::<Pinger>::run_with(scenario, Oracle::new(holding), false)
}

/// Three processes that come together, and one fault at 5 s.
fn with_fault(fault: Fault) -> Scenario {
    let mut scenario = Scenario::calm(1, 3);
    scenario.faults.push((5_000 * MS, fault));
    scenario.quiet_at = 10_000 * MS;
    scenario
}

#[test]
fn what_a_link_carries_is_in_order_without_gaps_and_the_laws_hold_under_all_faults() {
    let (mut received, mut relinked, mut ended, mut slowest, mut stopped) = (0, 0, 0, 0, 0);
    for seed in 0..60 {
        let hosts = 3 + Rng::new(seed).index(4);
        let mut scenario = Scenario::adversarial(seed, hosts);
        scenario.application_adversary = seed % 3 * 20;
        let holding =
            [Holding::Grace, Holding::AtOnce, Holding::Random, Holding::ByOne(700 * MS)][seed as usize % 4];
        let (outcome, oracle) = run(scenario, holding);
        assert_eq!(outcome.violation, None, "seed {seed}, {holding:?}");
        assert!(outcome.healed_after.is_some() && outcome.application_messages >= oracle.received);
        received += oracle.received;
        relinked += oracle.relinked;
        ended += oracle.ended.len();
        stopped += oracle.ended.iter().filter(|(.., status)| *status == Status::Stopped).count();
        slowest = slowest.max(oracle.slowest / MS);
    }
    println!(
        "{received} pings, {relinked} links anew, {ended} ends, {stopped} in order, slowest {slowest} ms"
    );
    assert!(received > 50_000 && relinked > 50 && ended > 100 && stopped > 10 && slowest > 1_000);
}

#[test]
fn applications_run_in_scenarios_of_every_kind() {
    for seed in 0..40 {
        for scenario in [
            Scenario::aimed(seed),
            Scenario::frozen(seed),
            Scenario::majority(seed, Amnesia::Never),
            Scenario::aimed_at_majority(seed, Amnesia::Never),
            Scenario::rejected(seed, TrustRefusal::Never),
            Scenario::mixed(seed, 4),
        ] {
            let (outcome, _) = run(scenario, Holding::AtOnce);
            assert_eq!(outcome.violation, None, "seed {seed}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_of_the_applications() {
    let run = || {
        let scenario = Scenario { application_adversary: 10, ..Scenario::adversarial(9, 5) };
        let (outcome, oracle) = World::<Pinger>::run_with(scenario, Oracle::new(Holding::Random), true);
        (outcome.script, format!("{oracle:?}"))
    };
    let (first, second) = (run(), run());
    assert!(first.0.iter().any(|line| line.contains("wakes under")), "notes are in the script");
    assert_eq!(first, second);
}

/// How long the views of all in a calm run took from their offer to their begin, in milliseconds: the shortest and the longest.
fn rounds(holding: Holding) -> (u64, u64) {
    let (outcome, oracle) = run(Scenario::calm(2, 4), holding);
    assert_eq!(outcome.violation, None);
    let in_ms = oracle.rounds.iter().filter(|(_, members)| *members == 4).map(|(span, _)| span / MS);
    (in_ms.clone().min().expect("there are views"), in_ms.max().expect("there are views"))
}

#[test]
fn a_hold_that_is_taken_delays_the_round_until_it_is_released() {
    let (_, longest) = rounds(Holding::AtOnce);
    assert!(longest < 50, "released at once: {longest} ms");
    for span in [300, 1_500] {
        let (shortest, longest) = rounds(Holding::ByOne(span * MS));
        // It is released at a wake-up, up to 50 ms later. A node hears of the others' promises up to a heartbeat late.
        assert!(shortest + 10 >= span && longest < span + 150, "held {span} ms: {shortest} to {longest}");
    }
}

#[test]
fn a_hold_that_is_not_taken_is_released_after_its_grace() {
    let (shortest, longest) = rounds(Holding::Grace);
    let grace = HOLD_GRACE / MS;
    assert!(shortest + 10 >= grace && longest < grace + 100, "{shortest} to {longest} ms");
}

#[test]
fn a_paused_process_handles_nothing_and_then_all_that_waits() {
    let (outcome, oracle) = run(with_fault(Fault::Pause(0, 2_000 * MS)), Holding::AtOnce);
    assert_eq!(outcome.violation, None);
    let between = |from: u64, until: u64| {
        oracle.handled.iter().filter(move |(at, host, _)| *host == 0 && (from * MS..until * MS).contains(at))
    };
    assert!(between(4_900, 5_000).count() > 2);
    assert_eq!(between(5_000, 7_000).count(), 0);
    let waited = between(7_000, 7_001).filter(|(.., what)| what.contains("Received")).count();
    assert!(waited > 60, "{waited} pings waited");
    assert!(oracle.slowest > 1_900 * MS);
}

#[test]
fn an_application_goes_on_while_the_core_of_its_process_hangs() {
    let (outcome, oracle) = run(with_fault(Fault::Hang(0, 1_500 * MS)), Holding::AtOnce);
    assert_eq!(outcome.violation, None);
    let meanwhile =
        oracle.handled.iter().filter(|(at, host, _)| *host == 0 && (5_000..6_500).contains(&(at / MS)));
    assert!(meanwhile.count() > 60);
    assert!(oracle.slowest < 10 * MS);
}

#[test]
fn an_application_goes_on_after_a_pause_while_its_core_still_hangs() {
    let mut scenario = with_fault(Fault::Hang(0, 2_000 * MS));
    scenario.faults.push((5_000 * MS, Fault::Pause(0, 1_000 * MS)));
    let (outcome, oracle) = run(scenario, Holding::AtOnce);
    assert_eq!(outcome.violation, None);
    let first = oracle.handled.iter().find(|(at, host, _)| *host == 0 && *at >= 5_000 * MS);
    assert_eq!(first.map(|(at, ..)| at / MS), Some(6_000));
}

#[test]
fn a_reset_that_the_host_does_not_notice_is_told_to_the_others() {
    let mut scenario = with_fault(Fault::HalfReset(2));
    scenario.may_misjudge = true;
    let (outcome, oracle) = run(scenario, Holding::AtOnce);
    assert_eq!(outcome.violation, None);
    let unlinked = oracle.handled.iter().filter(|(_, _, what)| what.starts_with("Unlinked"));
    let unlinked: Vec<(u64, usize)> = unlinked.map(|(at, host, _)| (at / MS, *host)).collect();
    assert_eq!(unlinked[..2], [(5_000, 0), (5_000, 1)], "{unlinked:?}");
    assert!(unlinked[2..].iter().all(|(at, host)| *host == 2 && *at > 6_000), "{unlinked:?}");
}

/// The seed is one of announced rounds: the process that leaves says so before.
#[test]
fn a_process_that_warms_up_is_told_of_planned_changes_and_no_other_is() {
    let (outcome, oracle) = run(with_fault(Fault::Leave(2)), Holding::AtOnce);
    assert_eq!(outcome.violation, None);
    let announced = oracle.handled.iter().filter(|(_, _, what)| what.contains("hold: Some(Intent("));
    let hosts: BTreeSet<usize> = announced.map(|(_, host, _)| *host).collect();
    assert_eq!(hosts, [1].into());
}

#[test]
fn a_claim_ends_with_the_lease_of_its_process() {
    let mut scenario = with_fault(Fault::Hang(0, 8_000 * MS));
    (scenario.quiet_at, scenario.may_misjudge) = (14_000 * MS, true);
    let (outcome, oracle) = run(scenario, Holding::AtOnce);
    assert_eq!(outcome.violation, None);
    let claim = |host: usize, at: u64| {
        let mut after = oracle.claims.iter().filter(|claim| claim.1 == host && claim.0 >= at * MS);
        after.next().expect("it wakes").2
    };
    assert!(claim(0, 4_900).is_some() && claim(0, 4_900) == claim(1, 4_900));
    assert_eq!(claim(0, 12_000), None, "its lease is over, which its core does not know");
    assert_eq!(claim(1, 12_000), claim(1, 4_900), "the others keep theirs");
}

#[test]
fn what_a_cut_delays_comes_later_in_order_over_the_same_link() {
    let mut scenario = with_fault(Fault::Cut(0, 1));
    scenario.faults.push((6_000 * MS, Fault::Heal(0, 1)));
    let (outcome, oracle) = run(scenario, Holding::AtOnce);
    assert_eq!((outcome.violation, oracle.relinked), (None, 0));
    assert!(oracle.slowest > 900 * MS, "{} ms", oracle.slowest / MS);
}

#[test]
fn the_end_of_a_process_is_told_to_its_application_and_the_end_of_its_links_to_the_others() {
    for (fault, status) in
        [(Fault::Kill(2), Status::Up), (Fault::Vanish(2), Status::Up), (Fault::Leave(2), Status::Stopped)]
    {
        let (outcome, oracle) = run(with_fault(fault.clone()), Holding::AtOnce);
        assert_eq!(outcome.violation, None, "{fault:?}");
        assert_eq!(oracle.ended.len(), 1, "{fault:?}");
        let (at, host, last) = oracle.ended[0];
        assert!(at >= 5_000 * MS && host == 2 && last == status, "{fault:?}: {last:?} at {at}");
        let unlinked = oracle.handled.iter().filter(|(_, _, what)| what.starts_with("Unlinked"));
        assert_eq!(unlinked.count(), 2, "{fault:?}");
        assert_eq!(oracle.running.len(), 3, "{fault:?}");
    }
}

#[test]
fn the_adversary_strikes_at_messages_of_the_application_if_it_is_asked_to() {
    let script = |one_in: u64| {
        let mut scenario = Scenario { application_adversary: one_in, ..Scenario::calm(5, 3) };
        (scenario.quiet_at, scenario.may_misjudge) = (15_000 * MS, true);
        assert_eq!(scenario.adversary, Adversary::None);
        let (outcome, _) = World::<Pinger>::run_with(scenario, Oracle::new(Holding::AtOnce), true);
        assert_eq!(outcome.violation, None);
        let strikes = ["adversary", "Kill", "Vanish", "Pause", "Reset"];
        outcome.script.iter().filter(|line| strikes.iter().any(|word| line.contains(word))).count()
    };
    assert_eq!(script(0), 0);
    assert!(script(3) > 2);
}

#[test]
fn a_run_waits_for_its_applications_and_they_may_break_it() {
    let run = |never_finishes: bool, ends_broken: bool| {
        let oracle = Oracle { never_finishes, ends_broken, ..Oracle::new(Holding::AtOnce) };
        World::<Pinger>::run_with(Scenario::calm(3, 3), oracle, false).0
    };
    assert_eq!(run(false, false).violation, None);
    let why = run(true, false).violation.expect("it never finishes").0;
    assert_eq!(why, "the application has not finished 30000 ms after all was healed: it never does");
    let why = run(false, true).violation.expect("it is broken").0;
    assert!(why.starts_with("broken at "), "{why}");
}

#[test]
fn applications_and_what_is_known_of_the_run_are_visible_between_its_steps() {
    let mut world =
        World::<Pinger>::new_with(with_fault(Fault::Kill(1)), Oracle::new(Holding::AtOnce), false);
    assert_eq!(world.applications().count(), 0);
    world.advance(4_000 * MS).expect("no law is broken");
    let linked = world.applications().map(|(host, _, app)| (host, app.links.len()));
    assert_eq!(linked.collect::<Vec<_>>(), [(0, 2), (1, 2), (2, 2)]);
    assert!(world.applications().all(|(_, incarnation, _)| world.oracle().running.contains(incarnation)));
    world.advance(2_000 * MS).expect("no law is broken");
    let linked = world.applications().map(|(host, _, app)| (host, app.links.len()));
    assert_eq!(linked.collect::<Vec<_>>(), [(0, 1), (2, 1)]);
}
