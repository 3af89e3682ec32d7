//! The rules, told as scripts: `tests/scripts/*.txt`. Read those; this file only plays them.
//!
//! A paragraph of a script is one or more commands, then `----`, then what happened, line by line, up to an empty line.
//! A paragraph without `----` expects that nothing is said. `#` begins a comment; the first line of a script names its rule.
//!
//! | command | what it does |
//! |---|---|
//! | `nodes a b c` | hosts, and no process yet. After the names: `needs 2` (consensus; else a majority), `by keep-oldest` (split policy), `without Guard` (a rule switched off), `trusts false` (`timing.trust_refusal`), `breaks TwoSentries` (a law that may be broken; without a rule each may), `translated a` (the address of `a` is none of its machine's), `with files` (a state file on each host) |
//! | `start a b`, `start c as a` | starts processes; `c as a`: with the address of `a` |
//! | `up` | starts all of them and waits until they are up, without telling of it |
//! | `run 300ms`, `run until up a b`, `run until stopped a` | lets time pass; more quietly with `quietly` at the end |
//! | `kill c`, `vanish c` | ends the process; its host then refuses, or does not answer |
//! | `hang c`, `pause c`, `resume c` | its cluster part handles nothing; it is stopped as a whole; it goes on |
//! | `cut a->b`, `cut a-b`, `heal a->b`, `heal` | nothing passes, one way or both; what was stopped arrives |
//! | `unname d`, `name d`, `hide d->a`, `hide d-a` | no discovery names `d`; all do; that of `a` does not; `a` and `d` do not name each other |
//! | `reject c`, `accept c` | something on the way refuses in the place of `c`, which goes on and hears nothing of it; no longer |
//! | `misplace c` | where a cut keeps others from `c`, they are refused at an address that it has left, and take that for its own |
//! | `slow a->b 300ms`, `reset a-b` | messages take so long; the link is closed at both ends |
//! | `clock a 400d` | the wall clock of `a` is 400 days ahead from now on; `-400d`: behind |
//! | `jump a 500ms` | the wall clock of `a` ran ahead of its monotonic clock by so much at once, as after a standstill of the machine |
//! | `hold b`, `release b`, `leave b` | listeners of `b` hold views; no longer; `b` leaves |
//! | `warm b`, `drain b` | listeners of `b` warm up before planned changes; `b` leaves once the others have |
//! | `disk b 500ms`, `disk b full`, `disk b free`, `forget b` | its disk takes so long for what it is to keep; takes nothing; takes it again; what it has kept is removed |
//! | `carry a d` | what `a` has kept is on `d` now, as when a volume follows a container to another address |
//! | `status`, `status a b` | how nodes stand, and what they may do |
//! | `report a b` | what the cluster can lose, by the view of each of these nodes, and what they warn of |
//!
//! When a rule has changed on purpose, `CLOISTER_REWRITE=1 cargo test -p cloister-proto --test scripts` writes what happens
//! now into the scripts; read the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloister_proto::rule::Rule;
use cloister_proto::{SplitPolicy, Status, TrustRefusal};
use cloister_testkit::universe::{Pace, Universe, letter};

/// Makes one test of each script; `rule_8_leave` plays `rule-8-leave.txt`.
macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play_and_compare(stringify!($name));
        })*

        const LISTED: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    announced_rounds
    found_a_first_assembly_checks_every_link
    found_a_grant_holds_to_its_end
    found_a_node_that_left_counts_no_more
    found_a_proposal_is_kept
    found_a_restart_with_an_earlier_wall_clock
    found_every_policy_needs_consensus
    found_newcomers_wait
    found_reachable_after_a_heartbeat
    found_up_only_with_a_view
    found_what_a_member_promised_it_remembers
    majority_1_grants_of_a_leaver
    majority_2_a_goodbye_by_an_older_view
    majority_2_a_view_unknown_here
    majority_3_incarnations_not_names
    majority_4_size
    majority_5_a_report_of_a_view_that_is_gone
    majority_5_a_stale_report
    majority_6_a_stray_node
    majority_7_one_of_two_is_replaced
    majority_8_two_of_three_restart
    majority_9_two_of_three_restart_behind_a_cut
    majority_a_state_file
    majority_a_state_file_acknowledges_late
    majority_a_state_file_after_leaving
    majority_a_state_file_all_restart
    majority_a_state_file_by_a_clock_that_was_ahead
    majority_a_state_file_cannot_be_written
    majority_a_state_file_moves
    majority_a_state_file_of_a_cluster_that_left
    majority_a_view_that_was_aborted
    majority_an_older_view_is_superseded
    majority_goodbyes_are_passed_on
    majority_ten_become_two_in_order
    majority_the_third_goes_on
    majority_three_of_five_crash
    name_that_two_have
    rule_1_a_hung_peer
    rule_1_a_late_tick
    rule_1_a_silent_host
    rule_2_a_partial_cut
    rule_3_an_epoch_within_reach
    rule_3_clocks_apart
    rule_3_first_assembly
    rule_3_hold_and_rehash_timeout
    rule_4_a_closed_link
    rule_4_a_crash_that_refuses
    rule_4_an_address_that_refuses_for_another
    rule_4_the_guard
    rule_5_a_clock_that_jumped
    rule_5_a_commit_grants_nothing
    rule_6_a_silent_address
    rule_6_forgotten_promises
    rule_7_a_late_commit
    rule_7_a_late_node_reads_first
    rule_7_released
    rule_7_step_down_and_a_new_round
    rule_8_a_leaver_is_held
    rule_8_a_leaver_is_reported_while_others_assemble
    rule_8_a_leaver_judges_by_reports
    rule_8_leave
    rule_8_the_last_leaver
    split_and_heal_are_reported
    split_consensus
    split_keep_oldest
    split_majority
    split_what_can_be_lost
}

#[test]
fn every_script_is_listed_and_names_its_rule_in_its_first_line() {
    let scripts = scripts();
    let mut found: Vec<String> = scripts.iter().map(|path| test_name(path)).collect();
    found.sort();
    assert_eq!(found, LISTED, "`scripts!` lists the files of tests/scripts in order");
    for path in scripts {
        let script = fs::read_to_string(&path).expect("a script can be read");
        assert!(script.starts_with("# "), "{path:?} does not begin with the rule that it shows");
    }
}

/// Whether a script has differed. A mutation run asks only whether any does.
static DIFFERS: AtomicBool = AtomicBool::new(false);

/// Plays one script and compares what happens with what it expects; with `CLOISTER_REWRITE` writes it instead.
fn play_and_compare(name: &str) {
    if std::env::var_os("CLOISTER_MUTANT").is_some() && DIFFERS.load(Ordering::Relaxed) {
        return;
    }
    let path = directory().join(format!("{}.txt", name.replace('_', "-")));
    let expected = fs::read_to_string(&path).expect("a script can be read");
    let found = play(&path, &expected);
    if found == expected {
        return;
    }
    if std::env::var_os("CLOISTER_REWRITE").is_some() {
        return fs::write(&path, &found).expect("a script can be written");
    }
    DIFFERS.store(true, Ordering::Relaxed);
    panic!("{}", difference(&path, &expected, &found));
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// The name of the test that plays a script.
fn test_name(path: &Path) -> String {
    path.file_stem().expect("a script has a name").to_string_lossy().replace('-', "_")
}

fn scripts() -> Vec<PathBuf> {
    let files =
        fs::read_dir(directory()).expect("there are scripts").map(|entry| entry.expect("a file").path());
    let mut scripts: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    scripts.sort();
    scripts
}

/// The script with what happens in the place of what it expects.
fn play(path: &Path, script: &str) -> String {
    let mut universe = Universe::new(0, 1);
    let mut paragraphs = Vec::new();
    let mut nodes = "";
    for paragraph in script.trim_end().split("\n\n") {
        let commands: Vec<&str> = paragraph.lines().take_while(|line| *line != "----").collect();
        let mut said = Vec::new();
        for command in commands.iter().filter(|line| !line.starts_with('#')) {
            obey(&mut universe, command, &mut said)
                .unwrap_or_else(|| panic!("{}: `{command}` is not a command", path.display()));
            said.extend(universe.take_log());
            if command.starts_with("nodes ") {
                nodes = command;
            }
            for law in universe.violations() {
                let is_meant = nodes.contains(" without ") || nodes.contains(&format!(" breaks {law:?}"));
                assert!(is_meant, "{}: `{command}`: {law:?} is broken:\n{}", path.display(), said.join("\n"));
            }
        }
        let mut lines: Vec<String> = commands.iter().map(ToString::to_string).collect();
        if !said.is_empty() {
            lines.push("----".to_owned());
            lines.extend(said);
        }
        paragraphs.push(lines.join("\n"));
    }
    paragraphs.join("\n\n") + "\n"
}

/// Does what a command says; `None` if it is none.
fn obey(universe: &mut Universe, command: &str, said: &mut Vec<String>) -> Option<()> {
    let (command, quietly) = match command.strip_suffix(" quietly") {
        Some(command) => (command, true),
        None => (command, false),
    };
    let words: Vec<&str> = command.split(' ').collect();
    let (&verb, objects) = words.split_first()?;
    match (verb, objects) {
        ("nodes", names) => *universe = nodes(names)?,
        ("start", [at, "as", of]) => universe.start_as(host(at)?, host(of)?),
        ("up", []) => {
            (0..universe.hosts()).for_each(|at| universe.start(at));
            universe.take_log();
            let all = universe.hosts();
            assert!(universe.run_until(|universe| (0..all).all(|at| universe.members(at) == all)));
            universe.take_log();
        }
        ("run", ["until", "up", names @ ..]) => {
            let hosts = all(names)?;
            let is_up = |universe: &Universe| hosts.iter().all(|at| universe.status(*at) == Status::Up);
            assert!(universe.run_until(is_up), "`{command}`: not within a minute");
        }
        ("run", ["until", "stopped", name]) => {
            let at = host(name)?;
            assert!(
                universe.run_until(|universe| !universe.is_running(at)),
                "`{command}`: not within a minute"
            );
        }
        ("run", [span]) => universe.run(duration(span)?),
        ("cut", [pair]) => directions(pair)?.into_iter().for_each(|(from, to)| universe.cut(from, to)),
        ("hide", [pair]) => directions(pair)?.into_iter().for_each(|(to, from)| universe.hide(from, to)),
        ("heal", []) => universe.heal_all(),
        ("heal", [pair]) => directions(pair)?.into_iter().for_each(|(from, to)| universe.heal(from, to)),
        ("reset", [pair]) => universe.reset(directions(pair)?[0].0, directions(pair)?[0].1),
        ("slow", [pair, latency]) => {
            let latency = duration(latency)?;
            directions(pair)?.into_iter().for_each(|(from, to)| universe.slow(from, to, latency));
        }
        ("disk", [name, "full"]) => universe.set_full(host(name)?, true),
        ("disk", [name, "free"]) => universe.set_full(host(name)?, false),
        ("disk", [name, latency]) => universe.set_latency(host(name)?, duration(latency)?),
        ("carry", [from, to]) => universe.carry(host(from)?, host(to)?),
        ("jump", [name, span]) => universe.jump(host(name)?, duration(span)?),
        ("clock", [name, days]) => {
            let days: i64 = days.strip_suffix('d')?.parse().ok()?;
            universe.set_clock(host(name)?, days * 24 * 60 * 60 * 1000);
        }
        ("status", []) => said.extend((0..universe.hosts()).map(|at| universe.standing(at))),
        ("report", names) => said.extend(all(names)?.into_iter().flat_map(|at| universe.can_lose(at))),
        ("status", names) => said.extend(all(names)?.into_iter().map(|at| universe.standing(at))),
        (verb, names) => all(names)?.into_iter().try_for_each(|at| {
            match verb {
                "start" => universe.start(at),
                "kill" => universe.kill(at),
                "vanish" => universe.vanish(at),
                "hang" => universe.set_pace(at, Pace::Hung),
                "pause" => universe.set_pace(at, Pace::Paused),
                "resume" => universe.set_pace(at, Pace::Running),
                "hold" => universe.hold(at),
                "release" => universe.release(at),
                "leave" => universe.leave(at),
                "warm" => universe.warm(at),
                "drain" => universe.drain(at),
                "name" => universe.name(at, true),
                "unname" => universe.name(at, false),
                "forget" => universe.forget(at),
                "reject" => universe.reject(at),
                "misplace" => universe.misplace(at),
                "accept" => universe.accept(at),
                _ => return None,
            }
            Some(())
        })?,
    }
    if quietly {
        universe.take_log();
    }
    Some(())
}

/// `a b c`, then perhaps `needs 2`, `by keep-oldest`, `without Guard`, `trusts false`, `translated a`, `with files`.
fn nodes(words: &[&str]) -> Option<Universe> {
    let count = words.iter().take_while(|word| host(word).is_some()).count();
    let mut needs = count / 2 + 1;
    let (mut translated, mut files) = (None, false);
    let (mut split, mut without, mut trust) = (SplitPolicy::Consensus, None, TrustRefusal::default());
    for option in words[count..].chunks(2) {
        let policies = [SplitPolicy::Majority, SplitPolicy::Consensus, SplitPolicy::KeepOldest];
        match option {
            ["needs", n] => needs = n.parse().ok()?,
            ["by", name] => split = policies.into_iter().find(|policy| policy.as_str() == *name)?,
            ["with", "files"] => files = true,
            ["translated", name] => translated = Some(host(name)?),
            ["trusts", word] => {
                let all = [TrustRefusal::Auto, TrustRefusal::Always, TrustRefusal::Never];
                trust = all.into_iter().find(|trust| trust.as_str() == *word)?;
            }
            ["breaks", _] => {}
            ["without", name] => {
                without = Some(Rule::ALL.into_iter().find(|rule| format!("{rule:?}") == *name)?)
            }
            _ => return None,
        }
    }
    let universe = Universe::new(count, needs).by(split).without(without).trusting(trust).logged();
    let universe = if files { universe.with_files() } else { universe };
    Some(match translated {
        Some(at) => universe.translated(at),
        None => universe,
    })
}

fn host(name: &str) -> Option<usize> {
    (0..26).find(|at| name == letter(*at).to_string())
}

fn all(names: &[&str]) -> Option<Vec<usize>> {
    names.iter().map(|name| host(name)).collect()
}

/// `a->b` is one direction, `a-b` both.
fn directions(pair: &str) -> Option<Vec<(usize, usize)>> {
    if let Some((from, to)) = pair.split_once("->") {
        return Some(vec![(host(from)?, host(to)?)]);
    }
    let (a, b) = pair.split_once('-')?;
    Some(vec![(host(a)?, host(b)?), (host(b)?, host(a)?)])
}

fn duration(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(millis) => millis.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}

fn difference(path: &Path, told: &str, found: &str) -> String {
    let lines = told.lines().zip(found.lines());
    let at = lines.take_while(|(told, found)| told == found).count();
    let rest =
        |text: &str| text.lines().skip(at).take(12).map(|line| format!("    {line}\n")).collect::<String>();
    format!("{}:{}: expected\n{}  found\n{}", path.display(), at + 1, rest(told), rest(found))
}
