//! What `init` writes.

use std::collections::BTreeSet;

use cloister_core::config::{Config, ConfigSources, KEYS};

use super::*;

/// Runs it and returns what it prints.
fn init_in(directory: &Path, name: Option<&str>) -> String {
    let options =
        Options { name: name.map(str::to_owned), kubernetes: true, directory: directory.to_owned() };
    let mut said = Vec::new();
    write_missing(&options, &mut said).unwrap();
    String::from_utf8(said).unwrap()
}

/// The settings of a template without their comment signs, each a line.
fn uncommented(template: &str) -> impl Iterator<Item = String> {
    let is_setting = |line: &&str| line.starts_with("# [") || line.split(' ').nth(2) == Some("=");
    template.lines().filter(is_setting).map(|line| format!("{}\n", line.trim_start_matches("# ")))
}

/// The full keys of these settings.
fn keys(template: &str) -> BTreeSet<String> {
    fn walk(table: &toml::Table, prefix: &str, keys: &mut BTreeSet<String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => walk(inner, &format!("{prefix}{key}."), keys),
                _ => drop(keys.insert(format!("{prefix}{key}"))),
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk(&uncommented(template).collect::<String>().parse().unwrap(), "", &mut keys);
    keys
}

#[test]
fn every_key_of_a_new_file_is_commented_out() {
    let home = tempfile::tempdir().unwrap();
    init_in(home.path(), None);
    let text = fs::read_to_string(home.path().join("cloister.toml")).unwrap();
    assert!(text.parse::<toml::Table>().unwrap().is_empty(), "{text}");
}

#[test]
fn what_is_commented_out_is_every_key_with_its_default() {
    let home = tempfile::tempdir().unwrap();
    init_in(home.path(), None);
    let text = fs::read_to_string(home.path().join("cloister.toml")).unwrap();
    let keys: BTreeSet<_> = keys(&text).iter().map(|key| key.replace("storage", "<name>")).collect();
    assert_eq!(keys, KEYS.iter().map(|key| (*key).to_owned()).collect());
    // A secret is given in one way only, and these files are not there.
    let is_there = |line: &String| !line.starts_with("cookie_file") && !line.starts_with("tls.");
    let file: String = uncommented(&text).filter(is_there).collect();
    let said = Config::load_from(ConfigSources::none().text("cloister.toml", file)).unwrap();
    let default = Config::default();
    assert_eq!(said.timing, default.timing);
    assert_eq!(said.split, default.split);
    assert_eq!(said.naming, default.naming);
    assert_eq!(said.tags, default.tags);
    assert_eq!(said.port_or_default(), default.port_or_default());
    assert_eq!(said.on_assembly_timeout, default.on_assembly_timeout);
}

#[test]
fn the_name_and_the_program_are_filled_in_everywhere() {
    let home = tempfile::tempdir().unwrap();
    package(home.path(), "");
    let said = init_in(home.path(), Some("shop"));
    assert_eq!(said.matches("wrote ").count(), 5);
    assert!(said.contains("let the program depend on `cloister`"), "{said}");
    assert!(said.contains(&format!("Next:\n  cd {}\n", home.path().display())), "{said}");
    assert!(said.contains("  docker compose up --build --scale shop=3\n"), "{said}");
    assert!(said.contains("  docker build -f Dockerfile -t shop . "), "an image for kubernetes.yaml: {said}");
    let read = |file| fs::read_to_string(home.path().join(file)).unwrap();
    assert_eq!(read("cloister.toml").parse::<toml::Table>().unwrap()["name"].as_str(), Some("shop"));
    assert!(read("compose.yaml").contains("CLOISTER__SEEDS: shop\n"));
    assert!(read("compose.yaml").contains("name: shop\nservices:\n  shop:\n"));
    assert!(read("compose.yaml").contains("context: .\n      dockerfile: Dockerfile\n"));
    assert!(read("compose.yaml").contains("stop_grace_period: 30s\n"));
    assert!(read("Dockerfile").contains("--locked --release --package shop-server --bin shop-server\n"));
    assert!(read("kubernetes.yaml").contains("kind: Deployment\nmetadata:\n  name: shop\n"));
    // A pod may have IPv6 alone.
    assert!(read("kubernetes.yaml").contains("{ name: CLOISTER__ADMIN__LISTEN, value: \"[::]:8400\" }\n"));
    assert!(read("Dockerfile").contains("ENV CLOISTER__ADMIN__LISTEN=[::]:8400\n"));
    for file in ["cloister.toml", "compose.yaml", "Dockerfile", ".dockerignore", "kubernetes.yaml"] {
        let text = read(file);
        let left = text.split('{').skip(1).find(|rest| {
            let word = rest.split('}').next().unwrap_or_default();
            !word.is_empty() && word != "key" && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        });
        assert_eq!(left, None, "{file}: {text}");
    }
}

/// A package without code.
fn package(directory: &Path, more: &str) {
    fs::create_dir_all(directory.join("src")).unwrap();
    fs::write(directory.join("src/main.rs"), "fn main() {}").unwrap();
    let manifest =
        format!("[package]\nname = \"shop-server\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}");
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
}

#[test]
fn the_image_has_the_program_that_cargo_runs_and_where_it_would_ask_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    package(home.path(), "");
    let read = || fs::read_to_string(home.path().join("Dockerfile")).unwrap();
    let again = || {
        // The other files are left as they are.
        let _ = fs::remove_file(home.path().join("Dockerfile"));
        init_in(home.path(), None)
    };
    let bin = home.path().join("src/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::rename(home.path().join("src/main.rs"), bin.join("shop-node.rs")).unwrap();
    let said = again();
    assert!(read().contains("--package shop-server --bin shop-node\n"), "{}", read());
    assert!(!said.contains("programs"), "{said}");
    assert_eq!(program_name(home.path()).as_deref(), Some("shop-node"));

    fs::write(bin.join("shop-admin.rs"), "fn main() {}").unwrap();
    let said = again();
    assert!(said.contains("several programs (shop-admin, shop-node): the image has shop-admin"), "{said}");
    assert_eq!(program_name(home.path()), None, "cargo would ask, too");

    package(home.path(), "default-run = \"shop-node\"\n");
    let said = again();
    assert!(read().contains("--package shop-server --bin shop-node\n"), "{}", read());
    assert!(!said.contains("several programs"), "{said}");
    assert_eq!(program_name(home.path()).as_deref(), Some("shop-node"));
}

#[test]
fn without_a_name_the_service_has_that_of_the_package() {
    let home = tempfile::tempdir().unwrap();
    package(home.path(), "[dependencies]\ncloister = \"1\"\n");
    let said = init_in(home.path(), None);
    assert!(said.contains("--scale shop-server=3\n") && !said.contains("depend on"), "{said}");
    assert!(said.contains("cargo generate-lockfile"), "{said}");
}

#[test]
fn the_configuration_says_how_long_a_node_may_take_to_stop_and_whether_it_keeps_a_volume() {
    let home = tempfile::tempdir().unwrap();
    package(home.path(), "");
    let config =
        "port = 4444\nstate_file = \"x\"\ndrain_timeout = \"20s\"\ntiming.leave_timeout = \"29500ms\"\n";
    fs::write(home.path().join("cloister.toml"), config).unwrap();
    init_in(home.path(), None);
    let read = |file| fs::read_to_string(home.path().join(file)).unwrap();
    assert!(read("compose.yaml").contains("stop_grace_period: 55s\n"), "{}", read("compose.yaml"));
    let manifest = read("kubernetes.yaml");
    for part in [
        "kind: StatefulSet\n",
        "terminationGracePeriodSeconds: 60\n",
        "{ name: CLOISTER__DRAIN_DELAY, value: 5s }\n",
        "podManagementPolicy: Parallel\n",
        "mountPath: /var/lib/shop-server }",
        "containerPort: 4444 }",
    ] {
        assert!(manifest.contains(part), "{part}: {manifest}");
    }
    assert!(read("Dockerfile").contains("EXPOSE 4444 8400\n"));
    // What listens at that port gets it by its configuration, and has a place for its file.
    assert!(read("Dockerfile").contains("COPY cloister.toml /cloister.toml\n"));
    assert!(read("compose.yaml").contains("CLOISTER__STATE_FILE: /tmp/cluster.state\n"));

    fs::write(home.path().join("cloister.toml"), "drain_delay = \"8s\"\n").unwrap();
    for written in ["compose.yaml", "kubernetes.yaml"] {
        fs::remove_file(home.path().join(written)).unwrap();
    }
    init_in(home.path(), None);
    let read = |file| fs::read_to_string(home.path().join(file)).unwrap();
    assert!(read("compose.yaml").contains("stop_grace_period: 38s\n"), "{}", read("compose.yaml"));
    let manifest = read("kubernetes.yaml");
    for part in ["terminationGracePeriodSeconds: 38\n", "{ name: CLOISTER__DRAIN_DELAY, value: 8s }\n"] {
        assert!(manifest.contains(part), "{part}: {manifest}");
    }
}

#[test]
fn a_pod_runs_with_the_rights_that_a_node_needs_and_no_more() {
    for config in ["", "state_file = \"x\"\n"] {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("cloister.toml"), config).unwrap();
        init_in(home.path(), None);
        let manifest = fs::read_to_string(home.path().join("kubernetes.yaml")).unwrap();
        let kind = if config.is_empty() { "kind: Deployment\n" } else { "kind: StatefulSet\n" };
        for part in [
            kind,
            "        runAsNonRoot: true\n",
            "        seccompProfile: { type: RuntimeDefault }\n",
            "{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }\n",
        ] {
            assert!(manifest.contains(part), "{part}: {manifest}");
        }
    }
}

#[test]
fn a_cookie_that_would_become_a_part_of_the_image_is_told() {
    let home = tempfile::tempdir().unwrap();
    package(home.path(), "");
    assert!(!init_in(home.path(), None).contains("cookie"));
    fs::write(home.path().join("cloister.toml"), "cookie = \"secret of the shop\"\n").unwrap();
    let said = init_in(home.path(), None);
    assert!(said.contains("has the cookie") && !said.contains("secret of"), "{said}");
}

#[test]
fn a_path_dependency_outside_moves_the_beginning_of_the_build() {
    let home = tempfile::tempdir().unwrap();
    let (mine, other) = (home.path().join("code/shop"), home.path().join("lib"));
    package(&mine, "[dependencies]\nother = { path = \"../../lib\" }\n");
    fs::create_dir_all(other.join("src")).unwrap();
    fs::write(other.join("src/lib.rs"), "").unwrap();
    fs::write(other.join("Cargo.toml"), "[package]\nname = \"other\"\nversion = \"0.1.0\"\n").unwrap();
    init_in(&mine, None);
    let read = |file| fs::read_to_string(mine.join(file)).unwrap();
    assert!(read("compose.yaml").contains("context: ../..\n      dockerfile: code/shop/Dockerfile\n"));
    assert!(read("Dockerfile").contains("WORKDIR /build/code/shop\n"));
    assert!(read("Dockerfile").contains("COPY code/shop/cloister.toml /cloister.toml\n"));
    assert!(read("Dockerfile").contains("by path: lib.\n"), "{}", read("Dockerfile"));
    assert!(read("Dockerfile").contains("COPY --from=outline /build/lib /build/lib\n"));
    assert_eq!(read("Dockerfile.dockerignore"), "*\n!code/shop\n!lib\n**/target\n**/.git\n");
}

#[test]
fn a_file_that_exists_is_never_touched() {
    let home = tempfile::tempdir().unwrap();
    let mine = home.path().join("compose.yaml");
    fs::write(&mine, "mine").unwrap();
    let first = init_in(home.path(), None);
    assert!(first.contains("wrote ") && first.contains("exists, left as it is: "), "{first}");
    assert!(!init_in(home.path(), Some("other")).contains("wrote "));
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    assert!(fs::read_to_string(home.path().join("cloister.toml")).unwrap().contains("# name = \"app\""));
}

#[test]
fn a_program_name_of_several_words_is_refused_before_a_file_is_written() {
    let hostile = [
        "a b",
        "a\"b",
        "a'b",
        "$(id)",
        "${HOME}",
        "`id`",
        "a\nRUN id",
        "a;id",
        "a&&id",
        "../app",
        "--release",
        ".hidden",
        "{name}",
        "a\\b",
        "a\u{202e}b",
        "",
    ];
    for name in hostile {
        for (key, form) in [("package.name", "[package]\nname = "), ("bin.name", "[[bin]]\nname = ")] {
            let home = tempfile::tempdir().unwrap();
            let manifest = format!("{form}{}\n", toml::Value::from(name));
            fs::write(home.path().join("Cargo.toml"), manifest).unwrap();
            let options = Options { name: None, kubernetes: true, directory: home.path().to_owned() };
            let error = write_missing(&options, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("Cargo.toml") && error.contains(key), "{name:?}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "{name:?}: nothing but the manifest");
        }
    }
    for name in ["shop-server", "shop_2", "shop.v2", "c++", "größe"] {
        assert!(is_plain(name), "{name}");
    }
}

#[test]
fn a_name_must_be_good_everywhere() {
    assert!(name("my-app2").is_ok());
    for wrong in ["", "My", "a b", "-a", "a-", "a_b", "ä", "a\"\nport = 1"] {
        assert!(name(wrong).is_err(), "{wrong:?}");
    }
}
