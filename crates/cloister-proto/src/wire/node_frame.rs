//! The frames of nodes, members and views.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::bytes::Bytes;

use super::interner::NodeIdInterner;
use super::limits::{MAX_MEMBERS, MAX_TAG_LEN, MAX_TAGS, WireError, at_most, count, epoch, size};
use crate::name::NodeId;
use crate::view::{Member, View};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NodeFrame {
    // Text; as bytes it is shared with the frame or the id that it comes from. It is checked when it is read as a name.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(fixed64, tag = "2")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub(super) started_at: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberFrame {
    #[prost(message, optional, tag = "1")]
    id: Option<NodeFrame>,
    #[prost(string, repeated, tag = "2")]
    tags: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ViewFrame {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(message, repeated, tag = "2")]
    members: Vec<MemberFrame>,
    // Absent in builds that do not know it: then it is the number of members.
    #[prost(uint32, tag = "3")]
    size: u32,
}

impl From<&NodeId> for NodeFrame {
    fn from(id: &NodeId) -> Self {
        NodeFrame { name: id.text().clone(), incarnation: id.incarnation().0, started_at: id.started_at() }
    }
}

impl From<&Member> for MemberFrame {
    fn from(member: &Member) -> Self {
        MemberFrame { id: Some((&member.id).into()), tags: member.tags.iter().cloned().collect() }
    }
}

impl MemberFrame {
    pub(super) fn member(self, interner: &mut NodeIdInterner) -> Result<Member, WireError> {
        at_most("tags", self.tags.len(), MAX_TAGS)?;
        for tag in &self.tags {
            at_most("tag", tag.len(), MAX_TAG_LEN)?;
        }
        let id = interner.intern(&self.id.ok_or(WireError::Missing("id"))?)?;
        Ok(Member { id, tags: Arc::new(self.tags.into_iter().collect::<BTreeSet<_>>()) })
    }
}

impl From<&View> for ViewFrame {
    fn from(view: &View) -> Self {
        ViewFrame {
            epoch: view.epoch().as_u64(),
            members: view.members().iter().map(MemberFrame::from).collect(),
            // Omitted where a build that does not know the field means the same.
            size: if view.size() == view.members().len() { 0 } else { count(view.size()) },
        }
    }
}

impl ViewFrame {
    pub(super) fn view(self, interner: &mut NodeIdInterner) -> Result<View, WireError> {
        at_most("members", self.members.len(), MAX_MEMBERS)?;
        if self.members.is_empty() {
            return Err(WireError::Missing("members"));
        }
        let members =
            self.members.into_iter().map(|member| member.member(interner)).collect::<Result<Vec<_>, _>>()?;
        Ok(View::new(epoch(self.epoch)?, members).with_size(size(self.size)?))
    }
}
