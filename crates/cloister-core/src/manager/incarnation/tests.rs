use cloister_proto::{Incarnation, Member, NodeId};
use ractor::ActorProcessingErr;

use super::*;
use crate::placement::RingPlan;

struct Mailbox;

impl Actor for Mailbox {
    type Msg = ManagerMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ManagerMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A disk was slow when the node before left: its last write has not ended.
#[tokio::test]
async fn a_state_file_that_this_process_still_writes_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state");
    let config = Config::new("shop").state_file(&path);
    let before = StateFile::open(&path, "shop").unwrap();
    let writing = std::thread::spawn(move || {
        std::thread::sleep(STATE_FILE_IN_USE + 10 * STATE_FILE_AGAIN);
        drop(before);
    });
    let node = NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(1), 1);
    let shared = Arc::new(Shared::new(Member::without_tags(node), RingPlan::default(), &config));
    let (manager, _) = Actor::spawn(None, Mailbox, ()).await.unwrap();
    let mut runner = IncarnationRunner::new(shared, manager);
    runner.open_state_file(&config).await.unwrap();
    writing.join().unwrap();
}
