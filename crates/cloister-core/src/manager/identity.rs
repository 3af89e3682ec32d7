//! The name and the address of this node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloister_discovery::self_address;
use cloister_discovery::{
    Discovery, Entry, Host, Identity as Found, List, Port, Resolver, SeedKind, Seeds, interfaces,
};
use cloister_net::links::LinkSettings;
use cloister_net::runtime::{Application, OnApplication};
use cloister_net::tls::Tls;
use cloister_proto::backoff::exponential;
use cloister_proto::text::sanitize_to;
use cloister_proto::{Address, Hello, Incarnation, Member, NodeId, NodeName, Settings};
use ractor::ActorRef;
use ractor_cluster::DEFAULT_MAX_INBOUND_FRAME_SIZE;
use tracing::{info, warn};

use crate::error::{ExitReason, SetupError};
use crate::handle::Shared;
use crate::messages::{Command, Identity, ManagerMessage};
use crate::telemetry::TARGET;
use cloister_config::{Config, DEFAULT_PORT, Naming};

/// The bounds of the pause before the seeds are looked up again, which doubles each time.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The most characters that are shown of why this node does not know its address.
const MAX_SAID: usize = 4096;

/// How often a node outside of a list looks whether the list names another address of its machine.
const LOOK_FOR_LISTED: Duration = Duration::from_secs(5);

/// For how long a node with a known address waits for name servers before it counts itself besides the list. Then it needs one member more
/// than the others, which is safe.
const AWAIT_OWN_ENTRY: Duration = Duration::from_secs(60);

/// How long a name server may take to say whether a configured `host` is this machine.
const RESOLVE_OWN: Duration = Duration::from_secs(2);

/// How this node finds out how it is addressed.
#[derive(Clone)]
pub(super) struct IdentityFinder {
    name: String,
    choice: Naming,
    host: Option<String>,
    port: Option<u16>,
    seeds: Seeds,
    resolver: Resolver,
    /// What links are secured with. It lives as long as the process, so that a new incarnation begins with what was of use last.
    tls: Option<Tls>,
    /// Whether the warning that any process may join was logged.
    warned: Arc<AtomicBool>,
    /// Whether the line that this node runs alone was logged.
    is_alone_logged: Arc<AtomicBool>,
    /// For how long the name servers may leave it open whether the list names this node. It may be wrong to count the node besides: more
    /// members would be needed than there are in a part that may begin.
    await_own_entry: Duration,
    /// Whether the list has named this machine.
    was_listed: Arc<AtomicBool>,
    /// Strategies of the program's own, besides the seeds.
    pub(super) strategies: Vec<Arc<dyn Discovery>>,
}

impl IdentityFinder {
    pub(super) fn new(config: &Config, seeds: Seeds, tls: Option<Tls>) -> Self {
        Self {
            tls,
            warned: Arc::default(),
            is_alone_logged: Arc::default(),
            // Where `consensus` is given, nothing depends on it.
            await_own_entry: if config.consensus.is_none() { AWAIT_OWN_ENTRY } else { Duration::ZERO },
            was_listed: Arc::default(),
            name: config.name.clone(),
            choice: config.naming,
            host: config.host.clone(),
            port: config.port,
            seeds,
            resolver: Resolver::system(),
            strategies: Vec::new(),
        }
    }

    /// How many nodes the seeds speak of, this one included. As long as its address is not known, a list counts it
    /// besides its entries.
    pub(super) fn seed_kind(&self, identity: Option<&Identity>) -> SeedKind {
        match self.seeds.kind() {
            _ if self.choice == Naming::None => SeedKind::None,
            SeedKind::None if self.strategies.is_empty() => SeedKind::None,
            SeedKind::List(hosts) if self.strategies.is_empty() => {
                let own = identity.map_or(0, |identity| identity.entries);
                SeedKind::List(hosts.saturating_sub(own) + 1)
            }
            SeedKind::None | SeedKind::List(_) | SeedKind::Service => SeedKind::Service,
        }
    }

    /// The identity of a node without a network, for which nothing has to be looked up.
    pub(super) fn at_once(&self) -> Option<Identity> {
        let alone = match self.choice {
            Naming::None => true,
            Naming::Auto => self.seed_kind(None) == SeedKind::None && self.host.is_none(),
            _ => false,
        };
        if !alone {
            return None;
        }
        if self.choice == Naming::Auto && !self.is_alone_logged.swap(true, Ordering::Relaxed) {
            info!(
                target: TARGET,
                "no seeds are configured: this node runs alone, without a network; set `seeds` or CLOISTER__SEEDS to make it \
                 one of a cluster"
            );
        }
        self.alone().ok()
    }

    fn alone(&self) -> Result<Identity, String> {
        let name = NodeName::without_network(&self.name).map_err(|error| error.to_string())?;
        Ok(Identity { name, bind: None, entries: 0, own: true })
    }

    /// Looks up until it is known, and tells the manager. A node whose `consensus` is 1 runs alone meanwhile.
    pub(super) async fn resolve(
        self,
        consensus: usize,
        shared: Arc<Shared>,
        manager: ActorRef<ManagerMessage>,
    ) {
        let (began, mut failures) = (Instant::now(), 0_u32);
        let mut trouble = None;
        let found = loop {
            let why = match self_address::in_list(self.settings(), &self.seeds, &self.resolver).await {
                Ok((Found::Standalone, _)) => break self.alone(),
                Ok((Found::Network { .. }, None)) if began.elapsed() < self.await_own_entry => {
                    "the seeds cannot be looked up yet, and one of them may be this node: `consensus` depends on that".to_owned()
                }
                Ok((Found::Network { host, .. }, entries)) if self.has_left_list(entries.unwrap_or(0)) => format!(
                    "the list of seeds has named this machine, and its address is {host} now, which is not in the list: give the machine its \
                     address back, or correct `seeds` and restart the process"
                ),
                Ok((Found::Network { host, port, bind }, entries)) => {
                    break self.in_network(&host, port, bind, entries.unwrap_or(0)).await;
                }
                Ok((Found::Pending { reason }, _)) => reason.to_string(),
                Ok((other, _)) => format!("discovery says {other:?}, which this version does not know"),
                Err(error) => break Err(error.to_string()),
            };
            // It may quote what a name server said.
            let why = sanitize_to(&why, MAX_SAID);
            if trouble.as_ref() != Some(&why) {
                warn!(target: TARGET, reason = why, "this node does not know its address yet");
                shared.trouble(Some(why.clone()));
                if trouble.is_none()
                    && consensus == 1
                    && let Ok(identity) = self.alone()
                {
                    info!(target: TARGET, "this node runs alone until it knows its address");
                    // A manager that is gone takes no orders.
                    let _ = manager.cast(ManagerMessage(Command::Identified(identity)));
                }
                trouble = Some(why);
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(exponential(MIN_PAUSE, MAX_PAUSE, failures)).await;
        };
        let command = match found {
            Ok(identity) => Command::Identified(identity),
            Err(cause) => Command::Failed(ExitReason::AddressUnknown(cause)),
        };
        // A manager that is gone takes no orders.
        let _ = manager.cast(ManagerMessage(command));
    }

    fn settings(&self) -> self_address::Settings {
        let by_own_strategies = self.seeds.is_empty() && !self.strategies.is_empty();
        self_address::Settings {
            naming: match self.choice {
                // Without seeds an automatic choice would be no network at all.
                Naming::Auto if by_own_strategies => cloister_discovery::Addressing::Long,
                choice => choice.into(),
            },
            host: self.host.clone(),
            port: self.port,
            default_port: DEFAULT_PORT,
        }
    }

    async fn in_network(
        &self,
        host: &str,
        port: u16,
        bind: SocketAddr,
        entries: usize,
    ) -> Result<Identity, String> {
        let address = Address::new(host, port).map_err(|error| error.to_string())?;
        let name = NodeName::new(&self.name, address.clone()).map_err(|error| error.to_string())?;
        let own = self.owns(&address).await;
        Ok(Identity { name, bind: Some(bind), entries, own })
    }

    /// Whether all that `address` leads to is this machine. An address that the machine or the seeds gave is. One that was configured may
    /// be translated on the way, and counts as translated while that is not known.
    async fn owns(&self, address: &Address) -> bool {
        if self.host.is_none() {
            return true;
        }
        let ips = match address.ip() {
            Some(ip) => vec![ip],
            None => {
                let Ok(host) = Host::parse(address.host()) else { return false };
                let entry = Entry { host, port: Port::Given(address.port()) };
                let list = List::new([entry]).with_resolver(self.resolver.clone());
                let found = tokio::time::timeout(RESOLVE_OWN, list.lookup()).await;
                found.iter().flatten().flat_map(|found| found.sockets()).map(|socket| socket.ip()).collect()
            }
        };
        let Ok(present) = interfaces::addresses() else { return false };
        is_own(&ips, &present)
    }

    /// Whether the list has named this machine and does not now, by so many entries. The interface of its address may be down for a moment,
    /// and the others look for this node there: it waits, instead of being a node outside of the list at another address.
    fn has_left_list(&self, entries: usize) -> bool {
        if !self.is_derived_from_list() {
            return false;
        }
        let was_listed = self.was_listed.fetch_or(entries > 0, Ordering::Relaxed);
        was_listed && entries == 0
    }

    /// Whether a list of hosts decides what this node is called.
    fn is_derived_from_list(&self) -> bool {
        self.host.is_none() && self.choice != Naming::Short && matches!(self.seeds.kind(), SeedKind::List(_))
    }

    /// Waits until the list names this machine by another address than that of a node outside of the list. An interface may be late.
    pub(super) async fn listed(&self, identity: &Identity) {
        if identity.entries > 0 || !self.is_derived_from_list() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_FOR_LISTED).await;
            let found = self_address::in_list(self.settings(), &self.seeds, &self.resolver).await;
            if let Ok((Found::Network { bind, .. }, Some(1..))) = found
                && Some(bind) != identity.bind
            {
                return;
            }
        }
    }

    /// The address of this machine that `identity` was derived from. `None` if the user has configured the host of the
    /// node, or if it listens at all addresses.
    pub(super) fn found(&self, identity: &Identity) -> Option<IpAddr> {
        let ip = identity.bind?.ip();
        (self.host.is_none() && !ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    }

    /// How to link with others under `identity`; `None` for a node without a network.
    pub(super) fn links(
        &self,
        config: &Config,
        identity: &Identity,
        settings: &Settings,
        version: &str,
        application: Application,
        definitions: &BTreeMap<String, String>,
    ) -> Result<Option<LinkSettings>, String> {
        let Some(bind) = identity.bind else { return Ok(None) };
        let secret = config.shared_secret().map_err(|error| error.to_string())?;
        let Settings { me, consensus, timing, .. } = settings;
        self.warn_if_open(bind, secret.is_some());
        let hello = Hello::new(me.clone(), timing.lease, version.to_owned());
        Ok(Some(LinkSettings {
            me: me.clone(),
            hello: Hello {
                owns_address: settings.owns_refusals(),
                common_settings: Some(config.common_settings(*consensus).with_definitions(definitions)),
                ..hello
            },
            cookie: secret.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
            cluster: config.name.clone(),
            tls: self.tls.clone(),
            bind,
            timing: *timing,
            strategies: self.all_strategies(),
            max_frame: DEFAULT_MAX_INBOUND_FRAME_SIZE,
            link_bytes: config.link_bytes,
            application,
        }))
    }

    /// Where to look for peers: what the seeds of the configuration say, and strategies of the program's own.
    fn all_strategies(&self) -> Vec<Arc<dyn Discovery>> {
        let seeds = self.seeds.strategies(&self.resolver).into_iter().map(Arc::from);
        let own = self.strategies.iter().map(Arc::clone);
        seeds
            .chain(own.map(|strategy| Arc::new(OnApplication::new(strategy)) as Arc<dyn Discovery>))
            .collect()
    }

    /// Warns once if any process may join, and not only those of this machine.
    fn warn_if_open(&self, bind: SocketAddr, has_cookie: bool) {
        let open = is_open(bind, has_cookie, self.tls.is_some());
        if open && !self.warned.swap(true, Ordering::Relaxed) {
            warn!(
                target: TARGET, %bind,
                "neither `cookie` nor `[tls]` is set: any process that reaches this port and knows the name {} may join, and read and \
                 send what the nodes do; set `cookie` against mistakes, `[tls]` against others, or keep the port closed",
                self.name
            );
        }
    }
}

/// Whether all of these addresses are among those of this machine. No address is none of them.
fn is_own(ips: &[IpAddr], present: &[IpAddr]) -> bool {
    let own = |ip: &IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback() || present.contains(&ip)
    };
    !ips.is_empty() && ips.iter().all(own)
}

/// Whether any process may join.
fn is_open(bind: SocketAddr, has_cookie: bool, has_tls: bool) -> bool {
    !bind.ip().to_canonical().is_loopback() && !has_cookie && !has_tls
}

impl std::fmt::Debug for IdentityFinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityFinder")
            .field("choice", &self.choice)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

/// What a node is called until it knows better.
pub(super) fn provisional(config: &Config) -> Result<Member, SetupError> {
    let name = NodeName::without_network(&config.name)?;
    Ok(Member::without_tags(NodeId::new(name, Incarnation(0), 0)))
}

#[cfg(test)]
mod tests {
    use cloister_testkit::dns_server::{Behaviour, DnsServer};
    use cloister_testkit::wait::until_async;
    use ractor::Actor;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::manager::mailbox::Mailbox;
    use crate::placement::RingPlan;

    #[test]
    fn an_address_is_own_if_all_it_leads_to_is_an_address_of_this_machine() {
        let ips =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let present = ips(&["127.0.0.1", "10.0.0.4", "fd00::4"]);
        assert!(is_own(&ips(&["10.0.0.4"]), &present));
        assert!(is_own(&ips(&["10.0.0.4", "fd00::4"]), &present));
        assert!(is_own(&ips(&["127.0.0.9"]), &present), "all of 127.0.0.0/8 is this machine");
        assert!(!is_own(&ips(&["203.0.113.7"]), &present), "a NAT, a load balancer");
        assert!(!is_own(&ips(&["10.0.0.4", "10.0.0.5"]), &present), "one of two is elsewhere");
        assert!(!is_own(&[], &present), "it is not known where the name leads");
    }

    fn finder(seeds: &str, host: Option<&str>) -> IdentityFinder {
        let mut config = Config::new("alone");
        config.host = host.map(str::to_owned);
        IdentityFinder::new(&config, Seeds::parse(seeds, DEFAULT_PORT).unwrap(), None)
    }

    #[test]
    fn a_machine_that_the_list_has_named_is_no_node_outside_of_it_later() {
        let in_list = finder("10.0.0.1, 10.0.0.2", None);
        assert!(!in_list.has_left_list(0), "the list never named it");
        assert!(
            !in_list.has_left_list(1) && in_list.clone().has_left_list(0),
            "its address is gone for a moment"
        );
        assert!(!in_list.has_left_list(1), "the address is back");
        for other in [finder("10.0.0.1, 10.0.0.2", Some("10.0.0.1")), finder("app", None)] {
            assert!(!other.has_left_list(1) && !other.has_left_list(0), "no list decides what it is called");
        }
    }

    #[tokio::test]
    async fn a_node_with_a_given_address_waits_for_name_servers_that_may_find_it_in_the_list() {
        let names = DnsServer::start().await;
        let seeds = ["node-a.test", "node-b.test", "node-c.test"];
        for seed in seeds {
            names.set(seed, Behaviour::Silent);
        }
        let mut config = Config::new("alone").seeds(seeds).port(4370);
        config.host = Some("10.0.0.1".to_owned());
        let shared = Arc::new(Shared::new(provisional(&config).unwrap(), RingPlan::default(), &config));
        let mut naming = IdentityFinder::new(&config, Seeds::parse_list(seeds, DEFAULT_PORT).unwrap(), None);
        naming.resolver = Resolver::servers([names.address()]).with_deadline(Duration::from_millis(300));
        let (sender, mut heard) = unbounded_channel();
        let (manager, _) = Actor::spawn(None, Mailbox(sender), ()).await.unwrap();
        let finding = tokio::spawn(naming.clone().resolve(3, Arc::clone(&shared), manager.clone()));
        until_async("it waits", async || {
            shared.present_trouble().is_some_and(|why| why.contains("`consensus` depends on that"))
        })
        .await;
        // The third host stays dead.
        for (seed, ip) in seeds.into_iter().zip([[10, 0, 0, 1], [10, 0, 0, 2]]) {
            names.set(seed, Behaviour::addresses([ip]));
        }
        let Some(Command::Identified(identity)) = heard.recv().await else { panic!("it is known") };
        assert_eq!(config.consensus_for(naming.seed_kind(Some(&identity))).get(), 2);
        finding.await.unwrap();

        // It does not wait for ever, and then counts itself besides the three.
        for seed in seeds {
            names.set(seed, Behaviour::Silent);
        }
        naming.await_own_entry = Duration::ZERO;
        naming.clone().resolve(3, shared, manager.clone()).await;
        let Some(Command::Identified(identity)) = heard.recv().await else { panic!("it is known") };
        assert_eq!(config.consensus_for(naming.seed_kind(Some(&identity))).get(), 3);
        manager.stop(None);
    }

    #[test]
    fn a_port_is_open_to_all_when_other_machines_reach_it_and_no_secret_guards_it() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for everywhere in ["0.0.0.0:4370", "[::]:4370", "10.0.0.1:4370", "[fd00::1]:4370"] {
            assert!(is_open(at(everywhere), false, false), "{everywhere}");
            assert!(!is_open(at(everywhere), true, false) && !is_open(at(everywhere), false, true));
        }
        for here in ["127.0.0.1:4370", "127.9.9.9:4370", "[::1]:4370", "[::ffff:127.0.0.1]:4370"] {
            assert!(!is_open(at(here), false, false), "{here}");
        }
    }
}
