//! The codec of messages.
//!
//! Protocol buffers, so that fields can be added without breaking a rolling update. Bytes from a peer are
//! hostile: every length is bounded and every decode ends in a `Result`.

mod frame;
mod heartbeat_frame;
mod hello_frame;
mod interner;
mod limits;
mod memory_frame;
mod node_frame;

use prost::Message as _;
use prost::bytes::Bytes;

pub use interner::NodeIdInterner;
pub use limits::{
    MAX_BASES, MAX_EPOCH, MAX_FORMER, MAX_FRAME_LEN, MAX_MEMBERS, MAX_TAG_LEN, MAX_TAGS, WireError,
};

use crate::memory::Memory;
pub use crate::message::{Heartbeat, Intent, Message, ProposalReply, Reach};

impl Memory {
    /// The bytes of this memory, for a state file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        memory_frame::MemoryFrame::from(self).encode_to_vec()
    }

    /// Decodes a memory.
    ///
    /// # Errors
    ///
    /// [`WireError`] when `bytes` are no memory or exceed a limit.
    pub fn decode(bytes: &[u8]) -> Result<Memory, WireError> {
        let frame = memory_frame::MemoryFrame::decode(bytes);
        frame.map_err(|e| WireError::Malformed(e.to_string()))?.memory()
    }
}

impl Message {
    /// The bytes of this message, without a length prefix.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = frame::Frame::from(self).encode_to_vec();
        #[cfg(feature = "test-support")]
        if let Message::Hello(hello) = self {
            return [bytes, hello_frame::unknown_fields(&hello.unknown_fields)].concat();
        }
        bytes
    }

    /// Decodes a message.
    ///
    /// # Errors
    ///
    /// [`WireError`] when `bytes` are no message or exceed a limit.
    pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
        Self::decode_with(bytes.to_vec(), &mut NodeIdInterner::default())
    }

    /// Decodes a message. Ids that `interner` knows are shared; new ones are added to it.
    ///
    /// # Errors
    ///
    /// [`WireError`] when `bytes` are no message or exceed a limit.
    pub fn decode_with(bytes: Vec<u8>, interner: &mut NodeIdInterner) -> Result<Message, WireError> {
        if bytes.len() > MAX_FRAME_LEN {
            return Err(WireError::TooLong { len: bytes.len() });
        }
        let frame = frame::Frame::decode(Bytes::from(bytes));
        frame.map_err(|e| WireError::Malformed(e.to_string()))?.message(interner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::common_settings::{CommonSettings, MAX_DEFINITIONS, MAX_RINGS, MAX_SETTINGS, MAX_TEXT};
    use crate::goodbye::Goodbye;
    use crate::hello::{Hello, Refusal};
    use crate::name::{Incarnation, NodeId};
    use crate::settings::MAX_TIMING;
    use crate::view::{Epoch, Member, View};

    fn node(n: usize) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n as u64), n as u64)
    }

    fn members(number: usize) -> Vec<Member> {
        (0..number).map(|n| Member::without_tags(node(n))).collect()
    }

    fn hello() -> Hello {
        Hello::new(Member::without_tags(node(1)), Duration::from_secs(2), String::new())
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
            Refusal::Rings { rings, yours: yours.clone() },
            Refusal::Definition { name: "table a".to_owned(), definition: "copies 2".to_owned(), yours },
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
    fn each_kind_of_message_has_a_label_for_counters_and_logs() {
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
        let defines = |definitions: usize| {
            let text = |len: usize, n: usize| format!("{n:0len$}");
            let definitions = (0..definitions).map(|n| (text(MAX_TEXT, n), text(MAX_TEXT, n)));
            let definitions: BTreeMap<String, String> = definitions.collect();
            let alike = CommonSettings::new([], &Default::default()).with_definitions(&definitions);
            Message::Hello(Hello { common_settings: Some(alike), ..hello() })
        };
        let view =
            |members_: usize, size: usize| View::new(Epoch::from_u64(1), members(members_)).with_size(size);
        let handed = |base_views: Vec<View>| {
            Message::Heartbeat(Heartbeat {
                goodbyes: vec![Goodbye { node: node(1), base_views }],
                ..Heartbeat::first()
            })
        };
        type Long = Box<dyn Fn(usize) -> Message>;
        let limits: [(&str, usize, Long); 12] = [
            ("tags", MAX_TAGS, Box::new(move |len| tagged(len, 3))),
            ("tag", MAX_TAG_LEN, Box::new(move |len| tagged(1, len))),
            ("version", 256, Box::new(|len| Message::Hello(Hello { version: "x".repeat(len), ..hello() }))),
            ("settings", MAX_SETTINGS, Box::new(alike)),
            ("definitions", MAX_DEFINITIONS, Box::new(defines)),
            ("members", MAX_MEMBERS, Box::new(move |len| Message::Propose(view(len, 0)))),
            ("size", MAX_MEMBERS, Box::new(move |len| Message::Propose(view(1, len)))),
            ("incarnations", MAX_MEMBERS, Box::new(move |len| handed(vec![view(len, 0)]))),
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
                    let goodbyes = vec![Goodbye { node: node(1), base_views: Vec::new() }; len];
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

        let without_members = Message::Propose(View::new(Epoch::from_u64(1), Vec::new()));
        assert_eq!(read(&without_members), Err(WireError::Missing("members")));
        assert_eq!(Message::decode(&[]), Err(WireError::UnknownKind));
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_limit_and_no_longer() {
        // An unknown field fills it up: its number, its length in three bytes, and that many zeros.
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
    fn the_text_of_a_refusal_stays_on_one_line() {
        let long = "x".repeat(2 * MAX_RINGS);
        let refusal = Refusal::Rings { rings: long, yours: "a\nb".to_owned() };
        let Ok(Message::Refused(Refusal::Rings { rings, yours })) = read(&Message::Refused(refusal)) else {
            panic!("it is a refusal");
        };
        assert_eq!((rings.len(), yours.as_str()), (MAX_RINGS, r"a\nb"));

        let (name, definition) = ("\u{1b}[2J\n".to_owned(), "x".repeat(2 * MAX_TEXT));
        let refusal = Refusal::Definition { name, definition, yours: "c\r".to_owned() };
        let Ok(Message::Refused(Refusal::Definition { name, definition, yours })) =
            read(&Message::Refused(refusal))
        else {
            panic!("it is a refusal");
        };
        assert_eq!((name.as_str(), definition.len(), yours.as_str()), (r"\u{1b}[2J\n", MAX_TEXT, r"c\r"));
    }
}
