//! The name server of the engine, with answers that are late.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::node::Node;
use crate::project::nft;

/// Where the name server of the engine is in every container.
const ENGINE: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);

/// Where questions are taken in its place.
const RELAY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 5353);

/// Where they are passed on from: what comes from here is let through.
const PASSED_ON: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

/// How often the relay looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// For as long as it lives, containers that were given to it hear late from their name server.
#[derive(Debug, Default)]
pub(crate) struct SlowDns(Arc<AtomicBool>);

impl SlowDns {
    /// Has this container wait so long for each answer, from now on.
    pub(crate) fn delay(&self, node: &Node, late: Duration) {
        let namespace = File::open(format!("/proc/{}/ns/net", node.pid())).expect("the container runs");
        let (ready, listening) = sync_channel(1);
        let over = Arc::clone(&self.0);
        thread::spawn(move || {
            // Of this thread only; those that it starts inherit it.
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("this is root");
            let socket = UdpSocket::bind(RELAY).expect("a free port");
            socket.set_read_timeout(Some(LOOK)).expect("a mode");
            ready.send(()).expect("the starter waits");
            relay(&socket, late, &over);
        });
        listening.recv().expect("it listens");
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

impl Drop for SlowDns {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Passes each question on, and its answer back when it is late enough.
fn relay(socket: &UdpSocket, late: Duration, over: &AtomicBool) {
    let mut buffer = [0; 1 << 12];
    while !over.load(Ordering::SeqCst) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let (question, due) = (buffer[..len].to_vec(), Instant::now() + late);
        let Ok(socket) = socket.try_clone() else { continue };
        // A question that gets no answer is one that gets none.
        thread::spawn(move || pass_on(&question, from, &socket, due));
    }
}

fn pass_on(question: &[u8], from: SocketAddr, socket: &UdpSocket, due: Instant) -> io::Result<()> {
    let engine = UdpSocket::bind((PASSED_ON, 0))?;
    engine.set_read_timeout(Some(Duration::from_secs(5)))?;
    engine.send_to(question, ENGINE)?;
    let mut buffer = [0; 1 << 12];
    let len = engine.recv(&mut buffer)?;
    thread::sleep(due.saturating_duration_since(Instant::now()));
    socket.send_to(&buffer[..len], from)?;
    Ok(())
}
