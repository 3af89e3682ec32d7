//! `cargo cloister status`: what one node reports about the cluster.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use cloister_json::{Member, Members, Peer, Split};
use jiff::Timestamp;
use thiserror::Error;
use tokio::time::sleep;

use crate::colour::{Colour, Mood};
use crate::http::Url;
use crate::members::{self, MembersError};
use crate::signals::{Signals, SignalsError};
use crate::table::{printable, table};

/// How long `--watch` waits between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Show what a node's admin HTTP says about the cluster.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the node's admin HTTP listens.
    #[arg(default_value = "http://127.0.0.1:8400")]
    url: Url,

    /// Print the JSON as it came.
    #[arg(long)]
    json: bool,

    /// Look again each second until Ctrl-C.
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    colour: Colour,
}

/// No status to show.
#[derive(Debug, Error)]
pub(crate) enum StatusError {
    #[error(transparent)]
    Members(#[from] MembersError),
    #[error(transparent)]
    Signals(#[from] SignalsError),
    #[error("cannot write to stdout")]
    Output(#[from] io::Error),
}

/// Shows the status once, or again and again.
pub(crate) async fn status(options: Options) -> Result<ExitCode, StatusError> {
    let shown = if options.watch { watch(&options).await } else { show(&options).await };
    match shown {
        // `| head` has seen enough.
        Err(StatusError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        shown => shown.map(|()| ExitCode::SUCCESS),
    }
}

async fn show(options: &Options) -> Result<(), StatusError> {
    print(&look(options).await?)
}

async fn watch(options: &Options) -> Result<(), StatusError> {
    let mut signals = Signals::new()?;
    let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    let forever = async {
        loop {
            // A node that does not answer now may do so in a second.
            let text = look(options).await.unwrap_or_else(|error| format!("{error}\n"));
            print(&format!("{clear}{text}\n"))?;
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        result = forever => result,
        _ = signals.next() => Ok(()),
    }
}

async fn look(options: &Options) -> Result<String, MembersError> {
    if options.json {
        let body = members::raw(&options.url).await?;
        return Ok(format!("{}\n", String::from_utf8_lossy(&body).trim_end()));
    }
    let members = members::members(&options.url).await?;
    // Why a node is not up is at another place. Without it, the rest is still worth a look.
    let missing = if members.status == "up" { Vec::new() } else { members::missing(&options.url).await };
    Ok(report(&members, &missing, Timestamp::now(), options.colour.is_wanted()))
}

fn print(text: &str) -> Result<(), StatusError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// The picture of one node for people: facts, members, peers.
fn report(members: &Members, missing: &[String], now: Timestamp, coloured: bool) -> String {
    let yes = |is: Option<bool>| if is == Some(true) { " (this node)" } else { "" };
    let up = if members.status == "up" { Mood::Good } else { Mood::Doubtful };
    let mut facts = vec![
        (
            "node",
            Mood::Plain,
            format!("{}, incarnation {}", members.node, or_dash(members.incarnation.as_ref())),
        ),
        ("status", up, members.status.clone()),
        ("epoch", Mood::Plain, or_dash(members.epoch.as_ref())),
        ("sentry", Mood::Plain, format!("{}{}", or_dash(members.sentry.as_ref()), yes(members.is_sentry))),
        ("nodes", Mood::Plain, nodes(members)),
    ];
    if let Some(split) = &members.split {
        let policy = or_dash(split.policy.as_ref());
        facts.push(("split", Mood::Plain, format!("{policy}: can lose {}", or_dash(split.spare))));
    }
    if let Some(ring) = &members.ring {
        let share = format!("{} of {} slots are this node's", or_dash(ring.mine), or_dash(ring.slots));
        facts.push(("ring", Mood::Plain, share));
    }
    facts.extend(missing.iter().map(|missing| ("missing", Mood::Bad, missing.clone())));
    facts.extend(members.warnings.iter().map(|warning| ("warning", Mood::Doubtful, warning.clone())));
    let mut text = String::new();
    for (name, mood, value) in facts {
        text += &format!("{name:<10} {}\n", mood.paint(&printable(&value), coloured));
    }
    text += "\n";
    let moods = members.members.iter().map(|member| match member.live {
        Some(false) => Mood::Bad,
        Some(true) | None => Mood::Plain,
    });
    let rows = members.members.iter().map(|row| member(row, now));
    text += &painted(&table(&["member", "live", "up for", "tags", "incarnation"], rows), moods, coloured);
    if !members.peers.is_empty() {
        text += "\n";
        let moods = members.peers.iter().map(|peer| match peer.state.as_str() {
            "self" | "linked" => Mood::Plain,
            "dialling" => Mood::Doubtful,
            _ => Mood::Bad,
        });
        let header = ["peer", "address", "state", "last heard", "last error"];
        text += &painted(&table(&header, members.peers.iter().map(peer)), moods, coloured);
    }
    text
}

/// How many nodes it takes for a view, and how many there are.
fn nodes(members: &Members) -> String {
    let there = members.members.len() as u64;
    match &members.split {
        Some(Split { counted: Some(counted), spare: Some(spare), .. }) if there > *spare => {
            format!("{} of {counted} needed, {there} there", there - spare)
        }
        _ => format!("{} needed, {there} there", or_dash(members.consensus)),
    }
}

/// A table whose rows, after the header, have these moods.
fn painted(table: &str, moods: impl Iterator<Item = Mood>, coloured: bool) -> String {
    let moods = std::iter::once(Mood::Plain).chain(moods);
    table.lines().zip(moods).map(|(line, mood)| format!("{}\n", mood.paint(line, coloured))).collect()
}

fn member(member: &Member, now: Timestamp) -> Vec<String> {
    let live = match member.live {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let tags = if member.tags.is_empty() { "-".to_owned() } else { member.tags.join(",") };
    let incarnation = or_dash(member.incarnation.as_ref());
    vec![member.name.clone(), live.to_owned(), up_for(member.started_at, now), tags, incarnation]
}

fn peer(peer: &Peer) -> Vec<String> {
    let heard = peer.last_heard_ms.map(|ms| format!("{} ago", for_people(Duration::from_millis(ms))));
    vec![
        or_dash(peer.name.as_ref()),
        or_dash(peer.address.as_ref()),
        peer.state.clone(),
        or_dash(heard),
        or_dash(peer.last_error.as_ref()),
    ]
}

/// How long ago a node started, by the clocks of its machine and of this one.
fn up_for(started_at: Option<u64>, now: Timestamp) -> String {
    let start = started_at.and_then(|ms| Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
    or_dash(start.map(|start| for_people(now.duration_since(start).try_into().unwrap_or_default())))
}

/// A length of time with one or two units.
fn for_people(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_facts_members_and_peers() {
        let members: Members = serde_json::from_str(
            r#"{"node":"app@127.0.0.1:4370","incarnation":"00ff","status":"up","epoch":"1867000000000000001","seq":4,
                "consensus":2,"sentry":"app@127.0.0.1:4370","is_sentry":true,
                "split":{"policy":"majority","members":1,"counted":1,"spare":0,"allows_two":false},
                "warnings":["1 members, counted 3: can lose none"],
                "members":[{"name":"app@127.0.0.1:4370","incarnation":"00ff","started_at":1767225600000,
                            "tags":["disk","eu"],"live":true}],
                "peers":[{"name":null,"address":"127.0.0.2:4370","state":"unreachable",
                          "last_error":"connection refused","last_heard_ms":null},
                         {"name":null,"address":"127.0.0.3:4370","state":"dialling"}],
                "ring":{"slots":16384,"mine":16384}}"#,
        )
        .unwrap();
        let expected = "\
node       app@127.0.0.1:4370, incarnation 00ff
status     up
epoch      1867000000000000001
sentry     app@127.0.0.1:4370 (this node)
nodes      1 of 1 needed, 1 there
split      majority: can lose 0
ring       16384 of 16384 slots are this node's
warning    1 members, counted 3: can lose none

member              live  up for  tags     incarnation
app@127.0.0.1:4370  yes   3 min   disk,eu  00ff

peer  address         state        last heard  last error
-     127.0.0.2:4370  unreachable  -           connection refused
-     127.0.0.3:4370  dialling     -           -
";
        let now = "2026-01-01T00:03:59Z".parse().unwrap();
        assert_eq!(report(&members, &[], now, false), expected);
        let coloured = report(&members, &[], now, true);
        assert!(coloured.contains("status     \x1b[32mup\x1b[0m\n"), "{coloured}");
        assert!(coloured.contains("\x1b[31m-     127.0.0.2:4370  unreachable  -"), "{coloured}");
        assert!(coloured.contains("\x1b[33m-     127.0.0.3:4370  dialling     -"), "{coloured}");
    }

    #[test]
    fn times_are_in_the_words_of_people() {
        let text = |seconds| for_people(Duration::from_secs(seconds));
        let all = [5, 59, 60, 3_599, 3_600, 86_399, 86_400, 200_000].map(text);
        assert_eq!(all, ["5 s", "59 s", "1 min", "59 min", "1 h 0 min", "23 h 59 min", "1 d 0 h", "2 d 7 h"]);
        assert_eq!(for_people(Duration::from_millis(378)), "378 ms");
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(up_for(Some(1_767_225_700_000), now), "0 ms", "the other clock is ahead");
        assert_eq!((up_for(Some(u64::MAX), now), up_for(None, now)), ("-".to_owned(), "-".to_owned()));
    }

    #[test]
    fn what_is_needed_is_what_the_cluster_cannot_lose() {
        let text = |json: &str| nodes(&serde_json::from_str(json).unwrap());
        let member = r#"{"name":"a@b:1"}"#;
        let three = format!("[{member},{member},{member}]");
        let up = format!(
            r#"{{"node":"a","status":"up","consensus":2,"split":{{"counted":3,"spare":1}},"members":{three}}}"#
        );
        assert_eq!(text(&up), "2 of 3 needed, 3 there");
        assert_eq!(text(r#"{"node":"a","status":"assembling","consensus":2}"#), "2 needed, 0 there");
    }

    #[test]
    fn a_node_without_a_view_has_dashes() {
        let members: Members = serde_json::from_str(
            r#"{"node":"app@nohost","status":"assembling","epoch":null,"sentry":null,"new_field":1}"#,
        )
        .unwrap();
        let missing = ["127.0.0.2:4370 is refused".to_owned()];
        let report = report(&members, &missing, Timestamp::now(), false);
        assert!(report.contains("epoch      -\nsentry     -\n"), "{report}");
        assert!(report.contains("missing    127.0.0.2:4370 is refused\n"), "{report}");
    }
}
