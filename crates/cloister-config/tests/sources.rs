//! The environment goes over the file, code over both, and what surrounds them does not disturb.

#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use cloister_config::{Config, ConfigError, ConfigSources};

/// A directory of this test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, ConfigError>, message: &str) {
    let error = outcome.expect_err(message);
    assert_eq!(error.to_string(), format!("1 problem in the configuration:\n  {message}"));
}

#[test]
fn environment_goes_over_file_and_code_over_both() {
    let text = "name = \"file\"\nport = 1\nhost = \"file\"\n[timing]\nsettle = \"1s\"\nlease = \"1100ms\"\n\
                [rings.a]\ntags = [\"file\"]\n[rings.b]\ntags = [\"file\"]\n";
    let env = [
        ("CLOISTER__PORT", "2"),
        ("CLOISTER__HOST", "env"),
        ("CLOISTER__TIMING__SETTLE", "2s"),
        ("CLOISTER__RINGS__B__TAGS", "env, more"),
        ("CLOISTER__RINGS__C-D_1__TAGS", "env"),
    ];
    let config = Config::load_from(
        ConfigSources::none().text("cloister.toml", text).env(env).overrides(|config| config.host("code")),
    )
    .unwrap();
    assert_eq!((config.name.as_str(), config.port, config.host.as_deref()), ("file", Some(2), Some("code")));
    assert_eq!((config.timing.settle.as_secs(), config.timing.lease.as_millis()), (2, 1100));
    assert_eq!(config.rings["a"], ["file"]);
    assert_eq!(config.rings["b"], ["env", "more"]);
    assert_eq!(config.rings["c-d_1"], ["env"]);
}

#[test]
fn a_later_list_replaces_an_earlier_one() {
    let text = "seeds = [\"a\", \"b\", \"c\"]";
    let seeds = |value: &str| {
        let sources = ConfigSources::none().text("cloister.toml", text).env([("CLOISTER__SEEDS", value)]);
        Config::load_from(sources).unwrap().seeds
    };
    assert_eq!(seeds("d"), ["d"]);
    assert!(seeds("").is_empty());
}

#[test]
fn code_is_checked_together_with_what_it_covers() {
    let sources =
        ConfigSources::none().text("cloister.toml", "[timing]\nlease = \"10s\"").overrides(|config| {
            let timing = cloister_proto::Timing {
                unreachable_after: std::time::Duration::from_secs(11),
                ..config.timing
            };
            config.timing(timing)
        });
    Config::load_from(sources).expect("with the code, the lease fits");
}

#[test]
fn a_value_set_by_code_after_loading_is_blamed_on_code() {
    let config = Config::load_from(ConfigSources::none().text("cloister.toml", "port = 4371")).unwrap();
    refused(config.port(0).check(), "code: port = 0: is not a port: use 1 to 65535");
}

#[test]
fn sentry_is_another_word_for_seeds_across_sources() {
    let sources =
        ConfigSources::none().text("cloister.toml", "sentry = \"file\"").env([("CLOISTER__SEEDS", "env")]);
    assert_eq!(Config::load_from(sources).unwrap().seeds, ["env"]);
    let sources =
        ConfigSources::none().text("cloister.toml", "seeds = \"file\"").env([("CLOISTER__SENTRY", "env")]);
    assert_eq!(Config::load_from(sources).unwrap().seeds, ["env"]);
    let both = ConfigSources::none().env([("CLOISTER__SEEDS", "a"), ("CLOISTER__SENTRY", "b")]);
    refused(
        Config::load_from(both),
        "CLOISTER__SENTRY=\"b\": is another word for `seeds`, which CLOISTER__SEEDS gives as well: remove one",
    );
}

#[test]
fn a_cookie_of_digits_stays_as_it_is() {
    for cookie in ["0123", "1e3", "true", " x ", "a,b"] {
        let config = Config::load_from(ConfigSources::none().env([("CLOISTER__COOKIE", cookie)])).unwrap();
        assert_eq!(config.cookie.unwrap().expose(), cookie);
    }
}

#[test]
fn the_variables_of_a_kubernetes_service_do_not_disturb() {
    let env = [
        ("CLOISTER_PORT", "tcp://10.96.0.7:4370"),
        ("CLOISTER_PORT_4370_TCP", "tcp://10.96.0.7:4370"),
        ("CLOISTER_PORT_4370_TCP_ADDR", "10.96.0.7"),
        ("CLOISTER_PORT_4370_TCP_PORT", "4370"),
        ("CLOISTER_PORT_4370_TCP_PROTO", "tcp"),
        ("CLOISTER_SERVICE_HOST", "10.96.0.7"),
        ("CLOISTER_SERVICE_PORT", "4370"),
        ("PATH", "/usr/bin"),
    ];
    let config = Config::load_from(ConfigSources::none().env(env)).unwrap();
    assert_eq!((config.port, config.host.as_deref()), (None, None));
    assert!(config.check().unwrap().is_empty());
}

#[test]
fn the_variables_of_a_docker_link_do_not_disturb() {
    let env = [
        ("CLOISTER_NAME", "/app/cloister"),
        ("CLOISTER_PORT", "udp://172.17.0.5:4370"),
        ("CLOISTER_PORT_4370_TCP", "tcp://172.17.0.5:4370"),
        ("CLOISTER_ENV_PATH", "/usr/bin"),
    ];
    let config = Config::load_from(ConfigSources::none().env(env)).unwrap();
    assert_eq!((config.port, config.name.as_str()), (None, "cloister"));
}

#[test]
fn a_variable_with_one_underscore_too_few_is_refused_with_the_right_one() {
    let cases = [
        ("CLOISTER_SEEDS", "app", "CLOISTER__SEEDS"),
        ("CLOISTER_SENTRY", "tcp://app:4370", "CLOISTER__SENTRY"),
        ("CLOISTER_NAME", "shop", "CLOISTER__NAME"),
        ("CLOISTER_PORT", "4371", "CLOISTER__PORT"),
        ("CLOISTER_PORT", "http://app:4371", "CLOISTER__PORT"),
        ("CLOISTER_COOKIE", "hunter2", "CLOISTER__COOKIE"),
        ("CLOISTER_COOKIE_FILE", "/run/secrets/cookie", "CLOISTER__COOKIE_FILE"),
        ("CLOISTER_CONFIG", "shop.toml", "CLOISTER__CONFIG"),
        ("CLOISTER_TIMING_LEASE", "1s", "CLOISTER__TIMING__LEASE"),
        ("CLOISTER_TIMING__LEASE", "1s", "CLOISTER__TIMING__LEASE"),
        ("CLOISTER_RINGS_CACHE_TAGS", "memory", "CLOISTER__RINGS__CACHE__TAGS"),
    ];
    for (name, value, meant) in cases {
        refused(
            Config::load_from(ConfigSources::none().env([(name, value)])),
            &format!("{name}: is not read, it has one underscore where there must be two: write `{meant}`"),
        );
    }
    // What follows from it is not told as well.
    let env = [("CLOISTER_SEEDS", "app"), ("CLOISTER__CONSENSUS", "3")];
    refused(
        Config::load_from(ConfigSources::none().env(env)),
        "CLOISTER_SEEDS: is not read, it has one underscore where there must be two: write `CLOISTER__SEEDS`",
    );
    for other in ["CLOISTER_TEST_LONG", "CLOISTER_", "CLOISTER", "MY_CLOISTER_SEEDS", "CLOISTER_HOSTS"] {
        Config::load_from(ConfigSources::none().env([(other, "1")])).expect(other);
    }
}

#[test]
fn the_name_comes_from_the_executable_for_want_of_a_better_one() {
    let name = |path: &str| Config::load_from(ConfigSources::none().executable(path)).unwrap().name;
    assert_eq!(name("/opt/shop"), "shop");
    assert_eq!(name("/opt/my shop.v2.exe"), "my-shop-v2");
    assert_eq!(name("/opt/shop (deleted)"), "shop");
    assert_eq!(name("/opt/本"), "cloister");
    assert_eq!(name(&format!("/opt/{}", "x".repeat(80))), "x".repeat(63));
    let named = ConfigSources::none().executable("/opt/shop").env([("CLOISTER__NAME", "store")]);
    assert_eq!(Config::load_from(named).unwrap().name, "store");
}

#[test]
fn the_usual_file_may_be_absent_and_a_named_one_may_not() {
    let scratch = Scratch::new("absent");
    let absent = scratch.0.join("cloister.toml");
    let shown = absent.display();
    Config::load_from(ConfigSources::none().optional_file(&absent)).expect("no file, no matter");
    refused(
        Config::load_from(ConfigSources::none().file(&absent)),
        &format!("{shown}: cannot be read: No such file or directory (os error 2)"),
    );
    let by_variable = ConfigSources::none().optional_file("other.toml").env([("CLOISTER__CONFIG", &absent)]);
    refused(
        Config::load_from(by_variable),
        &format!("CLOISTER__CONFIG=\"{shown}\": cannot be read: No such file or directory (os error 2)"),
    );
}

#[cfg(unix)]
#[test]
fn a_usual_file_that_leads_nowhere_is_not_passed_over() {
    let scratch = Scratch::new("dangling");
    let link = scratch.0.join("cloister.toml");
    std::os::unix::fs::symlink(scratch.0.join("absent"), &link).unwrap();
    refused(
        Config::load_from(ConfigSources::none().optional_file(&link)),
        &format!("{}: cannot be read: No such file or directory (os error 2)", link.display()),
    );
}

#[test]
fn the_variable_names_the_file_instead_of_the_usual_one() {
    let scratch = Scratch::new("named");
    let usual = scratch.file("cloister.toml", "name = \"usual\"");
    let named = scratch.file("named.toml", "name = \"named\"");
    let name = |sources: ConfigSources| Config::load_from(sources).unwrap().name;
    assert_eq!(name(ConfigSources::none().optional_file(&usual)), "usual");
    assert_eq!(
        name(ConfigSources::none().optional_file(&usual).env([("CLOISTER__CONFIG", &named)])),
        "named"
    );
    assert_eq!(name(ConfigSources::none().file(&usual).env([("CLOISTER__CONFIG", &named)])), "usual");
}

#[test]
fn a_file_that_is_no_text_is_refused_with_its_place() {
    let scratch = Scratch::new("no-text");
    let latin = scratch.file("latin.toml", b"port = 4370\nname = \"caf\xe9\"\n");
    refused(
        Config::load_from(ConfigSources::none().file(&latin)),
        &format!("{}:2:12: is not UTF-8: save it as UTF-8", latin.display()),
    );
    refused(
        Config::load_from(ConfigSources::none().file(&scratch.0)),
        &format!("{}: cannot be read: it is a directory, name a file", scratch.0.display()),
    );
    let long = scratch.file("long.toml", "#".repeat((1 << 20) + 1));
    refused(
        Config::load_from(ConfigSources::none().file(&long)),
        &format!("{}: cannot be read: it is longer than 1048576 bytes", long.display()),
    );
    let bom = scratch.file("bom.toml", "\u{feff}name = \"shop\"");
    assert_eq!(Config::load_from(ConfigSources::none().file(&bom)).unwrap().name, "shop");
}

#[cfg(unix)]
#[test]
fn a_file_that_may_never_end_is_refused() {
    refused(
        Config::load_from(ConfigSources::none().file("/dev/zero")),
        "/dev/zero: cannot be read: it is not a regular file",
    );
    refused(
        Config::new("a").cookie_file("/dev/zero").check(),
        "code: cookie_file = \"/dev/zero\": cannot be read: it is not a regular file",
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;

    let latin = || OsString::from_vec(b"caf\xe9".to_vec());
    let env = [(OsString::from("CLOISTER__NAME"), latin())];
    refused(
        Config::load_from(ConfigSources::none().env(env)),
        "CLOISTER__NAME: is not UTF-8: save it as UTF-8",
    );
    let others = [(latin(), latin()), (OsString::from("LANG"), latin())];
    Config::load_from(ConfigSources::none().env(others)).expect("other variables are none of our business");
}

#[test]
fn a_cookie_file_gives_the_secret_without_one_newline() {
    let scratch = Scratch::new("cookie");
    for (content, secret) in
        [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n"), (" abc ", " abc ")]
    {
        let path = scratch.file("cookie", content);
        let config =
            Config::load_from(ConfigSources::none().env([("CLOISTER__COOKIE_FILE", &path)])).unwrap();
        assert_eq!(config.shared_secret().unwrap().unwrap().expose(), secret, "{content:?}");
    }
}

#[test]
fn a_cookie_file_without_a_secret_is_refused() {
    let scratch = Scratch::new("bad-cookie");
    let absent = scratch.0.join("absent");
    let empty = scratch.file("empty", "\n");
    let latin = scratch.file("latin", b"\xe9");
    let long = scratch.file("long", "x".repeat(4097));
    let cases = [
        (&absent, "cannot be read: No such file or directory (os error 2)"),
        (&scratch.0, "cannot be read: it is a directory, name a file"),
        (&empty, "is empty: give a value or remove it"),
        (&latin, "is not UTF-8: save it as UTF-8"),
        (&long, "is 4097 bytes long: use at most 4096"),
    ];
    for (path, message) in cases {
        let text = format!("cookie_file = '{}'", path.display());
        let message = format!("cloister.toml:1:15: cookie_file = \"{}\": {message}", path.display());
        refused(Config::load_from(ConfigSources::none().text("cloister.toml", text)), &message);
    }
}

#[test]
fn two_cookies_are_one_too_many() {
    let scratch = Scratch::new("two-cookies");
    let path = scratch.file("cookie", "abc");
    let text = format!("cookie_file = '{}'", path.display());
    let sources = ConfigSources::none().text("cloister.toml", text).env([("CLOISTER__COOKIE", "def")]);
    refused(
        Config::load_from(sources),
        &format!(
            "cloister.toml:1:15: cookie_file = \"{}\": `cookie` is given as well, by CLOISTER__COOKIE: \
             remove one of the two",
            path.display()
        ),
    );
}
