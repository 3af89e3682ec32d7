//! The frames of goodbyes, and of what a state file holds.

use super::interner::NodeIdInterner;
use super::limits::{MAX_BASES, MAX_FORMER, MAX_MEMBERS, WireError, at_most, count, epoch, size};
use super::node_frame::NodeFrame;
use crate::goodbye::Goodbye;
use crate::memory::Memory;
use crate::name::NodeId;
use crate::view::{Member, View};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GoodbyeFrame {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeFrame>,
    #[prost(message, repeated, tag = "2")]
    base_views: Vec<BaseFrame>,
}

/// A view without what its members are tagged with.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BaseFrame {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(message, repeated, tag = "2")]
    incarnations: Vec<NodeFrame>,
    #[prost(uint32, tag = "3")]
    size: u32,
}

/// What one incarnation leaves to the next. Never sent: it is what a state file holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemoryFrame {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeFrame>,
    #[prost(message, repeated, tag = "2")]
    former: Vec<NodeFrame>,
    #[prost(message, optional, tag = "3")]
    installed: Option<BaseFrame>,
    #[prost(message, repeated, tag = "4")]
    acknowledged: Vec<BaseFrame>,
    #[prost(message, repeated, tag = "5")]
    goodbyes: Vec<GoodbyeFrame>,
}

pub(super) fn ids(nodes: &[NodeFrame], interner: &mut NodeIdInterner) -> Result<Vec<NodeId>, WireError> {
    nodes.iter().map(|node| interner.intern(node)).collect()
}

impl From<&Memory> for MemoryFrame {
    fn from(memory: &Memory) -> Self {
        MemoryFrame {
            node: memory.node.as_ref().map(NodeFrame::from),
            former: memory.former.iter().map(NodeFrame::from).collect(),
            installed: memory.installed.as_ref().map(BaseFrame::from),
            acknowledged: memory.acknowledged.iter().map(BaseFrame::from).collect(),
            goodbyes: memory.goodbyes.iter().map(GoodbyeFrame::from).collect(),
        }
    }
}

impl MemoryFrame {
    pub(super) fn memory(self) -> Result<Memory, WireError> {
        let interner = &mut NodeIdInterner::default();
        at_most("former", self.former.len(), MAX_FORMER)?;
        at_most("acknowledged", self.acknowledged.len(), MAX_BASES)?;
        at_most("goodbyes", self.goodbyes.len(), MAX_MEMBERS)?;
        Ok(Memory {
            node: self.node.map(|incarnation| interner.intern(&incarnation)).transpose()?,
            former: ids(&self.former, interner)?,
            installed: self.installed.map(|base| base.view(interner)).transpose()?,
            acknowledged: self
                .acknowledged
                .into_iter()
                .map(|base| base.view(interner))
                .collect::<Result<_, _>>()?,
            goodbyes: self.goodbyes.into_iter().map(|it| it.goodbye(interner)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&View> for BaseFrame {
    fn from(view: &View) -> Self {
        BaseFrame {
            epoch: view.epoch().as_u64(),
            incarnations: view.ids().map(NodeFrame::from).collect(),
            size: count(view.size()),
        }
    }
}

impl From<&Goodbye> for GoodbyeFrame {
    fn from(goodbye: &Goodbye) -> Self {
        let base_views = goodbye.base_views.iter().map(BaseFrame::from);
        GoodbyeFrame { node: Some((&goodbye.node).into()), base_views: base_views.collect() }
    }
}

impl GoodbyeFrame {
    pub(super) fn goodbye(self, interner: &mut NodeIdInterner) -> Result<Goodbye, WireError> {
        at_most("bases", self.base_views.len(), MAX_BASES)?;
        let incarnation = interner.intern(&self.node.ok_or(WireError::Missing("incarnation"))?)?;
        let base_views =
            self.base_views.into_iter().map(|base| base.view(interner)).collect::<Result<_, _>>()?;
        Ok(Goodbye { node: incarnation, base_views })
    }
}

impl BaseFrame {
    pub(super) fn view(self, interner: &mut NodeIdInterner) -> Result<View, WireError> {
        at_most("incarnations", self.incarnations.len(), MAX_MEMBERS)?;
        let id = |frame| interner.intern(frame).map(Member::without_tags);
        let members = self.incarnations.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        Ok(View::new(epoch(self.epoch)?, members).with_size(size(self.size)?))
    }
}
