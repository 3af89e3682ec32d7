//! The law that holds for every listener of every node, whatever happens: [`ChangeLaw`], for what a node has printed.

use cloister::{Epoch, Status};
use cloister_testkit::laws::{ChangeLaw, Observed, Step};

use crate::line::{Changed, Notice};

/// Checks what one listener heard, in order. The error names the law and the two messages that break it.
pub fn check(notices: &[Notice]) -> Result<(), String> {
    let Some(first) = notices.first() else { return Ok(()) };
    let mut law = ChangeLaw::starting_with(first).map_err(|broken| format!("{broken}: {first:?}"))?;
    for pair in notices.windows(2) {
        let [before, now] = pair else { continue };
        law.check(now).map_err(|broken| format!("{broken}: {before:#?}, then {now:#?}"))?;
    }
    Ok(())
}

impl Observed for Notice {
    /// `name#incarnation`.
    type Node = String;

    fn seq(&self) -> u64 {
        self.seq
    }

    fn from(&self) -> Status {
        status(&self.from)
    }

    fn to(&self) -> Status {
        status(&self.to)
    }

    fn epoch(&self) -> Option<Epoch> {
        self.epoch.map(Epoch::from_u64)
    }

    fn members(&self) -> impl Iterator<Item = &String> {
        self.members.iter()
    }

    fn steps(&self) -> impl Iterator<Item = Step<&String>> {
        self.changes.iter().filter_map(|change| {
            let node = change.node.as_ref()?;
            match change.kind.as_str() {
                "node_up" => Some(Step::Up(node)),
                "node_down" => Some(Step::Down(node)),
                _ => None,
            }
        })
    }

    fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    fn contradiction(&self) -> Option<String> {
        let unexplained = |change: &&Changed| change.kind == "node_down" && change.reason.is_none();
        self.changes
            .iter()
            .find(unexplained)
            .map(|change| format!("{:?} is down without a reason", change.node))
    }
}

/// The status of this name.
fn status(name: &str) -> Status {
    let all =
        [Status::Down, Status::Assembling, Status::Rehashing, Status::Up, Status::Stopping, Status::Stopped];
    all.into_iter().find(|status| status.as_str() == name).unwrap_or_else(|| panic!("{name} is no status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(seq: u64, [from, to]: [&str; 2], epoch: Option<u64>, members: &[&str]) -> Notice {
        let (listener, changes) = ("it".to_owned(), Vec::new());
        let members = members.iter().map(|&id| id.to_owned()).collect();
        let (from, to) = (from.to_owned(), to.to_owned());
        Notice {
            at: 0,
            listener,
            seq,
            from,
            to,
            epoch,
            changes,
            members,
            sentry: None,
            gained: 0,
            lost: 0,
            held: false,
            predecessor: None,
            rings: Default::default(),
        }
    }

    fn change(kind: &str, node: &str, reason: Option<&str>) -> Changed {
        Changed { kind: kind.to_owned(), node: Some(node.to_owned()), reason: reason.map(str::to_owned) }
    }

    #[test]
    fn a_listener_that_hears_all_in_order_is_lawful_and_each_break_is_named() {
        let begin = notice(7, ["up", "up"], Some(3), &["a", "b"]);
        let mut loss = notice(8, ["up", "assembling"], Some(3), &["a"]);
        loss.changes.push(change("node_down", "b", Some("crashed")));
        let up = notice(9, ["assembling", "up"], Some(4), &["a"]);
        // Its monitor has failed: it begins anew.
        let mut anew = notice(10, ["up", "down"], None, &[]);
        anew.changes.push(change("node_down", "a", Some("left")));
        let assembling = notice(11, ["down", "assembling"], None, &[]);
        let lawful = [begin, loss, up, anew, assembling];
        assert_eq!(check(&lawful), Ok(()));
        assert_eq!(check(&[]), Ok(()));

        let broken = |at: usize, change: fn(&mut Notice)| {
            let mut notices = lawful.clone();
            change(&mut notices[at]);
            check(&notices)
                .expect_err("a law is broken")
                .split(": ")
                .next()
                .map(str::to_owned)
                .unwrap_or_default()
        };
        assert_eq!(
            broken(0, |first| first.from = "down".to_owned()),
            "the first message is not the present state"
        );
        assert_eq!(broken(1, |loss| loss.seq = 9), "seq 9 follows 7");
        assert_eq!(broken(1, |loss| loss.from = "down".to_owned()), "a change from down follows up");
        assert_eq!(broken(1, |loss| loss.changes[0].reason = None), "Some(\"b\") is down without a reason");
        assert_eq!(broken(1, |loss| loss.changes[0].kind = "node_up".to_owned()), "b is up twice");
        assert_eq!(
            broken(1, |loss| loss.changes.clear()),
            "reported changes lead to {\"a\", \"b\"}, the state is {\"a\"}"
        );
        let falls = broken(2, |up| up.epoch = Some(2));
        assert!(falls.starts_with("epoch ") && falls.contains(" follows "), "{falls}");
        assert_eq!(broken(2, |up| up.epoch = None), "up without a view");
        assert!(broken(3, |anew| anew.to = "assembling".to_owned()).starts_with("assembling without a view"));
    }
}
