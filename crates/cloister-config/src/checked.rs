//! A configuration without problems.

use std::collections::BTreeSet;

use cloister_discovery::Seeds;
use cloister_net::tls;

use super::load::{self, ConfigSources, Loaded};
use super::problem::{ConfigError, Problem, Warning};
use super::settings::Config;
use super::{check, seeds};

/// A configuration without problems, with the seeds and the files of TLS that the check has read.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use cloister::config::{CheckedConfig, Config};
///
/// let checked = CheckedConfig::new(Config::new("shop").seeds(["10.0.0.1", "10.0.0.2"]))?;
/// assert!(checked.warnings().is_empty());
/// assert_eq!(checked.into_config().name, "shop");
/// # Ok::<(), cloister::config::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CheckedConfig {
    config: Config,
    seeds: Seeds,
    tls: Option<tls::Tls>,
    warnings: Vec<Warning>,
}

impl CheckedConfig {
    /// Loads a configuration and checks it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] has every problem, each with its origin.
    pub fn load_from(sources: ConfigSources) -> Result<Self, ConfigError> {
        let Loaded { config, problems, broken, all_known } = load::load(sources);
        Self::check(config, None, problems, all_known.then_some(&broken))
    }

    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] has every problem, each with its origin.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let parsed = config.tls_files().and_then(|files| config.parsed.take_tls(&files));
        Self::check(config, parsed, Vec::new(), Some(&BTreeSet::new()))
    }

    /// As [`CheckedConfig::new`], and reads the files of TLS even if a check has just read them.
    pub(super) fn read_anew(config: Config) -> Result<Self, ConfigError> {
        Self::check(config, None, Vec::new(), Some(&BTreeSet::new()))
    }

    /// Checks `config`, which has these `problems` already. Without `parsed`, it reads the files of TLS. `broken` has the keys with
    /// unknown values. Without it, relations between values are not checked.
    fn check(
        config: Config,
        parsed: Option<tls::Tls>,
        mut problems: Vec<Problem>,
        broken: Option<&BTreeSet<String>>,
    ) -> Result<Self, ConfigError> {
        problems.extend(check::forms(&config));
        let tls = match parsed {
            Some(tls) => Some(tls),
            None => config.tls_files().map(tls::Tls::load).transpose().unwrap_or_else(|troubles| {
                problems.extend(config.tls_problems(troubles));
                None
            }),
        };
        let (seeds, wrong) = seeds::read(&config);
        problems.extend(wrong);
        if let Some(broken) = broken {
            problems.extend(check::relations(&config, &seeds, broken));
        }
        ConfigError::unless_empty(problems)?;
        let warnings = check::warnings(&config, &seeds, tls.as_ref());
        Ok(Self { config, seeds, tls, warnings })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Settings that are valid but probably mistakes.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The configuration alone. The next start or check of it uses what this one has read of the files of TLS.
    #[must_use]
    pub fn into_config(self) -> Config {
        self.keep_parsed().0
    }

    /// The configuration, which keeps what was parsed for the next start, and the warnings.
    pub(super) fn keep_parsed(self) -> (Config, Vec<Warning>) {
        if let (Some(files), Some(tls)) = (self.config.tls_files(), self.tls) {
            self.config.parsed.keep_tls(files, tls);
        }
        (self.config, self.warnings)
    }

    /// The configuration, its seeds, and what handshakes between nodes are made with: what a node is started with. Programs give a
    /// [`CheckedConfig`] to `ManagerArguments::checked` of the crate `cloister` instead.
    #[must_use]
    pub fn into_parts(self) -> (Config, Seeds, Option<tls::Tls>) {
        (self.config, self.seeds, self.tls)
    }
}
