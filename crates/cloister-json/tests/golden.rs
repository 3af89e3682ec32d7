//! The JSON of earlier builds, to the byte: what is read from it is written the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use cloister_json::{ChangeRow, Event, Member, Members, Peer, Readiness, Whois};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads `json`, and finds that it is written as it was.
#[track_caller]
fn read<T: Serialize + DeserializeOwned>(json: &str) -> T {
    let read: T = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    read
}

#[test]
fn members_are_written_as_ever() {
    let members: Members = read(concat!(
        r#"{"node":"quickstart@127.0.0.1:4370","incarnation":"17081464320904733774","status":"up","#,
        r#""epoch":"1882775777848140878","seq":3,"consensus":2,"#,
        r#""split":{"policy":"majority","members":2,"counted":2,"spare":0,"allows_two":false},"#,
        r#""warnings":["2 members, counted 2: can lose none"],"#,
        r#""sentry":"quickstart@127.0.0.1:4370","is_sentry":true,"members":["#,
        r#"{"name":"quickstart@127.0.0.1:4370","incarnation":"17081464320904733774","started_at":1795554902844,"#,
        r#""tags":["disk","eu"],"live":true},"#,
        r#"{"name":"quickstart@127.0.0.2:4370","incarnation":"255412288261722798","started_at":1795554902844,"#,
        r#""tags":[],"live":false}],"peers":["#,
        r#"{"name":"quickstart@127.0.0.1:4370","address":"127.0.0.1:4370","state":"self","last_error":null,"#,
        r#""last_heard_ms":null,"reaches":[],"differs":[]},"#,
        r#"{"name":"quickstart@127.0.0.2:4370","address":"127.0.0.2:4370","state":"linked","last_error":null,"#,
        r#""last_heard_ms":378,"reaches":["quickstart@127.0.0.1:4370"],"#,
        r#""differs":[{"key":"timing.lease","here":"2s","there":"4s"}]},"#,
        r#"{"name":null,"address":"127.0.0.3:4370","state":"refused","last_error":"connection refused","#,
        r#""last_heard_ms":null,"reaches":[],"differs":[]}],"#,
        r#""ring":{"slots":16384,"mine":8192,"owners":[{"node":"quickstart@127.0.0.1:4370","slots":8192}]},"#,
        r#""rings":[{"name":"disks","owners":[{"node":"quickstart@127.0.0.1:4370","slots":16384}]}]}"#,
    ));
    assert_eq!((members.members.len(), members.peers[1].last_heard_ms), (2, Some(378)));
}

#[test]
fn what_a_node_does_not_know_is_null() {
    let members: Members = read(concat!(
        r#"{"node":"shop@nohost","incarnation":"0","status":"down","epoch":null,"seq":0,"consensus":1,"split":null,"#,
        r#""warnings":[],"sentry":null,"is_sentry":false,"members":[],"peers":[],"#,
        r#""ring":{"slots":16384,"mine":0,"owners":[]},"rings":[]}"#,
    ));
    assert_eq!((members.epoch, members.split), (None, None));
    let whois: Whois = read(r#"{"key":"apple","slot":13482,"owner":null,"is_mine":false,"epoch":null}"#);
    assert_eq!(whois.owner, None);
}

#[test]
fn readiness_leaves_out_a_runtime_that_answers() {
    let ready: Readiness = read(r#"{"status":"up","missing":[],"warnings":[]}"#);
    assert_eq!(ready.stalled_ms, None);
    let blocked: Readiness =
        read(r#"{"status":"up","missing":["the runtime has not answered"],"warnings":[],"stalled_ms":1200}"#);
    assert_eq!(blocked.stalled_ms, Some(1200));
}

#[test]
fn an_owner_and_an_event_are_written_as_ever() {
    let whois: Whois = read(concat!(
        r#"{"key":"user:42","slot":13482,"owner":"quickstart@127.0.0.2:4370","is_mine":false,"#,
        r#""epoch":"1882775777848140878"}"#
    ));
    assert_eq!(whois.slot, 13482);
    let event: Event = read(concat!(
        r#"{"seq":4,"at":1795554903292,"from":"up","to":"rehashing","epoch":"1882775777848140878","changes":["#,
        r#"{"kind":"node_down","node":"quickstart@127.0.0.2:4370","reason":"crashed"},"#,
        r#"{"kind":"sentry_changed","node":null,"reason":null}],"sentry":null}"#,
    ));
    let gone = ChangeRow { kind: "sentry_changed".to_owned(), node: None, reason: None };
    assert_eq!((event.seq, &event.changes[1]), (4, &gone));
}

#[test]
fn fields_may_be_missing_or_unknown() {
    let members: Members = serde_json::from_str(
        r#"{"node":"a@b:1","status":"hibernating","members":[{"name":"a@b:1"}],"peers":[{"state":"asleep"}],"more":{}}"#,
    )
    .unwrap();
    let member = Member { name: "a@b:1".to_owned(), ..Member::default() };
    let peer = Peer { state: "asleep".to_owned(), ..Peer::default() };
    assert_eq!((members.members, members.peers, members.ring), (vec![member], vec![peer], None));
    assert!(serde_json::from_str::<Members>(r#"{"node":"a@b:1"}"#).is_err(), "it is no answer of a node");
    assert_eq!(serde_json::from_str::<Readiness>("{}").unwrap(), Readiness::default());
}
