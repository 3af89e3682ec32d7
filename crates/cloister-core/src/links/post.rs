//! The one actor of a node that its peers can see: frames go in.

use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, pg};

use super::session::SessionMessage;

const SCOPE: &str = "cloister";
const GROUP: &str = "post";
const VARIANT: &str = "post";

/// Hands every frame on to the sessions. There is one in each node, and each node finds the one of a peer by
/// its process group, which ractor tells it before it calls a session ready.
pub(super) struct PostActor;

/// A frame, on its way out or in.
#[derive(Debug)]
pub(super) enum PostMessage {
    /// The bytes of an envelope.
    Frame(Vec<u8>),
    /// Something else that a peer sent here.
    Garbage,
}

impl Message for PostMessage {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            PostMessage::Frame(args) => {
                Ok(SerializedMessage::Cast { variant: VARIANT.to_owned(), args, metadata: None })
            }
            PostMessage::Garbage => Err(BoxedDowncastErr),
        }
    }

    /// Never fails: a peer decides what comes in here.
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(match message {
            SerializedMessage::Cast { variant, args, .. } if variant == VARIANT => PostMessage::Frame(args),
            SerializedMessage::Cast { .. }
            | SerializedMessage::Call { .. }
            | SerializedMessage::CallReply(..) => PostMessage::Garbage,
        })
    }
}

impl Actor for PostActor {
    type Msg = PostMessage;
    type State = ActorRef<SessionMessage>;
    type Arguments = ActorRef<SessionMessage>;

    async fn pre_start(
        &self,
        myself: ActorRef<PostMessage>,
        sessions: ActorRef<SessionMessage>,
    ) -> Result<Self::State, ActorProcessingErr> {
        pg::join_scoped(SCOPE.to_owned(), GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(sessions)
    }

    async fn handle(
        &self,
        _myself: ActorRef<PostMessage>,
        message: PostMessage,
        sessions: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let message = match message {
            PostMessage::Frame(bytes) => SessionMessage::Frame(bytes),
            PostMessage::Garbage => SessionMessage::Garbage,
        };
        // It fails only when the sessions have ended, and then this actor ends with them.
        let _ = sessions.cast(message);
        Ok(())
    }
}

/// The post of the peer at the other end of the session that ractor numbered `node`.
pub(super) fn of_session(node: ractor_cluster::NodeId) -> Option<ActorCell> {
    pg::get_scoped_members(&SCOPE.to_owned(), &GROUP.to_owned())
        .into_iter()
        .find(|cell| matches!(cell.get_id(), ActorId::Remote { node_id, .. } if node_id == node))
}
