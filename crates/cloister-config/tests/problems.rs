//! Every wrong value gives one clear message with its place, and all of them come at once.

#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

use std::time::Duration;

use cloister_config::{Config, ConfigError, ConfigSources};
use cloister_proto::Timing;

fn load_text(text: &str) -> Result<Config, ConfigError> {
    Config::load_from(ConfigSources::none().text("cloister.toml", text))
}

fn load_env(name: &str, value: &str) -> Result<Config, ConfigError> {
    Config::load_from(ConfigSources::none().env([(name, value)]))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, ConfigError>, message: &str) {
    let error = outcome.expect_err(message);
    assert_eq!(error.to_string(), format!("1 problem in the configuration:\n  {message}"));
}

#[test]
fn each_wrong_value_in_a_file_gives_one_message_with_its_place() {
    let cases = [
        // Wrong types.
        ("name = 5", "1:8: name = 5: is a number: write a text in quotes"),
        ("name = {a = 1}", "1:8: name: is a section: write a text in quotes"),
        ("name = 1979-05-27", "1:8: name = 1979-05-27: is a date or time: write a text in quotes"),
        ("cookie = 123", "1:10: cookie = ***: is a number: write a text in quotes"),
        (
            "consensus = 2.7",
            "1:13: consensus = 2.7: is a number with a fraction: write a whole number, without quotes",
        ),
        ("consensus = \"2\"", "1:13: consensus = \"2\": is a text: write a whole number, without quotes"),
        ("port = true", "1:8: port = true: is a boolean: write a whole number, without quotes"),
        ("seeds = 5", "1:9: seeds = 5: is a number: write a text, or a list of texts like [\"a\", \"b\"]"),
        (
            "seeds = [\"a\", 5]",
            "1:9: seeds = [\"a\", 5]: is a list of other things than texts: \
             write a text, or a list of texts like [\"a\", \"b\"]",
        ),
        ("tags = \"a\"", "1:8: tags = \"a\": is a text: write a list of texts like [\"a\", \"b\"]"),
        ("timing = 5", "1:1: timing: must be a section: write `[timing]`"),
        ("tls = \"cert.pem\"", "1:1: tls: must be a section: write `[tls]`"),
        (
            "[tls]\ncert = \"x\"",
            "2:8: tls.cert = \"x\": `tls.key` and `tls.ca` are missing: mutual TLS needs `tls.cert`, `tls.key` and \
             `tls.ca`, give all three or none",
        ),
        (
            "[tls]\nserver_name = \"x\"",
            "2:15: tls.server_name = \"x\": `tls.cert` and `tls.key` and `tls.ca` are missing: mutual TLS needs \
             `tls.cert`, `tls.key` and `tls.ca`, give all three or none",
        ),
        ("admin = true", "1:1: admin: must be a section: write `[admin]`"),
        ("[[rings]]\nx = 1", "1:3: rings: must be a section: write `[rings.<name>]`"),
        ("[rings]\ncache = 5", "2:1: rings.cache: must be a section: write `[rings.<name>]`"),
        // Wrong texts.
        (
            "name = \"my shop\"",
            "1:8: name = \"my shop\": is not an application name: use 1 to 63 letters, digits, `-` or `_`",
        ),
        ("name = \"\"", "1:8: name = \"\": is empty: give a value or remove it"),
        (
            "seeds = [\"a b\"]",
            "1:10: seeds = \"a b\": is not a host: use an IPv4 or IPv6 address, or a DNS name of letters, digits, `-`, `_` \
             and `.`",
        ),
        (
            "seeds = [\"a\", \"b:99999\"]",
            "1:15: seeds = \"b:99999\": has no port between 1 and 65535 after the colon: write `host:port`, or \
             `[address]:port` for IPv6",
        ),
        (
            "seeds = [\"a\", \"\"]",
            "1:15: seeds = \"\": is empty: remove the comma, or write a host or a service name",
        ),
        (
            "seeds = [\"a\", \"a\"]",
            "1:15: seeds = \"a\": is the same as seed 1: write it once, the length of the list is taken for the number of \
             nodes",
        ),
        (
            "seeds = \"a, b, consul:app\"",
            "1:9: seeds = \"consul:app\": begins with `consul:`, which is no way to find nodes: use `dns:`, `srv:`, \
             `system:` or `list:`",
        ),
        (
            "seeds = [\"a, b\",\n  \"dns:10.0.0.1\"]",
            "2:3: seeds = \"dns:10.0.0.1\": is an IP address, and `dns:` needs a name: leave `dns:` out",
        ),
        (
            "host = \"a:1\"",
            "1:8: host = \"a:1\": is not a host: use an IPv4 or IPv6 address or a DNS name, without a port",
        ),
        (
            "host = \"0.0.0.0\"",
            "1:8: host = \"0.0.0.0\": no other node can reach this address: give one of this machine's own, or remove it",
        ),
        ("naming = \"lnog\"", "1:10: naming = \"lnog\": use one of auto, long, short, none"),
        ("split = \"keep\"", "1:9: split = \"keep\": use one of majority, consensus, keep-oldest"),
        (
            "timing.trust_refusal = \"never\"",
            "1:24: timing.trust_refusal = \"never\": use one of auto, true, false",
        ),
        (
            "timing.trust_refusal = 1",
            "1:24: timing.trust_refusal = 1: is a number: write a word in quotes, or true or false",
        ),
        ("on_assembly_timeout = \"die\"", "1:23: on_assembly_timeout = \"die\": use one of wait, exit"),
        ("cookie = \"\"", "1:10: cookie = ***: is empty: give a value or remove it"),
        ("tags = [\"\"]", "1:8: tags = \"\": an item of the list is empty: remove it"),
        (
            "[admin]\nlisten = \"8080\"",
            "2:10: admin.listen = \"8080\": is not an IP address with a port: \
             write it as in 127.0.0.1:8080 or [::1]:8080",
        ),
        (
            "[limits]\nlink_bytes = \"64MB\"",
            "2:14: limits.link_bytes = \"64MB\": is not a size: write a whole number and B, KiB, MiB, GiB or TiB, as in 64MiB",
        ),
        ("[limits]\nlink_bytes = 64", "2:14: limits.link_bytes = 64: has no unit: write \"64B\""),
        (
            "[limits]\nlink_bytes = \"1MiB\"",
            "2:14: limits.link_bytes = \"1048576B\": is out of bounds: use 16MiB to 1TiB",
        ),
        (
            "[limits]\nwaiting_calls = 0",
            "2:17: limits.waiting_calls = 0: is out of bounds: use 1 to 16777216",
        ),
        (
            "[limits]\nwaiting_calls = -1",
            "2:17: limits.waiting_calls = -1: is out of bounds: use 1 to 16777216",
        ),
        (
            "[limits]\nwaiting_bytes = \"1MiB\"",
            "2:17: limits.waiting_bytes = \"1048576B\": is out of bounds: use 16MiB to 1TiB",
        ),
        ("limits = \"64MiB\"", "1:1: limits: must be a section: write `[limits]`"),
        // Wrong numbers.
        ("consensus = 0", "1:13: consensus = 0: this node counts too: use 1 or more"),
        ("consensus = -1", "1:13: consensus = -1: this node counts too: use 1 or more"),
        ("port = 0", "1:8: port = 0: is not a port: use 1 to 65535"),
        ("port = 65536", "1:8: port = 65536: is not a port: use 1 to 65535"),
        // Wrong durations.
        ("assembly_timeout = 5", "1:20: assembly_timeout = 5: has no unit: write \"5s\""),
        ("assembly_timeout = 2.5", "1:20: assembly_timeout = 2.5: has no unit: write \"2.5s\""),
        ("assembly_timeout = \"5\"", "1:20: assembly_timeout = \"5\": has no unit: write \"5s\""),
        (
            "assembly_timeout = \"-5s\"",
            "1:20: assembly_timeout = \"-5s\": is not a duration: \
             write hours, minutes, seconds or milliseconds, as in 250ms, 2s or 1m30s",
        ),
        (
            "assembly_timeout = \"1 month\"",
            "1:20: assembly_timeout = \"1 month\": is not a duration: \
             write hours, minutes, seconds or milliseconds, as in 250ms, 2s or 1m30s",
        ),
        ("drain_delay = \"61 minutes\"", "1:15: drain_delay = 3660s: is too long: the most is 3600s"),
        ("drain_timeout = \"61 minutes\"", "1:17: drain_timeout = 3660s: is too long: the most is 3600s"),
        (
            "assembly_timeout = \"0s\"",
            "1:20: assembly_timeout = 0s: must be more than zero: write how long it may take, or remove it",
        ),
        (
            "[timing]\nlease = \"10h\"",
            "2:9: timing.lease: lease is 36000s: it must be between 30ms and 3600s",
        ),
        // Rings.
        (
            "[rings.cache]",
            "1:8: rings.cache: a ring needs at least one tag, as in `tags = [\"cache\"]`: \
             the ring over all members is there anyway",
        ),
        (
            "[rings.cache]\ntags = []",
            "2:8: rings.cache.tags: a ring needs at least one tag, as in `tags = [\"cache\"]`: \
             the ring over all members is there anyway",
        ),
        (
            "[rings.Cache]\ntags = [\"a\"]",
            "1:8: rings: `Cache` is not the name of a ring: use 1 to 63 lower-case letters, digits, `-` or `_`",
        ),
        // Unknown keys.
        ("seed = \"a\"", "1:1: seed: there is no such key; did you mean `seeds`?"),
        ("\n\n  lease = \"2s\"", "3:3: lease: there is no such key; did you mean `timing.lease`?"),
        (
            "\"timing.lease\" = \"2s\"",
            "1:1: \"timing.lease\": there is no such key; did you mean `timing.lease`?",
        ),
        ("[timing]\nlese = \"2s\"", "2:1: timing.lese: there is no such key; did you mean `timing.lease`?"),
        (
            "[rings.cache]\ntag = [\"a\"]",
            "2:1: rings.cache.tag: there is no such key; did you mean `rings.cache.tags`?",
        ),
        ("[ring.cache]\ntags = [\"a\"]", "1:2: ring: there is no such key; did you mean `rings`?"),
        ("[time]\nlease = \"2s\"", "1:2: time: there is no such key; did you mean `timing`?"),
        ("[limit]\nlink_bytes = \"1MiB\"", "1:2: limit: there is no such key; did you mean `limits`?"),
        (
            "[web]\ncert = \"x\"",
            "1:2: web: there is no such key; there are name, seeds, consensus, host, port, naming, cookie, cookie_file, \
             tls.cert, tls.key, tls.ca, tls.server_name, tags, assembly_timeout, on_assembly_timeout, drain_delay, drain_timeout, split, state_file, timing.heartbeat_every, timing.unreachable_after, \
             timing.lease, timing.settle, timing.rehash_timeout, timing.leave_timeout, timing.trust_refusal, \
             limits.link_bytes, limits.waiting_calls, limits.waiting_bytes, limits.table_bytes, rings.<name>.tags, admin.listen, admin.hosts",
        ),
        // Not TOML.
        (
            "port = 4370\nname = shop",
            "2:8: this is not TOML: string values must be quoted, expected literal string",
        ),
        ("name = \"a\"\nname = \"b\"", "2:1: this is not TOML: duplicate key"),
        ("cookie = 0123", "1:10: this is not TOML: unexpected leading zero"),
        ("# schöne Grüße\nseeds = [", "2:10: this is not TOML: unclosed array, expected `]`"),
    ];
    for (text, message) in cases {
        refused(load_text(text), &format!("cloister.toml:{message}"));
    }
}

#[test]
fn values_at_odds_give_one_message_at_the_one_that_was_written() {
    let cases = [
        (
            "[timing]\nlease = \"10s\"",
            "2:9: timing.lease: 1.05 × lease (10s) must be less than unreachable_after (3s): a silent peer may hold its \
             lease that long; lengthen unreachable_after or shorten lease",
        ),
        (
            "[timing]\nheartbeat_every = \"1s\"",
            "2:19: timing.heartbeat_every: 2 × heartbeat_every (1s) must be less than lease (2s): one lost heartbeat \
             would end every lease; lengthen lease or shorten heartbeat_every",
        ),
        (
            "[timing]\nrehash_timeout = \"15s\"",
            "2:18: timing.rehash_timeout: rehash_timeout (15s) must be less than leave_timeout (15s): a node that leaves would \
             stop while the others still take over what it has; lengthen leave_timeout or shorten rehash_timeout",
        ),
        // One side is wrong by itself: nothing is said of the relation.
        ("[timing]\nheartbeat_every = \"1s\"\nlease = 5", "3:9: timing.lease = 5: has no unit: write \"5s\""),
        ("seed = \"app\"\nconsensus = 3", "1:1: seed: there is no such key; did you mean `seeds`?"),
        ("sentri = \"app\"\nconsensus = 3", "1:1: sentri: there is no such key; did you mean `sentry`?"),
        (
            "[timing]\nheartbeat_every = \"1s\"\nlease = \"5\"",
            "3:9: timing.lease = \"5\": has no unit: write \"5s\"",
        ),
        (
            "on_assembly_timeout = \"exit\"",
            "1:23: on_assembly_timeout = \"exit\": never comes to pass without a limit: give `assembly_timeout` as well",
        ),
        (
            "sentry = \"a\"\nseeds = \"b\"",
            "1:10: sentry = \"a\": is another word for `seeds`, which cloister.toml:2:9 gives as well: remove one",
        ),
        (
            "naming = \"none\"\nseeds = \"a\"",
            "1:10: naming = \"none\": `naming = none` means no network, but `seeds` is given as well, by \
             cloister.toml:2:9: remove one of the two",
        ),
        (
            "naming = \"none\"\nhost = \"a\"",
            "1:10: naming = \"none\": `naming = none` means no network, but `host` is given as well, by \
             cloister.toml:2:8: remove one of the two",
        ),
        (
            "naming = \"short\"\nhost = \"10.0.0.1\"",
            "1:10: naming = \"short\": `naming = short` needs a host name without dots, but `host` is \"10.0.0.1\": \
             use `naming = long`",
        ),
        (
            "naming = \"long\"\nhost = \"web\"",
            "1:10: naming = \"long\": `naming = long` needs an IP address or a full name, but `host` is \"web\": \
             use `naming = short`",
        ),
        (
            "consensus = 3",
            "1:13: consensus = 3: a node without seeds and host has no network and stays alone: give seeds, or use 1",
        ),
        (
            "host = \"127.0.0.1\"\nseeds = [\"[::1]:1\", \"10.0.0.1:4370\"]",
            "1:8: host = \"127.0.0.1\": is reachable from this machine only, but seed 10.0.0.1:4370 is elsewhere: \
             give an address the others reach",
        ),
    ];
    for (text, message) in cases {
        refused(load_text(text), &format!("cloister.toml:{message}"));
    }
}

#[test]
fn each_wrong_variable_gives_one_message_with_its_name() {
    let cases = [
        ("NAME", "", "=\"\": is empty: give a value or remove it"),
        ("COOKIE", "", "=***: is empty: give a value or remove it"),
        ("CONSENSUS", "", "=\"\": is empty: give a value or remove it"),
        ("CONSENSUS", "two", "=\"two\": is not a whole number: write digits only"),
        ("PORT", "70000", "=\"70000\": is not a port: use 1 to 65535"),
        ("SEEDS", "a,,b", "=\"\": is empty: remove the comma, or write a host or a service name"),
        ("TIMING__LEASE", "5", "=\"5\": has no unit: write \"5s\""),
        ("NAME", "a\nb", "=\"a\\nb\": is not an application name: use 1 to 63 letters, digits, `-` or `_`"),
        (
            "TIMING__HEARTBEAT_EVERY",
            "1s",
            ": 2 × heartbeat_every (1s) must be less than lease (2s): one lost heartbeat would end every lease; \
             lengthen lease or shorten heartbeat_every",
        ),
        ("LEASE", "2s", ": there is no such variable; did you mean `CLOISTER__TIMING__LEASE`?"),
        ("name", "x", ": there is no such variable; did you mean `CLOISTER__NAME`?"),
        ("CONFG", "x", ": there is no such variable; did you mean `CLOISTER__CONFIG`?"),
        ("RINGS__A__TAG", "x", ": there is no such variable; did you mean `CLOISTER__RINGS__A__TAGS`?"),
        (
            "FOO",
            "x",
            ": there is no such variable; there are CLOISTER__NAME, CLOISTER__SEEDS, CLOISTER__CONSENSUS, \
             CLOISTER__HOST, CLOISTER__PORT, CLOISTER__NAMING, CLOISTER__COOKIE, CLOISTER__COOKIE_FILE, \
             CLOISTER__TLS__CERT, CLOISTER__TLS__KEY, CLOISTER__TLS__CA, CLOISTER__TLS__SERVER_NAME, CLOISTER__TAGS, \
             CLOISTER__ASSEMBLY_TIMEOUT, CLOISTER__ON_ASSEMBLY_TIMEOUT, CLOISTER__DRAIN_DELAY, CLOISTER__DRAIN_TIMEOUT, CLOISTER__SPLIT, \
             CLOISTER__STATE_FILE, CLOISTER__TIMING__HEARTBEAT_EVERY, CLOISTER__TIMING__UNREACHABLE_AFTER, CLOISTER__TIMING__LEASE, \
             CLOISTER__TIMING__SETTLE, CLOISTER__TIMING__REHASH_TIMEOUT, CLOISTER__TIMING__LEAVE_TIMEOUT, \
             CLOISTER__TIMING__TRUST_REFUSAL, CLOISTER__LIMITS__LINK_BYTES, CLOISTER__LIMITS__WAITING_CALLS, \
             CLOISTER__LIMITS__WAITING_BYTES, CLOISTER__LIMITS__TABLE_BYTES, CLOISTER__RINGS__<NAME>__TAGS, \
             CLOISTER__ADMIN__LISTEN, CLOISTER__ADMIN__HOSTS",
        ),
    ];
    for (name, value, message) in cases {
        let name = format!("CLOISTER__{name}");
        refused(load_env(&name, value), &format!("{name}{message}"));
    }
}

#[test]
fn a_misspelt_variable_is_not_told_twice() {
    let env = [("CLOISTER__SEED", "app"), ("CLOISTER__CONSENSUS", "3")];
    refused(
        Config::load_from(ConfigSources::none().env(env)),
        "CLOISTER__SEED: there is no such variable; did you mean `CLOISTER__SEEDS`?",
    );
}

#[test]
fn each_wrong_value_in_code_gives_one_message() {
    let long = "x".repeat(65);
    let cases = [
        (
            Config::new("a b"),
            "name = \"a b\": is not an application name: use 1 to 63 letters, digits, `-` or `_`",
        ),
        (Config::new("a").consensus(0), "consensus = 0: this node counts too: use 1 or more"),
        (Config::new("a").port(0), "port = 0: is not a port: use 1 to 65535"),
        (Config::new("a").cookie(""), "cookie = ***: is empty: give a value or remove it"),
        (Config::new("a").cookie("x".repeat(5000)), "cookie = ***: is 5000 bytes long: use at most 4096"),
        (Config::new("a").tags((0..33).map(|n| n.to_string())), "tags: has 33 items: use at most 32"),
        (Config::new("a").tags([&long]), &format!("tags = \"{long}\": is 65 bytes long: use at most 64")),
        (
            Config::new("a").ring("A.b", ["x"]),
            "rings: `A.b` is not the name of a ring: use 1 to 63 lower-case letters, digits, `-` or `_`",
        ),
        (
            Config::new("a").cookie("x").cookie_file("/"),
            "cookie_file = \"/\": cannot be read: it is a directory, name a file",
        ),
    ];
    for (config, message) in cases {
        let error = config.check().expect_err(message);
        assert_eq!(error.problems[0].to_string(), format!("code: {message}"));
    }
    let huge = Timing { heartbeat_every: Duration::MAX, lease: Duration::MAX, ..Timing::default() };
    let error = Config::new("a").timing(huge).check().expect_err("far out of bounds");
    assert_eq!(error.problems.len(), 2, "{error}");
}

#[test]
fn all_mistakes_of_all_sources_come_at_once_in_their_order() {
    let sources = ConfigSources::none()
        .text("cloister.toml", "port = \"x\"\nconsnsus = 2\n[timing]\nlease = \"5\"\nsettle = \"60s\"\n")
        .env([("CLOISTER__PORT", "4371"), ("CLOISTER__NAMING", "lang"), ("CLOISTER__HOSTS", "")])
        .overrides(|config| config.host("::"));
    let error = Config::load_from(sources).expect_err("all of it is wrong");
    let expected = "7 problems in the configuration:
  cloister.toml:1:8: port = \"x\": is a text: write a whole number, without quotes
  cloister.toml:2:1: consnsus: there is no such key; did you mean `consensus`?
  cloister.toml:4:9: timing.lease = \"5\": has no unit: write \"5s\"
  cloister.toml:5:10: timing.settle: settle is 60s: it must be between 0ns and 10s
  CLOISTER__HOSTS: there is no such variable; did you mean `CLOISTER__HOST`?
  CLOISTER__NAMING=\"lang\": use one of auto, long, short, none
  code: host = \"::\": no other node can reach this address: give one of this machine's own, or remove it";
    assert_eq!(error.to_string(), expected);
    assert_eq!(format!("{error:?}"), expected, "a main that returns the error prints its debug form");
}

#[test]
fn all_mistakes_in_seeds_come_at_once_each_with_its_place() {
    let text = "seeds = [\n  \"a:0\",\n  \"b\",\n  \"0.0.0.0\", \"b:4370\",\n  \"srv:c:1\",\n]\nport = 0\n";
    let error =
        Config::load_from(ConfigSources::none().text("cloister.toml", text)).expect_err("five are wrong");
    let expected = "5 problems in the configuration:
  cloister.toml:2:3: seeds = \"a:0\": has no port between 1 and 65535 after the colon: write `host:port`, or `[address]:port` for IPv6
  cloister.toml:4:3: seeds = \"0.0.0.0\": stands for every address and cannot be dialled: write the address of one host
  cloister.toml:4:14: seeds = \"b:4370\": is the same as seed 2: write it once, the length of the list is taken for the number of nodes
  cloister.toml:5:3: seeds = \"srv:c:1\": gives a port, but SRV records carry their own: leave the port out
  cloister.toml:7:8: port = 0: is not a port: use 1 to 65535";
    assert_eq!(error.to_string(), expected);
    // Those of code as well, where nothing else is said after them.
    let error = Config::new("a").seeds(["a:0", "dns:b@c", "d"]).check();
    let error = error.expect_err("two are wrong").to_string();
    assert!(
        error.starts_with("2 problems in the configuration:\n  code: seeds = \"a:0\": has no port"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_not_toml_does_not_hide_what_is_wrong_elsewhere() {
    let sources = ConfigSources::none()
        .text("cloister.toml", "name = shop\nseeds = [\n")
        .env([("CLOISTER__PORT", "x"), ("CLOISTER__CONSENSUS", "2")]);
    let error = Config::load_from(sources).expect_err("not TOML");
    let expected = "3 problems in the configuration:
  cloister.toml:1:8: this is not TOML: string values must be quoted, expected literal string
  cloister.toml:2:10: this is not TOML: unclosed array, expected `]`
  CLOISTER__PORT=\"x\": is not a whole number: write digits only";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_secret_is_never_printed() {
    let secret = "hunter2";
    let config = Config::new("a").cookie(secret);
    let shown = [
        format!("{config:?} {:?} {}", config.cookie, config.cookie.as_ref().unwrap()),
        format!("{:?}", ConfigSources::none().env([("CLOISTER__COOKIE", secret)])),
        format!("{:?}", load_text("cookie = [\"hunter2\"]")),
        format!("{:?}", load_text("cookie = \"hunter2")),
        format!("{:?}", load_text("cookie = \"hunter2\" x")),
        format!("{:?}", load_text("cookie = hunter2")),
        format!("{:?}", load_text("cokie = \"hunter2\"")),
        format!("{:?}", load_text("cookie = { hunter2 = \"hunter2\" }")),
        format!("{:?}", load_text("cookie = \"hunter2\"\ncookie_file = \"/\"")),
        format!("{:?}", load_env("CLOISTER__COKIE", secret)),
        format!("{:?}", load_env("CLOISTER__COOKIE", &secret.repeat(1000))),
    ];
    for text in shown {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(config.shared_secret().unwrap().unwrap().expose(), secret);
}

#[test]
fn no_cut_or_changed_file_makes_it_panic() {
    let whole = include_str!("table/all.toml");
    load_text(whole).expect("the whole file is right");
    for (cut, _) in whole.char_indices() {
        // Whether it is right is another question.
        let _ = load_text(&whole[..cut]);
        let _ = load_text(&whole[cut..]);
        for bad in ["\0", "=", "[", "\"", "9999999999999999999999", "é", "."] {
            let _ = load_text(&format!("{}{bad}{}", &whole[..cut], &whole[cut..]));
        }
    }
}
