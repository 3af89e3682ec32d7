//! For tests: a node that is alone, with a table whose messages the test gets.

use std::sync::{Arc, Mutex};

use cloister_core::{Cloister, Config, ManagerArguments, Slot};
use cloister_table::TableOptions;
use cloister_table::service::{Accepted, Bytes, Delivery, Planned, Service, ServiceTable, encode};
use cloister_testkit::wait::until_async;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::entity::Entity;
use crate::later::Replies;
use crate::object::Surroundings;
use crate::options::EntityOptions;
use crate::views::Views;

/// What becomes of messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They are accepted, and the test gets them.
    Accept,
    /// They are dropped, so it is not known what became of them.
    Drop,
    /// They are kept, so their sender waits.
    Keep,
}

struct ToTest {
    accepted: UnboundedSender<Accepted>,
    mode: Mutex<Mode>,
    kept: Mutex<Vec<Delivery>>,
}

impl Service for ToTest {
    fn deliver(&self, _: &ServiceTable, delivery: Delivery) {
        match *self.mode.lock().unwrap() {
            Mode::Accept => self.accepted.send(delivery.accept().0).unwrap(),
            Mode::Drop => drop(delivery),
            Mode::Keep => self.kept.lock().unwrap().push(delivery),
        }
    }

    fn serves(&self, _: &ServiceTable, _: Slot, _: &mut dyn Iterator<Item = (&[u8], &[u8])>) {}

    fn ended(&self) {}

    fn planned(&self, _: &ServiceTable, planned: Planned) {
        drop(planned);
    }

    fn reset(&self) {}
}

/// A node that is alone.
pub(crate) struct Node {
    pub(crate) cloister: Cloister,
    pub(crate) table: ServiceTable,
    pub(crate) key: Bytes,
    service: Arc<ToTest>,
    accepted: UnboundedReceiver<Accepted>,
}

impl Node {
    pub(crate) async fn start(name: &str, table: TableOptions) -> Self {
        let mut arguments = ManagerArguments::new(Config::new(name)).unwrap();
        let (sender, accepted) = unbounded_channel();
        let service =
            Arc::new(ToTest { accepted: sender, mode: Mutex::new(Mode::Accept), kept: Mutex::default() });
        let table = ServiceTable::define(&mut arguments, name, table, Arc::clone(&service) as _).unwrap();
        let cloister = cloister::start_with_arguments(arguments).await.unwrap();
        let key = encode("key").unwrap().into();
        Self { cloister, table, key, service, accepted }
    }

    fn mode(&self, mode: Mode) {
        *self.service.mode.lock().unwrap() = mode;
    }

    /// From now on messages are dropped, so it is not known what became of them.
    pub(crate) fn drops(&self) {
        self.mode(Mode::Drop);
    }

    /// A message is under way for a while, so none that this node sends after it is settled.
    pub(crate) async fn settles_nothing(&self) {
        self.mode(Mode::Keep);
        let (table, key) = (self.table.clone(), Bytes::clone(&self.key));
        tokio::spawn(async move { table.send(&key, Vec::new(), true).await });
        until_async("it is under way", async || !self.service.kept.lock().unwrap().is_empty()).await;
        self.mode(Mode::Accept);
    }

    /// A message that was sent to the key and accepted.
    pub(crate) async fn sent(&mut self, message: &impl Serialize) -> Accepted {
        self.table.send(&self.key, encode(message).unwrap(), true).await.unwrap();
        self.accepted.recv().await.unwrap()
    }

    /// The same message, passed on.
    pub(crate) async fn passed_on(&mut self, message: &Accepted) -> Accepted {
        self.table.pass_on(message).await.unwrap();
        self.accepted.recv().await.unwrap()
    }
}

/// What an object of a test works with.
pub(crate) struct Around<W> {
    pub(crate) options: EntityOptions,
    replies: Arc<Replies>,
    views: Views,
    warn: W,
}

impl<W: Fn(&str, &str) + Sync> Around<W> {
    pub(crate) fn new(options: EntityOptions, warn: W) -> Self {
        let replies = Replies::new(options.max_state_bytes, options.timeout);
        Self { options, replies, views: Views::default(), warn }
    }

    pub(crate) fn surroundings<'a>(&'a self, table: &'a ServiceTable) -> Surroundings<'a> {
        Surroundings {
            table,
            options: &self.options,
            key: "key",
            replies: &self.replies,
            views: &self.views,
            writes_through: false,
            warn: &self.warn,
        }
    }
}

/// Adds up what it is sent; zero forgets it.
#[derive(Debug, Default, Serialize, serde::Deserialize)]
pub(crate) struct Sum(u64);

impl Entity for Sum {
    const NAME: &'static str = "sum";
    type Message = u64;
    type Reply = u64;

    async fn handle(
        &mut self,
        context: &mut crate::Context<'_, Self>,
        add: u64,
    ) -> Result<u64, crate::HandlerError> {
        self.0 += add;
        if add == 0 {
            context.forget();
        }
        Ok(self.0)
    }
}
