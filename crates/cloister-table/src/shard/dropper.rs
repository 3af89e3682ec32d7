//! Drops what a shard has no more.

use std::time::Duration;

use cloister_table_proto::Discarded;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use crate::tasks::Tasks;

/// After how many rows it pauses, and for how long. A slot is dropped as a whole.
const ROWS_AT_ONCE: usize = 500;
const PAUSE: Duration = Duration::from_millis(5);

/// Drops content, a slot at a time, while the shard goes on. When a node joins, each other one has hundreds of thousands of rows less. To
/// drop them takes tens of milliseconds, for which writes would wait.
#[derive(Debug, Default)]
pub(super) struct Dropper(Option<UnboundedSender<Discarded>>);

impl Dropper {
    pub(super) fn take(&mut self, tasks: &Tasks, discarded: Discarded) {
        let sender = self.0.get_or_insert_with(|| {
            let (sender, mut all) = unbounded_channel::<Discarded>();
            tasks.spawn(async move {
                let mut rows = 0;
                while let Some(discarded) = all.recv().await {
                    rows += discarded.len();
                    drop(discarded);
                    if rows >= ROWS_AT_ONCE {
                        rows = 0;
                        sleep(PAUSE).await;
                    }
                }
            });
            sender
        });
        // If its runtime ends, it is dropped here.
        drop(sender.send(discarded));
    }
}
