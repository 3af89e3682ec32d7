//! `cargo cloister status`: what one node reports about the cluster.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use thiserror::Error;
use tokio::time::sleep;

use crate::http::Url;
use crate::members::{self, Member, Members, MembersError, Peer};
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
    Ok(report(&members::members(&options.url).await?))
}

fn print(text: &str) -> Result<(), StatusError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// The picture of one node for people: facts, members, peers.
fn report(members: &Members) -> String {
    let yes = |is: Option<bool>| if is == Some(true) { " (this node)" } else { "" };
    let mut facts = vec![
        ("node", format!("{}, incarnation {}", members.node, or_dash(members.incarnation.as_ref()))),
        ("status", members.status.clone()),
        ("epoch", or_dash(members.epoch.as_ref())),
        ("sentry", format!("{}{}", or_dash(members.sentry.as_ref()), yes(members.is_sentry))),
        (
            "consensus",
            format!("{} members, of which {} are there", or_dash(members.consensus), members.members.len()),
        ),
    ];
    if let Some(split) = &members.split {
        let (counted, spare) = (or_dash(split.counted), or_dash(split.spare));
        let policy = or_dash(split.policy.as_ref());
        facts.push(("split", format!("{policy}, counted {counted}: can lose {spare}")));
    }
    if let Some(ring) = &members.ring {
        facts
            .push(("ring", format!("{} of {} slots are this node's", plain(&ring.mine), plain(&ring.slots))));
    }
    facts.extend(members.warnings.iter().map(|warning| ("warning", warning.clone())));
    let mut text = String::new();
    for (name, value) in facts {
        text += &format!("{name:<10} {}\n", printable(&value));
    }
    text += "\n";
    text += &table(&["member", "live", "started", "tags", "incarnation"], members.members.iter().map(member));
    if !members.peers.is_empty() {
        text += "\n";
        text +=
            &table(&["peer", "address", "state", "last heard", "last error"], members.peers.iter().map(peer));
    }
    text
}

fn member(member: &Member) -> Vec<String> {
    let live = match member.live {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let tags = if member.tags.is_empty() { "-".to_owned() } else { member.tags.join(",") };
    let incarnation = or_dash(member.incarnation.as_ref());
    vec![member.name.clone(), live.to_owned(), plain(&member.started_at), tags, incarnation]
}

fn peer(peer: &Peer) -> Vec<String> {
    let heard = peer.last_heard_ms.map(|ms| format!("{ms} ms ago"));
    vec![
        or_dash(peer.name.as_ref()),
        or_dash(peer.address.as_ref()),
        peer.state.clone(),
        or_dash(heard),
        or_dash(peer.last_error.as_ref()),
    ]
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A JSON value without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_facts_members_and_peers() {
        let members: Members = serde_json::from_str(
            r#"{"node":"app@127.0.0.1:4370","incarnation":"00ff","status":"up","epoch":"1867000000000000001","seq":4,
                "consensus":2,"sentry":"app@127.0.0.1:4370","is_sentry":true,
                "split":{"policy":"majority","members":1,"counted":3,"spare":0,"allows_two":false},
                "warnings":["1 members, counted 3: can lose none"],
                "members":[{"name":"app@127.0.0.1:4370","incarnation":"00ff","started_at":"2026-01-01T00:00:00Z",
                            "tags":["disk","eu"],"live":true}],
                "peers":[{"name":null,"address":"127.0.0.2:4370","state":"unreachable",
                          "last_error":"connection refused","last_heard_ms":null}],
                "ring":{"slots":16384,"mine":16384}}"#,
        )
        .unwrap();
        let expected = "\
node       app@127.0.0.1:4370, incarnation 00ff
status     up
epoch      1867000000000000001
sentry     app@127.0.0.1:4370 (this node)
consensus  2 members, of which 1 are there
split      majority, counted 3: can lose 0
ring       16384 of 16384 slots are this node's
warning    1 members, counted 3: can lose none

member              live  started               tags     incarnation
app@127.0.0.1:4370  yes   2026-01-01T00:00:00Z  disk,eu  00ff

peer  address         state        last heard  last error
-     127.0.0.2:4370  unreachable  -           connection refused
";
        assert_eq!(report(&members), expected);
    }

    #[test]
    fn a_node_without_a_view_has_dashes() {
        let members: Members = serde_json::from_str(
            r#"{"node":"app@nohost","status":"assembling","epoch":null,"sentry":null,"new_field":1}"#,
        )
        .unwrap();
        let report = report(&members);
        assert!(report.contains("epoch      -\nsentry     -\n"), "{report}");
    }
}
