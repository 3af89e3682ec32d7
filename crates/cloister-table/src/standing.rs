//! How a part of a table stands, as numbers.

/// How a shard stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardStatus {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) moving: usize,
    pub(crate) under_replicated: usize,
    /// How many more members it takes for each slot to have all its copies.
    pub(crate) missing_nodes: usize,
    /// The node is up in no view, so the last two are not known.
    pub(crate) is_between_views: bool,
}

impl ShardStatus {
    /// That of another shard of the same table too.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.moving += other.moving;
        self.under_replicated += other.under_replicated;
        self.missing_nodes = self.missing_nodes.max(other.missing_nodes);
        self.is_between_views |= other.is_between_views;
    }
}
