//! Reads and writes the links while the application's runtime stands still.
//!
//! ractor's sessions run on that runtime, and their sockets are registered with it: so a call between two actors costs what it costs
//! without this library. What keeps membership must not depend on it. Control frames are written by the node's own threads in any
//! case (`outlet.rs`). This task reads a link that has been quiet for longer than heartbeats are apart: if something
//! had come in, that runtime does not read, and from then on the task reads and writes this link until the session reads again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::{LinkId, Time, Timing};
use ractor::ActorRef;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::connection::reader::{Drained, Inlet};
use crate::connection::socket::Wire;
use crate::connection::writer::Outlet;
use crate::links::{Shared, lock};
use crate::session::SessionMessage;

/// How often a link is read whose session does not read.
const EVERY: Duration = Duration::from_millis(100);

/// Stands by for ever.
pub(crate) async fn run(
    shared: Arc<Shared>,
    sessions: ActorRef<SessionMessage>,
    clock: Clock,
    timing: Timing,
) {
    // A heartbeat may be late by a little.
    let quiet = timing.heartbeat_every + timing.heartbeat_every / 4;
    let mut standby = Standby { quiet, unread: BTreeMap::new() };
    loop {
        let links = links(&shared);
        let mut more = false;
        for (link, ends) in &links {
            match standby.look(*link, ends, clock.now()) {
                Drained::Nothing | Drained::All => {}
                Drained::Some => more = true,
                Drained::End => {
                    // An actor that has ended takes this task with it.
                    let _ = sessions.cast(SessionMessage::Dropped(*link));
                }
            }
        }
        standby.unread.retain(|link, _| links.contains_key(link));
        if more {
            tokio::task::yield_now().await;
        } else {
            let heard = links.values().map(|ends| ends.wire.heard()).min();
            sleep(standby.pause(heard, clock.now())).await;
        }
    }
}

/// What of a link is read and written.
struct Ends {
    wire: Arc<Wire>,
    inlet: Arc<Inlet>,
    outlet: Arc<Outlet>,
}

fn links(shared: &Shared) -> BTreeMap<LinkId, Ends> {
    let ends = |open: &crate::links::OpenLink| Ends {
        wire: Arc::clone(&open.wire),
        inlet: Arc::clone(&open.inlet),
        outlet: Arc::clone(&open.outlet),
    };
    lock(&shared.open).iter().map(|(link, open)| (*link, ends(open))).collect()
}

struct Standby {
    /// For how long a link that is read can be quiet.
    quiet: Duration,
    /// The links whose sessions do not read, and when each was read last.
    unread: BTreeMap<LinkId, Time>,
}

impl Standby {
    /// Reads and writes a link if nobody else does.
    fn look(&mut self, link: LinkId, ends: &Ends, now: Time) -> Drained {
        let heard = ends.wire.heard();
        let is_unread = self.unread.get(&link) == Some(&heard);
        if !is_unread {
            // It has been read by others since.
            self.unread.remove(&link);
            if now.since(heard) < self.quiet {
                return Drained::Nothing;
            }
        }
        ends.outlet.push();
        let drained = ends.inlet.drain();
        if drained != Drained::Nothing {
            self.unread.insert(link, ends.wire.heard());
        }
        drained
    }

    /// How long to wait, if the link that has been quiet for longest was `heard` then.
    fn pause(&self, heard: Option<Time>, now: Time) -> Duration {
        if !self.unread.is_empty() {
            return EVERY;
        }
        heard.map_or(self.quiet, |heard| self.quiet.saturating_sub(now.since(heard))).max(EVERY)
    }
}
