//! How this node and its peers are, asked of the core and of the links.

use std::time::Duration;

use cloister_net::links::Links;
use cloister_proto::{SplitReport, Status};

use super::Cloister;
use super::obstacle::Obstacle;
use super::peer::{Peer, PeerState};
use super::readiness::Readiness;

impl Cloister {
    /// Whether this node is ready, and if not, what is missing and why. Asks the core, which takes a moment.
    ///
    /// ```
    /// # async fn example(cloister: &cloister_core::Cloister) {
    /// for missing in cloister.readiness().await.missing {
    ///     eprintln!("{missing}");
    /// }
    /// # }
    /// ```
    pub async fn readiness(&self) -> Readiness {
        let shared = self.shared();
        let incarnation = shared.incarnation();
        let status = self.status();
        let stalled = shared.stall().current(shared.clock().now());
        let mut missing: Vec<Obstacle> = stalled.map(Obstacle::RuntimeBlocked).into_iter().collect();
        missing.extend(shared.drain_obstacle());
        let is_ready = missing.is_empty() && (status == Status::Up || shared.is_between_views());
        let warnings = self.split_report().as_ref().map(SplitReport::warnings).unwrap_or_default();
        let warnings = warnings.iter().map(ToString::to_string).collect();
        if status == Status::Up {
            return Readiness { is_ready, status, missing, warnings, stalled };
        }
        if let Some(ended) = &shared.progress().borrow().ended {
            missing.push(Obstacle::Ended(ended.clone()));
        }
        missing.extend(shared.present_trouble().map(Obstacle::NotBegun));
        match incarnation.report().await {
            Some(report) => missing.extend(report.obstacles.into_iter().map(Obstacle::Membership)),
            None if missing.is_empty() => missing.push(Obstacle::Starting),
            None => {}
        }
        for failing in incarnation.links().map(Links::failing_seeds).unwrap_or_default() {
            missing.push(Obstacle::Seed { seed: failing.seed, error: failing.error });
        }
        for peer in self.peers().await {
            if let (Some(address), Some(error)) = (peer.address, peer.last_error)
                && !matches!(peer.state, PeerState::Linked | PeerState::Local)
            {
                missing.push(Obstacle::NotLinked { address, state: peer.state, error });
            }
        }
        Readiness { is_ready, status, missing, warnings, stalled }
    }

    /// For how long the runtime of the application has not answered: now, if it is late, and at the longest since the process
    /// began.
    ///
    /// Heartbeats and links do not need that runtime. So a node whose application blocks stays a member, and keeps its
    /// keys.
    #[must_use]
    pub fn runtime_stall(&self) -> (Option<Duration>, Duration) {
        let (stall, now) = (self.shared().stall(), self.shared().clock().now());
        (stall.current(now), stall.longest(now))
    }

    /// Every node that this one knows of, and every address where one may be. Asks the core, which takes a moment.
    ///
    /// ```
    /// # use cloister_core::PeerState;
    /// # async fn example(cloister: &cloister_core::Cloister) {
    /// for peer in cloister.peers().await {
    ///     if peer.state == PeerState::Unreachable {
    ///         eprintln!("{:?} at {:?}: {:?}", peer.name, peer.address, peer.last_error);
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn peers(&self) -> Vec<Peer> {
        let shared = self.shared();
        let incarnation = shared.incarnation();
        let now = shared.clock().now();
        let me = self.node();
        let mut peers = vec![Peer {
            name: Some(me.name().to_string()),
            address: me.name().address().cloned(),
            state: PeerState::Local,
            last_error: None,
            last_heard: None,
            reaches: Vec::new(),
            version: None,
            differs: Vec::new(),
        }];
        for known in incarnation.report().await.map(|report| report.peers).unwrap_or_default() {
            let id = &known.member.id;
            let state = if known.link.is_some() { PeerState::Linked } else { PeerState::Unreachable };
            peers.push(Peer {
                name: Some(id.name().to_string()),
                address: id.name().address().cloned(),
                state,
                last_error: None,
                last_heard: Some(now.since(known.last_heard)),
                reaches: if known.link.is_some() { known.reach.to_vec() } else { Vec::new() },
                version: incarnation.links().and_then(|links| links.version(id)),
                differs: incarnation.links().map(|links| links.differs(id)).unwrap_or_default(),
            });
        }
        for dial in incarnation.links().map(Links::dials).unwrap_or_default() {
            let at_address = |peer: &&mut Peer| peer.address.as_ref() == Some(&dial.address);
            match peers.iter_mut().rfind(at_address) {
                Some(peer) => {
                    if peer.state == PeerState::Unreachable {
                        peer.state = dial.state.into();
                    }
                    peer.last_error = dial.last_error.filter(|_| peer.state != PeerState::Linked);
                }
                None => peers.push(Peer {
                    name: dial.name.map(|name| name.to_string()),
                    address: Some(dial.address),
                    state: dial.state.into(),
                    last_error: dial.last_error,
                    last_heard: None,
                    reaches: Vec::new(),
                    version: None,
                    differs: Vec::new(),
                }),
            }
        }
        peers
    }
}
