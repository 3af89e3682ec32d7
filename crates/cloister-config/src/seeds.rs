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

/// The seeds, parsed unless the last check has done so, with every mistake and its origin.
pub(super) fn read(config: &Config) -> (Seeds, Vec<Problem>) {
    let port = config.port_or_default();
    if let Some(seeds) = config.parsed.seeds(&config.seeds, port) {
        return (seeds, Vec::new());
    }
    #[cfg(test)]
    tests::PARSED.with(|parsed| parsed.set(parsed.get() + 1));
    match Seeds::parse_list(&config.seeds, port) {
        Ok(seeds) => {
            config.parsed.keep_seeds(&config.seeds, port, &seeds);
            (seeds, Vec::new())
        }
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::checked::CheckedConfig;
    use crate::load::ConfigSources;

    thread_local! {
        /// How often this thread has parsed the seeds of a configuration.
        pub(super) static PARSED: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn the_seeds_are_parsed_once_for_a_load_the_start_after_it_and_the_admin_server() {
        let text = "seeds = ['10.0.0.1', '10.0.0.2:4371']";
        let config =
            Config::load_from(ConfigSources::none().text("cloister.toml", text)).expect("a good list");
        let (config, seeds, _) = CheckedConfig::new(config).expect("it was checked").into_parts();
        assert_eq!(config.seed_names(), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!((seeds.iter().count(), PARSED.get()), (2, 1));

        let other = config.clone().port(4372);
        assert_eq!(CheckedConfig::new(other).expect("a good port").into_parts().1.iter().count(), 2);
        assert_eq!(config.seeds(["db"]).seed_names(), ["db"]);
        assert_eq!(PARSED.get(), 3, "the default port of seeds is another, then the seeds are");
    }
}
