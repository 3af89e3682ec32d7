//! Interns node ids, so that each is parsed once.

use std::collections::BTreeMap;

use super::limits::{MAX_MEMBERS, WireError};
use super::node_frame::NodeFrame;
use crate::name::{Incarnation, NameError, NodeId};

/// The maximal number of interned ids. Beyond it all are dropped and parsed again when they come.
const MAX_INTERNED: usize = 2 * MAX_MEMBERS;

/// The node ids that messages named recently.
///
/// A report names every node that its sender reaches, and while a cluster assembles all report to all, again and again. A known
/// id costs a look-up instead of a parse, and is the same object, which makes it cheap to compare.
#[derive(Debug, Default)]
pub struct NodeIdInterner(BTreeMap<u64, NodeId>);

impl NodeIdInterner {
    /// An interner that knows only `me`.
    #[must_use]
    pub fn of(me: NodeId) -> Self {
        Self(BTreeMap::from([(me.incarnation().0, me)]))
    }

    /// The id of `frame`.
    pub(super) fn intern(&mut self, frame: &NodeFrame) -> Result<NodeId, WireError> {
        let known = self.0.get(&frame.incarnation);
        // A hostile sender may have forged any part of it.
        let same = |id: &&NodeId| id.started_at() == frame.started_at && *id.text() == frame.name;
        if let Some(id) = known.filter(same) {
            return Ok(id.clone());
        }
        let name = str::from_utf8(&frame.name)
            .map_err(|_| NameError::Form(String::from_utf8_lossy(&frame.name).into_owned()))?;
        let id = NodeId::new(name.parse()?, Incarnation(frame.incarnation), frame.started_at);
        if self.0.len() >= MAX_INTERNED {
            self.0.clear();
        }
        self.0.insert(frame.incarnation, id.clone());
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, incarnation: u64, started_at: u64) -> NodeFrame {
        NodeFrame { name: name.to_owned().into(), incarnation, started_at }
    }

    #[test]
    fn equal_ids_are_one_object_and_different_ids_are_not() {
        let mut interner = NodeIdInterner::default();
        let frames = [
            frame("a@h:1", 1, 5),
            frame("a@h:1", 1, 5),
            frame("a@h:1", 2, 5),
            frame("a@h:1", 1, 6),
            frame("a@h:2", 1, 5),
            frame("a@h:1", 1, 5),
        ];
        let ids: Vec<NodeId> = frames.iter().map(|frame| interner.intern(frame).unwrap()).collect();
        assert_eq!(ids[0].text().as_ptr(), ids[1].text().as_ptr());
        for (id, frame) in ids.iter().zip(frames) {
            let fresh = NodeIdInterner::default().intern(&frame).unwrap();
            assert_eq!((id, id.started_at()), (&fresh, frame.started_at));
        }
    }

    #[test]
    fn several_ids_are_interned_and_a_node_knows_its_own_from_the_beginning() {
        let me = NodeIdInterner::default().intern(&frame("a@h:9", 9, 5)).unwrap();
        let mut interner = NodeIdInterner::of(me.clone());
        let frames = [frame("a@h:9", 9, 5), frame("a@h:1", 1, 5), frame("a@h:2", 2, 5)];
        let mut read = || frames.each_ref().map(|frame| interner.intern(frame).unwrap().text().as_ptr());
        let first = read();
        assert_eq!((first, first[0]), (read(), me.text().as_ptr()));
    }

    #[test]
    fn an_invalid_name_is_an_error_each_time_and_is_not_interned() {
        let mut interner = NodeIdInterner::default();
        for name in [&b"\xff@h:1"[..], b"nobody", b""] {
            let frame = NodeFrame { name: name.to_vec().into(), incarnation: 1, started_at: 1 };
            assert!(interner.intern(&frame).is_err());
            assert!(interner.intern(&frame).is_err());
        }
        assert!(interner.0.is_empty());
    }

    #[test]
    fn a_peer_that_makes_up_names_fills_no_memory() {
        let mut interner = NodeIdInterner::default();
        for n in 0..3 * MAX_INTERNED as u64 {
            interner.intern(&frame("a@h:1", n, n)).unwrap();
            assert!(interner.0.len() <= MAX_INTERNED);
        }
        let known = interner.intern(&frame("a@h:1", 3, 3)).unwrap();
        assert_eq!(known.incarnation(), Incarnation(3));
    }
}
