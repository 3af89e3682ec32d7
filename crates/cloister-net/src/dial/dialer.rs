//! The dialer: tries every address of the book when it is due, and reports the result.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use cloister_discovery::{Discovery, Dns};
use cloister_proto::backoff::exponential;
use cloister_proto::{Address, NodeId, Time};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::debug;

use super::address_book::{AddressBook, Attempt, Due, Outcome, Survey};
use crate::clock::Clock;
use crate::links::event::{LinkEvent, Sink};
use crate::links::shared::{PublishedLinks, lock};
use crate::messages::{DialerMessage, Lookup, SessionMessage};
use crate::recorded;

/// How long one connect may take; and how long while others wait for its place. The latter is more than any path on earth
/// takes, but a packet that is lost is not sent again before a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT_BUSY: Duration = Duration::from_millis(500);

/// The most addresses of one host name that are tried.
const MAX_RECORDS: usize = 16;

/// The bounds of the pause before the host of a linked peer is looked up again, as long as it leads to none of the peer's addresses.
const MIN_LOOKUP_PAUSE: Duration = Duration::from_millis(500);
const MAX_LOOKUP_PAUSE: Duration = Duration::from_secs(60);

/// Keeps the address book and performs what it asks for.
pub(crate) struct DialerActor;

/// The arguments of the dialer.
pub(crate) struct DialerArguments {
    pub(crate) me: Address,
    pub(crate) bind: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) sink: Sink,
    pub(crate) shared: Arc<PublishedLinks>,
    pub(crate) sessions: ActorRef<SessionMessage>,
}

pub(crate) struct DialerState {
    arguments: DialerArguments,
    surveyed: Option<Survey>,
    /// Whether a [`DialerMessage::Settle`] is in the mailbox, behind all that came in before it.
    settles: bool,
    /// The hosts of linked peers that are being looked up.
    confirms: BTreeSet<Address>,
    timer: Option<JoinHandle<()>>,
}

impl Actor for DialerActor {
    type Msg = DialerMessage;
    type State = DialerState;
    type Arguments = DialerArguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<DialerMessage>,
        arguments: DialerArguments,
    ) -> Result<DialerState, ActorProcessingErr> {
        Ok(DialerState { arguments, surveyed: None, settles: false, confirms: BTreeSet::new(), timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<DialerMessage>,
        message: DialerMessage,
        state: &mut DialerState,
    ) -> Result<(), ActorProcessingErr> {
        state.take_in(&myself, message);
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<DialerMessage>,
        state: &mut DialerState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(timer) = state.timer.take() {
            timer.abort();
        }
        Ok(())
    }
}

impl DialerState {
    /// The address book. Readers share it, so it is not kept locked for longer than one call.
    fn book(&self) -> MutexGuard<'_, AddressBook> {
        lock(&self.arguments.shared.book)
    }

    fn take_in(&mut self, myself: &ActorRef<DialerMessage>, message: DialerMessage) {
        let now = Instant::now();
        match message {
            DialerMessage::Discovered(discovered) => self.book().discovered(now, &discovered),
            DialerMessage::Connect(peer) => self.connect(myself, now, &peer),
            DialerMessage::Resolved { host, found, lookup } => {
                self.resolved(myself, now, host, &found, lookup)
            }
            DialerMessage::Tried { target, attempt, began, result, since } => {
                self.tried(now, target, attempt, began, result, since);
            }
            DialerMessage::Probed(ip) => self.book().on_probe(now, ip),
            DialerMessage::Pending { link, ip } => self.book().pending(link, ip),
            DialerMessage::Ended { link, target, error } => self.book().ended(now, link, target, error),
            DialerMessage::IsSelf(target) => {
                debug!(peer_addr = %target, "this address is our own");
                self.book().mark_self(now, target);
            }
            DialerMessage::Linked { link, peer, target, remote } => {
                self.book().linked(now, link, &peer, target, remote);
                if let Some(host) = peer.name().address() {
                    self.confirm(myself, host.clone(), 0);
                }
            }
            DialerMessage::Covered { link, target } => self.book().covered(now, link, target),
            DialerMessage::Unlinked(link) => self.book().unlinked(now, link),
            DialerMessage::Settle => {
                self.settles = false;
                self.act(myself);
                self.publish();
                return;
            }
        }
        // Once for all messages that wait: each report costs the core a step, and in an assembly of many they come in crowds.
        if !std::mem::replace(&mut self.settles, true) {
            let _ = myself.cast(DialerMessage::Settle);
        }
    }

    fn connect(&mut self, myself: &ActorRef<DialerMessage>, now: Instant, peer: &NodeId) {
        let Some(address) = peer.name().address() else { return };
        if *address == self.arguments.me {
            return;
        }
        self.book().reported(peer);
        match address.ip() {
            Some(ip) => self.book().gossiped(now, SocketAddr::new(ip, address.port())),
            None => look_up(myself, address.clone(), Lookup::Dial),
        }
    }

    /// Looks up where the host name of a linked peer leads, unless that is known or asked already.
    fn confirm(&mut self, myself: &ActorRef<DialerMessage>, host: Address, failures: u32) {
        if self.book().is_unresolved(&host) && self.confirms.insert(host.clone()) {
            look_up(myself, host, Lookup::Confirm { failures });
        }
    }

    fn resolved(
        &mut self,
        myself: &ActorRef<DialerMessage>,
        now: Instant,
        host: Address,
        found: &BTreeSet<SocketAddr>,
        lookup: Lookup,
    ) {
        self.book().resolved(&host, found);
        match lookup {
            Lookup::Dial => found.iter().for_each(|address| self.book().gossiped(now, *address)),
            Lookup::Confirm { failures } => {
                self.confirms.remove(&host);
                self.confirm(myself, host, failures.saturating_add(1));
            }
        }
    }

    fn tried(
        &mut self,
        now: Instant,
        target: SocketAddr,
        attempt: Attempt,
        began: Time,
        result: io::Result<TcpStream>,
        since: Instant,
    ) {
        let outcome = match result {
            Ok(_) if attempt == Attempt::Dial && !self.book().still_wanted(now, target) => {
                debug!(peer_addr = %target, "the node there was faster");
                self.book().deferred(now, target);
                return;
            }
            Ok(socket) => {
                if attempt == Attempt::Dial {
                    let message = SessionMessage::Dialled { socket, target, since };
                    let _ = self.arguments.sessions.cast(message);
                }
                Outcome::Connected
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let refuted = self.book().refuted_by(target);
                for address in refuted {
                    (self.arguments.sink)(LinkEvent::Refused { address, began });
                }
                Outcome::Refused
            }
            Err(error) => Outcome::Failed(error.to_string()),
        };
        if attempt == Attempt::Dial {
            recorded::dial(outcome.as_str());
        }
        debug!(peer_addr = %target, ?attempt, ?outcome, "connection attempt ended");
        self.book().tried(now, target, attempt, &outcome);
    }

    /// Starts what is due, and sets the timer for what is due next.
    fn act(&mut self, myself: &ActorRef<DialerMessage>) {
        let now = Instant::now();
        let due = self.book().take_due(now, self.arguments.clock.now());
        for Due { target, attempt, hurried } in due {
            let limit = if hurried { CONNECT_TIMEOUT_BUSY } else { CONNECT_TIMEOUT };
            let source = self.source_for(target);
            let (myself, clock) = (myself.clone(), self.arguments.clock);
            tokio::spawn(async move {
                let (began, since) = (clock.now(), Instant::now());
                let result = connect(target, source, limit).await;
                let _ = myself.cast(DialerMessage::Tried { target, attempt, began, result, since });
            });
        }
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        let next = self.book().next_due();
        self.timer = next.map(|due| {
            let myself = myself.clone();
            tokio::spawn(async move {
                sleep_until(due.into()).await;
                let _ = myself.cast(DialerMessage::Settle);
            })
        });
    }

    fn publish(&mut self) {
        let news = self.book().survey(self.surveyed.as_ref());
        if let Some(survey) = news {
            let book = self.book();
            let unverified = survey.unverified.iter().map(|target| book.address(*target)).collect();
            // By every name that a peer may have there: the core knows the addresses that peers claim.
            let refusing = survey.refusing.iter().flat_map(|target| book.known_addresses(*target)).collect();
            drop(book);
            let complete = survey.complete;
            let named = survey.named();
            self.surveyed = Some(survey);
            debug!(?unverified, ?refusing, complete, "discovery update");
            (self.arguments.sink)(LinkEvent::DiscoveryUpdate { unverified, refusing, named, complete });
        }
    }

    /// The address to send from. The kernel chooses, unless this node lives on one address of several. Then its peers should see that one:
    /// on loopback it is all they have to tell nodes apart.
    fn source_for(&self, target: SocketAddr) -> Option<IpAddr> {
        let bound = self.arguments.bind.ip();
        let mine = if bound.is_unspecified() { self.arguments.me.ip()? } else { bound };
        let fits = mine.is_ipv4() == target.is_ipv4() && mine.is_loopback() == target.ip().is_loopback();
        (fits && (!bound.is_unspecified() || mine.is_loopback())).then_some(mine)
    }
}

/// Looks the host of a peer up, after a pause if look-ups have failed.
fn look_up(myself: &ActorRef<DialerMessage>, host: Address, lookup: Lookup) {
    let myself = myself.clone();
    tokio::spawn(async move {
        if let Lookup::Confirm { failures: failures @ 1.. } = lookup {
            sleep(exponential(MIN_LOOKUP_PAUSE, MAX_LOOKUP_PAUSE, failures)).await;
        }
        // Not by the system's resolver: a thread waits for that one, and a program cannot end before the thread does.
        let found = match Dns::new(host.host(), host.port()).lookup().await {
            Ok(found) => {
                let canonical = |found: &SocketAddr| SocketAddr::new(found.ip().to_canonical(), found.port());
                found.sockets().iter().map(canonical).take(MAX_RECORDS).collect()
            }
            Err(error) => {
                debug!(peer_addr = %host, %error, "the host of a peer has no address");
                BTreeSet::new()
            }
        };
        // A dialer that has stopped asks no more.
        let _ = myself.cast(DialerMessage::Resolved { host, found, lookup });
    });
}

async fn connect(target: SocketAddr, source: Option<IpAddr>, limit: Duration) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    match timeout(limit, socket.connect(target)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"))),
    }
}
