//! `cloister-judge`: clients write to real nodes under faults, and checkers that others wrote judge what was answered.
//!
//! ```sh
//! cargo run --release -p cloister-judge -- --seconds 60 --seed 1 --nodes 5
//! ```
//!
//! Exit status: 0 if the history is legal, 1 if it is not, 2 if the run could not be judged.
//!
//! # What is judged
//!
//! Each node serves a register for each key that it owns: read, write, compare-and-swap. The values are in a store that outlives the
//! nodes, as a database would. The node caches them. Clients ask nodes directly or have a node call the owner by key
//! ([`Cloister::call`](cloister::Cloister::call)). The claims of Cloister decide which node serves, and its errors decide whether an
//! operation was certainly not done.
//!
//! Every rule of the register can be left out. A judge that accepts such a run proves nothing.
//!
//! | rule | what it is for | left out by |
//! |---|---|---|
//! | **lease**: a node serves by a claim that holds when the operation's turn comes, and a read looks at the claim once more after the value | a node that is cut off or frozen answers reads from its cache while another node writes | `--sabotage lease`: serves by the ring of the last view that it was up in |
//! | **fence**: the store remembers the greatest epoch that has come for a key, and refuses an earlier one | a write that was sent under a valid claim arrives after the next owner has fetched the value: it would be acknowledged, and missed in the cache of the next owner | `--sabotage fence`: the store ignores epochs |
//! | **hand-over**: a cached value is good for one epoch; in the next the owner fetches it from the store | what another node wrote in between is lost | `--sabotage handover`: the owner goes on with what it has in memory |
//! | **ready**: nothing is served before the value has been fetched | the first operations of an epoch find the value of before | `--sabotage ready`: serves while it fetches |
//!
//! # What becomes of an operation
//!
//! | outcome | when | in the history |
//! |---|---|---|
//! | ok | the node answered | from its call to its return |
//! | refused | the node or Cloister says that it was not done | not there |
//! | uncertain | no answer in time, the connection was lost, or [`CallError::Uncertain`](cloister::CallError::Uncertain) | open to the end, or to when its value was first seen; a read is not there |
//!
//! # What judges
//!
//! - `porcupine-rs`, each key for itself, with a limit of time;
//! - `todc-utils`, as a second opinion;
//! - the claims: no operation that began after another returned is of an earlier epoch, and no epoch has two owners of a key. This
//!   check is of this crate, and looks at Cloister alone, whatever the store would catch.
//!
//! A run is not judged if too few operations were done, no fault happened, no key changed its epoch, a key cannot be read in the end,
//! or a checker was out of time.
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

use clap::Parser;

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
    // The helpers panic where they cannot go on. Nodes and namespaces are removed while it unwinds.
    let judged = std::panic::catch_unwind(|| judge::judge(&arguments.run));
    let judged = judged.unwrap_or_else(|_| Err("it panicked".to_owned()));
    let end = judged.unwrap_or_else(|error| {
        eprintln!("{error}");
        End::Unjudged(vec![error])
    });
    end.code()
}
