//! Brings the sources together. Only here are the disk and the environment of the process read.

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
use super::{Config, env, file, keys, set};

/// The file that is read if it is there.
const DEFAULT_FILE: &str = "cloister.toml";

/// The longest file that is read, in bytes: nobody writes that much by hand.
const MAX_FILE_LEN: usize = 1 << 20;

/// The longest secret, in bytes.
pub(super) const MAX_SECRET_LEN: usize = 4096;

/// Where a configuration comes from: a file, below the environment, below code.
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
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of this process: `cloister.toml` in the current directory if it is there, or the file that
    /// `CLOISTER__CONFIG` names; its environment; and the name of its executable for want of a better one.
    pub fn from_process() -> Self {
        Self {
            file: ConfigFile::Optional(PathBuf::from(DEFAULT_FILE)),
            env: std::env::vars_os().collect(),
            executable: std::env::current_exe().ok(),
            overrides: None,
        }
    }

    /// With this file, which must be there. `CLOISTER__CONFIG` is not asked any more.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = ConfigFile::Required(path.into());
        self
    }

    /// With this file if it is there, unless `CLOISTER__CONFIG` names another.
    pub fn optional_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = ConfigFile::Optional(path.into());
        self
    }

    /// With this text as if it stood in a file of that name.
    pub fn text(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.file = ConfigFile::Text(path.into(), text.into());
        self
    }

    /// With these variables, and no others.
    pub fn env<N: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.env = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// With the name of this executable for want of a better one.
    pub fn executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.executable = Some(path.into());
        self
    }

    /// With this code, which has the last word; what it sets is checked together with all the rest.
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

/// What came of reading and merging the sources.
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// The keys whose values are not known.
    pub(super) broken: BTreeSet<String>,
    /// Whether the file could be read, so that `broken` has all of them.
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

/// What of a layer can be used; the rest becomes problems, so that a wrong value is told even where a later layer
/// covers it.
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

/// The keys whose values nobody knows because of a problem: its own, and the one it was probably meant to be.
fn meant_by(problem: &Problem) -> impl Iterator<Item = String> {
    let nearest = match &problem.kind {
        ProblemKind::UnknownKey { nearest: Some(key) } => Some(keys::canonical(key).to_owned()),
        ProblemKind::UnknownVariable { nearest: Some(name) } => keys::of_variable(name),
        _ => None,
    };
    let own = problem.key.as_deref().map(|key| keys::canonical(key).to_owned());
    own.into_iter().chain(nearest)
}

/// Lays the later layers over the earlier ones, and sets what comes of it.
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

/// What the file says; `None` if there is no file and need not be one.
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

/// Whether nothing has this name: a link that leads nowhere is something, and so is a file that is hidden from us.
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
        len if len > MAX_SECRET_LEN => Err(ProblemKind::TooLong { len, most: MAX_SECRET_LEN }),
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
