//! A table on a node that is alone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cloister::{Config, ManagerArguments};
use cloister_table::{DefineTable, Table, TableError, TableOptions, WatchEvent, statistics};
use cloister_testkit::alone;

/// How long a node may take to leave, which waits 15 s for other nodes to take its entries.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// The time to live of entries.
const BRIEF: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_alone_leaves_at_once_and_operations_end_with_it() {
    alone!();
    let mut arguments = ManagerArguments::new(Config::new("alone").table_bytes(16 << 20)).unwrap();
    let fails = |_: Option<u64>, (): ()| -> (Option<u64>, ()) { panic!("as it was told") };
    let table =
        arguments.table::<String, u64>("numbers", TableOptions::default().function("fail", fails)).unwrap();
    let add = |count: Option<u64>, by: u64| (Some(count.unwrap_or(0) + by), count);
    let options = TableOptions::default().time_to_live(BRIEF).function("add", add);
    let brief = arguments.table::<String, u64>("brief", options).unwrap();
    // As long as it takes.
    let large =
        arguments.table::<u32, String>("large", TableOptions::default().timeout(Duration::MAX)).unwrap();
    let other = arguments.table::<String, String>("", TableOptions::default());
    assert!(matches!(other, Err(TableError::Definition { .. })), "a table without a name");
    let other = arguments.table::<String, String>("\u{1b}[2J", TableOptions::default());
    assert!(matches!(other, Err(TableError::Definition { .. })), "a table whose name changes a terminal");
    more_tables_than_nodes_tell_each_other_of_are_refused(arguments.clone());
    let mut late = arguments.clone();
    let key = "key".to_owned();
    let again = arguments.clone();
    let early = tokio::spawn({
        let (table, key) = (table.clone(), key.clone());
        async move { table.insert(&key, &1).await }
    });
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    assert_eq!(early.await.unwrap(), Ok(None), "it waits until the node is up");
    assert_eq!(table.get(&key).await, Ok(Some(1)));
    let late = late.table::<String, String>("late", TableOptions::default()).unwrap_err();
    let text = late.to_string();
    assert!(text.contains(&format!("the node {} has been started", cloister.node().name())), "{text}");
    assert_eq!(cloister.common_settings()["table brief"], "copies 2, on_loss empty, format 3");
    let failed = table.update::<(), ()>(&key, "fail", &()).await.unwrap_err();
    assert!(matches!(failed, TableError::FunctionFailed { .. }), "{failed:?}");
    let place = format!("failed at {} in the view {}", cloister.node().name(), cloister.epoch().unwrap());
    assert!(failed.to_string().contains(&place), "{failed}");
    assert_eq!(table.get(&key).await, Ok(Some(1)), "a panic leaves the value");
    assert_eq!(table.local_iter().collect::<Vec<_>>(), [(key.clone(), 1)]);

    entries_are_gone_after_their_time(&brief).await;
    expired_entries_are_not_listed(&brief).await;
    what_needs_more_than_there_is_room_for_is_refused(&large, &table).await;

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

    let (began, mut watch) = (Instant::now(), table.watch());
    cloister.leave().await;
    assert!(began.elapsed() < LEAVE_LIMIT, "it took {:?} to leave", began.elapsed());
    let began = Instant::now();
    let late = table.insert(&key, &2).await;
    assert!(matches!(&late, Err(error @ TableError::Unavailable { .. }) if !error.may_be_done()), "{late:?}");
    assert!(began.elapsed() < LEAVE_LIMIT, "it took {:?} to fail", began.elapsed());
    // One that was there ends with the node, and one that is made after that ends, too.
    while watch.next().await.is_some() {}
    let mut between = table.watch();
    assert_eq!(tokio::time::timeout(LEAVE_LIMIT, between.next()).await, Ok(None));

    let cloister = cloister::start_with_arguments(again).await.unwrap();
    let mut anew = table.watch();
    assert_eq!(table.insert(&key, &3).await, Ok(None), "it begins without entries");
    let event = tokio::time::timeout(LEAVE_LIMIT, anew.next()).await;
    assert_eq!(event, Ok(Some(WatchEvent::Put(key, 3))));
    assert_eq!((watch.next().await, between.next().await), (None, None), "they have ended");
    cloister.leave().await;
}

/// These arguments start no node.
fn more_tables_than_nodes_tell_each_other_of_are_refused(mut arguments: ManagerArguments) {
    let mut define = |n: usize| arguments.table::<u8, u8>(&format!("table{n}"), TableOptions::default());
    let refused = (0..).find_map(|n| define(n).err().map(|error| (n, error)));
    let Some((defined, TableError::Definition { cause, .. })) = refused else { panic!("{refused:?}") };
    // Three were there.
    assert_eq!(defined, 253);
    assert!(cause.contains("256"), "{cause}");
}

async fn entries_are_gone_after_their_time(brief: &Table<String, u64>) {
    let key = |name: &str| name.to_owned();
    let (late, began) = (Duration::from_secs(3_600), Instant::now());
    brief.insert(&key("brief"), &1).await.unwrap();
    brief.insert(&key("swapped"), &1).await.unwrap();
    brief.insert_for(&key("late"), &1, late).await.unwrap();
    // The last write counts, whether its time is shorter or longer.
    for (name, first, then) in [("shorter", late, BRIEF), ("longer", BRIEF, late)] {
        brief.insert_for(&key(name), &1, first).await.unwrap();
        brief.insert_for(&key(name), &1, then).await.unwrap();
    }
    assert_eq!(brief.update::<u64, Option<u64>>(&key("renewed"), "add", &1).await, Ok(None));
    let soon = brief.get(&key("brief")).await;
    assert!(soon == Ok(Some(1)) || began.elapsed() >= BRIEF, "{soon:?} after {:?}", began.elapsed());
    // A write begins the time anew: it stays for as long as it is written.
    let mut count = 1;
    while began.elapsed() < BRIEF * 2 {
        tokio::time::sleep(BRIEF / 8).await;
        let written = Instant::now();
        let before = brief.update::<u64, Option<u64>>(&key("renewed"), "add", &1).await;
        // On a machine that is that busy, it was gone.
        if before == Ok(Some(count)) {
            count += 1;
        } else {
            assert_eq!(before, Ok(None), "{:?} after the last write", written.elapsed());
            count = 1;
        }
    }
    assert!(count > 1 || began.elapsed() > BRIEF * 4, "an entry is gone though it is written");
    assert_eq!(brief.get(&key("brief")).await, Ok(None));
    assert_eq!(brief.compare_and_swap(&key("swapped"), None, Some(&2)).await, Ok(Ok(())), "it has no value");
    assert_eq!(brief.get(&key("late")).await, Ok(Some(1)));
    // Their memory is free, too.
    while brief.len().await != Ok(2) {
        assert!(began.elapsed() < LEAVE_LIMIT * 4, "{:?} entries are left", brief.len().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut left: Vec<_> = brief.local_iter().collect();
    left.sort();
    assert_eq!(left, [(key("late"), 1), (key("longer"), 1)]);
}

/// Milliseconds of the wall clock, which is what expires entries.
fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

async fn expired_entries_are_not_listed(brief: &Table<String, u64>) {
    for n in 0..100_u64 {
        let name = format!("listed{n}");
        brief.insert_for(&name, &n, Duration::from_millis(5)).await.unwrap();
        let expired = wall_clock() + 5;
        while wall_clock() <= expired {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(brief.local_iter().all(|(key, _)| key != name), "{name} is listed after its time");
    }
}

async fn what_needs_more_than_there_is_room_for_is_refused(
    large: &Table<u32, String>,
    other: &Table<String, u64>,
) {
    let value = "x".repeat(1_000_000);
    let mut written = 0;
    let full = loop {
        match large.insert(&written, &value).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 20, "{written} MB are more than 16 MiB");
    };
    assert!(written >= 15, "{written} MB, {full}");
    assert!(matches!(full, TableError::Full { max: 16_777_216, .. }) && !full.may_be_done(), "{full}");
    assert!(full.to_string().contains("`limits.table_bytes`"), "{full}");
    // The limit is that of all tables of the node. What is there can be read, made smaller and removed; then there is room.
    assert!(other.insert(&"x".repeat(900), &1).await.is_ok(), "a small value fits");
    assert_eq!(large.get(&0).await.unwrap().map(|value| value.len()), Some(1_000_000));
    assert!(large.insert(&0, &"small".to_owned()).await.is_ok(), "it is smaller");
    assert!(large.remove(&1).await.is_ok());
    // It is counted anew each second.
    while let Err(error) = large.insert(&written, &value).await {
        assert!(matches!(error, TableError::Full { .. }), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
