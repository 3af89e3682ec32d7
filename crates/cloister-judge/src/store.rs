//! The store: one register for each key that outlives the nodes, as a database with a fencing token would.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cloister_testkit::random::Rng;

use crate::history::INITIAL;
use crate::wire::{Connection, StoreAnswer, StoreAsk};

/// How many of a hundred writes of a node wait while its writes are late.
const LATE_PERCENT: u64 = 80;

/// How long these wait, in milliseconds: longer than it takes until a node that is cut off has lost its keys to others.
const LATE: (u64, u64) = (3_500, 7_000);

/// The store. It listens until the program ends.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    registers: BTreeMap<u32, Register>,
    /// Whether it refuses what comes with an earlier epoch.
    fenced: bool,
    late: BTreeSet<usize>,
    rng: Rng,
    overtaken: u64,
}

/// The value of a key, and the greatest epoch that has come for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Register {
    value: u64,
    epoch: u64,
}

impl Store {
    pub(crate) fn new(fenced: bool, seed: u64) -> Self {
        let (registers, late) = (BTreeMap::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(State { registers, fenced, late, rng: Rng::new(seed), overtaken: 0 })))
    }

    /// Begins to listen, in the network of the calling thread.
    pub(crate) fn listen(&self, address: SocketAddr) -> std::io::Result<()> {
        let listener = TcpListener::bind(address)?;
        let store = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let store = store.clone();
                if let Ok(connection) = Connection::new(stream) {
                    thread::spawn(move || store.serve(connection));
                }
            }
        });
        Ok(())
    }

    /// Lets some writes of this node wait, or no longer.
    pub(crate) fn late(&self, node: usize, late: bool) {
        let mut state = self.lock();
        if late {
            state.late.insert(node)
        } else {
            state.late.remove(&node)
        };
    }

    /// How often something came with an earlier epoch.
    pub(crate) fn overtaken(&self) -> u64 {
        self.lock().overtaken
    }

    /// One question after the other, until the node closes the connection.
    fn serve(&self, mut connection: Connection) {
        while let Ok(ask) = connection.receive::<StoreAsk>() {
            // Not in one expression: the lock would be held while this sleeps, and all others would wait.
            let delay = self.lock().delay(ask);
            thread::sleep(delay);
            let answer = self.lock().answer(ask);
            if connection.send(&answer).is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long this waits on its way.
    fn delay(&mut self, ask: StoreAsk) -> Duration {
        let is_late = ask.value.is_some() && self.late.contains(&ask.node) && self.rng.percent(LATE_PERCENT);
        Duration::from_millis(if is_late { self.rng.between(LATE.0, LATE.1) } else { 0 })
    }

    fn answer(&mut self, ask: StoreAsk) -> StoreAnswer {
        let register = self.registers.entry(ask.key).or_insert(Register { value: INITIAL, epoch: 0 });
        if ask.epoch < register.epoch {
            self.overtaken += 1;
            if self.fenced {
                return StoreAnswer::Overtaken { by: register.epoch };
            }
        }
        register.epoch = register.epoch.max(ask.epoch);
        register.value = ask.value.unwrap_or(register.value);
        StoreAnswer::Value(register.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(epoch: u64, value: Option<u64>) -> StoreAsk {
        StoreAsk { node: 0, key: 1, epoch, value }
    }

    #[test]
    fn an_earlier_epoch_is_refused_once_a_later_one_has_fetched() {
        let store = Store::new(true, 1);
        let mut state = store.lock();
        assert_eq!(state.answer(ask(5, Some(50))), StoreAnswer::Value(50));
        assert_eq!(state.answer(ask(6, None)), StoreAnswer::Value(50));
        assert_eq!(state.answer(ask(5, Some(51))), StoreAnswer::Overtaken { by: 6 });
        assert_eq!(state.answer(ask(5, None)), StoreAnswer::Overtaken { by: 6 });
        assert_eq!(state.answer(ask(6, Some(60))), StoreAnswer::Value(60));
    }

    #[test]
    fn without_the_fence_an_earlier_epoch_writes() {
        let store = Store::new(false, 1);
        let mut state = store.lock();
        assert_eq!(state.answer(ask(6, None)), StoreAnswer::Value(INITIAL));
        assert_eq!(state.answer(ask(5, Some(51))), StoreAnswer::Value(51));
        assert_eq!(state.overtaken, 1);
    }

    #[test]
    fn only_writes_of_a_late_node_wait() {
        let store = Store::new(true, 1);
        store.late(0, true);
        let mut state = store.lock();
        let late = |state: &mut State, ask| (0..100).filter(|_| !state.delay(ask).is_zero()).count();
        assert_eq!(late(&mut state, ask(1, None)), 0);
        assert!((60..97).contains(&late(&mut state, ask(1, Some(1)))));
        assert_eq!(late(&mut state, StoreAsk { node: 1, ..ask(1, Some(1)) }), 0);
    }
}
