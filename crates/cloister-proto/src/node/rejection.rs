//! Messages of authenticated peers that are rejected, and how often.

use std::collections::BTreeMap;

use super::state::{Node, Rejection};

impl Node {
    /// How often messages were rejected since the start, by reason. Some rejections are ordinary, such as a reply to a round that
    /// is over.
    #[must_use]
    pub fn rejections(&self) -> &BTreeMap<Rejection, u64> {
        &self.rejections
    }

    pub(super) fn reject(&mut self, what: Rejection) {
        let count = self.rejections.entry(what).or_default();
        *count = count.saturating_add(1);
    }
}
