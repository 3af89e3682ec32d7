//! A change as one line of the log.

use std::fmt;

use cloister_proto::{Change, NodeId, Status, Transition};
use tracing::{debug, info, warn};

use crate::telemetry::TARGET;

/// Logs a change: a view at INFO, the steps on the way at DEBUG, and at WARN that a node that `was_up` is up no more.
pub(super) fn log(change: &Transition, was_up: bool) {
    let state = &change.state;
    let (node, epoch) = (state.node.id.name(), state.epoch().map(tracing::field::display));
    let (from, members, changes) = (change.from, state.members.len(), Changes(&change.changes));
    match change.to {
        // The members of the next view are planned, or are no more. The view is the same.
        Status::Up if change.from == Status::Up && change.changes.is_empty() => {
            debug!(target: TARGET, %node, epoch, members, "plan changed");
        }
        Status::Up => info!(target: TARGET, %node, epoch, members, change = %changes, "view installed"),
        Status::Assembling if was_up => warn!(
            target: TARGET, %node, epoch, members, change = %changes,
            "this node is not up any more and owns nothing; `/readyz` says what is missing"
        ),
        status => {
            debug!(target: TARGET, %node, %status, %from, epoch, members, change = %changes, "status changed")
        }
    }
}

/// Changes in the words of an operator: `up b, c; down d (crashed); sentry b`.
struct Changes<'a>(&'a [Change]);

impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
        let mut add = |kind, node: String| match groups.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, nodes)) => nodes.push(node),
            None => groups.push((kind, vec![node])),
        };
        let name = |node: &NodeId| node.name().to_string();
        for change in self.0 {
            match change {
                Change::NodeUp { node } => add("up", name(node)),
                Change::NodeDown { node, reason } => add("down", format!("{} ({reason})", node.name())),
                Change::NetworkSplit { unreachable } => {
                    unreachable.iter().for_each(|node| add("network split from", name(node)));
                }
                Change::NetworkHealed { nodes } => {
                    nodes.iter().for_each(|node| add("network healed with", name(node)));
                }
                Change::SentryChanged { to, .. } => {
                    add("sentry", to.as_ref().map_or("none".to_owned(), name))
                }
                _ => {}
            }
        }
        if groups.is_empty() {
            return f.write_str("none");
        }
        groups.iter().enumerate().try_for_each(|(at, (kind, nodes))| {
            write!(f, "{}{kind} {}", if at == 0 { "" } else { "; " }, nodes.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::{DownReason, Incarnation};

    use super::*;

    #[test]
    fn changes_are_grouped_by_kind_and_name_each_node_with_the_reason() {
        let node = |host: &str| NodeId::new(format!("app@{host}:1").parse().unwrap(), Incarnation(1), 1);
        let changes = [
            Change::NodeUp { node: node("b") },
            Change::NodeDown { node: node("d"), reason: DownReason::Crashed },
            Change::NodeUp { node: node("c") },
            Change::SentryChanged { from: Some(node("d")), to: Some(node("b")) },
        ];
        assert_eq!(
            Changes(&changes).to_string(),
            "up app@b:1, app@c:1; down app@d:1 (crashed); sentry app@b:1"
        );
        let split = [
            Change::NetworkSplit { unreachable: vec![node("b"), node("c")] },
            Change::SentryChanged { from: Some(node("d")), to: None },
        ];
        assert_eq!(Changes(&split).to_string(), "network split from app@b:1, app@c:1; sentry none");
        assert_eq!(Changes(&[]).to_string(), "none");
    }
}
