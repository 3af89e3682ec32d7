//! Each thing that a name server can do to us, done by a real one on loopback.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use cloister_discovery::{
    Discovery, DiscoveryError, Dns, List, LookupResult, Records, Resolver, Seeds, Srv, Union,
};
use cloister_testkit::dns_server::RecordType;
use cloister_testkit::dns_server::ResponseCode;
use cloister_testkit::dns_server::{Behaviour, Data, DnsServer};

/// With a deadline that no busy machine misses.
fn resolver(server: &DnsServer) -> Resolver {
    Resolver::servers([server.address()]).with_deadline(Duration::from_secs(30))
}

fn dns(server: &DnsServer, name: &str) -> Dns {
    Dns::new(name, 4370).with_resolver(resolver(server))
}

fn sockets(text: &str) -> Vec<SocketAddr> {
    text.split_whitespace().map(|socket| socket.parse().unwrap()).collect()
}

fn ips(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
}

async fn server_with(name: &str, behaviour: &str) -> DnsServer {
    let server = DnsServer::start().await;
    server.set(name, behaviour.parse().unwrap());
    server
}

/// `count` addresses in 10.1.0.0/16.
fn many(count: u8) -> Vec<IpAddr> {
    (0..count).map(|i| IpAddr::from([10, 1, 0, i])).collect()
}

#[tokio::test]
async fn every_a_record_is_found_and_an_empty_aaaa_is_no_problem() {
    let server = server_with("app", "10.0.0.2 10.0.0.1 10.0.0.3").await;
    let found = dns(&server, "app").lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370 10.0.0.2:4370 10.0.0.3:4370"));
    assert_eq!(found.valid_for, Some(Duration::from_secs(600)));
    assert_eq!(found.problems().count(), 0);
}

#[tokio::test]
async fn aaaa_records_alone_are_found() {
    let server = server_with("app", "fd00::1 fd00::2").await;
    let found = dns(&server, "app").lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("[fd00::1]:4370 [fd00::2]:4370"));
}

#[tokio::test]
async fn both_families_are_found_together() {
    let server = server_with("app", "fd00::1 10.0.0.1").await;
    let found = dns(&server, "app").lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370 [fd00::1]:4370"));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_absent() {
    let server = DnsServer::start().await;
    assert_eq!(dns(&server, "app").lookup().await.unwrap().records, Records::Absent);
}

#[tokio::test]
async fn a_name_without_records_is_empty() {
    let server = server_with("app", "empty").await;
    assert_eq!(dns(&server, "app").lookup().await.unwrap().records, Records::Empty);
}

#[tokio::test]
async fn a_failing_server_is_broken_and_says_how() {
    for (behaviour, code) in [("servfail", "Server Failure"), ("refused", "Query Refused")] {
        let server = server_with("app", behaviour).await;
        let error = dns(&server, "app").lookup().await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Refused { .. }), "{error:?}");
        let message = error.to_string();
        for word in [code, "`app.`", &server.address().to_string()] {
            assert!(message.contains(word), "{message} lacks {word}");
        }
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let server = server_with("app", "silent").await;
    let deadline = Duration::from_millis(300);
    let strategy = dns(&server, "app").with_resolver(resolver(&server).with_deadline(deadline));
    let began = Instant::now();
    let error = strategy.lookup().await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Timeout { timeout, .. } if timeout == deadline), "{error:?}");
    assert!(began.elapsed() >= deadline);
    assert!(server.asked().iter().any(|asked| asked.name == "app"), "the question never arrived");
}

#[tokio::test]
async fn an_unreachable_name_server_is_an_error() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resolver = Resolver::servers([gone]).with_deadline(Duration::from_millis(500));
    let error = Dns::new("app", 4370).with_resolver(resolver).lookup().await.unwrap_err();
    assert!(
        matches!(error, DiscoveryError::Unreachable { .. } | DiscoveryError::Timeout { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(&gone.to_string()), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_broken() {
    let server = server_with("app", "garbage").await;
    let resolver = resolver(&server).with_deadline(Duration::from_millis(500));
    let error = dns(&server, "app").with_resolver(resolver).lookup().await.unwrap_err();
    assert!(matches!(error, DiscoveryError::BadAnswer { .. } | DiscoveryError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_late_answer_within_the_deadline_is_taken() {
    let server = server_with("app", "late 900 10.0.0.1").await;
    let resolver = resolver(&server);
    let found = dns(&server, "app").with_resolver(resolver).lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"));
}

#[tokio::test]
async fn a_server_that_never_answers_aaaa_does_not_delay_a_lookup_until_the_deadline() {
    let server = DnsServer::start().await;
    let addresses = Behaviour::addresses(ips("10.0.0.1"));
    server.set("app", Behaviour::Only(RecordType::A, addresses.into(), Behaviour::Silent.into()));
    let strategy =
        dns(&server, "app").with_resolver(resolver(&server).with_deadline(Duration::from_secs(60)));
    let began = Instant::now();
    let found = strategy.lookup().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"));
    assert_eq!(found.problems().count(), 1, "that AAAA was not answered stays visible: {found:?}");
}

#[tokio::test]
async fn one_family_that_fails_does_not_hide_the_other() {
    let server = DnsServer::start().await;
    let addresses = Behaviour::addresses(ips("10.0.0.1"));
    let fails = Behaviour::Fails(ResponseCode::ServFail);
    server.set("app", Behaviour::Only(RecordType::A, addresses.into(), fails.clone().into()));
    let found = dns(&server, "app").lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"));
    assert!(matches!(found.problems().next(), Some(DiscoveryError::Refused { .. })), "{found:?}");

    server.set("app", Behaviour::Only(RecordType::A, Behaviour::Empty.into(), fails.into()));
    let error = dns(&server, "app").lookup().await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Refused { .. }), "no A record does not make it empty: {error:?}");
}

#[tokio::test]
async fn a_hundred_records_come_whole_over_tcp() {
    let server = DnsServer::start().await;
    server.set("app", Behaviour::addresses(many(100)));
    let found = dns(&server, "app").lookup().await.unwrap();
    assert_eq!(found.sockets().len(), 100);
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.tcp), "1.6 kB do not fit into a datagram: {asked:?}");
}

#[tokio::test]
async fn sixty_records_fit_into_one_datagram() {
    let server = DnsServer::start().await;
    server.set("app", Behaviour::addresses(many(60)));
    let found = dns(&server, "app").lookup().await.unwrap();
    assert_eq!(found.sockets().len(), 60);
    assert!(server.asked().iter().all(|asked| !asked.tcp), "512 bytes would cut it off: is EDNS0 on?");
}

#[tokio::test]
async fn an_answer_that_a_server_cuts_off_is_asked_for_again() {
    let server = DnsServer::start().await;
    server.set_udp_limit(512);
    server.set("app", Behaviour::addresses(many(60)));
    assert_eq!(dns(&server, "app").lookup().await.unwrap().sockets().len(), 60);
}

#[tokio::test]
async fn nothing_is_remembered_however_long_its_ttl() {
    let server = server_with("app", "10.0.0.1").await;
    let strategy = dns(&server, "app");
    assert_eq!(strategy.lookup().await.unwrap().sockets(), sockets("10.0.0.1:4370"));
    server.command("app = 10.0.0.2").unwrap();
    assert_eq!(strategy.lookup().await.unwrap().sockets(), sockets("10.0.0.2:4370"));
    server.command("app = absent").unwrap();
    assert_eq!(strategy.lookup().await.unwrap(), LookupResult::absent());
    server.command("app = 10.0.0.3").unwrap();
    assert_eq!(strategy.lookup().await.unwrap().sockets(), sockets("10.0.0.3:4370"));
}

#[tokio::test]
async fn after_each_kind_of_failure_the_next_lookup_is_whole() {
    let server = DnsServer::start().await;
    let resolver = resolver(&server).with_deadline(Duration::from_millis(500));
    let strategy = dns(&server, "app").with_resolver(resolver);
    for failure in ["servfail", "silent", "garbage", "refused"] {
        server.command(&format!("app = {failure}")).unwrap();
        strategy.lookup().await.expect_err(failure);
        server.command("app = 10.0.0.1").unwrap();
        let mut outcome = strategy.lookup().await;
        // Half a second is short on a machine that is busy elsewhere.
        for _ in 0..20 {
            if outcome.is_ok() {
                break;
            }
            outcome = strategy.lookup().await;
        }
        assert_eq!(outcome.unwrap().sockets(), sockets("10.0.0.1:4370"), "after {failure}");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_at_its_old_address_is_heard() {
    let server = server_with("app", "10.0.0.1").await;
    let address = server.address();
    let strategy = Dns::new("app", 4370)
        .with_resolver(Resolver::servers([address]).with_deadline(Duration::from_millis(500)));
    drop(server);
    // An aborted task closes its socket a moment later.
    let server = loop {
        match DnsServer::start_at(address).await {
            Ok(server) => break server,
            Err(_) => {
                strategy.lookup().await.expect_err("no server listens there");
            }
        }
    };
    server.command("app = 10.0.0.2").unwrap();
    let found = loop {
        if let Ok(found) = strategy.lookup().await {
            break found;
        }
    };
    assert_eq!(found.sockets(), sockets("10.0.0.2:4370"));
}

#[tokio::test]
async fn a_random_third_each_time_names_every_node_in_the_end() {
    let server = server_with("app", "third 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6").await;
    let strategy = dns(&server, "app");
    let mut known = BTreeSet::new();
    for _ in 0..100 {
        let found = strategy.lookup().await.unwrap();
        assert_eq!(found.sockets().len(), 2);
        known.extend(found.sockets().iter().copied());
    }
    assert_eq!(known.len(), 6);
}

#[tokio::test]
async fn a_second_server_answers_for_a_first_that_fails() {
    for failure in ["silent", "servfail", "refused", "garbage"] {
        let (bad, good) = (server_with("app", failure).await, server_with("app", "10.0.0.1").await);
        let resolver =
            Resolver::servers([bad.address(), good.address()]).with_deadline(Duration::from_secs(30));
        let found = Dns::new("app", 4370).with_resolver(resolver).lookup().await.unwrap();
        assert_eq!(found.sockets(), sockets("10.0.0.1:4370"), "{failure}");
    }
}

#[tokio::test]
async fn the_second_server_is_not_asked_while_the_first_knows() {
    let (inner, outer) = (server_with("app", "10.0.0.1").await, DnsServer::start().await);
    let strategy = Dns::new("app", 4370).with_resolver(
        Resolver::servers([inner.address(), outer.address()]).with_deadline(Duration::from_secs(30)),
    );
    for _ in 0..10 {
        strategy.lookup().await.unwrap();
    }
    // A moment of silence on a busy machine is allowed, asking both each time is not.
    assert!(outer.asked().len() < inner.asked().len() / 2, "{} of 20", outer.asked().len());
}

#[tokio::test]
async fn when_all_servers_fail_the_first_failure_is_reported() {
    let (first, second) = (server_with("app", "servfail").await, server_with("app", "refused").await);
    let resolver =
        Resolver::servers([first.address(), second.address()]).with_deadline(Duration::from_secs(30));
    let error = Dns::new("app", 4370).with_resolver(resolver).lookup().await.unwrap_err();
    assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    assert!(!second.asked().is_empty());
}

#[tokio::test]
async fn a_short_name_is_found_in_a_search_domain() {
    let server = server_with("app.ns.svc.cluster.local", "10.0.0.1").await;
    let search = resolver(&server).with_search(["ns.svc.cluster.local", "svc.cluster.local"], 5);
    let found = dns(&server, "app").with_resolver(search.clone()).lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"));
    assert!(server.asked().iter().all(|asked| asked.name == "app.ns.svc.cluster.local"));

    let found = dns(&server, "app.ns").with_resolver(search).lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"), "by the second domain");
}

#[tokio::test]
async fn a_search_domain_that_fails_does_not_hide_the_next_and_is_not_taken_for_absent() {
    let server = server_with("app.one", "servfail").await;
    let strategy = dns(&server, "app").with_resolver(resolver(&server).with_search(["one", "two"], 1));
    let error = strategy.lookup().await.unwrap_err();
    assert!(
        matches!(error, DiscoveryError::Refused { .. }),
        "absent in `two` says nothing of `one`: {error:?}"
    );
    server.command("app.two = 10.0.0.1").unwrap();
    let found = strategy.lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"));
    assert!(found.problems().next().is_some(), "{found:?}");
}

#[tokio::test]
async fn srv_records_give_host_and_port() {
    let server = server_with("_cloister._tcp.app", "a.example:5001 b.example:5002").await;
    server.command("a.example = 10.0.0.1 fd00::1").unwrap();
    server.command("b.example = 10.0.0.2").unwrap();
    let srv = Srv::new("app").with_resolver(resolver(&server));
    let found = srv.lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:5001 10.0.0.2:5002 [fd00::1]:5001"));
    assert_eq!(found.sources.len(), 2);
}

#[tokio::test]
async fn an_srv_record_with_a_host_that_fails_hides_no_other() {
    let server = server_with("_x._tcp.app", "a.example:5001 b.example:5002").await;
    let srv = Srv::new("_x._tcp.app").with_resolver(resolver(&server));
    assert_eq!(srv.lookup().await.unwrap().records, Records::Empty, "the service exists, its hosts do not");
    server.command("a.example = servfail").unwrap();
    assert!(matches!(srv.lookup().await.unwrap_err(), DiscoveryError::Sources(_)));
    server.command("b.example = 10.0.0.2").unwrap();
    let found = srv.lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.2:5002"));
    assert_eq!(found.problems().count(), 1);
}

#[tokio::test]
async fn each_outcome_of_srv_is_distinguished() {
    let server = DnsServer::start().await;
    let resolver = resolver(&server).with_deadline(Duration::from_millis(500));
    let srv = Srv::new("app").with_resolver(resolver);
    assert_eq!(srv.lookup().await.unwrap().records, Records::Absent);
    server.command("_cloister._tcp.app = empty").unwrap();
    assert_eq!(srv.lookup().await.unwrap().records, Records::Empty);
    server.command("_cloister._tcp.app = servfail").unwrap();
    assert!(matches!(srv.lookup().await.unwrap_err(), DiscoveryError::Refused { .. }));
    server.command("_cloister._tcp.app = silent").unwrap();
    assert!(matches!(srv.lookup().await.unwrap_err(), DiscoveryError::Timeout { .. }));
    server.set("_cloister._tcp.app", Behaviour::Records(vec![Data::Target { host: ".".into(), port: 0 }]));
    assert_eq!(srv.lookup().await.unwrap().records, Records::Empty, "`.` says: not offered");
}

#[tokio::test]
async fn a_list_tells_how_each_entry_fared() {
    let server = server_with("a", "10.0.0.1 fd00::1").await;
    server.command("b = servfail").unwrap();
    let entries = Seeds::parse("a:5001,b,c,10.0.0.9", 4370).unwrap();
    let list =
        List::new(entries.iter().filter_map(|seed| seed.host().cloned())).with_resolver(resolver(&server));
    let found = list.lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:5001 10.0.0.9:4370 [fd00::1]:5001"));
    let sources: Vec<_> = found.sources.iter().map(|source| source.source.as_str()).collect();
    assert_eq!(sources, ["a:5001", "b:4370", "c:4370", "10.0.0.9:4370"]);
    assert!(matches!(found.sources[1].outcome, Err(DiscoveryError::Refused { .. })));
    assert!(matches!(found.sources[2].outcome, Ok(Records::Absent)));
}

#[tokio::test]
async fn localhost_in_a_list_needs_no_server() {
    let server = DnsServer::start().await;
    let entries = Seeds::parse("localhost", 4370).unwrap();
    let list =
        List::new(entries.iter().filter_map(|seed| seed.host().cloned())).with_resolver(resolver(&server));
    assert!(list.lookup().await.unwrap().sockets().contains(&"127.0.0.1:4370".parse().unwrap()));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn several_strategies_give_their_union_and_each_outcome() {
    let (good, bad) = (server_with("app", "10.0.0.1").await, server_with("app", "servfail").await);
    let any = Union::default().and(dns(&good, "app")).and(dns(&bad, "app")).and(dns(&good, "other"));
    let found = any.lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"));
    assert_eq!(found.sources.len(), 3);
    assert_eq!(found.problems().count(), 1);
    assert_eq!(any.lookup_each().await.iter().filter(|outcome| outcome.is_err()).count(), 1);
    assert_eq!(any.describe(), "service app:4370 and service app:4370 and service other:4370");
}

#[tokio::test]
async fn seeds_may_name_their_own_server() {
    let server = server_with("app", "10.0.0.1").await;
    let seeds = Seeds::parse(&format!("dns:app:5000@{}", server.address()), 4370).unwrap();
    let found = seeds.strategy(&Resolver::servers([])).lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:5000"));
}

#[tokio::test]
async fn what_may_be_late_is_asked_by_itself_and_addresses_are_asked_together() {
    let server = server_with("app", "10.0.0.1").await;
    let text = format!("10.0.0.2, dns:app@{}, localhost, 10.0.0.3:5000", server.address());
    let seeds = Seeds::parse(&text, 4370).unwrap();
    let strategies = seeds.strategies(&Resolver::system());
    let described: Vec<_> = strategies.iter().map(|strategy| strategy.describe()).collect();
    assert_eq!(described, ["list 10.0.0.2:4370, 10.0.0.3:5000", "service app:4370", "list localhost:4370"]);
    let found = strategies[1].lookup().await.unwrap();
    assert_eq!(found.sockets(), sockets("10.0.0.1:4370"));
}
