//! The application's runtime, as the node uses it.

use std::sync::Arc;

use cloister_discovery::{Discovery, DiscoveryError, LookupFuture};
use cloister_proto::Time;
use tokio::runtime::{EnterGuard, Handle};
use tokio::task::JoinHandle;

use super::{GivenUp, Stall};
use crate::clock::Clock;

/// The application's runtime. ractor's node server and its sessions run on it, and their sockets are registered with it. So a message
/// between two actors of the application crosses no other runtime.
#[derive(Clone, Debug)]
pub struct Application {
    handle: Handle,
    stall: Arc<Stall>,
}

impl Application {
    /// The runtime that this is called on. Nothing watches it.
    #[must_use]
    pub fn here() -> Self {
        Self::watched(Arc::default())
    }

    /// The runtime that this is called on, watched by the watchdog that writes to `stall`.
    pub fn watched(stall: Arc<Stall>) -> Self {
        Self { handle: Handle::current(), stall }
    }

    /// Sockets that are made while the guard lives are registered with this runtime.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// Runs `work` on this runtime.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// A task of this runtime ran at `at`, or later.
    pub(crate) fn note_ran(&self, at: Time) {
        self.stall.note_ran(at);
    }

    /// Whether the watchdog waits for an answer of it.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stall.current(Clock.now()).is_some()
    }
}

/// A strategy of the application's own, asked on the application's runtime: it may block the thread that it runs on.
pub struct OnApplication {
    strategy: Arc<dyn Discovery>,
    application: Handle,
}

impl OnApplication {
    /// `strategy`, asked on the runtime that this is called on.
    pub fn new(strategy: Arc<dyn Discovery>) -> Self {
        Self { strategy, application: Handle::current() }
    }
}

impl Discovery for OnApplication {
    fn describe(&self) -> String {
        self.strategy.describe()
    }

    fn is_by_name(&self) -> bool {
        self.strategy.is_by_name()
    }

    fn lookup(&self) -> LookupFuture<'_> {
        let strategy = Arc::clone(&self.strategy);
        let mut asked = GivenUp(self.application.spawn(async move { strategy.lookup().await }));
        Box::pin(async move {
            match (&mut asked.0).await {
                Ok(answer) => answer,
                Err(error) => Err(DiscoveryError::custom(self.describe(), error)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{ThreadId, current};

    use cloister_discovery::LookupResult;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    struct Where(UnboundedSender<ThreadId>);

    impl Discovery for Where {
        fn describe(&self) -> String {
            "where it is asked".to_owned()
        }

        fn lookup(&self) -> LookupFuture<'_> {
            self.0.send(current().id()).unwrap();
            Box::pin(async { panic!("as the test asks") })
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_strategy_is_asked_on_the_thread_of_the_application_and_may_panic() {
        let (sender, mut asked) = unbounded_channel();
        let strategy = OnApplication::new(Arc::new(Where(sender)));
        let answer: Result<LookupResult, _> =
            super::super::run(async move { strategy.lookup().await }).await.unwrap();
        assert_eq!(asked.recv().await, Some(current().id()));
        assert!(answer.unwrap_err().to_string().contains("as the test asks"));
    }
}
