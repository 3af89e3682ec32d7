//! Makes the faults of a schedule happen.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::schedule::{Fault, Planned};
use crate::store::Store;

/// By how much later than planned a fault may come without a word.
const LATE: Duration = Duration::from_millis(300);

/// A fault that has happened, in nanoseconds since the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) fault: Fault,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Makes faults happen to a cluster.
pub(crate) struct Nemesis<'a> {
    pub(crate) cluster: &'a mut Cluster,
    /// There is none beside a table.
    pub(crate) store: Option<&'a Store>,
    pub(crate) began: Instant,
}

impl Nemesis<'_> {
    /// Lets every fault begin and end at its time, and returns when the last has ended.
    pub(crate) fn run(&mut self, planned: &[Planned]) -> Vec<Happened> {
        let mut moments: BTreeMap<(Duration, bool, usize), &Planned> = BTreeMap::new();
        for (number, one) in planned.iter().enumerate() {
            // Of one moment, ends come first.
            moments.insert((one.begin, true, number), one);
            moments.insert((one.end, false, number), one);
        }
        let mut present: BTreeMap<usize, (u64, &Fault)> = BTreeMap::new();
        let mut happened = Vec::new();
        let mut shift = Duration::ZERO;
        for ((at, begins, number), one) in moments {
            let at = at + shift;
            thread::sleep(at.saturating_sub(self.began.elapsed()));
            let now = nanos(self.began.elapsed());
            // A fault that is late is one that another held up, or a machine that is too busy.
            let late = self.began.elapsed().saturating_sub(at);
            let late =
                if late > LATE { format!(", {:.1} s late", late.as_secs_f64()) } else { String::new() };
            let what = if begins { "" } else { "over: " };
            println!("{:6.1} s  {what}{}{late}", now as f64 / 1e9, one.fault);
            if begins {
                present.insert(number, (now, &one.fault));
                self.begin(&one.fault);
            } else if let Some((from, fault)) = present.remove(&number) {
                self.end(fault, present.is_empty());
                happened.push(Happened { fault: fault.clone(), from, to: nanos(self.began.elapsed()) });
            }
            let took = self.began.elapsed().saturating_sub(Duration::from_nanos(now));
            if took > LATE && self.store.is_none() {
                // The faults of a table are spaced: all that follow come later.
                shift += took;
            }
            if !one.fault.is_cut() {
                continue;
            }
            let cuts: Vec<_> = present.values().map(|(_, fault)| *fault).collect();
            self.cluster.cut(&cuts);
        }
        happened
    }

    fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(node) => self.cluster.kill(*node),
            Fault::Restart(node) => {
                self.cluster.kill(*node);
                self.cluster.start(*node);
            }
            Fault::Leave(node) => self.cluster.leave(*node),
            Fault::Freeze(node) => self.cluster.freeze(*node, true),
            Fault::Late(node) => self.late(*node, true),
            Fault::OneWay(..) | Fault::BothWays(..) | Fault::Split(_) => {}
        }
    }

    fn late(&self, node: usize, late: bool) {
        if let Some(store) = self.store {
            store.late(node, late);
        }
    }

    /// Ends a fault; `alone` says that no other one is present.
    fn end(&mut self, fault: &Fault, alone: bool) {
        match fault {
            Fault::Kill(node) => self.cluster.start(*node),
            Fault::Leave(node) => {
                if !self.cluster.wait_left(*node) {
                    println!("          node {node} did not leave by itself");
                    // Members that are cut off or frozen may keep a leaver waiting.
                    if alone {
                        self.cluster.note_unexplained(format!("node {node} did not leave by itself"));
                    }
                }
                self.cluster.start(*node);
            }
            Fault::Freeze(node) => self.cluster.freeze(*node, false),
            Fault::Late(node) => self.late(*node, false),
            Fault::Restart(_) | Fault::OneWay(..) | Fault::BothWays(..) | Fault::Split(_) => {}
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
