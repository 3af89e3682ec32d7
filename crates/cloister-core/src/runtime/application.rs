//! What is the application's own runs on the application's runtime.

use std::sync::Arc;

use cloister_discovery::{Discovery, DiscoveryError, LookUp};
use tokio::runtime::Handle;

use super::GivenUp;

/// A strategy of the application's own, asked on the application's runtime: it may block the thread that it runs on.
pub(crate) struct OnApplication {
    strategy: Arc<dyn Discovery>,
    application: Handle,
}

impl OnApplication {
    /// `strategy`, asked on the runtime that this is called on.
    pub(crate) fn new(strategy: Arc<dyn Discovery>) -> Self {
        Self { strategy, application: Handle::current() }
    }
}

impl Discovery for OnApplication {
    fn describe(&self) -> String {
        self.strategy.describe()
    }

    fn look_up(&self) -> LookUp<'_> {
        let strategy = Arc::clone(&self.strategy);
        let mut asked = GivenUp(self.application.spawn(async move { strategy.look_up().await }));
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

    use cloister_discovery::Found;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    struct Where(UnboundedSender<ThreadId>);

    impl Discovery for Where {
        fn describe(&self) -> String {
            "where it is asked".to_owned()
        }

        fn look_up(&self) -> LookUp<'_> {
            self.0.send(current().id()).unwrap();
            Box::pin(async { panic!("as it was told") })
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_strategy_is_asked_on_the_thread_of_the_application_and_may_panic() {
        let (sender, mut asked) = unbounded_channel();
        let strategy = OnApplication::new(Arc::new(Where(sender)));
        let answer: Result<Found, _> =
            super::super::run(async move { strategy.look_up().await }).await.unwrap();
        assert_eq!(asked.recv().await, Some(current().id()));
        assert!(answer.unwrap_err().to_string().contains("as it was told"));
    }
}
