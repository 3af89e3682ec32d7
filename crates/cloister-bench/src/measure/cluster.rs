//! A cluster of real processes that is measured.

use std::net::Ipv4Addr;

use cloister_integration::{Agreement, Node, Notice, Plan, agree, start_all};

/// Nodes that are up in one view of all.
pub(crate) struct Cluster {
    pub(crate) plans: Vec<Plan>,
    pub(crate) nodes: Vec<Node>,
}

/// Nodes at these addresses that know each other by a list; more than half of them make a view.
pub(crate) fn plans(ips: &[Ipv4Addr]) -> Vec<Plan> {
    let plans = Plan::list(ips).into_iter();
    plans.map(|plan| plan.set("CONSENSUS", ips.len() / 2 + 1).unset("ADMIN__LISTEN")).collect()
}

impl Cluster {
    /// Starts all at once, and waits until they agree.
    pub(crate) fn start(plans: Vec<Plan>) -> Self {
        let cluster = Self { nodes: start_all(&plans), plans };
        cluster.up();
        cluster
    }

    /// Waits until all are up in one view of all; when the last of them got there.
    pub(crate) fn up(&self) -> u64 {
        up(&self.nodes)
    }

    /// The one that is the sentry.
    pub(crate) fn sentry(&self) -> usize {
        let (view, _) = agree(&self.nodes);
        self.position(&view)
    }

    fn position(&self, view: &Agreement) -> usize {
        let is_it = |node: &Node| view.sentry.rsplit_once('#').is_some_and(|(name, _)| name == node.name());
        self.nodes.iter().position(is_it).expect("the sentry is one of them")
    }

    /// One that is not the sentry, another one each time.
    pub(crate) fn member(&self, turn: usize) -> usize {
        let (sentry, size) = (self.sentry(), self.nodes.len());
        (sentry + 1 + turn % (size - 1)) % size
    }

    /// What each of the others reports: that this one is down, and the view without it.
    pub(crate) fn lose(&mut self, lost: usize, how: impl FnOnce(&mut Node) -> u64) -> Loss {
        let marks: Vec<usize> = self.nodes.iter().map(Node::mark).collect();
        let at = how(&mut self.nodes[lost]);
        let name = self.nodes[lost].name().to_owned();
        let others = || (0..self.nodes.len()).filter(|other| *other != lost);
        let mut rest: Vec<&str> = others().map(|other| self.nodes[other].name()).collect();
        rest.sort_unstable();
        let notified_at = others().map(|other| {
            let node = &self.nodes[other];
            node.wait_for_notice("that it is down", marks[other], |notice| {
                notice.has_change("node_down", &name)
            })
            .at
        });
        let notified_at = notified_at.collect();
        let up = others().map(|other| self.nodes[other].up_with(&rest, marks[other])).collect();
        Loss { at, notified_at, up }
    }

    /// Starts it again, and waits until all agree.
    pub(crate) fn restart(&mut self, lost: usize) {
        self.nodes[lost] = Node::start(&self.plans[lost]);
        self.up();
    }
}

/// What the others reported when one was lost.
pub(crate) struct Loss {
    /// When it was lost.
    pub(crate) at: u64,
    /// When each reported it.
    pub(crate) notified_at: Vec<u64>,
    /// When each was up without it, and in which state.
    pub(crate) up: Vec<Notice>,
}

impl Loss {
    /// When the last reported it.
    pub(crate) fn all_notified(&self) -> u64 {
        self.notified_at.iter().copied().max().unwrap_or_default()
    }

    /// When the last was up again.
    pub(crate) fn all_up(&self) -> u64 {
        self.up.iter().map(|notice| notice.at).max().unwrap_or_default()
    }
}

/// Waits until all nodes are up in one view of all; when the last of them got there. Waits for lines instead of looking
/// again and again: the measurement must not take the processor from the nodes.
pub(crate) fn up(nodes: &[Node]) -> u64 {
    let names: Vec<&str> = nodes.iter().map(Node::name).collect();
    for node in nodes {
        node.up_with(&names, 0);
    }
    agree(nodes).1
}
