//! A store that does not answer, on a node that is alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloister::Config;
use cloister_core::Epoch;
use cloister_entity::{EntityError, EntityId, EntityOptions, Failure, Store, StoreFuture};
use cloister_testkit::alone;

use crate::{Sum, start};

/// A store of one entity, whose next load or save does not end.
#[derive(Clone, Default)]
struct Hung(Arc<Inner>);

#[derive(Default)]
struct Inner {
    load: AtomicBool,
    save: AtomicBool,
    saved: Mutex<Option<Vec<u8>>>,
}

impl Store for Hung {
    fn load<'a>(&'a self, _: EntityId<'a>, _: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            if self.0.load.swap(false, Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Ok(self.0.saved.lock().unwrap().clone())
        })
    }

    fn save<'a>(&'a self, _: EntityId<'a>, _: Epoch, state: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            if self.0.save.swap(false, Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            *self.0.saved.lock().unwrap() = state;
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_takes_no_key_out_of_use() {
    alone!();
    let store = Hung::default();
    let options = EntityOptions::default().handler_timeout(Duration::from_millis(200)).store(store.clone());
    let (cloister, counters) = start::<Sum>(Config::new("hung"), options).await;
    let failure = async || match counters.call("a", 7).await {
        Err(EntityError::Failed { failure, .. }) => failure,
        other => panic!("{other:?}"),
    };
    store.0.load.store(true, Ordering::SeqCst);
    let failed = failure().await;
    assert!(matches!(&failed, Failure::NotLoaded(cause) if cause.contains("within 200ms")), "{failed}");
    assert_eq!(counters.call("a", 7).await, Ok(7));
    store.0.save.store(true, Ordering::SeqCst);
    let failed = failure().await;
    assert!(matches!(&failed, Failure::NotSaved(cause) if cause.contains("within 200ms")), "{failed}");
    assert_eq!(counters.call("a", 7).await, Ok(14));
    cloister.leave().await;
}
