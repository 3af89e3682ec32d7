//! The table of this node, with the keys of the judge.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cloister::{
    Cloister, DefineTable, Epoch, ManagerArguments, Slot, Table, TableError, TableEvent, TableOptions,
};
use tokio::sync::broadcast::error::TryRecvError;

use super::register::name_of;
use crate::client::KEYS_OF_TABLE;
use crate::history::{INITIAL, Outcome, Request};
use crate::sabotage::Sabotage;
use crate::wire::{LossReport, line};

/// How long an operation may take: less than the longer time for which clients wait.
const TIMEOUT: Duration = Duration::from_secs(8);

/// How often the node looks in which view it is, and whether something was lost.
const LOOK: Duration = Duration::from_millis(20);

/// For how long what was lost in a view that has ended may not have been reported yet.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// The function by which keys are updated.
const EXCHANGE: &str = "exchange";

/// The table of this node.
pub(super) struct Tables {
    cloister: Cloister,
    table: Table<String, u64>,
    node: usize,
    /// The names of all nodes, by their numbers.
    names: Vec<String>,
}

impl Tables {
    /// Defines the table, and tells the judge what it loses.
    pub(super) fn define(
        arguments: &mut ManagerArguments,
        copies: usize,
        node: usize,
        sabotage: Option<Sabotage>,
    ) -> Result<Self, TableError> {
        let exchange = |before: Option<u64>, value: u64| (Some(value), before.unwrap_or(INITIAL));
        let mut options =
            TableOptions::default().copies(copies).timeout(TIMEOUT).function(EXCHANGE, exchange);
        if let Some(rule) = sabotage.and_then(Sabotage::rule_of_table) {
            options = options.without(rule);
        }
        let table = arguments.table("judged", options)?;
        let cloister = arguments.handle();
        let seeds = std::env::var("CLOISTER__SEEDS").unwrap_or_default();
        let names = seeds.split(',').map(|seed| format!("judge@{seed}")).collect();
        tokio::spawn(tell_losses(cloister.clone(), table.clone()));
        Ok(Self { cloister, table, node, names })
    }

    /// Does what is asked, at the owner of the key.
    pub(super) async fn serve(&self, key: u32, request: Request) -> Outcome {
        let name = name_of(key);
        let table = &self.table;
        let found = match request {
            Request::Read => table.get(&name).await.map(|found| found.unwrap_or(INITIAL)),
            Request::Write(value) => table.insert(&name, &value).await.map(|found| found.unwrap_or(INITIAL)),
            Request::Update(value) => table.update(&name, EXCHANGE, &value).await,
            Request::Remove => table.remove(&name).await.map(|found| found.unwrap_or(INITIAL)),
            Request::Swap { expected, new } => {
                let present = (expected != INITIAL).then_some(expected);
                let swapped = table.compare_and_swap(&name, present.as_ref(), Some(&new)).await;
                swapped.map(|swapped| swapped.err().map_or(expected, |found| found.unwrap_or(INITIAL)))
            }
        };
        match found {
            Ok(found) => {
                let epoch = self.cloister.epoch().map_or(0, Epoch::as_u64);
                let owner = table.owner(&name).ok().flatten().map(|owner| owner.name().to_string());
                let owner = self.names.iter().position(|name| Some(name) == owner.as_ref());
                Outcome::Ok { found, epoch, node: owner.unwrap_or(self.node) }
            }
            Err(error) if error.may_be_done() => Outcome::Uncertain { why: error.to_string() },
            Err(error) => Outcome::Refused { why: error.to_string(), owner: None },
        }
    }
}

/// Writes what is lost to the standard output.
async fn tell_losses(cloister: Cloister, table: Table<String, u64>) {
    let slot_of = |key| (key, table.slot(&name_of(key)).expect("invariant: the keys are short texts"));
    let keys: Vec<(u32, Slot)> = (0..KEYS_OF_TABLE).map(slot_of).collect();
    let mut events = table.events();
    // The views that the node was in, each with a moment before it began.
    let mut views = VecDeque::from([(None, Instant::now())]);
    let mut looked = Instant::now();
    loop {
        let now = Instant::now();
        let view = cloister.epoch();
        if view != views.back().and_then(|(view, _)| *view) {
            views.push_back((view, looked));
        }
        while views.get(1).is_some_and(|(_, began)| now.duration_since(*began) > TOLD_WITHIN) {
            views.pop_front();
        }
        looked = now;
        match events.try_recv() {
            Ok(TableEvent::Lost { slots, certain }) => {
                let lost = keys.iter().filter(|(_, slot)| slots.contains(slot)).map(|(key, _)| *key);
                let since = views.front().map_or(TOLD_WITHIN, |(_, began)| began.elapsed());
                let present = views.back().map_or(since, |(_, began)| began.elapsed());
                let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX) + 1;
                let (since_ms, present_ms) = (ms(since), ms(present));
                let keys = lost.collect();
                let report = LossReport { keys, slots: slots.len(), certain, since_ms, present_ms };
                print!("{}", String::from_utf8_lossy(&line(&report)));
            }
            Ok(_) => {}
            Err(TryRecvError::Empty) => tokio::time::sleep(LOOK).await,
            Err(TryRecvError::Lagged(missed)) => panic!("{missed} events of the table were missed"),
            Err(TryRecvError::Closed) => return,
        }
    }
}
