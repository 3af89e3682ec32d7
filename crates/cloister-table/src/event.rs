//! What a table tells its program.

use cloister_core::Slot;

/// What has become of the copies of a table, as far as this node owns its entries; from [`Table::events`](crate::Table::events).
///
/// ```
/// use cloister_table::{Table, TableEvent};
///
/// async fn alarm(stock: Table<String, u32>) {
///     let mut events = stock.events();
///     while let Ok(event) = events.recv().await {
///         if let TableEvent::Lost { slots, .. } = event {
///             eprintln!("{} slots have lost writes", slots.len());
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableEvent {
    /// Acknowledged writes of these slots are lost, or may be.
    Lost {
        /// The slots.
        slots: Vec<Slot>,
        /// All complete copies were gone when the view began, and the slots go on empty. Else that is not known: no member of the view
        /// knows all that was seen up to the view before. Then the slots go on with what there is.
        certain: bool,
    },
    /// All copies of these slots are gone. They refuse operations until a node that has a copy is back, or
    /// [`Table::accept_loss`](crate::Table::accept_loss).
    WaitsForCopy {
        /// The slots.
        slots: Vec<Slot>,
    },
    /// Some slots have fewer copies than the table should have. More are being made, or there are too few members for them.
    UnderReplicated {
        /// How many slots of this node.
        slots: usize,
        /// How many more members it takes for the copies; 0 if they are being made.
        missing_nodes: usize,
    },
    /// All slots of this node have as many copies as they should.
    Replicated,
}
