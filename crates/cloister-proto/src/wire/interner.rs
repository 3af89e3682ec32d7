//! The ids that messages name, each read once.

use std::collections::BTreeMap;

use super::limits::{MAX_MEMBERS, WireError};
use super::node_frame::NodeFrame;
use crate::name::{Incarnation, NameError, NodeId};

/// The most ids that are remembered. Beyond, all are forgotten: what is named again is read again.
const MAX_INTERNED: usize = 2 * MAX_MEMBERS;

/// The ids that were read lately.
///
/// A report names every node that its sender hears, and while a cluster comes together all report to all, time and again.
/// An id that was read before costs a look-up instead of a parse, and is the same object, which makes it cheap to compare.
#[derive(Debug, Default)]
pub struct NodeIdInterner(BTreeMap<u64, NodeId>);

impl NodeIdInterner {
    /// Knows nobody but `me`.
    pub fn of(me: NodeId) -> Self {
        Self(BTreeMap::from([(me.incarnation().0, me)]))
    }

    /// The id that `frame` stands for.
    pub(super) fn intern(&mut self, frame: &NodeFrame) -> Result<NodeId, WireError> {
        let known = self.0.get(&frame.incarnation);
        // Whoever sent it may have made up any part of it.
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
    fn who_is_named_twice_is_one_object_and_who_differs_in_anything_is_another() {
        let mut lives = NodeIdInterner::default();
        let frames = [
            frame("a@h:1", 1, 5),
            frame("a@h:1", 1, 5),
            frame("a@h:1", 2, 5),
            frame("a@h:1", 1, 6),
            frame("a@h:2", 1, 5),
            frame("a@h:1", 1, 5),
        ];
        let ids: Vec<NodeId> = frames.iter().map(|frame| lives.intern(frame).unwrap()).collect();
        assert_eq!(ids[0].text().as_ptr(), ids[1].text().as_ptr());
        for (id, frame) in ids.iter().zip(frames) {
            let fresh = NodeIdInterner::default().intern(&frame).unwrap();
            assert_eq!((id, id.started_at()), (&fresh, frame.started_at));
        }
    }

    #[test]
    fn several_are_remembered_and_a_node_knows_itself_from_the_beginning() {
        let me = NodeIdInterner::default().intern(&frame("a@h:9", 9, 5)).unwrap();
        let mut lives = NodeIdInterner::of(me.clone());
        let frames = [frame("a@h:9", 9, 5), frame("a@h:1", 1, 5), frame("a@h:2", 2, 5)];
        let mut read = || frames.each_ref().map(|frame| lives.intern(frame).unwrap().text().as_ptr());
        let first = read();
        assert_eq!((first, first[0]), (read(), me.text().as_ptr()));
    }

    #[test]
    fn what_is_no_name_is_an_error_each_time_and_is_not_remembered() {
        let mut lives = NodeIdInterner::default();
        for name in [&b"\xff@h:1"[..], b"nobody", b""] {
            let frame = NodeFrame { name: name.to_vec().into(), incarnation: 1, started_at: 1 };
            assert!(lives.intern(&frame).is_err());
            assert!(lives.intern(&frame).is_err());
        }
        assert!(lives.0.is_empty());
    }

    #[test]
    fn a_peer_that_makes_up_names_fills_no_memory() {
        let mut lives = NodeIdInterner::default();
        for n in 0..3 * MAX_INTERNED as u64 {
            lives.intern(&frame("a@h:1", n, n)).unwrap();
            assert!(lives.0.len() <= MAX_INTERNED);
        }
        let known = lives.intern(&frame("a@h:1", 3, 3)).unwrap();
        assert_eq!(known.incarnation(), Incarnation(3));
    }
}
