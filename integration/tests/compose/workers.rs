//! `examples/workers.rs` while its containers come, go and are killed: no job is forgotten, and none runs on two nodes in one epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use cloister_integration::{eventually_within, report, required};

use crate::node::Node;
use crate::project::Project;
use crate::{WAIT_TIMEOUT, agreed, replicated, scale};

/// `JOBS` of `workers.yaml`.
const JOBS: usize = 300;

/// How many containers are killed.
const KILLS: usize = 3;

/// One run of a job, as its node printed it.
struct Run {
    job: String,
    /// Its number among the runs of the job.
    number: u64,
    epoch: String,
    container: String,
}

#[test]
fn no_job_is_forgotten_or_runs_on_two_nodes_in_one_epoch() {
    if !required("docker", "no_job_is_forgotten_or_runs_on_two_nodes_in_one_epoch") {
        return;
    }
    let project = Project::new("workers", &["workers.yaml"]);
    scale(&project, 3);
    agreed(&project.nodes(), 3);
    all_run(&project.nodes());

    scale(&project, 5);
    agreed(&project.nodes(), 5);
    replicated(&project.nodes());
    for at in 0..KILLS {
        let container = project.nodes()[at].container().to_owned();
        crate::project::run(&["docker", "kill", &container]);
        crate::project::run(&["docker", "start", &container]);
        agreed(&project.nodes(), 5);
        replicated(&project.nodes());
    }
    all_run(&project.nodes());

    // As `--scale app=2` does, but the containers stay, and with them what they printed.
    let nodes = project.nodes();
    std::thread::scope(|scope| {
        for node in &nodes[2..] {
            scope.spawn(move || report(&format!("docker stop took {} ms", node.stop().as_millis())));
        }
    });
    agreed(&project.nodes(), 2);
    replicated(&project.nodes());
    all_run(&project.nodes());

    let logs: Vec<(&Node, String)> = nodes.iter().map(|node| (node, node.logs(None))).collect();
    let runs: Vec<Run> = logs.iter().flat_map(|(node, logs)| runs_of(node, logs)).collect();
    let (mut of_epoch, mut of_job) = (BTreeMap::new(), BTreeMap::<_, Vec<u64>>::new());
    for run in &runs {
        let container = of_epoch.entry((&run.job, &run.epoch)).or_insert(&run.container);
        assert_eq!(*container, &run.container, "{} runs on two nodes in epoch {}", run.job, run.epoch);
        of_job.entry(&run.job).or_default().push(run.number);
    }
    assert_eq!(of_job.len(), JOBS);
    let mut repeated = 0;
    for (job, numbers) in &of_job {
        let numbers_once: BTreeSet<u64> = numbers.iter().copied().collect();
        let all = 1..=numbers_once.last().copied().unwrap_or_default();
        assert!(numbers_once.iter().copied().eq(all), "a run of {job} is missing: {numbers:?}");
        repeated += numbers.len() - numbers_once.len();
    }
    // A run that a node was killed in is done again: what it does outside is fenced with its epoch.
    report(&format!("{JOBS} jobs: {} runs, none is missing, {repeated} are repeated", runs.len()));
}

/// Waits until each job has run again on one of these nodes.
fn all_run(nodes: &[Node]) {
    let began = Instant::now();
    eventually_within("each job runs again", WAIT_TIMEOUT, || {
        let mut jobs = BTreeSet::new();
        for node in nodes {
            let logs = node.logs(Some(began));
            jobs.extend(runs_of(node, &logs).map(|run| run.job));
        }
        if jobs.len() == JOBS { Ok(()) } else { Err(jobs.len()) }
    });
    report(&format!("each of {JOBS} jobs has run again within {} ms", began.elapsed().as_millis()));
}

/// The runs that a node printed: `… job has run job="job:17" run=3 epoch=…`.
fn runs_of<'a>(node: &'a Node, logs: &'a str) -> impl Iterator<Item = Run> + 'a {
    logs.lines().filter(|line| line.contains("job has run")).map(|line| {
        let field = |name: &str| {
            let field = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            field.unwrap_or_else(|| panic!("no {name} in {line:?}")).trim_matches('"').to_owned()
        };
        let number = field("run").parse().unwrap_or_else(|error| panic!("{error} in {line:?}"));
        Run { job: field("job"), number, epoch: field("epoch"), container: node.container().to_owned() }
    })
}
