use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloister_testkit::wait::until_async;

use super::*;

#[test]
fn a_label_survives_ractor() {
    let remote = SocketAddr::from(([10, 0, 0, 1], 4370));
    assert_eq!(parse_label(&label(remote, LinkId(17))), Some((remote, LinkId(17))));
    assert_eq!(parse_label("127.0.0.1:33333"), None);
    assert_eq!(parse_label("external"), None);
}

#[test]
fn the_cookie_depends_on_the_cluster_and_the_secret_and_on_where_one_ends() {
    let all = [cookie("a", "b"), cookie("a", "c"), cookie("b", "b"), cookie("ab", ""), cookie("", "ab")];
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert!(all.iter().all(|cookie| cookie.len() == 64 && !cookie.contains("ab\0")));
}

/// Longer than anything here takes on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Takes what the subscription passes on.
struct Sink;

impl Actor for Sink {
    type Msg = SessionMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<SessionMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// Counts what becomes of the sessions of an attacker.
#[derive(Clone, Default)]
struct Fate {
    authenticated: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl NodeEventSubscription for Fate {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, _: NodeServerSessionInformation) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {
        self.authenticated.fetch_add(1, Ordering::SeqCst);
    }
}

/// A node server of the cluster `it` without a cookie, as ractor starts it, and the address at which it listens.
async fn open_server() -> (ActorRef<NodeServerMessage>, ActorRef<SessionMessage>, SocketAddr) {
    let (sessions, _) = Actor::spawn(None, Sink, ()).await.unwrap();
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let server = node_server("victim", free.port());
    let (server, _) = Actor::spawn_linked(None, server, (), sessions.get_cell()).await.unwrap();
    (server, sessions, free)
}

fn node_server(name: &str, port: u16) -> NodeServer {
    NodeServer::new(port, cookie("it", ""), name.to_owned(), "host".to_owned(), None, None)
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[tokio::test]
async fn the_listener_of_the_node_server_is_closed_and_not_opened_again() {
    let (server, sessions, address) = open_server().await;
    let silent = TcpStream::connect(address).expect("ractor listens");
    watch(&server, &sessions).await.unwrap();
    close_listener(&server).await.unwrap();
    until_async("the port refuses", async || TcpStream::connect(address).is_err()).await;
    silent.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    // Closed or reset, by the kill or with the listener.
    assert!(matches!((&silent).read(&mut [0]), Ok(0) | Err(_)));
    until_async("no child is left", async || server.get_children().is_empty()).await;
    let answer = server.call(NodeServerMessage::GetSessions, Some(QUERY_TIMEOUT)).await;
    assert!(matches!(answer, Ok(CallResult::Success(_))), "the node server lives on");
    assert!(server.get_children().is_empty(), "nothing was started anew");
}

#[tokio::test]
async fn a_session_without_our_label_is_killed_before_it_authenticates() {
    let (server, sessions, address) = open_server().await;
    watch(&server, &sessions).await.unwrap();
    let fate = Fate::default();
    for attacker in 0..20 {
        let (attacker, _) =
            Actor::spawn(None, node_server(&format!("attacker-{attacker}"), 0), ()).await.unwrap();
        let (id, subscription) = ("fate".to_owned(), Box::new(fate.clone()));
        attacker.cast(NodeServerMessage::SubscribeToEvents { id, subscription }).unwrap();
        ractor_cluster::client_connect(&attacker, address).await.unwrap();
    }
    let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    until_async("every session ends, or is authenticated", async || {
        count(&fate.ended) + count(&fate.authenticated) >= 20
    })
    .await;
    assert_eq!((count(&fate.authenticated), count(&fate.ended)), (0, 20));
}

#[tokio::test]
async fn silent_sockets_past_our_port_are_closed_at_once() {
    let (server, sessions, address) = open_server().await;
    watch(&server, &sessions).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    for socket in silent {
        let closed = tokio::time::timeout(Duration::from_secs(5), socket.readable()).await;
        assert!(closed.is_ok(), "a socket that says nothing stays open");
    }
    until_async("only the listener is left", async || server.get_children().len() == 1).await;
}
