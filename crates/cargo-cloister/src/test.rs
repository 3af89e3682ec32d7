//! `cargo cloister test`: does this program form a cluster, agree, and stop well?

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use cloister_json::Members;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::console::{Console, NodeNumber};
use crate::fleet::Fleet;
use crate::http::{self, Url};
use crate::launch::{Launch, LaunchError, Launched, duration};
use crate::members;
use crate::plan::Plan;
use crate::signals::Signals;
use crate::table::printable;

/// How long to wait before a node is asked again.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How long nodes that are all ready may take to agree, at least: a late node may just be joining.
const AGREEMENT: Duration = Duration::from_secs(5);

/// Start N nodes, check that they become ready, agree and stop well; exit with 0 or 1.
///
/// Every node must answer /readyz with 200 in time. Then all must name the same epoch, sentry and members
/// in /members. Then all must stop with exit status 0 at SIGTERM. Prints a line for each check. The program
/// must serve the admin HTTP on CLOISTER__ADMIN__LISTEN.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    launch: Launch,

    /// How long all nodes together may take to become ready.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    within: Duration,
}

/// Checks the program; the exit code is 0 if every check passed.
pub(crate) async fn test(options: Options) -> Result<ExitCode, LaunchError> {
    let Launched { mut fleet, plan, mut signals, console, printer } = options.launch.launch().await?;
    let mut checks = Checks { console: console.clone(), passed: 0, failed: 0 };
    let cluster = Cluster::new(&plan);
    let deadline = Instant::now() + options.within;

    if cluster.becomes_ready(deadline, &mut fleet, &mut signals, &mut checks).await {
        cluster.agrees(deadline, &mut fleet, &mut signals, &mut checks).await;
    }
    fleet.stop(&mut signals).await;
    for ended in &fleet.ended {
        let asked = if ended.is_on_request() { "when told to" } else { "by itself" };
        checks.check(ended.is_well(), &format!("{} stopped {asked}: {}", ended.number, ended.exit)).await;
    }
    if !fleet.is_empty() {
        checks.check(false, "every node stopped").await;
    }
    console.say(&format!("{} passed, {} failed", checks.passed, checks.failed));
    let passed = checks.failed == 0;
    drop((fleet, checks));
    printer.finish(console).await;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was checked so far.
struct Checks {
    console: Console,
    passed: usize,
    failed: usize,
}

impl Checks {
    async fn check(&mut self, passed: bool, what: &str) {
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
        let verdict = if passed { "ok  " } else { "FAIL" };
        self.console.say(&format!("{verdict} {}", printable(what)));
    }
}

/// The nodes' admin HTTPs.
struct Cluster {
    nodes: Vec<(NodeNumber, Url)>,
}

impl Cluster {
    fn new(plan: &Plan) -> Self {
        let url = |url: String| url.parse().expect("invariant: made from a socket address");
        Self { nodes: plan.nodes.iter().map(|node| (node.number, url(node.admin_url()))).collect() }
    }

    /// Checks that every node is ready before `deadline`; ends early when one dies or a signal comes.
    async fn becomes_ready(
        &self,
        deadline: Instant,
        fleet: &mut Fleet,
        signals: &mut Signals,
        checks: &mut Checks,
    ) -> bool {
        let start = Instant::now();
        let mut waits: JoinSet<_> = self
            .nodes
            .iter()
            .cloned()
            .map(|(number, url)| async move { (number, ready(&url, deadline).await) })
            .collect();
        let mut all_ready = true;
        while !waits.is_empty() {
            tokio::select! {
                Some(Ok((number, result))) = waits.join_next() => {
                    all_ready &= result.is_ok();
                    let what = match &result {
                        Ok(()) => format!("{number} is ready after {:.2} s", start.elapsed().as_secs_f64()),
                        Err(why) => format!("{number} is not ready in time: {why}"),
                    };
                    checks.check(result.is_ok(), &what).await;
                }
                why = interruption(fleet, signals) => {
                    checks.check(false, &format!("all nodes are ready: {why}")).await;
                    return false;
                }
            }
        }
        all_ready
    }

    /// Checks that all nodes report the same epoch, sentry and number of members; asks again while they do not.
    async fn agrees(&self, deadline: Instant, fleet: &mut Fleet, signals: &mut Signals, checks: &mut Checks) {
        let deadline = deadline.max(Instant::now() + AGREEMENT);
        let findings = tokio::select! {
            findings = self.findings(deadline) => findings,
            why = interruption(fleet, signals) => vec![(false, format!("all nodes agree: {why}"))],
        };
        for (passed, what) in findings {
            checks.check(passed, &what).await;
        }
    }

    async fn findings(&self, deadline: Instant) -> Vec<(bool, String)> {
        loop {
            let findings = match self.pictures().await {
                Ok(pictures) => compare(&pictures),
                Err(why) => vec![(false, why)],
            };
            if findings.iter().all(|(passed, _)| *passed) || Instant::now() >= deadline {
                return findings;
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// What each node reports about the cluster, in the order of the nodes.
    async fn pictures(&self) -> Result<Vec<(NodeNumber, Members)>, String> {
        let asks: JoinSet<_> = self
            .nodes
            .iter()
            .cloned()
            .map(|(number, url)| async move { (number, members::members(&url).await) })
            .collect();
        let mut pictures = Vec::new();
        for (number, answer) in asks.join_all().await {
            pictures.push((number, answer.map_err(|error| format!("{number} tells its members: {error}"))?));
        }
        pictures.sort_by_key(|(number, _)| *number);
        Ok(pictures)
    }
}

/// Waits until `/readyz` is 200; at the deadline fails with the last answer.
async fn ready(url: &Url, deadline: Instant) -> Result<(), String> {
    let mut last = "never asked".to_owned();
    let asking = async {
        loop {
            match http::get(url, "/readyz").await {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => last = format!("status {}, {}", answer.status, answer.text()),
                Err(error) => last = error.to_string(),
            }
            sleep(ASK_EVERY).await;
        }
    };
    tokio::select! {
        () = asking => Ok(()),
        () = sleep_until(deadline) => Err(last),
    }
}

/// Waits for what makes it senseless to wait for anything else.
async fn interruption(fleet: &mut Fleet, signals: &mut Signals) -> String {
    tokio::select! {
        ended = fleet.next_exit() => match ended {
            Some(ended) => ended.to_string(),
            None => "no node is left".to_owned(),
        },
        signal = signals.next() => format!("stopped by {signal}"),
    }
}

/// What the nodes must agree on, and whether they do.
fn compare(pictures: &[(NodeNumber, Members)]) -> Vec<(bool, String)> {
    let count = pictures.len();
    let counts = |members: &Members| Some(members.members.len().to_string());
    let right = |members: &Members| members.members.len() == count;
    let (mut same_count, mut what) = same("number of members", pictures, counts);
    if same_count && !pictures.iter().all(|(_, members)| right(members)) {
        same_count = false;
        what += &format!(", but there are {count}");
    }
    vec![
        same("epoch", pictures, |members| members.epoch.clone()),
        same("sentry", pictures, |members| members.sentry.clone()),
        (same_count, what),
    ]
}

/// Whether all name the same, and the names if not.
fn same(
    what: &str,
    pictures: &[(NodeNumber, Members)],
    value: impl Fn(&Members) -> Option<String>,
) -> (bool, String) {
    let values: Vec<_> = pictures.iter().map(|(number, members)| (number, value(members))).collect();
    match values.first() {
        Some((_, Some(first))) if values.iter().all(|(_, value)| value.as_ref() == Some(first)) => {
            (true, format!("all {} nodes tell the same {what}: {first}", values.len()))
        }
        _ => {
            let each = values.iter().map(|(number, value)| match value {
                Some(value) => format!("{number} {value}"),
                None => format!("{number} none"),
            });
            (false, format!("all nodes tell the same {what}: {}", each.collect::<Vec<_>>().join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(number: usize, epoch: &str, members: usize) -> (NodeNumber, Members) {
        let member = serde_json::json!({ "name": "a@b:1" });
        let json = serde_json::json!({
            "node": "a@b:1", "status": "up", "epoch": epoch, "sentry": "a@b:1", "members": vec![member; members],
        });
        (NodeNumber(number), serde_json::from_value(json).unwrap())
    }

    fn verdicts(pictures: &[(NodeNumber, Members)]) -> Vec<bool> {
        compare(pictures).into_iter().map(|(passed, _)| passed).collect()
    }

    #[test]
    fn nodes_with_the_same_answer_agree() {
        assert_eq!(verdicts(&[picture(1, "7", 2), picture(2, "7", 2)]), [true; 3]);
    }

    #[test]
    fn two_epochs_are_reported_as_a_disagreement() {
        let pictures = [picture(1, "7", 2), picture(2, "8", 2)];
        assert_eq!(verdicts(&pictures), [false, true, true]);
        assert!(compare(&pictures)[0].1.ends_with("node-1 7, node-2 8"), "{:?}", compare(&pictures));
    }

    #[test]
    fn a_cluster_that_agrees_without_one_of_its_nodes_is_not_complete() {
        assert_eq!(
            verdicts(&[picture(1, "7", 2), picture(2, "7", 2), picture(3, "7", 2)]),
            [true, true, false]
        );
    }

    #[test]
    fn a_node_without_a_view_agrees_with_no_other() {
        let mut pictures = [picture(1, "7", 1), picture(2, "7", 1)];
        for (_, members) in &mut pictures {
            members.sentry = None;
        }
        assert!(!verdicts(&pictures)[1]);
    }
}
