//! Every file of TLS that cannot be used gives one clear message with its place, and nothing of a key is in it.

#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

use cloister_config::{Config, ConfigError, ConfigSources};

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::load_from(ConfigSources::none().text("cloister.toml", text))
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_program_that_was_built_without_tls_says_so() {
    let text = "[tls]\ncert = \"a\"\nkey = \"b\"\nca = \"c\"";
    assert_eq!(
        load(text).unwrap_err().to_string(),
        "1 problem in the configuration:\n  cloister.toml:2:8: tls.cert = \"a\": this program was built without the \
         feature `tls`: build it with that feature of `cloister`, or remove it"
    );
}

#[cfg(feature = "tls")]
mod with {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use cloister_config::{CertificateWarning, CheckedConfig, Warning};
    use tempfile::TempDir;

    use super::*;
    use cloister_testkit::certificates::{Authority, Order, Paths};

    const LINES: [(&str, &str); 3] = [("cert", "2:8"), ("key", "3:7"), ("ca", "4:6")];

    /// A node called `it` with these files.
    fn load_files(paths: &Paths, more: &str) -> Result<Config, ConfigError> {
        let [cert, key, ca] = [&paths.cert, &paths.key, &paths.ca].map(|path| path.display().to_string());
        load(
            &format!("[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\nca = \"{ca}\"\n{more}")
                .replace("[tls]", "name = 'it'\n[tls]"),
        )
    }

    /// Nodes with these files are refused, each with this message about one of them.
    #[track_caller]
    fn refused(paths: &Paths, about: &str, message: &str) {
        let path = match about {
            "cert" => &paths.cert,
            "key" => &paths.key,
            _ => &paths.ca,
        };
        let (_, place) = LINES.iter().find(|(key, _)| *key == about).unwrap();
        let (line, column) = place.split_once(':').unwrap();
        let line = line.parse::<u32>().unwrap() + 1;
        let expected = format!(
            "1 problem in the configuration:\n  cloister.toml:{line}:{column}: tls.{about} = \"{}\": {message}",
            path.display()
        );
        let error = load_files(paths, "").unwrap_err().to_string();
        // What follows the message is a detail that another library words.
        assert!(error.starts_with(&expected), "\n{error}\n{expected}");
        assert_eq!(error.lines().count(), 2, "{error}");
        let key = if paths.key.is_file() { fs::read_to_string(&paths.key).unwrap() } else { String::new() };
        let secret = key.lines().find(|line| line.len() > 40);
        assert!(secret.is_none_or(|secret| !error.contains(&secret[..16])), "{error}");
    }

    fn equip(order: &Order) -> (TempDir, Authority, Paths) {
        let (home, authority) = (TempDir::with_prefix("tls").unwrap(), Authority::new("cluster"));
        let paths = authority.equip(home.path(), order);
        (home, authority, paths)
    }

    #[test]
    fn the_start_after_a_load_or_a_check_reads_no_file_of_tls_again() {
        let (home, _, paths) = equip(&Order::default());
        let (loaded, in_code) = (load_files(&paths, "").unwrap(), Config::new("it"));
        let in_code = in_code.tls(&paths.cert, &paths.key, &paths.ca);
        in_code.check().unwrap();
        drop(home);
        for config in [loaded, in_code] {
            // Other files are read.
            CheckedConfig::new(config.clone().tls(&paths.ca, &paths.key, &paths.cert)).unwrap_err();
            assert!(CheckedConfig::new(config.clone()).unwrap().into_parts().2.is_some());
            // What was read is used for one start.
            CheckedConfig::new(config).unwrap_err();
        }
    }

    #[test]
    fn a_check_always_reads_the_files() {
        let (home, _, paths) = equip(&Order::default());
        let config = load_files(&paths, "").unwrap();
        drop(home);
        config.check().unwrap_err();
    }

    #[test]
    fn good_files_are_taken_from_every_source() {
        let (_home, _, paths) = equip(&Order::default());
        let config = load_files(&paths, "").unwrap();
        assert_eq!(config.check().unwrap(), []);
        let in_code = Config::new("it").tls(&paths.cert, &paths.key, &paths.ca);
        assert_eq!(in_code.tls, config.tls);
        assert_eq!(in_code.check().unwrap(), []);
        assert_eq!(
            Config::new("other")
                .tls_server_name("it")
                .tls(&paths.cert, &paths.key, &paths.ca)
                .check()
                .unwrap(),
            []
        );
    }

    #[test]
    fn a_name_with_every_letter_that_an_application_may_have_is_found_in_a_certificate() {
        for name in ["it", "My-App", "my_app", "a1_b-2"] {
            let (_home, _, paths) = equip(&Order { name, ..Order::default() });
            let config = Config::new(name).tls(&paths.cert, &paths.key, &paths.ca);
            assert_eq!(config.check().unwrap(), [], "{name}");
        }
    }

    #[test]
    fn each_file_that_is_missing_or_something_else_gives_one_message() {
        let (home, _, paths) = equip(&Order::default());
        let with = |about: &str, path: &Path| {
            let mut paths = paths.clone();
            match about {
                "cert" => paths.cert = path.to_owned(),
                "key" => paths.key = path.to_owned(),
                _ => paths.ca = path.to_owned(),
            }
            paths
        };
        let file = |name: &str, text: &str| {
            let path = home.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let empty = file("empty", "");
        for (about, holds) in [
            (
                "cert",
                "holds no certificate: it must have a block that begins with `-----BEGIN CERTIFICATE-----`",
            ),
            (
                "key",
                "holds no private key: it must have a block that begins with `-----BEGIN PRIVATE KEY-----`",
            ),
            (
                "ca",
                "holds no certificate: it must have a block that begins with `-----BEGIN CERTIFICATE-----`",
            ),
        ] {
            refused(&with(about, &home.path().join("nowhere")), about, "cannot be read: No such file");
            refused(&with(about, home.path()), about, "cannot be read: it is a directory, name a file");
            refused(&with(about, Path::new("/dev/zero")), about, "cannot be read: it is not a regular file");
            refused(&with(about, &empty), about, holds);
        }
        let swapped = "holds a private key where a certificate must be: was it mistaken for `tls.key`?";
        refused(&with("cert", &paths.key), "cert", swapped);
        refused(&with("ca", &paths.key), "ca", swapped);
        let swapped = "holds a certificate where a private key must be: was it mistaken for `tls.cert`?";
        refused(&with("key", &paths.cert), "key", swapped);

        let cert = fs::read_to_string(&paths.cert).unwrap();
        let cut = file("cut", &cert[..cert.len() / 2]);
        refused(&with("cert", &cut), "cert", "is broken PEM: a block has no end; write the file anew");
        let noise = file("noise", &cert.replace('M', "!"));
        refused(&with("ca", &noise), "ca", "is broken PEM: what stands between BEGIN and END is not Base64");
        let hollow = file("hollow", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        refused(&with("ca", &hollow), "ca", "is not a certificate that can be used: ");
        refused(&with("cert", &hollow), "cert", "is not a certificate that can be used: ");
        let hollow = file("hollow key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        refused(&with("key", &hollow), "key", "is not a key that can be used: ");
        let locked = file(
            "locked",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        refused(&with("key", &locked), "key", "is locked by a password, and a node cannot ask for one: ");
    }

    #[test]
    fn files_that_do_not_belong_together_give_one_message() {
        let (home, authority, paths) = equip(&Order::default());
        let (other_home, other, others) = equip(&Order::default());
        let unfit = Paths { key: others.key.clone(), ..paths.clone() };
        refused(&unfit, "key", &format!("is not the key of the certificate in {}: ", paths.cert.display()));
        let foreign = Paths { ca: others.ca.clone(), ..paths.clone() };
        refused(&foreign, "cert", &format!("is not signed by an authority in {}: ", others.ca.display()));
        let web = authority.equip(&home.path().join("web"), &Order { name: "web", ..Order::default() });
        refused(
            &web,
            "cert",
            "is for web, and not for it: sign one with `subjectAltName = DNS:it`, or set `tls.server_name`",
        );
        let servers = Order { servers_only: true, ..Order::default() };
        let servers = authority.equip(&home.path().join("servers"), &servers);
        refused(&servers, "cert", "may not be used by servers and clients, and a node is both: ");
        let own = Order { authority: true, ..Order::default() };
        let own = other.equip(&other_home.path().join("own"), &own);
        refused(
            &own,
            "cert",
            "is the certificate of an authority: give one that was signed for the nodes by it",
        );
        let error = load_files(&paths, "server_name = \"-\"").unwrap_err().to_string();
        assert!(
            error.contains("6:15: tls.server_name = \"-\": is not a DNS name nor an IP address"),
            "{error}"
        );
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let (home, _, paths) = equip(&Order::default());
        let nowhere = home.path().join("nowhere");
        let all = Paths { cert: nowhere.clone(), key: nowhere, ca: paths.ca };
        assert!(load_files(&all, "").unwrap_err().to_string().starts_with("2 problems"));
    }

    #[test]
    fn an_expired_certificate_is_a_warning_with_its_place_and_time() {
        let (_home, _, paths) = equip(&Order { expired: true, ..Order::default() });
        let config = load_files(&paths, "").unwrap();
        let [warning] = config.check().unwrap().try_into().unwrap();
        assert!(
            matches!(&warning, Warning::Certificate { problem: CertificateWarning::Expired(_), .. }),
            "{warning:?}"
        );
        let begin = format!("cloister.toml:3:8: the certificate in {} expired at 20", paths.cert.display());
        assert!(warning.to_string().starts_with(&begin), "{warning}");
        // What else is wrong is seen all the same.
        let foreign = Paths { ca: equip(&Order::default()).2.ca, ..paths };
        assert!(load_files(&foreign, "").is_err());
    }

    /// The commands of the guide, as they stand there.
    #[test]
    fn the_commands_of_the_guide_make_files_that_can_be_used() {
        let guide = include_str!("../../cloister/guide/security.md");
        let from = guide.find("openssl req").expect("the guide shows how");
        let commands = &guide[from..from + guide[from..].find("```").unwrap()];
        if Command::new("openssl").arg("version").output().is_err() {
            println!("LEFT OUT: this machine has no openssl");
            return;
        }
        let home = TempDir::new().unwrap();
        let done = Command::new("sh").args(["-ec", commands]).current_dir(home.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let [cert, key, ca] = ["node.pem", "node.key", "ca.pem"].map(|name| home.path().join(name));
        assert_eq!(Config::new("shop").tls(&cert, &key, &ca).check().unwrap(), []);
        assert!(Config::new("other").tls(&cert, &key, &ca).check().is_err());
    }
}
