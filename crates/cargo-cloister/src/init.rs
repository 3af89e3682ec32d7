//! `cargo cloister init`: the files that a program needs to run as a cluster, with everything said in them.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use thiserror::Error;

use crate::table::printable;

/// The name of the application and of the compose service, if none is given.
const DEFAULT_NAME: &str = "app";

/// Write a commented cloister.toml, a compose.yaml and a Dockerfile, where there are none.
///
/// A file that exists is never touched.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The name of the application, in node names and as compose service; `app` if not given.
    #[arg(long, value_parser = name)]
    name: Option<String>,

    /// The directory of the crate.
    #[arg(default_value = ".")]
    directory: PathBuf,
}

/// A file could not be written, or we would not know what to write.
#[derive(Debug, Error)]
pub(crate) enum InitError {
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a valid manifest", path.display())]
    Manifest { path: PathBuf, source: toml::de::Error },
    #[error(
        "{}: {key} = \"{}\" cannot stand in a Dockerfile: use letters, digits, `-`, `_`, `.` or `+`, and none of the last \
         four at the beginning",
        path.display(),
        printable(name)
    )]
    Name { path: PathBuf, key: &'static str, name: String },
    #[error("cannot write to stdout")]
    Output(#[from] io::Error),
}

/// Writes what is missing and prints what it did.
pub(crate) fn init(options: Options) -> Result<ExitCode, InitError> {
    write_missing(&options, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn write_missing(options: &Options, output: &mut impl Write) -> Result<(), InitError> {
    let directory = &options.directory;
    let package = package(directory)?;
    let name = options.name.as_deref().unwrap_or(DEFAULT_NAME);
    let name_line = match &options.name {
        Some(name) => format!("name = \"{name}\""),
        None => format!("# name = \"{DEFAULT_NAME}\""),
    };
    let binary = package.as_deref().unwrap_or("your-program");
    let filled = |template: &str| {
        // Neither of the two can hold a brace, so that nothing is filled in twice.
        let template = template.replace("{name_line}", &name_line).replace("{name}", name);
        template.replace("{binary}", binary)
    };
    for (file, template) in [
        ("cloister.toml", include_str!("init/cloister.toml")),
        ("compose.yaml", include_str!("init/compose.yaml")),
        ("Dockerfile", include_str!("init/Dockerfile")),
        (".dockerignore", include_str!("init/dockerignore")),
    ] {
        let path = directory.join(file);
        let did = if write_new(&path, &filled(template))? { "wrote" } else { "exists, left as it is:" };
        writeln!(output, "{did} {}", path.display())?;
    }
    if package.is_none() {
        let hint =
            "no package in Cargo.toml here: put the name of your program for `your-program` in Dockerfile";
        writeln!(output, "{hint}")?;
    }
    Ok(())
}

/// Writes `text` to a new file; false if there is one already, whatever it holds.
fn write_new(path: &Path, text: &str) -> Result<bool, InitError> {
    let failed = |source| InitError::Write { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// The name of the package in `directory`, which is that of its program unless the manifest says otherwise.
pub(crate) fn package(directory: &Path) -> Result<Option<String>, InitError> {
    let path = directory.join("Cargo.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(InitError::Read { path, source }),
    };
    let manifest: toml::Table =
        text.parse().map_err(|source| InitError::Manifest { path: path.clone(), source })?;
    let name = |table: &toml::Table| table.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    let bin = manifest.get("bin").and_then(|bins| bins.get(0)).and_then(toml::Value::as_table).and_then(name);
    let package = || manifest.get("package").and_then(toml::Value::as_table).and_then(name);
    let Some((key, name)) = bin.map(|name| ("bin.name", name)).or_else(|| Some(("package.name", package()?)))
    else {
        return Ok(None);
    };
    if is_plain(&name) { Ok(Some(name)) } else { Err(InitError::Name { path, key, name }) }
}

/// Whether a shell, a Dockerfile and a JSON text take the name of a program for one word, as it is. Cargo lets the name of a `[[bin]]`
/// be nearly anything.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
    name.chars().all(plain) && name.chars().next().is_some_and(char::is_alphanumeric)
}

/// A name that is good for a node, for a compose service and for DNS.
fn name(text: &str) -> Result<String, String> {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = text.starts_with('-') || text.ends_with('-');
    if (1..=63).contains(&text.len()) && letters && !ends {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 63 lower-case letters, digits or `-`, with no `-` at either end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cloister_core::config::{Config, ConfigSources, KEYS};

    use super::*;

    /// Runs it and returns what it prints.
    fn init_in(directory: &Path, name: Option<&str>) -> String {
        let options = Options { name: name.map(str::to_owned), directory: directory.to_owned() };
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
        fs::write(home.path().join("Cargo.toml"), "[package]\nname = \"shop-server\"\n").unwrap();
        assert_eq!(init_in(home.path(), Some("shop")).matches("wrote ").count(), 4);
        let read = |file| fs::read_to_string(home.path().join(file)).unwrap();
        assert_eq!(read("cloister.toml").parse::<toml::Table>().unwrap()["name"].as_str(), Some("shop"));
        assert!(read("compose.yaml").contains("CLOISTER__SEEDS: shop\n"));
        assert!(read("Dockerfile").contains("--bin shop-server\n"));
        let all = [read("cloister.toml"), read("compose.yaml"), read("Dockerfile")].concat();
        assert!(!all.replace("${", "").replace("{key}", "").contains('{'), "{all}");
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
                let options = Options { name: None, directory: home.path().to_owned() };
                let error = write_missing(&options, &mut Vec::new()).unwrap_err().to_string();
                assert!(error.contains("Cargo.toml") && error.contains(key), "{name:?}: {error}");
                assert!(!error.contains('\n'), "{error:?}");
                assert_eq!(
                    fs::read_dir(home.path()).unwrap().count(),
                    1,
                    "{name:?}: nothing but the manifest"
                );
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
}
