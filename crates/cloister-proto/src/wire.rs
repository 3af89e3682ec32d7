//! What nodes say to each other, and its bytes.
//!
//! Protocol buffers, so that fields can be added without breaking a rolling update. Bytes from a peer are
//! hostile: every length is bounded and every decode ends in a `Result`.

mod frame;
mod interner;

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use thiserror::Error;

pub use interner::NodeIdInterner;

use crate::hello::{Hello, Refusal};
use crate::memory::Memory;
use crate::name::{NameError, NodeId};
use crate::settings::MAX_TIMING;
use crate::view::{Epoch, View};

/// The longest frame, in bytes.
pub const MAX_FRAME_LEN: usize = 1 << 20;

/// The most members in one message.
pub const MAX_MEMBERS: usize = 4096;

/// The most views that one goodbye hands over.
pub const MAX_BASES: usize = 256;

/// The most earlier lives that one node remembers.
pub const MAX_FORMER: usize = 256;

/// The most tags of one node.
pub const MAX_TAGS: usize = 32;

/// The longest tag, in bytes.
pub const MAX_TAG_LEN: usize = 64;

/// The greatest epoch that is taken from a peer: half of the range, reached by the clock in the year 2248.
pub const MAX_EPOCH: Epoch = Epoch::from_u64(1 << 63);

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// The first word on a new link. Never reaches the core's state machine.
    Hello(Hello),
    /// The last word on a link that does not fit. Never reaches the core's state machine.
    Refused(Refusal),
    /// I live, and this is how things are here.
    Heartbeat(Heartbeat),
    /// Let this be the next view. Its sender is the proposer.
    Propose(View),
    /// A member's word on a proposal.
    Reply {
        /// The epoch of the proposal.
        epoch: Epoch,
        /// What the member says.
        reply: ProposalReply,
    },
    /// Every member has prepared: install.
    Commit {
        /// The epoch of the proposal.
        epoch: Epoch,
    },
    /// You have the name of an older node that lives: end.
    DuplicateName {
        /// The older node.
        older: NodeId,
    },
}

/// A member's word on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposalReply {
    /// I take part in no earlier view any more; my listeners are being told.
    Promise,
    /// None of my listeners holds it: I am prepared.
    Ack,
    /// No: I have promised this higher epoch.
    StaleEpoch(Epoch),
    /// No: I am on my way out.
    Leaving,
}

/// I live, and this is how things are here.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Heartbeat {
    /// The sender's clock when it sent this, in nanoseconds; rises with each heartbeat on a link.
    pub sent: u64,
    /// The newest `sent` that the sender has handled from the receiver; 0 for none.
    pub echo: u64,
    /// For how long the sender's process has run.
    pub age: Duration,
    /// Whom the sender hears.
    pub reach: Reach,
    /// The epoch of the last view the sender installed; zero for none ever.
    pub installed: Epoch,
    /// The highest epoch it has promised.
    pub promised: Epoch,
    /// Whether it is prepared for `promised`.
    pub prepared: bool,
    /// It claims nothing from views at or below this epoch.
    pub released_epoch: Epoch,
    /// The highest epoch it has heard of.
    pub max_epoch_seen: Epoch,
    /// What its wall clock shows, in milliseconds since the Unix epoch; 0 from builds that do not say.
    pub unix_ms: u64,
    /// Whether it is on its way out.
    pub leaving: bool,
    /// Whether it waits for its first lease and would like an answer at once. Answers do not ask.
    pub wants_echo: bool,
    /// How many nodes its cluster counts, by its own count; 0 for a node that was in none.
    pub size: usize,
    /// Its newest view: the one it installed last, or one that it acknowledged since; zero for none.
    pub base: Epoch,
    /// Whether it can neither follow its views nor begin a cluster with the nodes that it hears.
    pub objects: bool,
    /// Goodbyes that the receiver has not been sent before.
    pub goodbyes: Vec<Goodbye>,
    /// Earlier lives of the sender's process which the views that it remembers name. They have ended.
    pub former: Vec<NodeId>,
}

/// That a node has left in order, and what it hands over.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Goodbye {
    /// The node.
    pub node: NodeId,
    /// The view that it installed last, and those that it acknowledged since. A view without members is the one of this
    /// epoch that the receiver has installed.
    pub bases: Vec<View>,
}

/// Whom a node hears.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Reach {
    /// These nodes, itself included, in order of age.
    Nodes(Arc<[NodeId]>),
    /// The same as in the heartbeat before, with this hash.
    Same(u64),
}

/// Bytes that are not a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// More bytes than a frame may have.
    #[error("a frame of {len} bytes is over the limit of {MAX_FRAME_LEN}")]
    TooLong {
        /// How many there were.
        len: usize,
    },
    /// Not protocol buffers, or fields of other types.
    #[error("a frame is malformed: {0}")]
    Malformed(String),
    /// A field that must be there is not.
    #[error("a frame lacks `{0}`")]
    Missing(&'static str),
    /// A kind of message of a later protocol, or none.
    #[error("a frame of an unknown kind")]
    UnknownKind,
    /// A node name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More elements than a collection may have.
    #[error("`{field}` has {len} elements, over the limit of {max}")]
    TooMany {
        /// The collection.
        field: &'static str,
        /// How many there were.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// An epoch that no clock can have reached.
    #[error("epoch {0} is out of range")]
    Epoch(u64),
    /// A lease that no node can be configured to have: who grants it could not be left out of a view for as long.
    #[error("a lease of {0:?} is over the limit of {MAX_TIMING:?}")]
    Lease(Duration),
}

impl Memory {
    /// The bytes of this memory, for a file.
    pub fn encode(&self) -> Vec<u8> {
        frame::MemoryFrame::from(self).encode_to_vec()
    }

    /// The memory that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Memory, WireError> {
        let frame = frame::MemoryFrame::decode(bytes);
        frame.map_err(|e| WireError::Malformed(e.to_string()))?.memory()
    }
}

#[cfg(test)]
impl Heartbeat {
    /// Of a node that has just begun and hears nobody else.
    pub(crate) fn first() -> Self {
        Self {
            sent: 1,
            echo: 0,
            age: Duration::ZERO,
            reach: Reach::Same(0),
            installed: Epoch::ZERO,
            promised: Epoch::ZERO,
            prepared: false,
            released_epoch: Epoch::ZERO,
            max_epoch_seen: Epoch::ZERO,
            unix_ms: 0,
            leaving: false,
            wants_echo: false,
            size: 0,
            base: Epoch::ZERO,
            objects: false,
            goodbyes: Vec::new(),
            former: Vec::new(),
        }
    }
}

impl Message {
    /// The bytes of this message, without a length prefix.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = frame::Frame::from(self).encode_to_vec();
        if let Message::Hello(hello) = self {
            bytes.extend(frame::unknown_fields(&hello.unknown_fields));
        }
        bytes
    }

    /// The message that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
        Self::decode_with(bytes.to_vec(), &mut NodeIdInterner::default())
    }

    /// The message that `bytes` stand for. Ids that are in `members` are taken from there, others are added.
    pub fn decode_with(bytes: Vec<u8>, lives: &mut NodeIdInterner) -> Result<Message, WireError> {
        if bytes.len() > MAX_FRAME_LEN {
            return Err(WireError::TooLong { len: bytes.len() });
        }
        let frame = frame::Frame::decode(Bytes::from(bytes));
        frame.map_err(|e| WireError::Malformed(e.to_string()))?.message(lives)
    }

    /// A word for logs and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Message::Hello(_) => "hello",
            Message::Refused(_) => "refused",
            Message::Heartbeat(_) => "heartbeat",
            Message::Propose(_) => "propose",
            Message::Reply { reply: ProposalReply::Promise, .. } => "promise",
            Message::Reply { reply: ProposalReply::Ack, .. } => "ack",
            Message::Reply { .. } => "nack",
            Message::Commit { .. } => "commit",
            Message::DuplicateName { .. } => "duplicate_name",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::common_settings::{CommonSettings, MAX_RINGS, MAX_SETTINGS};
    use crate::name::Incarnation;
    use crate::view::Member;

    fn node(n: usize) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n as u64), n as u64)
    }

    fn members(number: usize) -> Vec<Member> {
        (0..number).map(|n| Member::without_tags(node(n))).collect()
    }

    fn hello() -> Hello {
        Hello::new(Member::without_tags(node(1)), Duration::from_secs(2), NonZeroUsize::MIN, String::new())
    }

    /// The message as it comes in.
    fn read(message: &Message) -> Result<Message, WireError> {
        Message::decode(&message.encode())
    }

    #[test]
    fn every_refusal_and_every_answer_comes_back_from_its_bytes() {
        let (rings, yours) = ("none".to_owned(), "cache = {}".to_owned());
        let refusals = [
            Refusal::Protocol { min: 2, max: 3 },
            Refusal::Ring { ring: 4 },
            Refusal::Identity,
            Refusal::Rings { rings, yours },
            Refusal::Other,
        ];
        for refusal in refusals {
            assert_eq!(read(&Message::Refused(refusal.clone())), Ok(Message::Refused(refusal)));
        }
        let epoch = Epoch::from_u64(7);
        for answer in [
            ProposalReply::Promise,
            ProposalReply::Ack,
            ProposalReply::StaleEpoch(epoch),
            ProposalReply::Leaving,
        ] {
            let reply = Message::Reply { epoch, reply: answer };
            assert_eq!(read(&reply), Ok(reply));
        }
    }

    #[test]
    fn each_kind_of_message_has_the_word_that_is_counted_and_logged() {
        let epoch = Epoch::from_u64(7);
        let reply = |answer| Message::Reply { epoch, reply: answer };
        let kinds = [
            Message::Hello(hello()),
            Message::Refused(Refusal::Identity),
            Message::Heartbeat(Heartbeat::first()),
            Message::Propose(View::new(epoch, members(1))),
            reply(ProposalReply::Promise),
            reply(ProposalReply::Ack),
            reply(ProposalReply::Leaving),
            reply(ProposalReply::StaleEpoch(epoch)),
            Message::Commit { epoch },
            Message::DuplicateName { older: node(1) },
        ];
        let words = "hello refused heartbeat propose promise ack nack nack commit duplicate_name".split(' ');
        assert!(kinds.iter().map(Message::kind).eq(words));
    }

    #[test]
    fn a_collection_may_be_as_long_as_its_limit_and_no_longer() {
        let tagged = |tags: usize, len: usize| {
            let tag = |n: usize| format!("{n:0len$}");
            let tags = (0..tags).map(tag).collect();
            Message::Propose(View::new(
                Epoch::from_u64(1),
                vec![Member { id: node(1), tags: Arc::new(tags) }],
            ))
        };
        let alike = |settings: usize| {
            let keys: Vec<String> = (0..settings).map(|n| format!("k{n}")).collect();
            let settings = keys.iter().map(|key| (key.as_str(), String::new()));
            let alike = Some(CommonSettings::new(settings, &Default::default()));
            Message::Hello(Hello { common_settings: alike, ..hello() })
        };
        let view =
            |members_: usize, size: usize| View::new(Epoch::from_u64(1), members(members_)).with_size(size);
        let handed = |bases: Vec<View>| {
            Message::Heartbeat(Heartbeat {
                goodbyes: vec![Goodbye { node: node(1), bases }],
                ..Heartbeat::first()
            })
        };
        type Long = Box<dyn Fn(usize) -> Message>;
        let limits: [(&str, usize, Long); 11] = [
            ("tags", MAX_TAGS, Box::new(move |len| tagged(len, 3))),
            ("tag", MAX_TAG_LEN, Box::new(move |len| tagged(1, len))),
            ("version", 256, Box::new(|len| Message::Hello(Hello { version: "x".repeat(len), ..hello() }))),
            ("settings", MAX_SETTINGS, Box::new(alike)),
            ("members", MAX_MEMBERS, Box::new(move |len| Message::Propose(view(len, 0)))),
            ("size", MAX_MEMBERS, Box::new(move |len| Message::Propose(view(1, len)))),
            ("lives", MAX_MEMBERS, Box::new(move |len| handed(vec![view(len, 0)]))),
            ("bases", MAX_BASES, Box::new(move |len| handed(vec![view(1, 1); len]))),
            (
                "reach",
                MAX_MEMBERS,
                Box::new(|len| {
                    let reach = Reach::Nodes((0..len).map(node).collect());
                    Message::Heartbeat(Heartbeat { reach, ..Heartbeat::first() })
                }),
            ),
            (
                "goodbyes",
                MAX_MEMBERS,
                Box::new(|len| {
                    let goodbyes = vec![Goodbye { node: node(1), bases: Vec::new() }; len];
                    Message::Heartbeat(Heartbeat { goodbyes, ..Heartbeat::first() })
                }),
            ),
            (
                "size",
                MAX_MEMBERS,
                Box::new(|size| Message::Heartbeat(Heartbeat { size, ..Heartbeat::first() })),
            ),
        ];
        for (field, max, long) in limits {
            assert_eq!(read(&long(max)), Ok(long(max)), "{field}");
            assert_eq!(read(&long(max + 1)), Err(WireError::TooMany { field, len: max + 1, max }));
        }
    }

    #[test]
    fn what_no_node_can_mean_is_an_error() {
        let lease = |lease| Message::Hello(Hello { lease, ..hello() });
        assert!(read(&lease(MAX_TIMING)).is_ok());
        let longer = MAX_TIMING + Duration::from_nanos(1);
        assert_eq!(read(&lease(longer)), Err(WireError::Lease(longer)));

        let commit = |number| Message::Commit { epoch: Epoch::from_u64(number) };
        assert!(read(&commit(MAX_EPOCH.as_u64())).is_ok());
        assert_eq!(read(&commit(MAX_EPOCH.as_u64() + 1)), Err(WireError::Epoch(MAX_EPOCH.as_u64() + 1)));

        let nobody = Message::Propose(View::new(Epoch::from_u64(1), Vec::new()));
        assert_eq!(read(&nobody), Err(WireError::Missing("members")));
        assert_eq!(Message::decode(&[]), Err(WireError::UnknownKind));
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_limit_and_no_longer() {
        // A field that nobody knows fills it up: its number, its length in three bytes, and as much of nothing.
        let filled = |len: usize| {
            let mut bytes = Message::Commit { epoch: Epoch::from_u64(8) }.encode();
            let rest = len - bytes.len() - 5;
            bytes.extend([0x9a, 0x06, rest as u8 | 0x80, (rest >> 7) as u8 | 0x80, (rest >> 14) as u8]);
            bytes.resize(len, 0);
            Message::decode(&bytes)
        };
        assert_eq!(filled(MAX_FRAME_LEN), Ok(Message::Commit { epoch: Epoch::from_u64(8) }));
        assert_eq!(filled(MAX_FRAME_LEN + 1), Err(WireError::TooLong { len: MAX_FRAME_LEN + 1 }));
    }

    #[test]
    fn nodes_in_a_reach_come_in_order_and_once() {
        let twice = Reach::Nodes([node(2), node(1), node(2)].into());
        let Ok(Message::Heartbeat(heartbeat)) =
            read(&Message::Heartbeat(Heartbeat { reach: twice, ..Heartbeat::first() }))
        else {
            panic!("it is a heartbeat");
        };
        assert_eq!(heartbeat.reach, Reach::Nodes([node(1), node(2)].into()));
    }

    #[test]
    fn words_of_a_refusal_stay_within_a_line() {
        let long = "x".repeat(2 * MAX_RINGS);
        let refusal = Refusal::Rings { rings: long, yours: "a\nb".to_owned() };
        let Ok(Message::Refused(Refusal::Rings { rings, yours })) = read(&Message::Refused(refusal)) else {
            panic!("it is a refusal");
        };
        assert_eq!((rings.len(), yours.as_str()), (MAX_RINGS, r"a\nb"));
    }
}
