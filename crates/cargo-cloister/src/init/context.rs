//! What of this machine a build of the program needs: its workspace, and path dependencies outside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// Where the build begins, and what it needs from there. Paths are relative, with `/`, and `.` for the same place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// The directory that contains everything, as seen from the package.
    pub(super) root: String,
    /// The workspace of the package, from `root`.
    pub(super) workspace: String,
    /// The package, from `root`.
    pub(super) package: String,
    /// The workspaces of path dependencies, from `root`.
    pub(super) outside: Vec<String>,
    /// `root` as it is on this machine, if a manifest names a path from `/` on: in the image it must be the same.
    pub(super) absolute: Option<String>,
    /// The names of the direct dependencies.
    pub(super) dependencies: BTreeSet<String>,
    pub(super) programs: Programs,
}

/// The programs of a package.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) names: Vec<String>,
    default: Option<String>,
}

impl Programs {
    /// The one that `cargo run` starts; `None` if it would ask.
    pub(super) fn default_one(&self) -> Option<&str> {
        match (&self.default, self.names.as_slice()) {
            (Some(default), _) => Some(default),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The one that becomes an image: the default one, or that with the name of the package, or the first.
    pub(super) fn image<'a>(&'a self, package: &'a str) -> &'a str {
        let first = || {
            self.names
                .iter()
                .map(String::as_str)
                .find(|name| *name == package)
                .or(self.names.first().map(String::as_str))
        };
        self.default_one().or_else(first).unwrap_or(package)
    }
}

impl Context {
    /// Where there is no package.
    pub(super) fn of_nothing() -> Self {
        let here = || ".".to_owned();
        Self {
            root: here(),
            workspace: here(),
            package: here(),
            outside: Vec::new(),
            absolute: None,
            dependencies: BTreeSet::new(),
            programs: Programs::default(),
        }
    }
}

/// The part of `cargo metadata --no-deps` that we look at. It reads manifests only: neither network nor Cargo.lock.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
    default_run: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

impl Package {
    fn programs(&self) -> Programs {
        let is_program = |target: &&Target| target.kind.iter().any(|kind| kind == "bin");
        let names = self.targets.iter().filter(is_program).map(|target| target.name.clone()).collect();
        Programs { names, default: self.default_run.clone() }
    }
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    path: Option<PathBuf>,
}

/// The context for the package in `directory`, or why cargo does not tell it.
pub(super) fn context(directory: &Path) -> Result<Context, String> {
    let directory = directory.canonicalize().map_err(|error| error.to_string())?;
    let own = metadata(&directory)?;
    let is_here = |package: &&Package| package.manifest_path.parent() == Some(&directory);
    let here = own.packages.iter().find(is_here);
    let programs = here.map(Package::programs).unwrap_or_default();
    let dependencies = here.into_iter().flat_map(|package| &package.dependencies);
    let dependencies = dependencies.map(|dependency| dependency.name.clone()).collect();
    let workspace = own.workspace_root.clone();
    let manifests: Vec<_> = own.packages.iter().map(|package| package.manifest_path.clone()).collect();
    let outside = outside(own)?;
    let manifests =
        manifests.into_iter().chain(outside.iter().chain([&workspace]).map(|root| root.join("Cargo.toml")));
    let is_absolute = manifests.map(|path| manifest(&path)).any(|manifest| has_absolute(&manifest));

    let common = outside.iter().fold(workspace.clone(), |common, other| {
        let both = common.components().zip(other.components());
        both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    });
    let relative = |path: &Path| path.strip_prefix(&common).map_or_else(|_| ".".to_owned(), shown);
    let context = Context {
        root: shown(
            &directory
                .strip_prefix(&common)
                .unwrap_or(Path::new(""))
                .components()
                .map(|_| "..")
                .collect::<PathBuf>(),
        ),
        workspace: relative(&workspace),
        package: relative(&directory),
        outside: outside.iter().map(|path| relative(path)).collect(),
        absolute: is_absolute.then(|| common.display().to_string()),
        dependencies,
        programs,
    };
    let paths = context.outside.iter().chain([&context.package, &context.workspace]).chain(&context.absolute);
    let wrong = paths.filter(|path| !is_plain(path)).min().cloned();
    match wrong {
        Some(path) => Err(format!("the path {path} cannot stand in a Dockerfile: rename it")),
        None => Ok(context),
    }
}

/// The programs of the package in `directory`, if cargo tells them.
pub(super) fn programs(directory: &Path) -> Option<Programs> {
    let directory = directory.canonicalize().ok()?;
    let metadata = metadata(&directory).ok()?;
    let here = metadata.packages.iter().find(|package| package.manifest_path.parent() == Some(&directory))?;
    Some(here.programs())
}

/// The workspaces of all path dependencies, and theirs, outside of the first.
fn outside(own: Metadata) -> Result<BTreeSet<PathBuf>, String> {
    let workspace = own.workspace_root.clone();
    let mut seen = BTreeMap::from([(workspace.clone(), false)]);
    let mut waiting = vec![own];
    while let Some(metadata) = waiting.pop() {
        let paths = metadata.packages.iter().flat_map(|package| &package.dependencies);
        let paths =
            paths.filter_map(|dependency| dependency.path.clone()).chain(patches(&metadata.workspace_root));
        for path in paths {
            if !seen.keys().any(|root| path.starts_with(root)) {
                let next = self::metadata(&path)?;
                seen.insert(next.workspace_root.clone(), true);
                waiting.push(next);
            }
        }
    }
    Ok(seen
        .into_iter()
        .filter(|(root, is_other)| *is_other && !root.starts_with(&workspace))
        .map(|(root, _)| root)
        .collect())
}

fn manifest(path: &Path) -> toml::Table {
    fs::read_to_string(path).unwrap_or_default().parse().unwrap_or_default()
}

/// Whether a manifest names a `path` from `/` on.
fn has_absolute(table: &toml::Table) -> bool {
    table.iter().any(|(key, value)| match value {
        toml::Value::String(path) => key == "path" && Path::new(path).is_absolute(),
        toml::Value::Table(inner) => has_absolute(inner),
        _ => false,
    })
}

/// The paths in the `[patch]` sections of a workspace.
fn patches(root: &Path) -> Vec<PathBuf> {
    let manifest = manifest(&root.join("Cargo.toml"));
    let sources =
        manifest.get("patch").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let patches = sources.filter_map(toml::Value::as_table).flat_map(toml::Table::values);
    let paths = patches.filter_map(|patch| patch.get("path")?.as_str());
    paths.filter_map(|path| root.join(path).canonicalize().ok()).collect()
}

fn metadata(directory: &Path) -> Result<Metadata, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
        .arg(directory.join("Cargo.toml"))
        .output()
        .map_err(|error| format!("cargo metadata cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata says what is no metadata: {error}"))
}

fn shown(path: &Path) -> String {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

fn is_plain(path: &str) -> bool {
    path.chars().all(|c| c.is_alphanumeric() || "/-_.+".contains(c))
        && !path.split('/').any(|part| part.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(directory: &Path, name: &str, more: &str) {
        fs::create_dir_all(directory.join("src")).unwrap();
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}");
        fs::write(directory.join("Cargo.toml"), manifest).unwrap();
        fs::write(directory.join("src/lib.rs"), "").unwrap();
    }

    #[test]
    fn a_package_alone_is_its_own_context() {
        let home = tempfile::tempdir().unwrap();
        package(home.path(), "shop", "[dependencies]\nserde = \"1\"\n");
        let context = context(home.path()).unwrap();
        assert_eq!(
            (context.root.as_str(), context.workspace.as_str(), context.package.as_str()),
            (".", ".", ".")
        );
        assert!(context.outside.is_empty() && context.dependencies.contains("serde"));
    }

    #[test]
    fn a_member_of_a_workspace_begins_at_its_root() {
        let home = tempfile::tempdir().unwrap();
        fs::write(
            home.path().join("Cargo.toml"),
            "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n",
        )
        .unwrap();
        package(&home.path().join("crates/shop"), "shop", "[dependencies]\nbase = { path = \"../base\" }\n");
        package(&home.path().join("crates/base"), "base", "");
        let context = context(&home.path().join("crates/shop")).unwrap();
        assert_eq!((context.root.as_str(), context.workspace.as_str()), ("../..", "."));
        assert_eq!(context.package, "crates/shop");
        assert!(context.outside.is_empty(), "{context:?}");
    }

    #[test]
    fn path_dependencies_outside_come_with_their_workspaces_and_theirs() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        package(&at("mine/shop"), "shop", "[dependencies]\nbase = { path = \"../../lib/crates/base\" }\n");
        fs::create_dir_all(at("lib")).unwrap();
        fs::write(at("lib/Cargo.toml"), "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n").unwrap();
        package(&at("lib/crates/base"), "base", "[dependencies]\nmore = { path = \"../../../more\" }\n");
        package(&at("more"), "more", "");
        let context = context(&at("mine/shop")).unwrap();
        assert_eq!((context.root.as_str(), context.workspace.as_str()), ("../..", "mine/shop"));
        assert_eq!(context.outside, ["lib", "more"]);
        assert_eq!(context.absolute, None);
    }

    #[test]
    fn an_absolute_path_stays_the_same_in_the_image() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        let dependency = format!("[dependencies]\nbase = {{ path = \"{}/base\" }}\n", root.display());
        package(&root.join("shop"), "shop", &dependency);
        package(&root.join("base"), "base", "");
        assert_eq!(context(&root.join("shop")).unwrap().absolute, Some(root.display().to_string()));
    }
}
