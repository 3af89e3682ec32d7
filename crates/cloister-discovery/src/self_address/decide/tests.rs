use super::super::Settings;
use super::*;
use crate::{DiscoveryError, LookupResult, Seeds};

/// A machine with one address, called `node-a`, without seeds.
fn machine() -> Inputs {
    Inputs {
        settings: Settings { naming: Addressing::Auto, host: None, port: None, default_port: 4370 },
        seeds: Vec::new(),
        interfaces: ips("127.0.0.1 10.0.0.1"),
        source: Some("10.0.0.1".parse().unwrap()),
        host_name: "node-a".to_owned(),
    }
}

fn ips(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
}

fn found(text: &str) -> Result<LookupResult, DiscoveryError> {
    Ok(LookupResult::addresses(text.split_whitespace().map(|socket| socket.parse().unwrap())))
}

fn broken() -> Result<LookupResult, DiscoveryError> {
    Err(DiscoveryError::System { name: "app".into(), cause: "no luck".into() })
}

impl Inputs {
    fn naming(mut self, naming: Addressing) -> Self {
        self.settings.naming = naming;
        self
    }

    fn host(mut self, host: &str) -> Self {
        self.settings.host = Some(host.to_owned());
        self
    }

    fn port(mut self, port: u16) -> Self {
        self.settings.port = Some(port);
        self
    }

    fn called(mut self, name: &str) -> Self {
        self.host_name = name.to_owned();
        self
    }

    fn interfaces(mut self, text: &str) -> Self {
        self.interfaces = ips(text);
        self
    }

    /// Seeds with their outcomes; those of IP addresses are known.
    fn seeds<const N: usize>(
        mut self,
        text: &str,
        outcomes: [Result<LookupResult, DiscoveryError>; N],
    ) -> Self {
        let mut outcomes = outcomes.into_iter();
        for seed in &Seeds::parse(text, 4370).unwrap() {
            let known =
                seed.host().and_then(Entry::socket).map(|socket| Ok(LookupResult::addresses([socket])));
            let outcome = known.unwrap_or_else(|| outcomes.next().expect("an outcome for each name"));
            self.seeds.push(SeedLookup { seed: seed.clone(), outcome });
        }
        assert!(outcomes.next().is_none(), "a name for each outcome");
        self
    }

    /// How many entries of the list are this node.
    fn own(&self) -> usize {
        self.own_if_known().expect("all entries were looked up")
    }

    fn own_if_known(&self) -> Option<usize> {
        own_entries(self, &decide(self).unwrap())
    }

    /// `host port bind`, or what else came out.
    fn says(&self) -> String {
        match decide(self) {
            Ok(Identity::Standalone) => "standalone".to_owned(),
            Ok(Identity::Network { host, port, bind }) => format!("{host} {port} {bind}"),
            Ok(Identity::Pending { reason }) => format!("not yet: {reason}"),
            Err(error) => format!("error: {error}"),
        }
    }
}

fn assert_has(text: String, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[test]
fn without_seeds_a_node_is_alone() {
    assert_eq!(machine().says(), "standalone");
}

#[test]
fn naming_none_is_alone_whatever_the_seeds() {
    assert_eq!(
        machine().naming(Addressing::None).host("10.0.0.1").seeds("10.0.0.1", []).says(),
        "standalone"
    );
}

#[test]
fn a_given_host_is_taken() {
    assert_eq!(machine().host("10.0.0.1").says(), "10.0.0.1 4370 10.0.0.1:4370");
    assert_eq!(machine().host("Node-A").port(5000).says(), "node-a 5000 0.0.0.0:5000");
    assert_eq!(machine().host("app").seeds("app", [broken()]).says(), "app 4370 0.0.0.0:4370");
}

#[test]
fn a_given_address_that_no_interface_has_is_behind_nat() {
    assert_eq!(machine().host("203.0.113.7").says(), "203.0.113.7 4370 0.0.0.0:4370");
    assert_eq!(machine().host("[2001:db8::7]").says(), "2001:db8::7 4370 [::]:4370");
}

#[test]
fn a_name_is_listened_on_in_both_families_where_both_are_there() {
    let both = machine().interfaces("127.0.0.1 10.0.0.1 ::1 fe80::1 fd00::1").host("node-a.example.com");
    assert_eq!(both.says(), "node-a.example.com 4370 [::]:4370");
    let link_local_only = machine().interfaces("10.0.0.1 ::1 fe80::1").host("node-a.example.com");
    assert_eq!(link_local_only.says(), "node-a.example.com 4370 0.0.0.0:4370");
}

#[test]
fn a_host_that_cannot_be_dialled_is_refused() {
    for (host, word) in [
        ("0.0.0.0", "every address"),
        ("::", "every address"),
        ("fe80::1", "link-local"),
        ("224.0.0.1", "group"),
        ("not a host", "not a host"),
    ] {
        assert_has(machine().host(host).says(), &["error: `host`", word]);
    }
}

#[test]
fn a_loopback_host_is_for_loopback_seeds() {
    let seeds = "127.0.0.1:4370,127.0.0.2:4370";
    assert_eq!(machine().host("127.0.0.2").seeds(seeds, []).says(), "127.0.0.2 4370 127.0.0.2:4370");
    assert_eq!(
        machine().host("localhost").seeds("localhost", [found("127.0.0.1:4370")]).says(),
        "localhost 4370 127.0.0.1:4370"
    );
    let beside_others = machine().host("127.0.0.1").seeds("127.0.0.1,10.0.0.2", []);
    assert_has(beside_others.says(), &["error", "127.0.0.1", "10.0.0.2:4370"]);
}

#[test]
fn the_port_beside_the_given_host_counts() {
    let seeds = "10.0.0.1:5001,10.0.0.2:5002";
    assert_eq!(machine().host("10.0.0.1").seeds(seeds, []).says(), "10.0.0.1 5001 10.0.0.1:5001");
    assert_eq!(machine().host("10.0.0.9").seeds(seeds, []).says(), "10.0.0.9 4370 0.0.0.0:4370");
    let named =
        machine().host("node-a.example.com").seeds("node-a.example.com:5001,b:1", [broken(), broken()]);
    assert_eq!(named.says(), "node-a.example.com 5001 0.0.0.0:5001");
    let two = machine().host("127.0.0.1").seeds("127.0.0.1:1,127.0.0.1:2", []);
    assert_has(two.says(), &["error", "127.0.0.1:1, 127.0.0.1:2", "`port`"]);
    assert_eq!(two.port(2).says(), "127.0.0.1 2 127.0.0.1:2");
}

#[test]
fn a_service_names_the_own_address() {
    let answer = "10.0.0.3:4370 10.0.0.1:4370 10.0.0.2:4370";
    assert_eq!(machine().seeds("app", [found(answer)]).says(), "10.0.0.1 4370 10.0.0.1:4370");
    assert_eq!(machine().port(5000).seeds("app", [found(answer)]).says(), "10.0.0.1 5000 10.0.0.1:5000");
}

#[test]
fn of_two_networks_the_one_in_the_answer_counts() {
    let two = machine().interfaces("127.0.0.1 172.18.0.5 172.19.0.5");
    let answer = found("172.19.0.5:4370 172.19.0.6:4370");
    assert_eq!(two.seeds("app", [answer]).says(), "172.19.0.5 4370 172.19.0.5:4370");
}

#[test]
fn of_several_own_addresses_in_an_answer_the_lowest_counts() {
    let two = machine().interfaces("172.19.0.5 172.18.0.5 fd00::5");
    let answer = found("[fd00::5]:4370 172.19.0.5:4370 172.18.0.5:4370");
    assert_eq!(two.seeds("app", [answer]).says(), "172.18.0.5 4370 172.18.0.5:4370");
}

#[test]
fn an_answer_of_ipv6_only_gives_an_ipv6_name() {
    let six = machine().interfaces("127.0.0.1 ::1 fe80::1 10.0.0.1 fd00::1");
    let answer = found("[fd00::1]:4370 [fd00::2]:4370 [fe80::1]:4370");
    assert_eq!(six.seeds("app", [answer]).says(), "fd00::1 4370 [fd00::1]:4370");
}

#[test]
fn a_link_local_address_in_an_answer_is_never_taken() {
    let says = machine().interfaces("127.0.0.1 fe80::1").seeds("app", [found("[fe80::1]:4370")]).says();
    assert_has(says, &["not yet"]);
}

#[test]
fn a_service_without_this_machine_says_what_to_do() {
    let says = machine().seeds("app", [found("10.0.0.2:4370")]).says();
    assert_has(says, &["not yet", "dns:app:4370", "10.0.0.2:4370", "10.0.0.1", "publishNotReadyAddresses"]);
}

#[test]
fn a_service_that_does_not_resolve_is_not_yet() {
    assert_has(
        machine().seeds("app", [Ok(LookupResult::absent())]).says(),
        &["not yet", "`dns:app:4370` does not exist"],
    );
    assert_has(machine().seeds("app", [Ok(LookupResult::empty())]).says(), &["not yet", "has no address"]);
    assert_has(machine().seeds("app", [broken()]).says(), &["not yet", "no luck", "`host`"]);
}

#[test]
fn loopback_in_a_service_counts_only_if_there_is_nothing_else() {
    assert_eq!(machine().seeds("app", [found("127.0.0.5:4370")]).says(), "127.0.0.5 4370 127.0.0.5:4370");
    let mixed = machine().seeds("app", [found("127.0.0.5:4370 10.0.0.1:4370")]);
    assert_eq!(mixed.says(), "10.0.0.1 4370 10.0.0.1:4370");
    let foreign = machine().seeds("app", [found("127.0.0.5:4370 10.0.0.2:4370")]);
    assert_has(foreign.says(), &["not yet"]);
    let several = machine().seeds("app", [found("127.0.0.5:4370 127.0.0.6:4370")]);
    assert_has(several.says(), &["error", "127.0.0.5:4370, 127.0.0.6:4370"]);
    assert_eq!(several.host("127.0.0.6").says(), "127.0.0.6 4370 127.0.0.6:4370");
}

#[test]
fn srv_records_bring_the_port_along() {
    let one = machine().seeds("srv:app", [found("10.0.0.1:5001 10.0.0.2:5002")]);
    assert_eq!(one.says(), "10.0.0.1 5001 10.0.0.1:5001");
    let two = machine().seeds("srv:app", [found("10.0.0.1:5001 10.0.0.1:5002")]);
    assert_has(two.says(), &["error", "10.0.0.1:5001, 10.0.0.1:5002"]);
    assert_eq!(two.port(5002).says(), "10.0.0.1 5002 10.0.0.1:5002");
}

#[test]
fn a_list_names_the_own_address_and_port() {
    let seeds = "10.0.0.2:5002,10.0.0.1:5001,10.0.0.3:5003";
    assert_eq!(machine().seeds(seeds, []).says(), "10.0.0.1 5001 10.0.0.1:5001");
    assert_eq!(machine().seeds("10.0.0.1,10.0.0.2", []).says(), "10.0.0.1 4370 10.0.0.1:4370");
    assert_eq!(machine().port(6000).seeds("10.0.0.1,10.0.0.2", []).says(), "10.0.0.1 6000 10.0.0.1:6000");
}

#[test]
fn a_name_in_the_list_that_is_this_machine_counts_while_others_are_broken() {
    let seeds =
        machine().seeds("a:5001,b:5002,c", [broken(), found("10.0.0.1:5002"), Ok(LookupResult::absent())]);
    assert_eq!(seeds.says(), "10.0.0.1 5002 10.0.0.1:5002");
}

#[test]
fn two_entries_for_one_socket_are_one() {
    let seeds = machine().seeds("node-a,10.0.0.1", [found("10.0.0.1:4370 [fd00::1]:4370")]);
    assert_eq!(seeds.interfaces("10.0.0.1 fd00::1").says(), "10.0.0.1 4370 10.0.0.1:4370");
}

#[test]
fn of_several_entries_on_this_machine_the_port_picks_one() {
    let here = || machine().seeds("127.0.0.1:4370,127.0.0.1:4371,127.0.0.1:4372", []);
    assert_has(here().says(), &["error", "127.0.0.1:4370, 127.0.0.1:4371, 127.0.0.1:4372", "`port`"]);
    assert_eq!(here().port(4371).says(), "127.0.0.1 4371 127.0.0.1:4371");
    let hosts = || machine().seeds("127.0.0.1,127.0.0.2,127.0.0.3", []);
    assert_has(hosts().says(), &["error", "127.0.0.3:4370", "`host`"]);
    assert_has(hosts().port(4370).says(), &["error"]);
    assert_eq!(hosts().host("127.0.0.2").says(), "127.0.0.2 4370 127.0.0.2:4370");
}

#[test]
fn a_port_of_no_entry_makes_a_node_outside_the_list() {
    let seeds = machine().seeds("127.0.0.1:4370,127.0.0.1:4371", []);
    assert_eq!(seeds.port(4380).says(), "127.0.0.1 4380 127.0.0.1:4380");
}

#[test]
fn a_machine_outside_the_list_is_known_by_the_address_that_reaches_it() {
    let two = machine().interfaces("127.0.0.1 172.17.0.1 10.0.0.1");
    assert_eq!(two.seeds("10.0.0.2,10.0.0.3:5000", []).says(), "10.0.0.1 4370 10.0.0.1:4370");
    let mut cut_off = machine().seeds("10.0.0.2,10.0.0.3", []);
    cut_off.source = None;
    assert_has(cut_off.says(), &["not yet", "no route", "10.0.0.2:4370, 10.0.0.3:4370"]);
    cut_off.source = Some("fe80::1".parse().unwrap());
    assert_has(cut_off.says(), &["not yet", "no route"]);
}

#[test]
fn a_list_that_is_not_resolved_yet_may_still_name_this_machine() {
    let seeds = machine().seeds("10.0.0.2,b", [Ok(LookupResult::absent())]);
    assert_has(seeds.says(), &["not yet", "`b:4370` does not exist"]);
}

#[test]
fn loopback_beside_others_is_never_advertised() {
    let seeds = machine().seeds("127.0.0.1,10.0.0.2", []);
    assert_eq!(seeds.says(), "10.0.0.1 4370 10.0.0.1:4370");
}

#[test]
fn a_hosts_file_that_calls_this_machine_loopback_does_no_harm() {
    let seeds = machine().seeds("node-a:5001,node-b:5002", [found("127.0.1.1:5001"), found("10.0.0.2:5002")]);
    assert_eq!(seeds.says(), "10.0.0.1 5001 10.0.0.1:5001");
}

#[test]
fn short_is_the_name_of_the_machine_without_its_domain() {
    let short = || machine().naming(Addressing::Short);
    assert_eq!(short().says(), "node-a 4370 0.0.0.0:4370");
    assert_eq!(short().called("Node-A.example.com").says(), "node-a 4370 0.0.0.0:4370");
    assert_eq!(short().host("web1").says(), "web1 4370 0.0.0.0:4370");
    let listed = short().seeds("node-b:5002,node-a:5001", [found("10.0.0.2:5002"), found("10.0.0.1:5001")]);
    assert_eq!(listed.says(), "node-a 5001 0.0.0.0:5001");
    let by_address = short().seeds("10.0.0.2:5002,10.0.0.1:5001", []);
    assert_eq!(by_address.says(), "node-a 5001 0.0.0.0:5001");
    assert_has(short().host("10.0.0.1").says(), &["error", "naming = short", "10.0.0.1"]);
    assert_has(short().host("a.b").says(), &["error", "without a dot"]);
    assert_has(short().called("my laptop").says(), &["error", "my laptop"]);
}

#[test]
fn long_is_an_address_or_a_full_name() {
    let long = || machine().naming(Addressing::Long);
    assert_eq!(long().seeds("app", [found("10.0.0.1:4370")]).says(), "10.0.0.1 4370 10.0.0.1:4370");
    assert_eq!(long().host("a.example.com").says(), "a.example.com 4370 0.0.0.0:4370");
    assert_eq!(long().host("10.0.0.1").says(), "10.0.0.1 4370 10.0.0.1:4370");
    assert_has(long().host("node-a").says(), &["error", "naming = long", "node-a"]);
}

#[test]
fn long_without_seeds_is_found_on_the_machine() {
    let long = || machine().naming(Addressing::Long);
    assert_eq!(long().called("a.example.com").says(), "a.example.com 4370 0.0.0.0:4370");
    assert_eq!(long().says(), "10.0.0.1 4370 10.0.0.1:4370");
    assert_eq!(long().interfaces("10.0.0.1 fd00::1 fd00::2").says(), "10.0.0.1 4370 10.0.0.1:4370");
    assert_eq!(long().interfaces("::1 fe80::1 fd00::1").says(), "fd00::1 4370 [fd00::1]:4370");
    let two = long().interfaces("127.0.0.1 172.17.0.1 10.0.0.1 fe80::1");
    assert_has(two.says(), &["error", "10.0.0.1:4370, 172.17.0.1:4370", "`host`"]);
    assert_has(long().interfaces("127.0.0.1 fe80::1").says(), &["error", "no address"]);
}

#[test]
fn a_service_beside_a_list_fills_in_for_it() {
    let mixed = machine().seeds("10.0.0.2,dns:app", [found("10.0.0.1:4370")]);
    assert_eq!(mixed.says(), "10.0.0.1 4370 10.0.0.1:4370");
}

#[test]
fn an_entry_is_this_node_by_whatever_name_the_list_has_it() {
    // By its address, or not at all.
    assert_eq!(machine().seeds("10.0.0.1,10.0.0.2", []).own(), 1);
    assert_eq!(machine().seeds("10.0.0.2,10.0.0.3", []).own(), 0);
    assert_eq!(machine().own(), 0, "alone");
    // By a name that has its address, though it is known by the address; twice is one node, and both entries are it.
    let names = || [found("10.0.0.1:4370"), found("10.0.0.2:4370")];
    assert_eq!(machine().seeds("a,b", names()).own(), 1);
    assert_eq!(machine().host("10.0.0.1").port(4370).seeds("a,b", names()).own(), 1);
    assert_eq!(machine().host("a").port(4370).seeds("a,b", names()).own(), 1);
    assert_eq!(machine().seeds("a,10.0.0.1,b", names()).own(), 2);
    // By another name than the one that it is known by.
    assert_eq!(machine().host("node-a").port(4370).seeds("a,b", names()).own(), 1);
    assert_eq!(machine().host("203.0.113.7").port(4370).seeds("a,b", names()).own(), 1, "behind NAT");
    let unknown = |port: u16| {
        let outcomes = [broken(), found("10.0.0.2:4370")];
        machine().host("node-a").port(port).seeds("a,b", outcomes).own_if_known()
    };
    assert_eq!(
        (unknown(4370), unknown(4371)),
        (None, Some(0)),
        "`a` may be this node, and not at another port"
    );
    let one_of_two = machine().host("node-a").port(4370).seeds("a,b", [found("10.0.0.1:4370"), broken()]);
    assert_eq!(one_of_two.own_if_known(), Some(1));
}

#[test]
fn an_entry_is_another_node_if_its_port_or_its_address_is_another() {
    assert_eq!(machine().port(4371).seeds("10.0.0.1:4370,10.0.0.2:4370", []).own(), 0);
    let two = || machine().interfaces("127.0.0.1 10.0.0.1 10.0.0.9");
    assert_eq!(
        two().host("10.0.0.9").port(4370).seeds("10.0.0.1,10.0.0.2", []).own(),
        0,
        "it does not listen there"
    );
    // All on this machine: each loopback address is another node.
    assert_eq!(machine().port(1).seeds("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", []).own(), 1);
    assert_eq!(machine().port(4).seeds("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", []).own(), 0);
    assert_eq!(machine().host("127.0.0.2").port(1).seeds("127.0.0.1:1,127.0.0.2:1", []).own(), 1);
    assert_eq!(machine().host("127.0.0.3").port(1).seeds("127.0.0.1:1,127.0.0.2:1", []).own(), 0);
    // A name that the hosts file of Debian has as 127.0.1.1 is this machine.
    let debian = machine().seeds("node-a,node-b", [found("127.0.1.1:4370"), found("10.0.0.2:4370")]);
    assert_eq!((debian.says().as_str(), debian.own()), ("10.0.0.1 4370 10.0.0.1:4370", 1));
}
