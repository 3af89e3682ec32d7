//! What holds for every listener of every node, whatever happens.

use std::collections::BTreeSet;

use crate::line::Notice;

/// Checks what one listener heard, in order. The error names the law and the two messages that break it.
///
/// - The first message is the present state: nothing has changed in it.
/// - The numbers have no gap, and each message goes on from the status of the one before.
/// - An incarnation that comes was not there, one that goes was there, and what came and went explains which nodes are there now.
/// - The epoch never falls. A node that begins anew in its process is down and has none, until it has a greater one.
pub fn check(notices: &[Notice]) -> Result<(), String> {
    let Some(first) = notices.first() else { return Ok(()) };
    if !first.changes.is_empty() || first.from != first.to {
        return Err(format!("the first message is not the present state: {first:?}"));
    }
    let mut there: BTreeSet<String> = first.members.iter().cloned().collect();
    let mut highest = first.epoch;
    for pair in notices.windows(2) {
        let [before, now] = pair else { continue };
        let broken = |law: &str| Err(format!("{law}: {before:#?}, then {now:#?}"));
        if now.seq != before.seq + 1 {
            return broken("the numbers have a gap");
        }
        if now.from != before.to {
            return broken("the status does not go on from the one before");
        }
        let begins_anew = now.epoch.is_none() && now.to == "down";
        if now.epoch < highest && !begins_anew && !(now.epoch.is_none() && before.epoch.is_none()) {
            return broken("the epoch falls");
        }
        highest = highest.max(now.epoch);
        for change in &now.changes {
            let Some(node) = &change.node else { continue };
            let alternates = match change.kind.as_str() {
                "node_up" => there.insert(node.clone()),
                "node_down" => there.remove(node) && change.reason.is_some(),
                _ => true,
            };
            if !alternates {
                return broken("up and down of one incarnation do not alternate");
            }
        }
        if there != now.members.iter().cloned().collect() {
            return broken("what came and went does not explain which nodes are there");
        }
    }
    Ok(())
}
