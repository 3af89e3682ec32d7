//! The own address, on this machine and with a real name server on loopback.

#![allow(clippy::unwrap_used)]

use cloister_discovery::self_address::{Settings, self_address};
use cloister_discovery::{Addressing, Identity, PendingReason, Resolver, Seeds, interfaces};
use cloister_testkit::dns_server::DnsServer;

fn settings() -> Settings {
    Settings { naming: Addressing::Auto, host: None, port: None, default_port: 4370 }
}

#[tokio::test]
async fn without_seeds_no_name_server_is_queried() {
    let identity = self_address(settings(), &Seeds::default(), &Resolver::servers([])).await.unwrap();
    assert_eq!(identity, Identity::Standalone);
}

#[tokio::test]
async fn a_service_makes_a_node_as_soon_as_it_names_this_machine() {
    let server = DnsServer::start().await;
    let (seeds, resolver) = (Seeds::parse("app", 4370).unwrap(), Resolver::servers([server.address()]));
    let ask = || self_address(settings(), &seeds, &resolver);

    let identity = ask().await.unwrap();
    assert!(
        matches!(identity, Identity::Pending { reason: PendingReason::Unresolved { .. } }),
        "{identity:?}"
    );

    server.command("app = 203.0.113.1").unwrap();
    let identity = ask().await.unwrap();
    assert!(
        matches!(identity, Identity::Pending { reason: PendingReason::NotInAnswer { .. } }),
        "{identity:?}"
    );

    let own = interfaces::addresses().unwrap().into_iter().find(|ip| ip.is_loopback()).unwrap();
    server.command(&format!("app = {own}")).unwrap();
    let expected = Identity::Network { host: own.to_string(), port: 4370, bind: (own, 4370).into() };
    assert_eq!(ask().await.unwrap(), expected);
}

#[tokio::test]
async fn a_list_of_names_makes_a_node_of_the_one_that_is_this_machine() {
    let server = DnsServer::start().await;
    server.command("a = 127.0.0.7").unwrap();
    let (seeds, resolver) =
        (Seeds::parse("list:a:5001", 4370).unwrap(), Resolver::servers([server.address()]));
    let identity = self_address(settings(), &seeds, &resolver).await.unwrap();
    let bind = "127.0.0.7:5001".parse().unwrap();
    assert_eq!(identity, Identity::Network { host: "127.0.0.7".into(), port: 5001, bind });
}

#[tokio::test]
async fn a_given_host_of_a_service_waits_for_no_name_server() {
    let server = DnsServer::start().await;
    server.command("app = silent").unwrap();
    let (seeds, resolver) = (Seeds::parse("app", 4370).unwrap(), Resolver::servers([server.address()]));
    let given = Settings { host: Some("127.0.0.1".into()), ..settings() };
    let identity = self_address(given, &seeds, &resolver).await.unwrap();
    let bind = "127.0.0.1:4370".parse().unwrap();
    assert_eq!(identity, Identity::Network { host: "127.0.0.1".into(), port: 4370, bind });
    assert!(server.asked().is_empty());
}
