//! Reads and writes the links while the application's runtime stands still.
//!
//! ractor's sessions run on that runtime, and their sockets are registered with it: so a call between two actors costs what it costs
//! without this library. What keeps membership must not depend on it. Control frames are written by the node's own threads in any case
//! (`connection/writer.rs`). This task looks at a link that has been quiet for longer than heartbeats are apart. If something has come in,
//! that runtime does not read: from then on the task reads and writes this link until the session reads again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::{LinkId, Time, Timing};
use ractor::ActorRef;

use crate::clock::Clock;
use crate::connection::reader::{Drained, FrameReader};
use crate::connection::socket::TrackedSocket;
use crate::connection::writer::FrameWriter;
use crate::links::open_links::OpenLink;
use crate::links::shared::PublishedLinks;
use crate::messages::SessionMessage;
use crate::runtime::deadline;

/// How often a link is read whose session does not read.
const EVERY: Duration = Duration::from_millis(100);

/// Stands by for ever.
pub(crate) async fn run(
    shared: Arc<PublishedLinks>,
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
            drop(links);
            let looked = clock.now();
            deadline::wait(|| {
                let last_received = shared.open.map(|_, open| open.socket.last_received()).into_iter().min();
                standby.left(looked, last_received, clock.now())
            })
            .await;
        }
    }
}

/// What of a link is read and written.
struct Ends {
    socket: Arc<TrackedSocket>,
    frame_reader: Arc<FrameReader>,
    frame_writer: Arc<FrameWriter>,
}

fn links(shared: &PublishedLinks) -> BTreeMap<LinkId, Ends> {
    let ends = |open: &OpenLink| Ends {
        socket: Arc::clone(&open.socket),
        frame_reader: Arc::clone(&open.frame_reader),
        frame_writer: Arc::clone(&open.frame_writer),
    };
    shared.open.map(|link, open| (link, ends(open))).into_iter().collect()
}

struct Standby {
    /// For how long a link that is read can be quiet.
    quiet: Duration,
    /// The links whose sessions do not read, and when each was read last.
    unread: BTreeMap<LinkId, Time>,
}

impl Standby {
    /// Reads and writes a link if the application's runtime does not.
    fn look(&mut self, link: LinkId, ends: &Ends, now: Time) -> Drained {
        let last_received = ends.socket.last_received();
        let is_unread = self.unread.get(&link) == Some(&last_received);
        if !is_unread {
            // It has been read by others since.
            self.unread.remove(&link);
            if now.since(last_received) < self.quiet {
                return Drained::Nothing;
            }
        }
        ends.frame_writer.push();
        let drained = ends.frame_reader.drain();
        if drained != Drained::Nothing {
            self.unread.insert(link, ends.socket.last_received());
        }
        drained
    }

    /// How long to wait for the next look after that of `looked`, if the link that has been quiet for longest received something at
    /// `last_received`.
    fn left(&self, looked: Time, last_received: Option<Time>, now: Time) -> Duration {
        let least = EVERY.saturating_sub(now.since(looked));
        if !self.unread.is_empty() {
            return least;
        }
        self.quiet.saturating_sub(now.since(last_received.unwrap_or(looked))).max(least)
    }
}
