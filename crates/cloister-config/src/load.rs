//! Loads and merges the sources. Only this file reads the disk and the environment of the process.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cloister_net::files;
use cloister_proto::name::MAX_APP_LEN;
use config::{Source, ValueKind};

use super::layer::Layer;
use super::problem::{Origin, Problem, ProblemKind};
use super::secret::Secret;
use super::settings::Config;
use super::{env, file, keys, set};

/// The file that is read if it is there.
const DEFAULT_FILE: &str = "cloister.toml";

/// The longest file that is read, in bytes. A configuration is much shorter.
const MAX_FILE_LEN: usize = 1 << 20;

/// The longest secret, in bytes.
pub(super) const MAX_SECRET_LEN: usize = 4096;

/// The sources of a configuration: a file, then the environment, then code. A later one takes precedence.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use cloister::config::{Config, ConfigSources};
///
/// let sources = ConfigSources::none()
///     .text("cloister.toml", "name = 'shop'\nport = 4371")
///     .env([("CLOISTER__PORT", "4372")])
///     .overrides(|config| config.tags(["cache"]));
/// let config = Config::load_from(sources)?;
/// assert_eq!((config.name.as_str(), config.port, config.tags.len()), ("shop", Some(4372), 1));
/// # Ok::<(), cloister::config::ConfigError>(())
/// ```
#[must_use]
#[derive(Default)]
pub struct ConfigSources {
    file: ConfigFile,
    env: Vec<(OsString, OsString)>,
    executable: Option<PathBuf>,
    overrides: Option<Box<dyn FnOnce(Config) -> Config>>,
}

#[derive(Debug, Default)]
enum ConfigFile {
    #[default]
    None,
    Optional(PathBuf),
    Required(PathBuf),
    Text(PathBuf, String),
}

impl ConfigSources {
    /// No sources.
    pub fn none() -> Self {
        Self::default()
    }

    /// The sources of this process: a file, its environment, and the name of its executable as the default name. The file is
    /// `cloister.toml` in the current directory if it exists, or the one that `CLOISTER__CONFIG` names.
    pub fn from_process() -> Self {
        Self {
            file: ConfigFile::Optional(PathBuf::from(DEFAULT_FILE)),
            env: std::env::vars_os().collect(),
            executable: std::env::current_exe().ok(),
            overrides: None,
        }
    }

    /// Reads this file, which must exist. `CLOISTER__CONFIG` is ignored.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = ConfigFile::Required(path.into());
        self
    }

    /// Reads this file if it exists, unless `CLOISTER__CONFIG` names another.
    pub fn optional_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = ConfigFile::Optional(path.into());
        self
    }

    /// Reads this text as if a file of that name had it.
    pub fn text(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.file = ConfigFile::Text(path.into(), text.into());
        self
    }

    /// Reads these variables, and no others.
    pub fn env<N: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.env = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Uses the name of this executable as the default name.
    pub fn executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.executable = Some(path.into());
        self
    }

    /// Applies this code last. Its values are checked together with the others.
    pub fn overrides(mut self, overrides: impl FnOnce(Config) -> Config + 'static) -> Self {
        self.overrides = Some(Box::new(overrides));
        self
    }
}

/// Without the values of the environment: one of them may be a secret.
impl fmt::Debug for ConfigSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match &self.file {
            ConfigFile::None => None,
            ConfigFile::Optional(path) | ConfigFile::Required(path) | ConfigFile::Text(path, _) => Some(path),
        };
        let env: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("ConfigSources")
            .field("file", &path)
            .field("env", &env)
            .field("executable", &self.executable)
            .finish_non_exhaustive()
    }
}

/// The merged sources.
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// The keys with unknown values.
    pub(super) broken: BTreeSet<String>,
    /// Whether the file could be read, so that `broken` is complete.
    pub(super) all_known: bool,
}

/// Reads and merges.
pub(super) fn load(sources: ConfigSources) -> Loaded {
    let mut problems = Vec::new();
    let from_file = read_file(&sources).unwrap_or_else(|unusable| {
        problems.extend(unusable);
        None
    });
    let all_known = problems.is_empty();

    let mut config = Config::default();
    if let Some(name) = sources.executable.as_deref().and_then(name_of) {
        config.name = name;
    }
    let near_misses = env::near_misses(&sources.env);
    let mut broken: BTreeSet<String> = near_misses.iter().filter_map(|problem| problem.key.clone()).collect();
    problems.extend(near_misses);
    let layers = [from_file.unwrap_or_default(), env::read(&sources.env)]
        .map(|layer| sound(layer, &mut config, &mut problems, &mut broken));
    problems.extend(merge(layers, &mut config));
    if let Some(overrides) = sources.overrides {
        config = overrides(config);
    }
    Loaded { config, problems, broken, all_known }
}

/// Keeps the valid values of a layer. The others become problems, so that a wrong value is reported even if a later layer
/// overrides it.
fn sound(
    mut layer: Layer,
    config: &mut Config,
    problems: &mut Vec<Problem>,
    broken: &mut BTreeSet<String>,
) -> Layer {
    broken.extend(layer.problems.iter().flat_map(meant_by));
    problems.append(&mut layer.problems);
    let mut given: Vec<(String, Origin)> = Vec::new();
    let mut scratch = Config::default();
    layer.entries.retain_mut(|entry| {
        let written = std::mem::take(&mut entry.key);
        entry.key = keys::canonical(&written).to_owned();
        let twin = given.iter().find(|(key, _)| *key == entry.key);
        let outcome = match twin {
            Some((_, origin)) => Err(ProblemKind::AliasToo(origin.clone())),
            None => set::set(&mut scratch, &entry.key, &entry.value),
        };
        given.push((entry.key.clone(), entry.origin.clone()));
        match outcome {
            Ok(()) => {
                if entry.key == "seeds" {
                    config.seed_origins = std::mem::take(&mut entry.items);
                }
                config.origins.insert(entry.key.clone(), entry.origin.clone());
                true
            }
            Err(kind) => {
                broken.insert(entry.key.clone());
                let value = Some(std::mem::take(&mut entry.shown));
                problems.push(Problem { origin: entry.origin.clone(), key: Some(written), value, kind });
                false
            }
        }
    });
    layer
}

/// The keys with unknown values because of a problem: its own key, and the one that was probably meant.
fn meant_by(problem: &Problem) -> impl Iterator<Item = String> {
    let nearest = match &problem.kind {
        ProblemKind::UnknownKey { nearest: Some(key) } => Some(keys::canonical(key).to_owned()),
        ProblemKind::UnknownVariable { nearest: Some(name) } => keys::of_variable(name),
        _ => None,
    };
    let own = problem.key.as_deref().map(|key| keys::canonical(key).to_owned());
    own.into_iter().chain(nearest)
}

/// Merges the layers, later ones over earlier ones, and sets the result.
fn merge(layers: [Layer; 2], config: &mut Config) -> Option<Problem> {
    let builder =
        layers.into_iter().fold(config::Config::builder(), |builder, layer| builder.add_source(layer));
    let merged = match builder.build().and_then(|merged| merged.collect()) {
        Ok(merged) => merged,
        Err(error) => {
            let kind = ProblemKind::Unreadable(error.to_string());
            return Some(Problem { origin: Origin::Code, key: None, value: None, kind });
        }
    };
    merged.iter().find_map(|(key, value)| set_below(config, key, &value.kind))
}

fn set_below(config: &mut Config, key: &str, value: &ValueKind) -> Option<Problem> {
    match value {
        ValueKind::Table(inner) => {
            inner.iter().find_map(|(name, value)| set_below(config, &format!("{key}.{name}"), &value.kind))
        }
        value => set::set(config, key, value).err().map(|kind| config.problem(key, None, kind)),
    }
}

/// The values of the file; `None` if an optional file does not exist.
fn read_file(sources: &ConfigSources) -> Result<Option<Layer>, Vec<Problem>> {
    let named =
        sources.env.iter().find(|(name, _)| name == keys::FILE_VARIABLE).map(|(_, path)| Path::new(path));
    let (path, by_variable) = match (&sources.file, named) {
        (ConfigFile::None, _) => return Ok(None),
        (ConfigFile::Text(path, text), _) => return file::read(path, text).map(Some),
        (ConfigFile::Optional(_), Some(path)) => (path, true),
        (ConfigFile::Optional(path), None) if is_absent(path) => return Ok(None),
        (ConfigFile::Optional(path) | ConfigFile::Required(path), _) => (path.as_path(), false),
    };
    let bytes = files::read(path, MAX_FILE_LEN).map_err(ProblemKind::Unreadable).map_err(|kind| {
        vec![match by_variable {
            true => env::file_problem(&path.display().to_string(), kind),
            false => Problem { origin: Origin::File(path.to_owned()), key: None, value: None, kind },
        }]
    })?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => file::read(path, text).map(Some),
        Err(error) => {
            let origin = file::end_of_text(path, &bytes, error.valid_up_to());
            Err(vec![Problem { origin, key: None, value: None, kind: ProblemKind::NotUtf8 }])
        }
    }
}

/// Whether the path does not exist. A dangling link exists, and so does a file that permissions hide.
fn is_absent(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The secret in a file, without one newline at its end.
pub(super) fn read_secret(path: &Path) -> Result<Secret, ProblemKind> {
    let bytes = files::read(path, MAX_SECRET_LEN + 2).map_err(ProblemKind::Unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| ProblemKind::NotUtf8)?;
    let secret =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    match secret.len() {
        0 => Err(ProblemKind::Empty),
        len if len > MAX_SECRET_LEN => Err(ProblemKind::TooLong { len, max: MAX_SECRET_LEN }),
        _ => Ok(Secret::from(secret)),
    }
}

/// The name of an application, from that of its executable.
fn name_of(executable: &Path) -> Option<String> {
    let stem = executable.file_stem()?.to_string_lossy();
    // Linux says so of a program that was replaced while it runs.
    let stem = stem.strip_suffix(" (deleted)").unwrap_or(&stem);
    let letters = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' });
    let name: String = letters.take(MAX_APP_LEN).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}
