//! What a table is for.

use std::sync::Arc;

use crate::options::TableOptions;
use crate::service::Service;

/// What a table is for.
pub(crate) enum Purpose {
    /// The program reads and writes it.
    Table,
    /// It is the memory of a service.
    Service(Arc<dyn Service>),
}

impl Purpose {
    /// What nodes call it when they tell each other how it is defined.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Purpose::Table => "table",
            Purpose::Service(_) => "entity",
        }
    }

    /// What all nodes must define alike.
    pub(crate) fn definition(&self, options: &TableOptions) -> String {
        let definition = options.definition();
        match self {
            // One that sends nothing again has a store. A node without it would begin each state anew.
            Purpose::Service(service) if !service.repeats() => format!("{definition}, states in a store"),
            _ => definition,
        }
    }
}
