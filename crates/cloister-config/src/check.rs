//! The checks of values with the right type: bounds, and relations between values.

use std::collections::BTreeSet;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use cloister_discovery::Seeds;
use cloister_proto::wire::{MAX_TAG_LEN, MAX_TAGS};
use cloister_proto::{Address, NodeName, SplitPolicy, Timing, TimingError};

use super::choice::{Naming, OnAssemblyTimeout};
use super::problem::{Problem, ProblemKind, Warning, quoted};
use super::settings::Config;
use super::{keys, load, seeds, set, size};
use cloister_net::tls::Tls;

/// The most that [`Config::drain_delay`] and [`Config::drain_timeout`] may be.
const MAX_DRAIN: Duration = Duration::from_secs(3600);

/// The problems of single values.
pub(super) fn forms(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |key: &str, value: Option<String>, kind| problems.push(config.problem(key, value, kind));

    if NodeName::without_network(&config.name).is_err() {
        refuse("name", Some(quoted(&config.name)), ProblemKind::NotAName);
    }
    if config.consensus == Some(0) {
        refuse("consensus", Some("0".to_owned()), ProblemKind::NoConsensus);
    }
    if let Some(host) = &config.host {
        match Address::new(host, 1) {
            Err(_) => refuse("host", Some(quoted(host)), ProblemKind::NotAHost),
            Ok(address) if address.ip().is_some_and(|ip| ip.is_unspecified()) => {
                refuse("host", Some(quoted(host)), ProblemKind::Unspecified);
            }
            Ok(_) => {}
        }
    }
    if config.port == Some(0) {
        refuse("port", Some("0".to_owned()), ProblemKind::NotAPort);
    }
    if let Some(cookie) = &config.cookie {
        let shown = Some(cookie.to_string());
        match cookie.expose().len() {
            0 => refuse("cookie", shown, ProblemKind::Empty),
            len if len > load::MAX_SECRET_LEN => {
                refuse("cookie", shown, ProblemKind::TooLong { len, max: load::MAX_SECRET_LEN });
            }
            _ => {}
        }
    }
    for (value, kind) in tag_problems(&config.tags) {
        refuse("tags", value, kind);
    }
    if config.assembly_timeout == Some(Duration::ZERO) {
        refuse("assembly_timeout", Some("0s".to_owned()), ProblemKind::NoTime);
    }
    for (key, time) in [("drain_delay", config.drain_delay), ("drain_timeout", config.drain_timeout)] {
        if time > MAX_DRAIN {
            refuse(key, Some(format!("{time:?}")), ProblemKind::TooMuchTime { max: MAX_DRAIN });
        }
    }
    let sizes = [
        ("limits.link_bytes", Some(config.link_bytes)),
        ("limits.waiting_bytes", Some(config.waiting_bytes)),
        ("limits.table_bytes", config.table_bytes),
    ];
    for (key, bytes) in sizes.into_iter().filter_map(|(key, bytes)| Some((key, bytes?))) {
        if let Some(kind) = size::waiting_bytes(bytes) {
            refuse(key, Some(quoted(&format!("{bytes}B"))), kind);
        }
    }
    if let Some(kind) = size::waiting_calls(config.waiting_calls) {
        refuse("limits.waiting_calls", Some(config.waiting_calls.to_string()), kind);
    }
    for (name, tags) in &config.rings {
        let key = keys::ring(name);
        if let Err(kind) = set::check_ring_name(name) {
            refuse("rings", None, kind);
        }
        if tags.is_empty() {
            refuse(&key, None, ProblemKind::NoTags);
        }
        for (value, kind) in tag_problems(tags) {
            refuse(&key, value, kind);
        }
    }
    for host in &config.admin_hosts {
        if Address::new(host, 1).is_err() {
            refuse("admin.hosts", Some(quoted(host)), ProblemKind::NotAHost);
        }
    }
    if config.state_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        refuse("state_file", Some(quoted("")), ProblemKind::Empty);
    }
    if let Err(error) = config.shared_secret() {
        problems.extend(error.problems);
    }
    problems
}

fn tag_problems(tags: &[String]) -> Vec<(Option<String>, ProblemKind)> {
    let mut faults = Vec::new();
    if tags.len() > MAX_TAGS {
        faults.push((None, ProblemKind::TooMany { len: tags.len(), max: MAX_TAGS }));
    }
    for tag in tags {
        match tag.len() {
            0 => faults.push((Some(quoted(tag)), ProblemKind::EmptyItem)),
            len if len > MAX_TAG_LEN => {
                faults.push((Some(quoted(tag)), ProblemKind::TooLong { len, max: MAX_TAG_LEN }));
            }
            _ => {}
        }
    }
    faults
}

/// The problems of relations between values, except for values that are wrong themselves.
pub(super) fn relations(config: &Config, seeds: &Seeds, broken: &BTreeSet<String>) -> Vec<Problem> {
    let known = |keys: &[&str]| keys.iter().all(|key| !broken.contains(*key));
    let mut problems = timing(config, broken);
    let mut refuse = |key: &str, value: Option<String>, kind| problems.push(config.problem(key, value, kind));

    if config.cookie.is_some()
        && let Some(path) = &config.cookie_file
    {
        let shown = quoted(&path.display().to_string());
        refuse("cookie_file", Some(shown), ProblemKind::TwoCookies(config.origin("cookie")));
    }
    if config.on_assembly_timeout == OnAssemblyTimeout::Exit
        && config.assembly_timeout.is_none()
        && known(&["assembly_timeout"])
    {
        refuse("on_assembly_timeout", Some("\"exit\"".to_owned()), ProblemKind::NoTimeout);
    }
    let files = config.tls.files();
    let given = files.iter().find_map(|(key, path)| Some((*key, path.as_ref()?.display().to_string())));
    let name = config.tls.server_name.clone().map(|name| ("tls.server_name", name));
    let missing: Vec<&str> = files.iter().filter(|(_, path)| path.is_none()).map(|(key, _)| *key).collect();
    if let Some((key, value)) = given.or(name)
        && known(&missing)
        && let Some(kind) = ProblemKind::tls_lacks(&missing)
    {
        refuse(key, Some(quoted(&value)), kind);
    }
    if !known(&["naming", "seeds", "host"]) {
        return problems;
    }

    let naming = Some(quoted(config.naming.as_str()));
    let no_network = |key| ProblemKind::NoNetwork { key, origin: config.origin(key) };
    // An invalid host has been reported already.
    let address = config.host.as_deref().and_then(|host| Address::new(host, 1).ok());
    match (config.naming, &address) {
        (Naming::None, _) if !config.seeds.is_empty() => refuse("naming", naming, no_network("seeds")),
        (Naming::None, Some(_)) => refuse("naming", naming, no_network("host")),
        (Naming::Short, Some(address)) if address.host().contains(['.', ':']) => {
            refuse("naming", naming, ProblemKind::NotShort(quoted(address.host())));
        }
        (Naming::Long, Some(address)) if !address.host().contains(['.', ':']) => {
            refuse("naming", naming, ProblemKind::NotLong(quoted(address.host())));
        }
        (Naming::Auto | Naming::Long | Naming::Short | Naming::None, _) => {}
    }
    let alone = config.seeds.is_empty()
        && (config.naming == Naming::None || (config.naming == Naming::Auto && config.host.is_none()));
    if let Some(consensus @ 2..) = config.consensus
        && alone
    {
        refuse("consensus", Some(consensus.to_string()), ProblemKind::NeverMet);
    }
    if let Some(address) = &address
        && address.ip().is_some_and(|ip| ip.is_loopback())
        && let Some((seed, _)) = seeds::addresses(seeds).find(|(_, ip)| !ip.is_loopback())
    {
        refuse("host", Some(quoted(address.host())), ProblemKind::OnlyHere { seed: seed.to_string() });
    }
    problems
}

fn timing(config: &Config, broken: &BTreeSet<String>) -> Vec<Problem> {
    // Far beyond every bound, and yet small enough to be multiplied.
    let bounded = |time: Duration| time.min(Duration::from_secs(u64::MAX / 4));
    let times = Timing {
        heartbeat_every: bounded(config.timing.heartbeat_every),
        lease: bounded(config.timing.lease),
        ..config.timing
    };
    let found = times.problems();
    let out_of_bounds: BTreeSet<String> = found
        .iter()
        .filter_map(|error| match error {
            TimingError::OutOfBounds { field, .. } => Some(format!("timing.{field}")),
            _ => None,
        })
        .collect();
    let doubtful = |key: &str| broken.contains(key) || out_of_bounds.contains(key);
    // Of two inconsistent values, report the one that was configured, not a default.
    let blamed = |keys: [&str; 2]| {
        let written = keys.iter().find(|key| config.origins.contains_key(**key));
        (!keys.iter().any(|key| doubtful(key))).then(|| (*written.unwrap_or(&keys[0])).to_owned())
    };
    let origin = |error: TimingError| {
        let key = match &error {
            TimingError::OutOfBounds { field, .. } => Some(format!("timing.{field}")),
            TimingError::HeartbeatTooSlow { .. } => blamed(["timing.heartbeat_every", "timing.lease"]),
            TimingError::LeaseTooLong { .. } => blamed(["timing.unreachable_after", "timing.lease"]),
            TimingError::LeaveTooShort { .. } => blamed(["timing.rehash_timeout", "timing.leave_timeout"]),
            _ => Some("timing".to_owned()),
        };
        key.map(|key| config.problem(&key, None, error.into()))
    };
    found.into_iter().filter_map(origin).collect()
}

/// Settings that are valid but probably mistakes.
pub(super) fn warnings(config: &Config, seeds: &Seeds, tls: Option<&Tls>) -> Vec<Warning> {
    let found = consensus(config, seeds).into_iter().chain(certificate(config, tls));
    found.chain(exposed(config)).chain(unused(config)).collect()
}

/// A state file that the split policy does not use.
fn unused(config: &Config) -> Option<Warning> {
    let (origin, split) = (config.origin("state_file"), config.split);
    let is_unused = config.state_file.is_some() && split != SplitPolicy::Majority;
    is_unused.then_some(Warning::StateFileUnused { origin, split })
}

/// Secret files that other users of this machine may read.
#[cfg(unix)]
fn exposed(config: &Config) -> Vec<Warning> {
    use std::os::unix::fs::MetadataExt;

    let files = [("cookie_file", &config.cookie_file), ("tls.key", &config.tls.key)];
    let warning = |(key, path): (&'static str, &Option<PathBuf>)| {
        let path = path.clone()?;
        let file = std::fs::metadata(&path).ok()?;
        let mode = file.mode() & 0o7777;
        // A file of root is readable by a group on purpose, such as a secret that Kubernetes mounts with an `fsGroup`.
        let others = if file.uid() == 0 { 0o027 } else { 0o077 };
        (mode & others != 0).then(|| Warning::Exposed { origin: config.origin(key), key, path, mode })
    };
    files.into_iter().filter_map(warning).collect()
}

#[cfg(not(unix))]
fn exposed(_: &Config) -> Vec<Warning> {
    Vec::new()
}

fn certificate(config: &Config, tls: Option<&Tls>) -> Option<Warning> {
    let path = config.tls.cert.clone()?;
    let problem = tls?.age().warning()?;
    Some(Warning::Certificate { origin: config.origin("tls.cert"), path, problem })
}

fn consensus(config: &Config, all: &Seeds) -> Option<Warning> {
    let consensus = config.consensus?;
    let seeds = all.iter().count();
    let origin = config.origin("consensus");
    // Behind a name there may be many nodes, behind an address there is one.
    let each_is_one_node = seeds > 0 && seeds::addresses(all).count() == seeds;
    if seeds > 1 && consensus <= seeds / 2 {
        Some(Warning::BothHalves { origin, consensus, seeds, split: config.split })
    } else if each_is_one_node && consensus > seeds + 1 {
        Some(Warning::MoreThanListed { origin, consensus, seeds })
    } else {
        None
    }
}
