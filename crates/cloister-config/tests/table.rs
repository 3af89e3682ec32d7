//! The table of the configuration names every key there is, and what it names works.

#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use cloister_config::{Config, ConfigSources, KEYS, Naming, OnAssemblyTimeout};
use cloister_proto::{SplitPolicy, Timing, TrustRefusal};

const ALL: &str = include_str!("table/all.toml");

/// The lines of the table in the documentation.
fn table() -> Vec<&'static str> {
    let lines = include_str!("../src/lib.rs").lines().filter_map(|line| line.strip_prefix("//! "));
    lines.filter(|line| line.starts_with('|')).collect()
}

/// The cells of its rows.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = table().into_iter().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.trim_end_matches(" |").split(" | ").collect()).collect()
}

fn word(cell: &'static str) -> &'static str {
    cell.trim_start_matches('`').split('`').next().unwrap()
}

/// A value for every key, as text for a variable, and as TOML for a file.
fn example(key: &str) -> (&'static str, &'static str) {
    match key {
        "name" => ("shop", "\"shop\""),
        "seeds" | "sentry" => ("10.0.0.1,10.0.0.2", "[\"10.0.0.1\", \"10.0.0.2\"]"),
        "consensus" => ("1", "1"),
        "host" => ("10.0.0.1", "\"10.0.0.1\""),
        "port" => ("4371", "4371"),
        "naming" => ("short", "\"short\""),
        "cookie" => ("0123", "\"0123\""),
        "cookie_file" => ("Cargo.toml", "\"Cargo.toml\""),
        "tls.cert" | "tls.key" | "tls.ca" | "tls.server_name" => {
            let text = tls_files()[key];
            (text, format!("\"{text}\"").leak())
        }
        "tags" | "rings.<name>.tags" => ("a,b", "[\"a\", \"b\"]"),
        "assembly_timeout" => ("1m", "\"1m\""),
        "on_assembly_timeout" => ("wait", "\"wait\""),
        "split" => ("keep-oldest", "\"keep-oldest\""),
        "state_file" => ("state", "\"state\""),
        "timing.heartbeat_every" => ("400ms", "\"400ms\""),
        "timing.unreachable_after" => ("4s", "\"4s\""),
        "timing.lease" => ("1100ms", "\"1100ms\""),
        "timing.settle" | "timing.rehash_timeout" | "drain_delay" | "drain_timeout" => ("7s", "\"7s\""),
        "timing.leave_timeout" => ("17s", "\"17s\""),
        "timing.trust_refusal" => ("false", "false"),
        "limits.link_bytes" | "limits.waiting_bytes" | "limits.table_bytes" => ("1GiB", "\"1GiB\""),
        "limits.waiting_calls" => ("100000", "100000"),
        "admin.listen" => ("[::1]:8080", "\"[::1]:8080\""),
        "admin.hosts" => ("a.example,b.example", "[\"a.example\", \"b.example\"]"),
        other => panic!("`{other}` has no example"),
    }
}

/// What else must be in the file for a key to mean something.
fn beside(key: &str) -> String {
    let others = |other: &&str| key.starts_with("tls.") && *other != key && *other != "tls.server_name";
    let line = |other: &str| format!("{other} = \"{}\"\n", tls_files()[other]);
    ["tls.cert", "tls.key", "tls.ca"].into_iter().filter(|other| others(other)).map(line).collect()
}

/// Files that TLS can be made of. In a build without TLS no value can be good, see `config.rs`.
#[cfg(feature = "tls")]
fn tls_files() -> &'static BTreeMap<&'static str, &'static str> {
    use cloister_testkit::certificates::{Authority, Order};

    static FILES: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
        // It is left behind: the first test makes it for all, and none knows that it is the last.
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("config_table");
        let paths = Authority::new("cluster").equip(&home, &Order { name: "cloister", ..Order::default() });
        let mut files: BTreeMap<_, _> =
            [("tls.cert", paths.cert), ("tls.key", paths.key), ("tls.ca", paths.ca)]
                .map(|(key, path)| (key, &*path.display().to_string().leak()))
                .into();
        files.insert("tls.server_name", "cloister");
        files
    });
    &FILES
}

#[cfg(not(feature = "tls"))]
fn tls_files() -> &'static BTreeMap<&'static str, &'static str> {
    static FILES: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(BTreeMap::new);
    &FILES
}

/// What a configuration says, its places aside.
fn said(config: &Config) -> String {
    let text = format!("{config:?} {:?}", config.cookie.as_ref().map(|cookie| cookie.expose().to_owned()));
    let (values, rest) = text.split_once(", origins:").unwrap();
    format!("{values} {}", rest.rsplit_once(" }").unwrap().1)
}

#[test]
fn the_table_names_every_key_and_no_other() {
    let keys: Vec<&str> = rows().iter().map(|row| word(row[0])).collect();
    assert_eq!(keys, KEYS);
    for row in rows() {
        assert_eq!(row.len(), 4, "{row:?}");
    }
}

#[test]
fn the_guide_has_the_same_table() {
    let guide = include_str!("../../cloister/guide/configuration.md");
    assert!(guide.contains(&table().join("\n")), "copy the table of config.rs into guide/configuration.md");
}

#[test]
fn every_key_of_the_table_works_in_file_and_environment_alike() {
    let defaults = said(&Config::default());
    let mut rows: Vec<(&str, &str)> = rows().iter().map(|row| (word(row[0]), word(row[1]))).collect();
    rows.push(("sentry", "CLOISTER__SENTRY"));
    for (key, variable) in rows {
        if key.starts_with("tls.") && tls_files().is_empty() {
            continue;
        }
        let (text, toml) = example(key);
        let variable = variable.replace("<NAME>", "CACHE");
        let key = key.replace("<name>", "cache");
        let beside = beside(&key);
        let file = |text: String| ConfigSources::none().text("f.toml", text);
        let by_env = Config::load_from(file(beside.clone()).env([(variable, text)])).unwrap();
        let by_file = Config::load_from(file(format!("{beside}{key} = {toml}"))).unwrap();
        assert_eq!(said(&by_env), said(&by_file), "{key}");
        let is_default = ["on_assembly_timeout"].contains(&key.as_str());
        assert_eq!(said(&by_env) == defaults, is_default, "{key} changes nothing");
    }
}

#[test]
fn every_default_of_the_table_is_the_default() {
    for row in rows() {
        let (key, default) = (word(row[0]), row[2]);
        if let Some(default) = default.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) {
            let variable = word(row[1]);
            let config = Config::load_from(ConfigSources::none().env([(variable, default)])).unwrap();
            let expected = if key == "port" { Config::default().port(4370) } else { Config::default() };
            assert_eq!(said(&config), said(&expected), "{key}");
        }
    }
    assert_eq!(Config::default().port_or_default(), 4370);
}

#[test]
fn a_file_with_everything_sets_everything() {
    let files = tls_files();
    let tls: String = files.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    let config = Config::load_from(ConfigSources::none().text("all.toml", format!("{tls}{ALL}"))).unwrap();
    assert_eq!(config.tls.cert.as_deref(), files.get("tls.cert").map(Path::new));
    assert_eq!(config.tls.key.as_deref(), files.get("tls.key").map(Path::new));
    assert_eq!(config.tls.ca.as_deref(), files.get("tls.ca").map(Path::new));
    assert_eq!(config.tls.server_name.as_deref(), files.get("tls.server_name").copied());
    assert_eq!(config.name, "shop");
    assert_eq!(config.seeds, ["10.0.0.1", "10.0.0.2:4371", "[fd00::3]:4370"]);
    assert_eq!(config.consensus, Some(2));
    assert_eq!(config.host.as_deref(), Some("10.0.0.1"));
    assert_eq!(config.port, Some(4371));
    assert_eq!(config.naming, Naming::Long);
    assert_eq!(config.shared_secret().unwrap().unwrap().expose(), "s3cret");
    assert_eq!(config.tags, ["cache", "eu"]);
    assert_eq!(config.assembly_timeout, Some(Duration::from_secs(90)));
    assert_eq!(config.on_assembly_timeout, OnAssemblyTimeout::Exit);
    assert_eq!(config.drain_timeout, Duration::from_secs(20));
    assert_eq!(config.split, SplitPolicy::KeepOldest);
    let ms = Duration::from_millis;
    let timing = Timing {
        heartbeat_every: ms(250),
        unreachable_after: ms(1500),
        lease: ms(1000),
        settle: ms(0),
        rehash_timeout: ms(60_000),
        leave_timeout: ms(90_500),
    };
    assert_eq!(config.timing, timing);
    assert_eq!(config.trust_refusal, TrustRefusal::Never);
    assert_eq!(config.link_bytes, 32 << 20);
    assert_eq!((config.waiting_calls, config.waiting_bytes), (1_000, 16 << 20));
    assert_eq!(config.table_bytes, Some(2 << 30));
    assert_eq!(config.rings["cache"], ["cache"]);
    assert_eq!(config.admin_listen, Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
    assert_eq!(config.admin_hosts, ["status.shop.example"]);
}
