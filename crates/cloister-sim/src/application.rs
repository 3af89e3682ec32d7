//! What runs on every simulated process, above the membership core.
//!
//! A [`World`](crate::World) with an [`Application`] is the same world: its nodes are the real cores, under the same faults. Messages of the
//! application share the connections with those of the cores, in one order.

use std::fmt::Debug;

use cloister_proto::{Epoch, Held, NodeId, Transition};
use cloister_testkit::random::Rng;

use crate::laws::Violation;
use crate::scenario::MS;

/// How long a hold lasts that the application does not take, in nanoseconds: as in `cloister-core`.
pub const HOLD_GRACE: u64 = 200 * MS;

/// What runs on every simulated process, above the membership core.
///
/// Its work takes no time. A process that is paused queues its inputs, in order; one that hangs does not, since only its core hangs.
pub trait Application: Sized {
    /// What applications send to each other.
    type Message: Clone + Debug;
    /// What is known of the whole run: the judge of the laws of the application. All processes share it.
    type Oracle;

    /// Whether processes run no application. Then holds last as the scenario says, and a third of the processes warm up in scenarios with
    /// announced rounds.
    const IS_ABSENT: bool = false;

    /// A new process has started on this host. It has no link yet.
    fn start(ctx: &mut Context<'_, Self>) -> Self;

    /// Something has happened.
    ///
    /// # Errors
    ///
    /// A law of the application that is broken. It ends the run.
    fn handle(&mut self, ctx: &mut Context<'_, Self>, input: Input<Self::Message>) -> Result<(), Violation>;

    /// The process has ended: it was killed, its host vanished, or it left in order. What it asks of `ctx` is not done.
    ///
    /// It is not called for the processes that still run when the run ends.
    fn ended(self, ctx: &mut Context<'_, Self>) {
        let _ = ctx;
    }

    /// Whether listeners of this process warm up before planned changes. It is asked once, after [`Application::start`].
    fn warms_up(&self) -> bool {
        false
    }

    /// Whether the adversary may strike at this message, see
    /// [`Scenario::application_adversary`](crate::Scenario::application_adversary).
    fn is_aimed_at(message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// All faults are over, and one view of all has lasted. It is asked every 10 ms until it says [`Finished::Done`], for as long as
    /// [`Scenario::heal_within`](crate::Scenario::heal_within) allows.
    ///
    /// `apps` are those of all hosts, in the order of the hosts.
    fn finished(apps: Vec<(usize, NodeId, &Self)>, oracle: &mut Self::Oracle, now: u64) -> Finished {
        let _ = (apps, oracle, now);
        Finished::Done
    }
}

/// What happens to an application.
#[derive(Clone, Debug)]
pub enum Input<M> {
    /// The core told listeners a change, with its hold if it offers one. The hold ends by itself after [`HOLD_GRACE`] unless the application
    /// takes it.
    Changed {
        /// What changed.
        change: Transition,
        /// The greatest epoch of a view that a member of the proposed view had installed, while one is proposed.
        predecessor: Option<Epoch>,
    },
    /// A link to this process is open. What it sends arrives in order, and without gaps while the link lives.
    ///
    /// Each `Linked` is followed by one [`Input::Unlinked`] before the next. So a link that replaces another comes after the end of that one.
    Linked(NodeId),
    /// The link to this process is closed. What was in flight on it is lost, in both directions.
    Unlinked(NodeId),
    /// A message has arrived.
    Received {
        /// The process that sent it.
        from: NodeId,
        /// What it sent.
        message: M,
    },
    /// The time given to [`Context::wake_at`] has come.
    Wake,
}

/// Whether an application has come to rest after all is healed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The run goes on, for this reason.
    NotYet(String),
    /// The run may end.
    Done,
    /// A law of the application is broken.
    Broken(Violation),
}

/// What an application is and may do at this instant.
pub struct Context<'a, A: Application> {
    /// True time, in nanoseconds since the start of the run.
    pub now: u64,
    /// The host of the process, counted from 0.
    pub host: usize,
    /// The process.
    pub node: NodeId,
    /// The epoch under which the process may act at this instant: it holds a lease by its own clock.
    pub claim: Option<Epoch>,
    /// Whether faults are over.
    pub quiet: bool,
    /// Random numbers that follow from the seed of the scenario. All applications share them, and nothing else draws from them.
    pub rng: &'a mut Rng,
    /// What is known of the whole run.
    pub oracle: &'a mut A::Oracle,
    pub(crate) traced: bool,
    pub(crate) outputs: Vec<Output<A::Message>>,
}

/// What an application asks for.
#[derive(Debug)]
pub(crate) enum Output<M> {
    Send(NodeId, M),
    TakeHold(Held),
    ReleaseHold(Held),
    WakeAt(u64),
    Note(String),
}

impl<A: Application> Context<'_, A> {
    /// Sends over the newest open link to that process. Without one the message is dropped.
    ///
    /// The link may be newer than the application knows, while its [`Input::Linked`] waits in the queue of a process that was paused.
    pub fn send(&mut self, to: &NodeId, message: A::Message) {
        self.outputs.push(Output::Send(to.clone(), message));
    }

    /// Keeps what was offered by [`Input::Changed`] until [`Context::release_hold`]. Nothing happens if its grace is over.
    pub fn take_hold(&mut self, held: Held) {
        self.outputs.push(Output::TakeHold(held));
    }

    /// What was offered need not wait for this process any more, whether it was taken or not.
    pub fn release_hold(&mut self, held: Held) {
        self.outputs.push(Output::ReleaseHold(held));
    }

    /// Asks for [`Input::Wake`] at this true time, or as soon as possible if it is past. It replaces the time given before; `u64::MAX` is
    /// never.
    pub fn wake_at(&mut self, at: u64) {
        self.outputs.push(Output::WakeAt(at));
    }

    /// Adds a line to the script of the run, if it is traced.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            self.outputs.push(Output::Note(line()));
        }
    }
}

/// No application: the world is one of cores alone.
#[derive(Clone, Copy, Debug)]
pub struct NoApplication;

impl Application for NoApplication {
    type Message = ();
    type Oracle = ();

    const IS_ABSENT: bool = true;

    fn start(_: &mut Context<'_, Self>) -> Self {
        Self
    }

    fn handle(&mut self, _: &mut Context<'_, Self>, _: Input<()>) -> Result<(), Violation> {
        Ok(())
    }
}
