//! How the tables of this process stand, for the metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cloister_core::{Cloister, Status};

use crate::core::Core;

/// How a table stands at this node, from [`statistics`].
///
/// [`statistics`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableStatistics {
    /// The name of the table.
    pub table: String,
    /// Whether it keeps the states of entities.
    pub is_entity: bool,
    /// How many copies of each entry there should be.
    pub copies: u64,
    /// How many entries this node has, with copies of those that other nodes own. The metric `cloister_table_rows`.
    pub rows: u64,
    /// The bytes of their keys and values, and of answers that may be asked for again. The metric `cloister_table_bytes`.
    pub bytes: u64,
    /// How many slots this node is fetching.
    pub moving: u64,
    /// How many slots of this node have fewer copies than they should, or are not served yet. The metric
    /// `cloister_table_under_replicated`.
    pub under_replicated: u64,
    /// How many more members it takes for all copies; 0 if they are there, or are being made.
    pub missing_nodes: u64,
    /// How many slots have lost writes since the process began, or may have, while this node owned them. The metric
    /// `cloister_table_lost_total`.
    pub lost: u64,
}

impl TableStatistics {
    /// `table`, or `entity` for the states of entities: the label `kind` of the metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.is_entity { "entity" } else { "table" }
    }
}

/// By the names of their actors.
static TABLES: Mutex<BTreeMap<String, Weak<Core>>> = Mutex::new(BTreeMap::new());

fn tables() -> MutexGuard<'static, BTreeMap<String, Weak<Core>>> {
    TABLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on the table is among [`statistics`].
pub(crate) fn add(core: &Arc<Core>) {
    let mut tables = tables();
    tables.retain(|_, table| table.strong_count() > 0);
    tables.insert(core.actor.clone(), Arc::downgrade(core));
}

/// How many bytes all tables of a node have, by what they have written since each of them looked.
pub(crate) fn bytes_of(cloister: &Cloister) -> u64 {
    let tables = tables();
    let of_node =
        tables.values().filter_map(Weak::upgrade).filter(|core| core.cloister.node() == cloister.node());
    of_node.map(|core| core.bytes()).sum()
}

/// The table of this name of a node of this process that has ended.
pub(crate) fn leftover(core: &Arc<Core>) -> Option<Arc<Core>> {
    let before = tables().get(&core.actor)?.upgrade()?;
    (!Arc::ptr_eq(&before, core) && before.cloister.status() == Status::Stopped).then_some(before)
}

/// How the tables of this process stand, by name. Each table looks once a second.
///
/// ```
/// for table in cloister_table::statistics() {
///     println!("{table:?}");
/// }
/// ```
pub fn statistics() -> Vec<TableStatistics> {
    let tables: Vec<_> = tables().values().filter_map(Weak::upgrade).collect();
    let of = |core: &Arc<Core>| {
        let status = core.status();
        TableStatistics {
            table: core.table.clone(),
            is_entity: core.is_entity(),
            copies: core.copies().into(),
            moving: status.all.moving as u64,
            rows: status.all.rows as u64,
            bytes: status.all.bytes as u64,
            under_replicated: status.all.under_replicated as u64,
            missing_nodes: status.all.missing_nodes as u64,
            lost: status.lost,
        }
    };
    tables.iter().map(of).collect()
}
