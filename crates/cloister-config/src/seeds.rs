//! The seeds of the configuration, before they are looked up. They are parsed here and nowhere else.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use cloister_discovery::{Seed, SeedError, SeedKind, Seeds};

use super::problem::{Problem, quoted};
use super::settings::Config;

/// How many nodes must be connected unless configured: 1 without seeds, the majority of a list and this node, 3 for a service.
pub(super) fn default_consensus(kind: SeedKind) -> NonZeroUsize {
    let nodes = match kind {
        SeedKind::List(nodes) => nodes / 2 + 1,
        SeedKind::Service => 3,
        SeedKind::None => 1,
    };
    NonZeroUsize::new(nodes).unwrap_or(NonZeroUsize::MIN)
}

/// Parses the seeds, with every mistake and its origin.
pub(super) fn read(config: &Config) -> (Seeds, Vec<Problem>) {
    match Seeds::parse_list(&config.seeds, config.port_or_default()) {
        Ok(seeds) => (seeds, Vec::new()),
        Err(errors) => (Seeds::default(), errors.0.into_iter().map(|error| problem(config, error)).collect()),
    }
}

fn problem(config: &Config, error: SeedError) -> Problem {
    let item = item_of(&config.seeds, error.place);
    let origin = config.seed_origins.get(item).cloned().unwrap_or_else(|| config.origin("seeds"));
    Problem {
        origin,
        key: Some("seeds".to_owned()),
        value: Some(quoted(&error.seed)),
        kind: error.kind.into(),
    }
}

/// The index of the text with the seed at `place`, which is counted from 1 over all texts: each text may have commas.
fn item_of(texts: &[String], place: usize) -> usize {
    let mut last = 0;
    texts
        .iter()
        .position(|text| {
            last += text.split(',').count();
            place <= last
        })
        .unwrap_or_default()
}

/// The hosts and names that the seeds have; none if a seed cannot be used.
pub(super) fn names(config: &Config) -> Vec<String> {
    read(config).0.iter().map(Seed::name).collect()
}

/// The seeds that are IP addresses.
pub(super) fn addresses(seeds: &Seeds) -> impl Iterator<Item = (&Seed, IpAddr)> {
    seeds.iter().filter_map(|seed| Some((seed, seed.host()?.host.ip()?)))
}
