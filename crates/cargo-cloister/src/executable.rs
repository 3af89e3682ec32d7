//! The program to start: built by cargo, or found ready.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use serde::Deserialize;
use thiserror::Error;
use tokio::process::Command;

use crate::signals::Signals;

/// Which program cargo shall build, in cargo's own words.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Target {
    /// Run this example.
    #[arg(long, value_name = "NAME", conflicts_with = "bin")]
    pub(crate) example: Option<String>,

    /// Run this binary; need not be given where there is only one.
    #[arg(long, value_name = "NAME")]
    pub(crate) bin: Option<String>,

    /// The package that the program belongs to.
    #[arg(short, long, value_name = "PACKAGE")]
    pub(crate) package: Option<String>,

    /// Build with optimisations.
    #[arg(short, long)]
    pub(crate) release: bool,

    /// Features to build with, separated by commas; may be repeated.
    #[arg(short = 'F', long, value_name = "FEATURES")]
    pub(crate) features: Vec<String>,
}

/// There is no program to start.
#[derive(Debug, Error)]
pub(crate) enum BuildError {
    #[error("cannot run {cargo}")]
    Cargo { cargo: String, source: io::Error },
    #[error("the build failed: see cargo's messages above")]
    Failed,
    #[error("stopped by {0} while building")]
    Interrupted(&'static str),
    #[error("cargo built no program; choose one with --example NAME or --bin NAME")]
    Nothing,
    #[error("there are several programs: {0}; choose one with --bin NAME, --example NAME or -p PACKAGE")]
    Several(String),
    #[error("{} cannot be run", path.display())]
    NoFile { path: PathBuf, source: io::Error },
    #[error("{} is not an executable file", path.display())]
    NotExecutable { path: PathBuf },
}

/// Checks that the file at `path` can be run, and makes the path absolute.
pub(crate) fn prebuilt(path: &Path) -> Result<PathBuf, BuildError> {
    let no_file = |source| BuildError::NoFile { path: path.to_owned(), source };
    let path = path.canonicalize().map_err(no_file)?;
    let data = path.metadata().map_err(no_file)?;
    if data.is_file() && data.permissions().mode() & 0o111 != 0 {
        Ok(path)
    } else {
        Err(BuildError::NotExecutable { path })
    }
}

/// Builds `target` with cargo, whose messages go to our stderr, and finds the one program it made.
/// A signal stops cargo too.
pub(crate) async fn build(target: &Target, signals: &mut Signals) -> Result<PathBuf, BuildError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let failed = |source| BuildError::Cargo { cargo: cargo.to_string_lossy().into_owned(), source };
    let child = Command::new(&cargo)
        .args(arguments(target))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let output = tokio::select! {
        output = child.wait_with_output() => output.map_err(failed)?,
        // Cargo is dropped, and so killed: its locks go with it, and what it has built so far stays.
        signal = signals.next() => return Err(BuildError::Interrupted(signal)),
    };
    if !output.status.success() {
        return Err(BuildError::Failed);
    }
    the_program(&String::from_utf8_lossy(&output.stdout), target, || default_programs(&cargo))
}

/// The programs that packages name as `default-run`, with the id of the package.
fn default_programs(cargo: &OsStr) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        id: String,
        default_run: Option<String>,
    }
    let output =
        std::process::Command::new(cargo).args(["metadata", "--no-deps", "--format-version=1"]).output();
    // Without an answer the user is asked to choose, as without such a key.
    let metadata = output.ok().and_then(|output| serde_json::from_slice::<Metadata>(&output.stdout).ok());
    let packages = metadata.into_iter().flat_map(|metadata| metadata.packages);
    packages.filter_map(|package| Some((package.id, package.default_run?))).collect()
}

fn arguments(target: &Target) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["build", "--message-format=json-render-diagnostics"].map(OsString::from).into();
    let mut option = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            arguments.push(format!("{name}={value}").into());
        }
    };
    option("--example", target.example.as_ref());
    option("--bin", target.bin.as_ref());
    option("--package", target.package.as_ref());
    for features in &target.features {
        option("--features", Some(features));
    }
    if target.example.is_none() && target.bin.is_none() {
        arguments.push("--bins".into());
    }
    if target.release {
        arguments.push("--release".into());
    }
    arguments
}

/// The part of cargo's message about an artifact that we look at.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<ArtifactTarget>,
    #[serde(default)]
    package_id: String,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
    #[serde(default)]
    kind: Vec<String>,
}

/// The one program among cargo's messages that was asked for. Where several could be meant it is that of `defaults`, as for `cargo run`.
fn the_program(
    messages: &str,
    target: &Target,
    defaults: impl FnOnce() -> Vec<(String, String)>,
) -> Result<PathBuf, BuildError> {
    let kind = if target.example.is_some() { "example" } else { "bin" };
    let name = target.example.as_ref().or(target.bin.as_ref());
    let mut programs = Vec::new();
    for line in messages.lines() {
        // Other messages have other shapes, and new kinds may come.
        let Ok(artifact) = serde_json::from_str::<Artifact>(line) else { continue };
        let (Some(path), Some(made)) = (artifact.executable, artifact.target) else { continue };
        let wanted = made.kind.iter().any(|k| k == kind) && name.is_none_or(|name| *name == made.name);
        if artifact.reason == "compiler-artifact" && wanted {
            programs.push((made.name, artifact.package_id, path));
        }
    }
    if name.is_none() && programs.len() > 1 {
        let defaults = defaults();
        let is_default = |(name, id, _): &&(String, String, PathBuf)| {
            defaults.iter().any(|(package, default)| package == id && default == name)
        };
        if let [(_, _, path)] = programs.iter().filter(is_default).collect::<Vec<_>>()[..] {
            return Ok(path.clone());
        }
    }
    match programs.as_slice() {
        [] => Err(BuildError::Nothing),
        [(_, _, path)] => Ok(path.clone()),
        several => {
            let names: Vec<_> = several.iter().map(|(name, id, _)| shown(name, package_name(id))).collect();
            Err(BuildError::Several(names.join(", ")))
        }
    }
}

/// A program with its package, unless both have one name.
fn shown(program: &str, package: &str) -> String {
    if program == package { program.to_owned() } else { format!("{program} (package {package})") }
}

/// The name in `path+file:///code/shop#0.1.0`, `path+file:///code/x#shop@0.1.0` or `shop 0.1.0 (…)`.
fn package_name(id: &str) -> &str {
    match id.split_once('#') {
        Some((_, named)) if named.contains('@') => named.split('@').next().unwrap_or(named),
        Some((url, _)) => url.split('?').next().unwrap_or(url).rsplit('/').next().unwrap_or(url),
        None => id.split(' ').next().unwrap_or(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","package_id":"lib","target":{"kind":["lib"],"name":"a"},"executable":null}
not json at all
{"reason":"compiler-artifact","package_id":"path+file:///code/one#0.1.0","target":{"kind":["bin"],"name":"one"},"executable":"/t/one"}
{"reason":"compiler-artifact","package_id":"path+file:///code/x#shop@0.1.0","target":{"kind":["bin"],"name":"two"},"executable":"/t/two"}
{"reason":"compiler-artifact","package_id":"p1","target":{"kind":["example"],"name":"one"},"executable":"/t/examples/one"}
{"reason":"build-finished","success":true}"#;

    fn target(example: Option<&str>, bin: Option<&str>) -> Target {
        Target { example: example.map(str::to_owned), bin: bin.map(str::to_owned), ..Target::default() }
    }

    #[test]
    fn the_program_is_found_by_kind_and_name() {
        let found = |target| the_program(MESSAGES, &target, Vec::new).unwrap();
        assert_eq!(found(target(Some("one"), None)), Path::new("/t/examples/one"));
        assert_eq!(found(target(None, Some("one"))), Path::new("/t/one"));
    }

    #[test]
    fn several_programs_are_named_and_none_is_said() {
        let error = the_program(MESSAGES, &target(None, None), Vec::new).unwrap_err().to_string();
        assert!(error.contains("several programs: one, two (package shop); choose"), "{error}");
        assert!(matches!(
            the_program(MESSAGES, &target(Some("no"), None), Vec::new),
            Err(BuildError::Nothing)
        ));
    }

    #[test]
    fn of_several_programs_the_default_one_is_started_as_by_cargo() {
        let default = |id: &str, name: &str| vec![(id.to_owned(), name.to_owned())];
        let found = |defaults| the_program(MESSAGES, &target(None, None), || defaults);
        let two = || default("path+file:///code/x#shop@0.1.0", "two");
        assert_eq!(found(two()).unwrap(), Path::new("/t/two"));
        assert!(found(default("path+file:///code/one#0.1.0", "two")).is_err(), "of another package");
        let both = [two(), default("path+file:///code/one#0.1.0", "one")].concat();
        assert!(found(both).is_err(), "two packages have one");
    }

    #[test]
    fn cargo_is_asked_in_its_own_words() {
        let mut wanted = target(Some("quickstart"), None);
        wanted.release = true;
        wanted.features = ["admin,tls", "table"].map(str::to_owned).into();
        assert_eq!(
            arguments(&wanted).join(std::ffi::OsStr::new(" ")),
            "build --message-format=json-render-diagnostics --example=quickstart --features=admin,tls --features=table --release"
        );
        assert!(arguments(&target(None, None)).contains(&"--bins".into()));
    }

    #[test]
    fn a_file_that_cannot_be_run_is_refused_before_any_node_starts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(prebuilt(file.path()), Err(BuildError::NotExecutable { .. })));
        assert!(matches!(prebuilt(Path::new("/")), Err(BuildError::NotExecutable { .. })));
        assert!(matches!(prebuilt(Path::new("/no/such/file")), Err(BuildError::NoFile { .. })));
    }
}
