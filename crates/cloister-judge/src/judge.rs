//! One run: nodes, clients, faults, and what the checkers say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Run;
use crate::checkers::{Checker, Mark, Verdict, check_claims, picture};
use crate::client::{Client, KEYS, KEYS_OF_TABLE, LAST, World};
use crate::cluster::Cluster;
use crate::history::{Loss, Operation, Outcome, Step, by_key, settled, until};
use crate::nemesis::{Happened, Nemesis};
use crate::report::{Counts, print_counts, print_faults, print_losses};
use crate::sabotage::Sabotage;
use crate::schedule::schedule;
use crate::store::Store;
use crate::wire::LossReport;

/// How many clients there are.
const CLIENTS: u32 = 24;

/// How long the nodes may take to serve their first request.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long every key may take to be read, once all faults have ended.
const LAST_LIMIT: Duration = Duration::from_secs(30);

/// Fewer operations that were done, for each second of the run, are too few to judge.
const MIN_DONE_PER_SECOND: u64 = 20;

/// Within what time after a fault all copies are made again, in nanoseconds.
const MADE_AGAIN: u64 = 3_500_000_000;

/// A longer time in which no operation is done is one without a view, in nanoseconds.
const NO_VIEW: u64 = 1_000_000_000;

/// What a run came to.
pub(crate) enum End {
    Legal,
    Illegal,
    /// It could not be judged, for these reasons.
    Unjudged(Vec<String>),
}

impl End {
    /// The exit status of the program.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            End::Legal => 0,
            End::Illegal => 1,
            End::Unjudged(_) => 2,
        })
    }
}

/// What was recorded.
struct Record {
    operations: Vec<Operation>,
    faults: Vec<Happened>,
    /// The keys that no node let read in the end.
    unread: Vec<u32>,
    /// How often the store was asked with an earlier epoch.
    overtaken: u64,
    /// What a table reported as lost; `None` of registers.
    losses: Option<Vec<Loss>>,
    /// What processes did that no fault explains.
    unexplained: Vec<String>,
    /// What each node logged.
    logs: Vec<Vec<String>>,
}

/// Runs a cluster under faults, and judges it.
pub(crate) fn judge(run: &Run) -> Result<End, String> {
    let began = Instant::now();
    let record = record(run)?;
    let (code, seconds) = (conclude(run, &record)?, began.elapsed().as_secs());
    match &code {
        End::Legal => println!("\nlegal, after {seconds} s"),
        End::Illegal => println!("\nILLEGAL, after {seconds} s"),
        End::Unjudged(reasons) => println!("\nNOT JUDGED, after {seconds} s: {}", reasons.join("; ")),
    }
    Ok(code)
}

fn record(run: &Run) -> Result<Record, String> {
    let nodes = usize::from(run.nodes);
    let mut cluster = Cluster::new(run).map_err(|error| format!("no cluster: {error}"))?;
    let without =
        run.sabotage.map_or_else(String::new, |rule| format!(", without the rule `{}`", rule.name()));
    let keys = run.copies.map_or_else(
        || format!("{KEYS} keys"),
        |copies| format!("{KEYS_OF_TABLE} keys of a table with {copies} copies"),
    );
    let place = if cluster.can_be_cut() { "in namespaces" } else { "as plain processes, so nothing is cut" };
    println!(
        "seed {}: {nodes} nodes {place}, {} s, {CLIENTS} clients, {keys}{without}",
        run.seed, run.seconds
    );

    let store = run.copies.is_none().then(|| Store::new(run.sabotage != Some(Sabotage::Fence), run.seed));
    if let Some(store) = &store {
        in_network(&cluster, || store.listen(cluster.store()))?
            .map_err(|error| format!("no store: {error}"))?;
    }
    for number in 0..nodes {
        cluster.start(number);
    }
    let world = |began| World {
        services: cluster.services(),
        names: cluster.names(),
        began,
        is_table: run.copies.is_some(),
        over: AtomicBool::new(false),
    };
    let (_, unread) =
        in_network(&cluster, || Client::new(&world(Instant::now()), LAST, run.seed).read_all(START_LIMIT))?;
    if !unread.is_empty() {
        let logs: Vec<_> = (0..nodes).map(|number| cluster.log(number)).collect();
        save_logs(&output(run), &logs)?;
        return Err(format!(
            "the nodes did not come up: keys {unread:?} could not be read in {START_LIMIT:?}"
        ));
    }

    let planned = schedule(run.seed, run.lasts(), nodes, cluster.can_be_cut(), run.faults());
    let world = world(Instant::now());
    let namespace = cluster.namespace();
    let (mut operations, faults) = thread::scope(|scope| {
        // What ends this thread, by a panic too, ends the clients.
        let over = Over(&world.over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (world, namespace) = (&world, namespace.as_ref());
                scope.spawn(move || {
                    if let Some(namespace) = namespace {
                        namespace.enter();
                    }
                    Client::new(world, number, run.seed).run()
                })
            })
            .collect();
        let faults =
            Nemesis { cluster: &mut cluster, store: store.as_ref(), began: world.began }.run(&planned);
        thread::sleep(run.lasts().saturating_sub(world.began.elapsed()));
        drop(over);
        let operations =
            clients.into_iter().flat_map(|client| client.join().expect("a client does not panic"));
        (operations.collect::<Vec<_>>(), faults)
    });
    let (last, unread) = in_network(&cluster, || Client::new(&world, LAST, run.seed).read_all(LAST_LIMIT))?;
    operations.extend(last);
    let unexplained = cluster.unexplained();
    let losses = run.copies.map(|_| losses(&cluster, nodes, world.began)).transpose()?;
    let logs = (0..nodes).map(|number| cluster.log(number)).collect();
    Ok(Record {
        operations,
        faults,
        unread,
        overtaken: store.map_or(0, |store| store.overtaken()),
        losses,
        unexplained,
        logs,
    })
}

/// What the nodes reported as lost since the clients began.
fn losses(cluster: &Cluster, nodes: usize, began: Instant) -> Result<Vec<Loss>, String> {
    let nanos = |moment: Duration| u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
    let mut losses = Vec::new();
    for (printed, line) in (0..nodes).flat_map(|number| cluster.printed(number)) {
        let LossReport { keys, slots, certain, since_ms, present_ms } =
            serde_json::from_str(&line).map_err(|error| format!("a node printed {line:?}: {error}"))?;
        let Some(reported) = printed.checked_duration_since(began).map(nanos) else { continue };
        let before = |ms| reported.saturating_sub(nanos(Duration::from_millis(ms)));
        let (from, seen) = (before(since_ms), before(present_ms));
        losses.push(Loss { keys, slots, certain, from, seen, reported });
    }
    losses.sort_by_key(|loss| loss.reported);
    Ok(losses)
}

/// Whether the faults explain a loss: as many nodes were absent when its view began, or a little before, as there are copies. Copies are not
/// made while there is no view.
fn is_explained(loss: &Loss, copies: u8, faults: &[Happened], gaps: &[(u64, u64)]) -> bool {
    let (mut from, to) = (loss.seen.saturating_sub(MADE_AGAIN), loss.reported);
    for (begin, end) in gaps.iter().rev() {
        if *begin <= to && *end >= from {
            from = from.min(begin.saturating_sub(MADE_AGAIN));
        }
    }
    let near = faults.iter().filter(|fault| fault.from <= to && fault.to >= from);
    let absent: BTreeSet<usize> = near.flat_map(|fault| fault.fault.absent()).collect();
    absent.len() >= usize::from(copies)
}

/// The times of a second or more in which no operation was done.
fn gaps(operations: &[Operation]) -> Vec<(u64, u64)> {
    let done = operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Ok { .. }));
    let mut returns: Vec<u64> = done.map(|operation| operation.returned).collect();
    returns.sort_unstable();
    let two = returns.windows(2).map(|two| (two[0], two[1]));
    two.filter(|(before, after)| after - before >= NO_VIEW).collect()
}

/// Ends the clients when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something in the network of the clients.
fn in_network<T: Send>(cluster: &Cluster, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    let namespace = cluster.namespace();
    let enter_and_work = || {
        if let Some(namespace) = &namespace {
            namespace.enter();
        }
        work()
    };
    thread::scope(|scope| scope.spawn(enter_and_work).join())
        .map_err(|_| "it panicked in the network of the clients".to_owned())
}

fn conclude(run: &Run, record: &Record) -> Result<End, String> {
    let counts = Counts::of(&record.operations);
    print_counts(&counts, run.copies.is_none().then_some(record.overtaken));
    print_faults(&record.faults);
    let explained = record.losses.as_ref().map(|losses| {
        let copies = run.copies.unwrap_or(1);
        let gaps = gaps(&record.operations);
        let (explained, others): (Vec<_>, Vec<_>) =
            losses.iter().cloned().partition(|loss| is_explained(loss, copies, &record.faults, &gaps));
        print_losses(&explained, &others);
        explained
    });

    let mut reasons = Vec::new();
    if counts.done < MIN_DONE_PER_SECOND * run.seconds {
        let min = MIN_DONE_PER_SECOND * run.seconds;
        reasons.push(format!("{} operations were done, which is less than {min}", counts.done));
    }
    if record.faults.is_empty() {
        reasons.push("no fault happened".to_owned());
    }
    if counts.epochs < 2 {
        reasons.push("no key was served in two epochs".to_owned());
    }
    if !record.unread.is_empty() {
        reasons.push(format!("keys {:?} could not be read {LAST_LIMIT:?} after the faults", record.unread));
    }

    reasons.extend(record.unexplained.iter().cloned());
    reasons.extend(panics(&record.logs));

    // What serves an operation on a table is not known.
    let broken = if run.copies.is_none() { check_claims(&record.operations) } else { None };
    let mut illegal = broken.as_ref().map(|broken| broken.later.key);
    match (&broken, run.copies) {
        (Some(_), _) => println!("\nclaims: BROKEN"),
        (None, None) => println!("\nclaims: one owner at a time"),
        (None, Some(_)) => println!(),
    }
    if let Some(broken) = &broken {
        println!("  first  {:?}\n  then   {:?}", broken.earlier, broken.later);
    }
    let histories = by_key(&record.operations, explained.as_deref());
    for checker in Checker::ALL {
        let began = Instant::now();
        let verdicts: Vec<_> = histories
            .iter()
            .map(|(key, steps)| (*key, checker.check(&settled(steps), run.limit())))
            .collect();
        let keys = |verdict| verdicts.iter().filter(move |(_, its)| *its == verdict).map(|(key, _)| *key);
        let (wrong, undecided): (Vec<_>, Vec<_>) =
            (keys(Verdict::Illegal).collect(), keys(Verdict::Undecided).collect());
        let worst = verdicts.iter().map(|(_, verdict)| *verdict).max().unwrap_or(Verdict::Legal);
        let seconds = began.elapsed().as_secs_f64();
        println!("{}: {worst:?}, {} keys in {seconds:.1} s", checker.name(), verdicts.len());
        if !wrong.is_empty() {
            println!("  illegal: keys {wrong:?}");
        }
        if !undecided.is_empty() {
            println!("  out of time: keys {undecided:?}");
            reasons.push(format!("{} was out of time at keys {undecided:?}", checker.name()));
        }
        illegal = wrong.first().copied().or(illegal);
    }
    let end = match (illegal, reasons.is_empty()) {
        (Some(_), _) => End::Illegal,
        (None, true) => End::Legal,
        (None, false) => End::Unjudged(reasons),
    };
    if !matches!(end, End::Legal) || run.output.is_some() {
        save(run, record, illegal.map(|key| (key, histories[&key].as_slice())))?;
    }
    Ok(end)
}

/// The panics that nodes logged: an actor's is caught, and seen nowhere else.
fn panics(logs: &[Vec<String>]) -> Vec<String> {
    let lines = logs.iter().enumerate().flat_map(|(number, log)| log.iter().map(move |line| (number, line)));
    let panics = lines.filter(|(_, line)| line.contains("panicked"));
    panics.map(|(number, line)| format!("node {number}: {}", line.trim())).collect()
}

fn output(run: &Run) -> PathBuf {
    let rule = run.sabotage.map_or_else(String::new, |rule| format!("-{}", rule.name()));
    let copies = run.copies.map_or_else(String::new, |copies| format!("-table-{copies}"));
    let name = format!("seed-{}{copies}{rule}", run.seed);
    run.output.clone().unwrap_or_else(|| Path::new("target/judge").join(name))
}

/// Writes the history, the logs, and the picture of an illegal key.
fn save(run: &Run, record: &Record, illegal: Option<(u32, &[Step])>) -> Result<(), String> {
    let directory = output(run);
    save_logs(&directory, &record.logs)?;
    let mut operations = record.operations.clone();
    operations.sort_by_key(|operation| operation.invoked);
    let lines = operations.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(|error| error.to_string())?.join("\n") + "\n";
    write(&directory.join("history.jsonl"), &lines)?;
    let faults = record.faults.iter().map(|happened| {
        format!(
            "{:.3} s to {:.3} s: {}\n",
            happened.from as f64 / 1e9,
            happened.to as f64 / 1e9,
            happened.fault
        )
    });
    write(&directory.join("faults.txt"), &faults.collect::<String>())?;
    let losses = record.losses.iter().flatten().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let losses = losses.map_err(|error| error.to_string())?;
    write(
        &directory.join("losses.jsonl"),
        &losses.iter().map(|line| format!("{line}\n")).collect::<String>(),
    )?;
    if let Some((key, steps)) = illegal {
        let (shown, moment) = shortest_illegal(steps, run.limit());
        let marks = record.faults.iter().filter(|happened| happened.from <= moment).map(|happened| Mark {
            what: happened.fault.to_string(),
            from: happened.from,
            to: happened.to.min(moment),
        });
        let path = directory.join(format!("key-{key}.html"));
        picture(&shown, &marks.collect::<Vec<_>>(), run.limit(), &path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        println!("key {key} cannot be explained from {:.6} s on", moment as f64 / 1e9);
    }
    println!("written: {}", directory.display());
    Ok(())
}

fn save_logs(directory: &Path, logs: &[Vec<String>]) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    for (number, log) in logs.iter().enumerate() {
        write(&directory.join(format!("node-{number}.log")), &(log.join("\n") + "\n"))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The shortest beginning of a history that cannot be explained, and its end. The whole, if it can be explained.
fn shortest_illegal(steps: &[Step], limit: Duration) -> (Vec<Step>, u64) {
    let mut moments: Vec<_> = steps.iter().filter_map(|step| step.returned).collect();
    moments.sort_unstable();
    let is_legal =
        |moment: &u64| Checker::Porcupine.check(&settled(&until(steps, *moment)), limit) != Verdict::Illegal;
    let moment = moments.get(moments.partition_point(is_legal)).or(moments.last()).copied().unwrap_or(0);
    (settled(&until(steps, moment)), moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::{read, step, write};
    use crate::schedule::Fault;

    #[test]
    fn a_loss_is_explained_if_as_many_nodes_were_absent_as_there_are_copies() {
        let second = 1_000_000_000;
        let kill = |node, from: u64, to: u64| Happened {
            fault: Fault::Kill(node),
            from: from * second,
            to: to * second,
        };
        let loss = Loss {
            keys: vec![1],
            slots: 9,
            certain: true,
            from: 15 * second,
            seen: 20 * second,
            reported: 21 * second,
        };
        for (faults, copies, expected) in [
            (vec![kill(1, 19, 25)], 2, false),
            (vec![kill(1, 19, 25), kill(1, 15, 18)], 2, false),
            (vec![kill(1, 19, 25), kill(2, 10, 17)], 2, true),
            (vec![kill(1, 19, 25), kill(2, 10, 16)], 2, false),
            (vec![kill(1, 19, 25), kill(2, 10, 17)], 3, false),
        ] {
            assert_eq!(is_explained(&loss, copies, &faults, &[]), expected, "{faults:?}");
        }
        let faults = [kill(1, 19, 25), kill(2, 10, 16)];
        assert!(is_explained(&loss, 2, &faults, &[(17 * second, 20 * second)]), "no copies were made");
    }

    #[test]
    fn a_panic_in_the_log_of_a_node_is_found() {
        let log = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let calm = log(&["--- process of node 0", "INFO node started"]);
        let panicked = log(&["thread 'x' (7) panicked at src/a.rs:1:2:", "boom"]);
        assert_eq!(panics(std::slice::from_ref(&calm)), [] as [&str; 0]);
        assert_eq!(panics(&[calm, panicked]), ["node 1: thread 'x' (7) panicked at src/a.rs:1:2:"]);
    }

    #[test]
    fn an_illegal_history_is_shown_until_the_first_answer_that_cannot_be() {
        let history = [
            step(1, 2, write(1)),
            step(3, 4, write(2)),
            step(5, 6, read(1)),
            step(7, 8, read(2)),
            step(9, 10, write(3)),
        ];
        let (shown, moment) = shortest_illegal(&history, Duration::from_secs(5));
        assert_eq!((shown.as_slice(), moment), (&history[..3], 6));
    }
}
