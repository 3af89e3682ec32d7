//! A table on a node that is alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::time::{Duration, Instant};

use cloister::{Config, ManagerArguments};
use cloister_table::{DefineTable, TableError, TableOptions, statistics};

/// How long a node may take to leave, which waits 15 s for other nodes to take its entries.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_alone_leaves_at_once_and_operations_end_with_it() {
    let mut arguments = ManagerArguments::new(Config::new("alone")).unwrap();
    let fails = |_: Option<u64>, (): ()| -> (Option<u64>, ()) { panic!("as it was told") };
    let table =
        arguments.table::<String, u64>("numbers", TableOptions::default().function("fail", fails)).unwrap();
    let other = arguments.table::<String, String>("", TableOptions::default());
    assert!(matches!(other, Err(TableError::Definition { .. })), "a table without a name");
    let key = "key".to_owned();
    let early = tokio::spawn({
        let (table, key) = (table.clone(), key.clone());
        async move { table.insert(&key, &1).await }
    });
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    assert_eq!(early.await.unwrap(), Ok(None), "it waits until the node is up");
    assert_eq!(table.get(&key).await, Ok(Some(1)));
    let failed = table.update::<(), ()>(&key, "fail", &()).await;
    assert!(matches!(failed, Err(TableError::FunctionFailed { .. })), "{failed:?}");
    assert_eq!(table.get(&key).await, Ok(Some(1)), "a panic leaves the value");
    assert_eq!(table.local_iter().collect::<Vec<_>>(), [(key.clone(), 1)]);

    const OPERATIONS: u32 = 1_000;
    let began = Instant::now();
    for _ in 0..OPERATIONS {
        table.get(&key).await.unwrap();
    }
    let reads = began.elapsed() / OPERATIONS;
    let began = Instant::now();
    for number in 0..OPERATIONS {
        table.insert(&key, &number.into()).await.unwrap();
    }
    println!("a read at the owner takes {reads:?}, a write {:?}", began.elapsed() / OPERATIONS);
    let rows = || statistics().iter().map(|table| table.rows).sum::<u64>();
    while rows() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let began = Instant::now();
    cloister.leave().await;
    assert!(began.elapsed() < LEAVE_LIMIT, "it took {:?} to leave", began.elapsed());
    let began = Instant::now();
    let late = table.insert(&key, &2).await;
    assert!(matches!(&late, Err(error @ TableError::Unavailable { .. }) if !error.may_be_done()), "{late:?}");
    assert!(began.elapsed() < LEAVE_LIMIT, "it took {:?} to fail", began.elapsed());
}
