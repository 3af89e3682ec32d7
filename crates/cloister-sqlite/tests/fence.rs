//! The store refuses an owner that is one no more.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::path::PathBuf;
use std::time::Duration;

use cloister_core::Epoch;
use cloister_entity::{EntityId, Store, StoreError};
use cloister_sqlite::SqliteStore;
use rusqlite::Connection;
use tokio::time::{sleep, timeout};

const CART: EntityId<'_> = EntityId { entity: "cart", key: "user:42" };

/// A file in a directory of its own, removed in the end.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("cloister-sqlite-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// As a node opens it.
    fn open(&self) -> SqliteStore {
        SqliteStore::open(self.0.join("entities.db")).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It is in the way of nothing if it stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn epoch(number: u64) -> Epoch {
    Epoch::from_u64(number)
}

#[tokio::test]
async fn an_owner_of_an_earlier_view_can_neither_load_nor_save() {
    let file = File::new("fence");
    let (before, after) = (file.open(), file.open());
    assert_eq!(before.load(CART, epoch(5)).await, Ok(None));
    assert_eq!(before.save(CART, epoch(5), Some(b"one".to_vec())).await, Ok(()));
    // The owner of the next view has only loaded it; that is enough.
    assert_eq!(after.load(CART, epoch(6)).await, Ok(Some(b"one".to_vec())));
    let late = before.save(CART, epoch(5), Some(b"late".to_vec())).await;
    assert_eq!(late, Err(StoreError::Fenced(epoch(6))));
    assert_eq!(before.load(CART, epoch(5)).await, Err(StoreError::Fenced(epoch(6))));
    assert_eq!(after.save(CART, epoch(6), Some(b"two".to_vec())).await, Ok(()));
    // Another entity, and another key, have a fence of their own.
    for id in [EntityId { entity: "order", ..CART }, EntityId { key: "user:43", ..CART }] {
        assert_eq!(before.load(id, epoch(5)).await, Ok(None));
    }
    // A state that is removed keeps its fence.
    assert_eq!(after.save(CART, epoch(6), None).await, Ok(()));
    assert_eq!(before.save(CART, epoch(5), Some(b"late".to_vec())).await, Err(StoreError::Fenced(epoch(6))));
    assert_eq!(after.load(CART, epoch(6)).await, Ok(None));
}

#[tokio::test]
async fn what_was_saved_is_there_when_it_is_opened_again() {
    let file = File::new("again");
    let store = file.open();
    store.load(CART, epoch(5)).await.unwrap();
    store.save(CART, epoch(5), Some(vec![0, 255])).await.unwrap();
    drop(store);
    assert_eq!(file.open().load(CART, epoch(7)).await, Ok(Some(vec![0, 255])));
    let never_loaded = EntityId { key: "never", ..CART };
    assert!(matches!(file.open().save(never_loaded, epoch(7), None).await, Err(StoreError::Failed(_))));
    assert!(SqliteStore::open(file.0.join("no/such/directory")).is_err());
}

/// As nodes do that start at once: each makes the file if there is none.
#[test]
fn a_new_file_is_opened_by_many_at_once() {
    for round in 0..300 {
        let file = File::new(&format!("new-{round}"));
        let all_at_once = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all_at_once.wait();
                    file.open()
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_that_was_given_up_before_it_began_saves_nothing() {
    let file = File::new("given_up");
    let store = file.open();
    assert_eq!(store.load(CART, epoch(5)).await, Ok(None));
    // The first one waits for the file, and the others for the first one.
    let other = Connection::open(file.0.join("entities.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in 0..20_u8 {
        let given_up =
            timeout(Duration::from_millis(20), store.save(CART, epoch(5), Some(vec![number]))).await;
        assert!(given_up.is_err(), "{given_up:?}");
    }
    other.execute_batch("COMMIT").unwrap();
    for _ in 0..20 {
        let state = store.load(CART, epoch(5)).await.unwrap();
        assert!(state.as_ref().is_none_or(|state| *state == [0]), "{state:?} was given up before it began");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.save(CART, epoch(5), Some(b"last".to_vec())).await, Ok(()));
    assert_eq!(store.load(CART, epoch(5)).await, Ok(Some(b"last".to_vec())));
}

/// A write-ahead log keeps what its readers share in the memory of one machine. A file that cannot have one is not used without.
#[test]
fn a_file_without_a_write_ahead_log_is_not_opened() {
    let refused = SqliteStore::open(":memory:").unwrap_err().to_string();
    assert!(refused.contains("write-ahead log") && refused.contains("memory"), "{refused}");
}

#[test]
fn operations_that_wait_for_the_file_leave_the_threads_that_may_block_to_others() {
    let file = File::new("threads");
    let store = file.open();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        assert_eq!(store.load(CART, epoch(5)).await, Ok(None));
        let other = Connection::open(file.0.join("entities.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut loads: Vec<_> = (0..200).map(|_| store.load(CART, epoch(5))).collect();
        for load in &mut loads {
            tokio::select! {
                biased;
                loaded = load => panic!("{loaded:?}, though the file is locked"),
                () = std::future::ready(()) => {}
            }
        }
        // All have begun. The first one waits for the file on one of the four threads.
        let unrelated = timeout(Duration::from_secs(60), tokio::task::spawn_blocking(|| 7)).await;
        assert_eq!(unrelated.expect("a thread is free").unwrap(), 7);
        other.execute_batch("COMMIT").unwrap();
        drop(loads);
        assert_eq!(store.load(CART, epoch(5)).await, Ok(None));
    });
}
