//! What is accepted: with which warnings, and with which defaults.

#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

use cloister_config::{Config, ConfigSources, Naming, OnAssemblyTimeout, SeedKind};
use cloister_proto::SplitPolicy;

#[test]
fn what_is_legal_and_doubtful_gives_a_warning() {
    let hosts = |nodes: usize| (1..=nodes).map(|host| format!("10.0.0.{host}"));
    let warnings_under = |split, seeds, consensus| -> Vec<String> {
        let config = Config::new("a").seeds(hosts(seeds)).consensus(consensus).split(split);
        config.check().unwrap().iter().map(ToString::to_string).collect()
    };
    let warnings = |seeds, consensus| warnings_under(SplitPolicy::Majority, seeds, consensus);
    for (seeds, consensus) in [(3, 2), (3, 3), (3, 4), (4, 3), (1, 1), (1, 2)] {
        assert!(warnings(seeds, consensus).is_empty(), "{consensus} of {seeds}");
    }
    for (seeds, consensus, enough) in [(2, 1, 2), (3, 1, 2), (4, 2, 3), (5, 2, 3)] {
        let expected = |network: &str| {
            format!(
                "code: consensus = {consensus} is not more than half of the {seeds} seeds: both halves of a {network} may be \
                 up at once; use {enough} or more"
            )
        };
        let at_start = expected("network that is split while they start");
        assert_eq!(warnings(seeds, consensus), [at_start]);
        for split in [SplitPolicy::Consensus, SplitPolicy::KeepOldest] {
            assert_eq!(warnings_under(split, seeds, consensus), [expected("split network")]);
        }
    }
    assert_eq!(
        warnings(3, 5),
        [
            "code: consensus = 5 is more than the 3 seeds and this node: the cluster is not up before nodes join that no \
          seed names"
        ]
    );
    let service = Config::new("a").seeds(["app"]).consensus(5);
    assert!(service.check().unwrap().is_empty(), "the number of nodes of a service is unknown");
}

#[test]
fn the_name_of_an_earlier_policy_is_another_name_of_the_default() {
    let text = "name = \"shop\"\nsplit = \"keep-majority\"\n";
    let config = Config::load_from(ConfigSources::none().text("cloister.toml", text)).unwrap();
    assert_eq!((config.split, Config::default().split), (SplitPolicy::Majority, SplitPolicy::Majority));
    let variable = [("CLOISTER__SPLIT", "keep-majority")];
    let text = "name = \"shop\"\nsplit = \"consensus\"\n";
    let sources = ConfigSources::none().text("cloister.toml", text).env(variable);
    assert_eq!(Config::load_from(sources).unwrap().split, SplitPolicy::Majority);
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_may_read_is_a_warning_with_its_mode_and_what_to_run() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("cookie");
    std::fs::write(&path, "secret").unwrap();
    let warnings = |mode| -> Vec<String> {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::new("a").cookie_file(&path);
        config.check().unwrap().iter().map(ToString::to_string).collect()
    };
    assert!(warnings(0o600).is_empty() && warnings(0o400).is_empty());
    assert_eq!(
        warnings(0o644),
        [format!(
            "code: cookie_file = \"{}\": users other than its owner may read or change this secret (mode 0644): run `chmod 600` \
             on it; in Kubernetes set `defaultMode: 0400` on the volume of the secret, and `fsGroup` for a process that \
             is not root",
            path.display()
        )]
    );
    assert_eq!(warnings(0o602).len(), 1, "a user that can write it can replace the secret");
    let by_root = std::fs::metadata(&path).unwrap().uid() == 0;
    // As a secret is mounted with `fsGroup`.
    assert_eq!(warnings(0o440).is_empty(), by_root);
    assert_eq!(warnings(0o660).len(), 1);
}

#[test]
fn consensus_has_a_default_for_each_kind_of_seeds() {
    let defaults = [
        (SeedKind::None, 1),
        (SeedKind::List(0), 1),
        (SeedKind::List(1), 1),
        (SeedKind::List(2), 2),
        (SeedKind::List(3), 2),
        (SeedKind::List(4), 3),
        (SeedKind::List(5), 3),
        (SeedKind::Service, 3),
    ];
    for (kind, nodes) in defaults {
        assert_eq!(Config::new("a").consensus_for(kind).get(), nodes, "{kind:?}");
        assert_eq!(Config::new("a").consensus(7).consensus_for(kind).get(), 7);
    }
}

#[test]
fn a_configuration_in_code_needs_few_words() {
    let config = Config::new("shop").seeds(["10.0.0.1", "10.0.0.2"]).consensus(2);
    assert!(config.check().unwrap().is_empty());
    assert_eq!((config.name.as_str(), config.seeds.len(), config.consensus), ("shop", 2, Some(2)));
    assert_eq!((config.port, config.port_or_default()), (None, 4370));
    assert_eq!((config.naming, config.on_assembly_timeout), (Naming::Auto, OnAssemblyTimeout::Wait));
}
