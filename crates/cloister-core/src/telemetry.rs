//! The names of what is logged and measured.
//!
//! One event per fact, under the target [`TARGET`] or one that begins with it, with these fields: `node` (who logs),
//! `status`, `epoch`, `cause`, and `peer` where another node is meant. INFO is what an operator wants to read after an incident.

/// The target of the events of a node; a filter like `cloister=info` shows them all.
pub const TARGET: &str = "cloister";

/// The metrics that the admin server shows at `/metrics`, as gauges.
pub mod metric {
    /// 1 while this node is up, else 0.
    pub const UP: &str = "cloister_up";
    /// How many members the present state has.
    pub const MEMBERS: &str = "cloister_members";
    /// How many members a view needs.
    pub const CONSENSUS: &str = "cloister_consensus";
    /// The number of the last change that listeners were told.
    pub const SEQ: &str = "cloister_seq";
    /// The epoch of the view installed last.
    pub const EPOCH: &str = "cloister_epoch";
    /// 1 while this node is the sentry, else 0.
    pub const SENTRY: &str = "cloister_is_sentry";
    /// How many slots of the ring over all members this node owns.
    pub const SLOTS: &str = "cloister_slots_mine";
    /// How many peers are linked.
    pub const LINKS: &str = "cloister_links";
}
