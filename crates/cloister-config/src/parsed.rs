//! What a check has parsed, kept for the start that follows it. So `start_with(Config::load()?)` parses the seeds and the files of TLS once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloister_discovery::Seeds;
use cloister_net::tls::{Files, Tls};

/// What was parsed of a configuration, with what it was parsed from: the fields of a configuration may change meanwhile. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Parsed(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    /// The seeds as written, the default port, and what they mean.
    seeds: Option<(Vec<String>, u16, Seeds)>,
    tls: Option<(Files, Tls)>,
}

impl Parsed {
    /// The seeds of these texts, if they were parsed before.
    pub(super) fn seeds(&self, texts: &[String], port: u16) -> Option<Seeds> {
        let contents = self.lock();
        let (known, known_port, seeds) = contents.seeds.as_ref()?;
        (known == texts && *known_port == port).then(|| seeds.clone())
    }

    /// Keeps what these texts mean.
    pub(super) fn keep_seeds(&self, texts: &[String], port: u16, seeds: &Seeds) {
        self.lock().seeds = Some((texts.to_vec(), port, seeds.clone()));
    }

    /// Takes what these files have held. It is used once: a node that is started again reads the files again.
    pub(super) fn take_tls(&self, files: &Files) -> Option<Tls> {
        let (_, tls) = self.lock().tls.take_if(|(known, _)| known == files)?;
        Some(tls)
    }

    /// Keeps what these files hold, for the next start.
    pub(super) fn keep_tls(&self, files: Files, tls: Tls) {
        self.lock().tls = Some((files, tls));
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing of it: the fields of the configuration say the same.
impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed").finish_non_exhaustive()
    }
}
