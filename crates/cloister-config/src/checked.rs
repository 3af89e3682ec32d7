//! A configuration without problems.

use std::collections::BTreeSet;

use cloister_discovery::Seeds;
use cloister_net::tls;

use super::load::{self, ConfigSources, Loaded};
use super::problem::{ConfigError, Problem, Warning};
use super::settings::Config;
use super::{check, seeds};

/// A configuration without problems, with the seeds and the files of TLS that the check has read.
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
        Self::check(config, problems, all_known.then_some(&broken))
    }

    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] has every problem, each with its origin.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::check(config, Vec::new(), Some(&BTreeSet::new()))
    }

    /// Checks `config`, which has these `problems` already. `broken` has the keys with unknown values. Without it, relations between
    /// values are not checked.
    fn check(
        config: Config,
        mut problems: Vec<Problem>,
        broken: Option<&BTreeSet<String>>,
    ) -> Result<Self, ConfigError> {
        problems.extend(check::forms(&config));
        let tls = config.tls_files().map(tls::Tls::load).transpose().unwrap_or_else(|troubles| {
            problems.extend(config.tls_problems(troubles));
            None
        });
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

    /// The configuration alone.
    #[must_use]
    pub fn into_config(self) -> Config {
        self.config
    }

    /// The configuration, its seeds, and the TLS of connections. For the crate `cloister-core`.
    #[doc(hidden)]
    #[must_use]
    pub fn into_parts(self) -> (Config, Seeds, Option<tls::Tls>) {
        (self.config, self.seeds, self.tls)
    }
}
