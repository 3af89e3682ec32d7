//! How the tables of this process stand, for the metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::core::Core;

/// How a table stands at this node, from [`statistics`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableStatistics {
    /// The name of the table.
    pub table: String,
    /// How many entries this node has, with copies of those that other nodes own. The metric `cloister_table_rows`.
    pub rows: u64,
    /// The bytes of their keys and values. The metric `cloister_table_bytes`.
    pub bytes: u64,
    /// How many slots of this node have fewer copies than they should, or are not served yet. The metric
    /// `cloister_table_under_replicated`.
    pub under_replicated: u64,
    /// How many slots have lost writes since the process began, or may have, while this node owned them. The metric
    /// `cloister_table_lost_total`.
    pub lost: u64,
}

static TABLES: Mutex<BTreeMap<String, Weak<Core>>> = Mutex::new(BTreeMap::new());

fn tables() -> MutexGuard<'static, BTreeMap<String, Weak<Core>>> {
    TABLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on the table is among [`statistics`].
pub(crate) fn add(core: &Arc<Core>) {
    let mut tables = tables();
    tables.retain(|_, table| table.strong_count() > 0);
    tables.insert(core.table.clone(), Arc::downgrade(core));
}

/// How the tables of this process stand, by name. Each table looks once a second.
pub fn statistics() -> Vec<TableStatistics> {
    let tables: Vec<_> = tables().values().filter_map(Weak::upgrade).collect();
    let of = |core: &Arc<Core>| {
        let status = core.status();
        TableStatistics {
            table: core.table.clone(),
            rows: status.all.rows as u64,
            bytes: status.all.bytes as u64,
            under_replicated: status.all.under_replicated as u64,
            lost: status.lost,
        }
    };
    tables.iter().map(of).collect()
}
