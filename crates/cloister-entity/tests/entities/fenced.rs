//! Messages without a waiting sender whose store refuses the node, on a node that is alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloister::Config;
use cloister_core::Epoch;
use cloister_entity::{EntityId, EntityOptions, Store, StoreError, StoreFuture};
use cloister_testkit::alone;

use crate::{Sum, start};

/// A store that a later view has used. Counts how often it was asked.
#[derive(Clone, Default)]
struct Fenced(Arc<AtomicUsize>);

impl Store for Fenced {
    fn load<'a>(&'a self, _: EntityId<'a>, epoch: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Err(StoreError::Fenced(Epoch::from_u64(epoch.as_u64() + 1))) })
    }

    fn save<'a>(&'a self, _: EntityId<'a>, _: Epoch, _: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cast_to_an_entity_whose_store_is_fenced_is_tried_with_pauses_and_comes_to_an_end() {
    alone!();
    let timeout = Duration::from_secs(2);
    let store = Fenced::default();
    let options = EntityOptions::default().timeout(timeout).store(store.clone());
    let (cloister, counters) = start::<Sum>(Config::new("fenced"), options).await;
    counters.cast("a", 1).await.unwrap();
    tokio::time::sleep(timeout).await;
    let loads = store.0.load(Ordering::SeqCst);
    assert!((3..50).contains(&loads), "tried {loads} times in {timeout:?}");
    // A call says why, and is not begun.
    let refused = counters.call("a", 1).await.unwrap_err();
    assert!(!refused.may_be_done(), "{refused}");
    assert!(refused.to_string().contains("the store has seen the later epoch"), "{refused}");
    assert!(refused.to_string().contains("a store of its own"), "{refused}");
    let loads = store.0.load(Ordering::SeqCst);
    tokio::time::sleep(timeout / 2).await;
    assert_eq!(store.0.load(Ordering::SeqCst), loads, "it has come to an end");
    cloister.leave().await;
}
