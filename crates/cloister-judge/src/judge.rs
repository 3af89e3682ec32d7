//! One run: nodes, clients, faults, and what the checkers say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Run;
use crate::checkers::{Checker, Mark, Verdict, check_claims, picture};
use crate::client::{Client, KEYS, LAST, World};
use crate::cluster::Cluster;
use crate::history::{Operation, Step, by_key, settled, until};
use crate::nemesis::{Happened, Nemesis};
use crate::report::{Counts, print_counts, print_faults};
use crate::sabotage::Sabotage;
use crate::schedule::schedule;
use crate::store::Store;

/// How many clients there are.
const CLIENTS: u32 = 24;

/// How long the nodes may take to serve their first request.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long every key may take to be read, once all faults have ended.
const LAST_LIMIT: Duration = Duration::from_secs(30);

/// Fewer operations that were done, for each second of the run, are too few to judge.
const MIN_DONE_PER_SECOND: u64 = 20;

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
    let mut cluster =
        Cluster::new(nodes, run.plain, run.sabotage).map_err(|error| format!("no cluster: {error}"))?;
    let without =
        run.sabotage.map_or_else(String::new, |rule| format!(", without the rule `{}`", rule.name()));
    let place = if cluster.can_be_cut() { "in namespaces" } else { "as plain processes, so nothing is cut" };
    println!(
        "seed {}: {nodes} nodes {place}, {} s, {CLIENTS} clients, {KEYS} keys{without}",
        run.seed, run.seconds
    );

    let store = Store::new(run.sabotage != Some(Sabotage::Fence), run.seed);
    in_network(&cluster, || store.listen(cluster.store()))?.map_err(|error| format!("no store: {error}"))?;
    for number in 0..nodes {
        cluster.start(number);
    }
    let world = |began| World {
        services: cluster.services(),
        names: cluster.names(),
        began,
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

    let planned = schedule(run.seed, run.lasts(), nodes, cluster.can_be_cut());
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
        let faults = Nemesis { cluster: &mut cluster, store: &store, began: world.began }.run(&planned);
        thread::sleep(run.lasts().saturating_sub(world.began.elapsed()));
        drop(over);
        let operations =
            clients.into_iter().flat_map(|client| client.join().expect("a client does not panic"));
        (operations.collect::<Vec<_>>(), faults)
    });
    let (last, unread) = in_network(&cluster, || Client::new(&world, LAST, run.seed).read_all(LAST_LIMIT))?;
    operations.extend(last);
    for number in cluster.ended() {
        println!("node {number} has ended by itself");
    }
    let logs = (0..nodes).map(|number| cluster.log(number)).collect();
    Ok(Record { operations, faults, unread, overtaken: store.overtaken(), logs })
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
    print_counts(&counts, record.overtaken);
    print_faults(&record.faults);

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

    let broken = check_claims(&record.operations);
    let mut illegal = broken.as_ref().map(|broken| broken.later.key);
    println!("\nclaims: {}", if broken.is_some() { "BROKEN" } else { "one owner at a time" });
    if let Some(broken) = &broken {
        println!("  first  {:?}\n  then   {:?}", broken.earlier, broken.later);
    }
    let histories = by_key(&record.operations);
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

fn output(run: &Run) -> PathBuf {
    let rule = run.sabotage.map_or_else(String::new, |rule| format!("-{}", rule.name()));
    run.output.clone().unwrap_or_else(|| Path::new("target/judge").join(format!("seed-{}{rule}", run.seed)))
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
