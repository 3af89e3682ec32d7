//! Keeps the states of Cloister's entities in SQLite: a [`Store`] that is fenced by the epoch of the owner.
//!
//! ```no_run
//! # extern crate cloister_core as cloister;
//! # use cloister_entity::{Context, DefineEntities, Entity, EntityOptions, HandlerError};
//! # #[derive(Default, serde::Serialize, serde::Deserialize)]
//! # struct Cart;
//! # impl Entity for Cart {
//! #     const NAME: &'static str = "cart";
//! #     type Message = ();
//! #     type Reply = ();
//! #     async fn handle(&mut self, _: &mut Context<'_, Self>, (): ()) -> Result<(), HandlerError> { Ok(()) }
//! # }
//! use cloister_sqlite::SqliteStore;
//!
//! # fn example(mut arguments: cloister::ManagerArguments) -> Result<(), Box<dyn std::error::Error>> {
//! let store = SqliteStore::open("/var/lib/shop/entities.db")?;
//! let carts = arguments.entities::<Cart>(EntityOptions::default().store(store))?;
//! # Ok(())
//! # }
//! ```
//!
//! All nodes open the same file, and run on one host. The file has a write-ahead log, whose index is in the memory that processes of one
//! kernel share. Over a file system of the network another host does not see it, so a later state is lost or the file is spoilt, whether
//! its locks work or not. Nodes on several hosts use a database that has a server. This is also what a store over another one looks like:
//! two statements, each with the epoch as a condition.
//!
//! ```sql
//! CREATE TABLE entities (entity TEXT, key TEXT, epoch INTEGER NOT NULL, state BLOB, PRIMARY KEY (entity, key));
//! -- load: the store has seen this epoch from now on
//! INSERT INTO entities (entity, key, epoch) VALUES (?, ?, ?)
//!     ON CONFLICT DO UPDATE SET epoch = excluded.epoch WHERE epoch <= excluded.epoch;
//! -- save
//! UPDATE entities SET state = ?, epoch = ? WHERE entity = ? AND key = ? AND epoch <= ?;
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloister_core::Epoch;
use cloister_entity::{EntityId, Store, StoreError, StoreFuture};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::Semaphore;

/// For how long another process may hold the file locked.
const LOCKED_LIMIT: Duration = Duration::from_secs(5);

/// The pause before a file that another process has locked is tried again, where SQLite does not wait by itself.
const LOCKED_PAUSE: Duration = Duration::from_millis(5);

/// Keeps the states of entities in a file of SQLite; cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
    /// One operation at a time takes a thread that may block, and waits for the file there.
    turns: Arc<Semaphore>,
}

impl SqliteStore {
    /// Opens a file, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// What SQLite says if the file cannot be opened, or is no database. [`rusqlite::ErrorCode::CannotOpen`] if it cannot have a write-ahead
    /// log, as a database in memory, and a file of a file system without shared memory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(LOCKED_LIMIT)?;
        // Readers do not wait for a writer, and what was saved is on the disk.
        write_ahead(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS entities (
                 entity TEXT NOT NULL, key TEXT NOT NULL, epoch INTEGER NOT NULL, state BLOB, PRIMARY KEY (entity, key)
             ) WITHOUT ROWID;
             COMMIT",
        )?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), turns: Arc::new(Semaphore::new(1)) })
    }

    /// Runs on a thread that may block, in its turn.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<Result<T, StoreError>, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|error| StoreError::Failed(error.to_string()))?;
        let connection = Arc::clone(&self.connection);
        let caller = Arc::new(());
        let waits = Arc::downgrade(&caller);
        let done = tokio::task::spawn_blocking(move || {
            // Until it has come to its end, also if its caller has given it up.
            let _turn = turn;
            // A transaction that panicked was rolled back when it was dropped.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            // The entity may have saved a later state since, which this one must not replace.
            if waits.strong_count() == 0 {
                return Ok(Err(StoreError::Failed("its caller has given it up".to_owned())));
            }
            work(&mut connection)
        });
        let done = done.await;
        drop(caller);
        match done {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(StoreError::Failed(error.to_string())),
            Err(error) => Err(StoreError::Failed(error.to_string())),
        }
    }
}

/// Switches the file to a write-ahead log. Where two processes do that to a new file at once, both have read it and both want to write.
/// Then SQLite reports to one at once that the file is locked, and does not wait as [`Connection::busy_timeout`] asks.
fn write_ahead(connection: &Connection) -> Result<(), rusqlite::Error> {
    let deadline = Instant::now() + LOCKED_LIMIT;
    loop {
        // Where it does not switch it reports no error, but the mode that the file has.
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Err(error) if is_locked(&error) && Instant::now() < deadline => std::thread::sleep(LOCKED_PAUSE),
            done => return done.and_then(|mode| is_write_ahead(&mode)),
        }
    }
}

/// Whether SQLite has switched: it answers with the mode that the file has now.
fn is_write_ahead(mode: &str) -> Result<(), rusqlite::Error> {
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let cause = format!(
        "the database cannot have a write-ahead log, and has the journal mode {mode:?}: use a file on a file system of this host"
    );
    Err(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
        Some(cause),
    ))
}

fn is_locked(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// SQLite's integers have a sign. Epochs, which are milliseconds times 2^20, reach its limit in the year 2248.
fn to_sql(epoch: Epoch) -> Result<i64, StoreError> {
    i64::try_from(epoch.as_u64())
        .map_err(|_| StoreError::Failed(format!("the epoch {epoch} is beyond SQLite")))
}

/// A later epoch has been seen.
fn fenced(connection: &Connection, entity: &str, key: &str) -> Result<StoreError, rusqlite::Error> {
    let seen = connection
        .query_row("SELECT epoch FROM entities WHERE entity = ? AND key = ?", params![entity, key], |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    Ok(match seen.and_then(|epoch| u64::try_from(epoch).ok()) {
        Some(epoch) => StoreError::Fenced(Epoch::from_u64(epoch)),
        None => StoreError::Failed("its row is gone from the database".to_owned()),
    })
}

impl Store for SqliteStore {
    fn load<'a>(&'a self, id: EntityId<'a>, epoch: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let (entity, key, epoch) = (id.entity, id.key.to_owned(), to_sql(epoch)?);
            self.run(move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let seen = transaction.execute(
                    "INSERT INTO entities (entity, key, epoch) VALUES (?, ?, ?)
                         ON CONFLICT DO UPDATE SET epoch = excluded.epoch WHERE epoch <= excluded.epoch",
                    params![entity, key, epoch],
                )?;
                if seen == 0 {
                    return Ok(Err(fenced(&transaction, entity, &key)?));
                }
                let state = transaction.query_row(
                    "SELECT state FROM entities WHERE entity = ? AND key = ?",
                    params![entity, key],
                    |row| row.get(0),
                )?;
                transaction.commit()?;
                Ok(Ok(state))
            })
            .await
        })
    }

    fn save<'a>(&'a self, id: EntityId<'a>, epoch: Epoch, state: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (entity, key, epoch) = (id.entity, id.key.to_owned(), to_sql(epoch)?);
            self.run(move |connection| {
                let saved = connection.execute(
                    "UPDATE entities SET state = ?1, epoch = ?2 WHERE entity = ?3 AND key = ?4 AND epoch <= ?2",
                    params![state, epoch, entity, key],
                )?;
                Ok(if saved == 0 { Err(fenced(connection, entity, &key)?) } else { Ok(()) })
            })
            .await
        })
    }
}
