//! Names, views, changes and obstacles as serde writes and reads them.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::fmt;
use std::sync::Arc;

use cloister_proto::{
    Address, Change, ClusterState, DownReason, Epoch, Incarnation, Member, NodeId, NodeName, Obstacle,
    SplitPolicy, Status, View,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const NODE: &str =
    r#"{"name":"app@h1:4370","incarnation":"18446744073709551615","started_at":1795554902844}"#;

fn node() -> NodeId {
    NodeId::new("app@h1:4370".parse().unwrap(), Incarnation(u64::MAX), 1_795_554_902_844)
}

fn member() -> Member {
    Member::new(node(), Arc::new(["disk", "eu"].map(str::to_owned).into()))
}

#[track_caller]
fn is_written_as<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T, json: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), json);
    assert_eq!(&serde_json::from_str::<T>(json).unwrap(), value);
}

#[test]
fn names_are_text_and_large_numbers_too() {
    is_written_as(&"[::1]:4370".parse::<Address>().unwrap(), r#""[::1]:4370""#);
    is_written_as(&NodeName::without_network("app").unwrap(), r#""app@nohost""#);
    is_written_as(&Epoch::from_u64(1_882_775_777_848_140_878), r#""1882775777848140878""#);
    is_written_as(&node(), NODE);
    assert!(serde_json::from_str::<NodeName>(r#""app""#).unwrap_err().to_string().contains("app@host:port"));
    assert!(serde_json::from_str::<Epoch>(r#""-1""#).is_err());
    let number = serde_json::from_str::<Epoch>("1").unwrap_err().to_string();
    assert!(number.contains("expected an epoch: a number as text"), "{number}");
}

#[test]
fn a_status_a_reason_and_a_policy_are_written_as_they_are_shown() {
    use Status::{Assembling, Down, Rehashing, Stopped, Stopping, Up};
    for status in [Down, Assembling, Rehashing, Up, Stopping, Stopped] {
        is_written_as(&status, &format!("\"{status}\""));
    }
    for reason in [DownReason::Left, DownReason::Crashed, DownReason::Unreachable, DownReason::Replaced] {
        is_written_as(&reason, &format!("\"{reason}\""));
    }
    for policy in [SplitPolicy::Majority, SplitPolicy::Consensus, SplitPolicy::KeepOldest] {
        is_written_as(&policy, &format!("\"{}\"", policy.as_str()));
    }
}

#[test]
fn a_view_is_read_as_a_view_is_made() {
    let row = NODE.replace('}', r#","tags":["disk","eu"]}"#);
    let view = View::new(Epoch::from_u64(7), vec![member()]).with_size(3);
    is_written_as(&view, &format!(r#"{{"epoch":"7","size":3,"members":[{row}]}}"#));
    let twice = format!(r#"{{"epoch":"7","size":0,"members":[{row},{row}]}}"#);
    let read: View = serde_json::from_str(&twice).unwrap();
    assert_eq!((read.members().len(), read.size()), (1, 1), "each member once, and none uncounted");
}

#[test]
fn a_change_has_its_kind() {
    is_written_as(
        &Change::NodeDown { node: node(), reason: DownReason::Crashed },
        &format!(r#"{{"kind":"node_down","node":{NODE},"reason":"crashed"}}"#),
    );
    is_written_as(
        &Change::SentryChanged { from: None, to: Some(node()) },
        &format!(r#"{{"kind":"sentry_changed","from":null,"to":{NODE}}}"#),
    );
    is_written_as(
        &Change::NetworkSplit { unreachable: vec![node()] },
        &format!(r#"{{"kind":"network_split","unreachable":[{NODE}]}}"#),
    );
}

#[test]
fn a_state_comes_back_whole() {
    let view = Arc::new(View::new(Epoch::from_u64(7), vec![member()]));
    let mut state = ClusterState::initial(member());
    (state.seq, state.status, state.members) = (3, Status::Up, vec![member()]);
    (state.view, state.sentry) = (Some(view), Some(node()));
    let json = serde_json::to_string(&state).unwrap();
    let read: ClusterState = serde_json::from_str(&json).unwrap();
    assert_eq!(format!("{read:?}"), format!("{state:?}"));
}

#[test]
fn an_obstacle_is_the_sentence_that_is_shown() {
    let obstacle = Obstacle::TooFew { present: vec![node()], needed: 2 };
    assert_eq!(serde_json::to_string(&obstacle).unwrap(), format!("\"{obstacle}\""));
}
