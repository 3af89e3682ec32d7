//! The name server of the engine, with answers that are late.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use cloister_testkit::random::Rng;
use cloister_testkit::relay::Relay;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::node::Node;
use crate::project::nft;

/// Where the name server of the engine is in every container.
const ENGINE: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);

/// Where questions are taken in its place.
const RELAY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 5353);

/// Where they are passed on from: what comes from here is let through.
const PASSED_ON: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

/// For as long as it lives, containers that were given to it hear late from their name server.
#[derive(Debug)]
pub(crate) struct SlowDns(Relay);

impl SlowDns {
    /// Answers are this late.
    pub(crate) fn new(late: Duration) -> Self {
        let relay = Relay::new(Rng::new(1));
        relay.late(late, late);
        Self(relay)
    }

    /// Has this container wait for each answer, from now on.
    pub(crate) fn delay(&self, node: &Node) {
        let namespace = File::open(format!("/proc/{}/ns/net", node.pid())).expect("the container runs");
        let (at, to) = (SocketAddr::from(RELAY), SocketAddr::from(ENGINE));
        self.0.listen_to_questions(at, IpAddr::V4(PASSED_ON), to, move || {
            // Of this thread only; those that it starts inherit it.
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("this is root");
        });
        let ((server, port), (near, relay)) = (ENGINE, RELAY);
        // Before the rules of the engine, which know only the true address.
        nft(
            node,
            &format!(
                "table ip cloister {{
                    chain out {{
                        type nat hook output priority -110
                        ip saddr != {PASSED_ON} ip daddr {server} udp dport {port} dnat to {near}:{relay}
                    }}
                }}"
            ),
        );
    }
}
