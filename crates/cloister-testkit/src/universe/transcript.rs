//! What happened, in the words of the scripts.

use cloister_proto::{Change, Epoch, Message, NodeId, Obstacle, SplitReport, Status, Transition, View};

use super::{Universe, letter};

impl Universe {
    /// What happened since this was asked last, one line each.
    pub fn take_log(&mut self) -> Vec<String> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn line(&mut self, line: String) {
        if let Some(log) = &mut self.log {
            log.push(line);
        }
    }

    pub(super) fn note(&mut self, at: usize, what: &str) {
        if self.log.is_none() {
            return;
        }
        let incarnation = match &self.hosts[at].process {
            Some(process) => self.incarnation(&process.me.id),
            None => letter(at).to_string(),
        };
        self.line(format!("{:>6} ms  {incarnation} {}", self.now().as_millis(), plain(what)));
    }

    /// `b`, or `b2` for the second incarnation of `b`.
    pub(super) fn incarnation(&self, id: &NodeId) -> String {
        let (host, incarnation) = (id.incarnation().0 / 100, id.incarnation().0 % 100);
        let letter = letter(host as usize - 1);
        if incarnation == 1 { letter.to_string() } else { format!("{letter}{incarnation}") }
    }

    fn incarnations<'a>(&self, ids: impl IntoIterator<Item = &'a NodeId>) -> String {
        ids.into_iter().map(|id| self.incarnation(id)).collect::<Vec<_>>().join(" ")
    }

    /// The number of this view, which is new if its epoch is.
    pub(super) fn number_of(&mut self, view: &View) -> usize {
        if self.number(view.epoch()).is_none() {
            self.views.push((view.epoch(), view.ids().cloned().collect()));
        }
        self.number(view.epoch()).unwrap_or_default()
    }

    fn number(&self, epoch: Epoch) -> Option<usize> {
        self.views.iter().position(|(known, _)| *known == epoch).map(|at| at + 1)
    }

    pub(super) fn note_message(&mut self, at: usize, message: &Message) {
        match message {
            Message::Propose(view) if self.number(view.epoch()).is_none() => {
                let number = self.number_of(view);
                self.note(at, &format!("proposes v{number}: {}", self.incarnations(view.ids())));
            }
            Message::Commit { epoch } if self.committed.insert(*epoch) => {
                let number = self.number(*epoch).unwrap_or_default();
                self.note(at, &format!("commits v{number}"));
            }
            _ => {}
        }
    }

    pub(super) fn note_change(&mut self, at: usize, change: &Transition) {
        if self.log.is_none() {
            return;
        }
        let mut words = Vec::new();
        if change.from != change.to || change.to == Status::Rehashing {
            words.push(match (change.to, &change.state.view, &change.state.proposed) {
                (Status::Up, Some(view), _) => format!("up in v{}", self.number_of(view)),
                (Status::Rehashing, _, Some(view)) => format!("rehashing for v{}", self.number_of(view)),
                (status, ..) => status.as_str().to_owned(),
            });
        }
        if let Some(planned) = change.state.planned.as_ref().filter(|_| change.to != Status::Rehashing) {
            words.push(format!("planned: {}", self.incarnations(planned.ids())));
        }
        if words.is_empty() && change.changes.is_empty() {
            words.push("nothing planned".to_owned());
        }
        words.extend(change.changes.iter().map(|change| self.words_for(change)));
        self.note(at, &words.join("; "));
    }

    fn words_for(&self, change: &Change) -> String {
        let incarnation =
            |id: &Option<NodeId>| id.as_ref().map_or("none".to_owned(), |id| self.incarnation(id));
        match change {
            Change::NodeUp { node } => format!("node up {}", self.incarnation(node)),
            Change::NodeDown { node, reason } => format!("node down {} ({reason})", self.incarnation(node)),
            Change::NetworkSplit { unreachable } => {
                format!("network split from {}", self.incarnations(unreachable))
            }
            Change::NetworkHealed { nodes } => format!("network healed with {}", self.incarnations(nodes)),
            Change::SentryChanged { from, to } => {
                format!("sentry {} → {}", incarnation(from), incarnation(to))
            }
            change => format!("{change:?}"),
        }
    }

    /// What this node is, whether it may act, and what keeps it from being up.
    pub fn standing(&self, at: usize) -> String {
        let Some(process) = &self.hosts[at].process else { return format!("{} does not run", letter(at)) };
        let state = process.node.state();
        let mut words = format!("{} {}", self.incarnation(&process.me.id), state.status);
        if let (Status::Up, Some(view)) = (state.status, &state.view) {
            let number = self.number(view.epoch()).unwrap_or_default();
            words += &format!(" in v{number}: {}", self.incarnations(view.ids()));
        }
        words += match self.acts(at) {
            Some((me, view)) if view.sentry() == Some(me) => "; acts as owner and sentry",
            Some(_) => "; acts as owner",
            None => "; claims nothing",
        };
        let mut silent = String::new();
        for obstacle in process.node.obstacles(self.now) {
            match obstacle {
                Obstacle::Unverified(address) => silent += &format!(" {address}"),
                obstacle => words += &format!("; {}", self.plain_epochs(&obstacle.to_string())),
            }
        }
        if !silent.is_empty() {
            words += &format!("; no answer from{silent}");
        }
        plain(&words)
    }

    /// What the cluster can lose by the view of this node, and what it warns of.
    pub fn can_lose(&self, at: usize) -> Vec<String> {
        let Some(process) = &self.hosts[at].process else {
            return vec![format!("{} does not run", letter(at))];
        };
        let incarnation = self.incarnation(&process.me.id);
        let report = SplitReport::of(self.split, self.consensus.get(), process.node.state());
        let Some(report) = report else { return vec![format!("{incarnation} is in no view")] };
        let warnings = report.warnings().into_iter().map(|warning| format!("{incarnation} warns: {warning}"));
        std::iter::once(format!("{incarnation}: {report}")).chain(warnings).collect()
    }

    /// Epochs are numbers that say nothing to a reader.
    fn plain_epochs(&self, text: &str) -> String {
        self.views.iter().enumerate().fold(text.to_owned(), |text, (at, (epoch, _))| {
            text.replace(&format!("view {epoch}"), &format!("v{}", at + 1))
        })
    }
}

/// Without the parts of names that are the same for all.
fn plain(text: &str) -> String {
    let without_port = |text: String, host: char| text.replace(&format!("{host}:1"), &host.to_string());
    ('a'..='z').fold(text.replace("app@", ""), without_port)
}
