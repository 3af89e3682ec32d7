//! `cloister-judge`: clients write to real nodes under faults, and checkers that others wrote judge what was answered.
//!
//! ```sh
//! cargo run --release -p cloister-judge -- --seconds 60 --seed 1 --nodes 5
//! cargo run --release -p cloister-judge -- --seconds 60 --seed 1 --nodes 5 --copies 2
//! ```
//!
//! Exit status: 0 if the history is legal, 1 if it is not, 2 if the run could not be judged. A run in which a node ended or panicked, and no
//! fault explains it, could not be judged. Nor could one in which a node that was told to leave did not, while no other fault was present.
//!
//! # What is judged
//!
//! A register that is fenced by hand, or with `--copies` a table.
//!
//! ## Registers
//!
//! Each node serves a register for each key that it owns: read, write, compare-and-swap. The values are in a store that outlives the
//! nodes, as a database would. The node caches them. Clients ask nodes directly or have a node call the owner by key
//! ([`Cloister::call`](cloister::Cloister::call)). The claims of Cloister decide which node serves, and its errors decide whether an
//! operation was certainly not done.
//!
//! Each rule can be left out. A judge that accepts such a run proves nothing.
//!
//! | rule | what it is for | left out by |
//! |---|---|---|
//! | **lease**: a node serves by a claim that holds when the operation's turn comes, and a read looks at the claim once more after the value | a node that is cut off or frozen answers reads from its cache while another node writes | `--sabotage lease`: serves by the ring of the last view that it was up in |
//! | **fence**: the store remembers the greatest epoch that has come for a key, and refuses an earlier one | a write that was sent under a valid claim arrives after the next owner has fetched the value. It would be acknowledged, and missed in the cache of the next owner | `--sabotage fence`: the store ignores epochs |
//! | **hand-over**: a cached value is good for one epoch; in the next the owner fetches it from the store | what another node wrote in between is lost | `--sabotage handover`: the owner goes on with what it has in memory |
//! | **ready**: nothing is served before the value has been fetched | the first operations of an epoch find the value of before | `--sabotage ready`: serves while it fetches |
//!
//! ## Tables
//!
//! With `--copies N` each node defines a table of that many copies ([`DefineTable`](cloister::DefineTable)). Clients insert, get, update,
//! remove, and compare and swap through the table of any node. What an operation returns of the value before it is judged, too.
//!
//! | rule | what it is for | left out by |
//! |---|---|---|
//! | `Claim` | a node that is cut off answers reads while another node writes | `--sabotage lease`: serves, whatever its lease, until it promises another view |
//! | `Fence` | a copy that has reported for the next view acknowledges a write of the view before | `--sabotage fence`: takes part in earlier views |
//! | `AskAll` | the content of a new view is not the newest | `--sabotage handover`: the owner asks half of the members |
//! | `WaitForCopies` | the owner alone has an acknowledged write, and ends or is left out | `--sabotage copies`: acknowledges at once |
//! | `Seal` | nothing knows that a slot was written, and its loss is not reported | `--sabotage loss`: members do not remember it |
//!
//! A table loses a slot when all nodes that have a copy are lost before others have new ones, and then tells so
//! ([`TableEvent::Lost`](cloister::TableEvent::Lost)). The faults of a table are spaced: no more than `N - 1` nodes are absent at a time,
//! and the next fault waits 5 s. So most runs lose nothing. With `--losses` they overlap, and `N` nodes are killed at once; with
//! `--sabotage loss` there is nothing but that. With `--sabotage fence` a node joins, time and again, when another is left out.
//! No run has noticed yet that `Fence` is missing: `docs/judge.md` says why.
//!
//! A reported loss is a step in the history of the keys of its slots. It lasts from the beginning of the view in which it was seen to the
//! moment at which it was reported. After it, the value is what it was or none; if the loss is not certain, any. That holds until an
//! operation shows which. A loss that is not reported makes a history illegal. So does one that the faults do not explain: fewer nodes than
//! copies were absent. That counts from 3.5 s before its view, or before a time without any view, until it was reported.
//!
//! # What becomes of an operation
//!
//! | outcome | when | in the history |
//! |---|---|---|
//! | ok | the node answered | from its call to its return |
//! | refused | the node or Cloister says that it was not done | not there |
//! | uncertain | no answer in time, the connection was lost, or [`CallError::Uncertain`](cloister::CallError::Uncertain), or [`TableError::may_be_done`](cloister::TableError::may_be_done) | open to the end, or to when its value was first seen; a read is not there |
//!
//! # What judges
//!
//! - `porcupine-rs`, each key for itself, with a limit of time;
//! - `todc-utils`, as a second opinion;
//! - the claims: no operation that began after another returned is of an earlier epoch, and no epoch has two owners of a key. This
//!   check is of this crate, and looks at Cloister alone, whatever the store would catch. It is not there for tables, which do not say
//!   what served an operation.
//!
//! A run is not judged if too few operations were done, no fault happened or no key changed its epoch. Nor is it judged if a key cannot be
//! read in the end, or a checker was out of time.
//!
//! # Layout
//!
//! - `arguments`, `sabotage`, `schedule`, `history`, `checkers`, `report`: pure;
//! - `judge`: one run; `cluster`: the processes and their network; `nemesis`: makes the faults; `client`, `store`: threads;
//! - `node`: the program that is judged, a hidden subcommand of this one; `wire`: what they say to each other.

mod arguments;
mod checkers;
mod client;
mod cluster;
mod history;
mod judge;
mod nemesis;
mod node;
mod report;
mod sabotage;
mod schedule;
mod store;
mod wire;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};
use judge::End;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Node) = arguments.command {
        return match node::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(fault) = arguments.run.fault() {
        Arguments::command().error(ErrorKind::ValueValidation, fault).exit();
    }
    // The helpers panic where they cannot go on. Nodes and namespaces are removed while it unwinds.
    let judged = std::panic::catch_unwind(|| judge::judge(&arguments.run));
    let judged = judged.unwrap_or_else(|_| Err("it panicked".to_owned()));
    let end = judged.unwrap_or_else(|error| {
        eprintln!("{error}");
        End::Unjudged(vec![error])
    });
    end.code()
}
