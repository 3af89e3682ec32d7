//! Keeps up with the files.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::channel::Tls;
use super::credentials::{Contents, Credentials};
use super::files::{Files, TlsError};
use super::validity::{CertificateWarning, moment};
use crate::telemetry::TARGET;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

impl Tls {
    /// Takes new files into use, for ever. A set that cannot be used is logged once, if it is still there at the next look:
    /// three files are not written in one instant.
    pub(crate) async fn watch(self) {
        let mut watcher = Watcher { warning: self.age().warning(), tls: self, seen: None, logged: None };
        loop {
            sleep(EVERY).await;
            let (files, in_use) = (Arc::clone(&watcher.tls.files), watcher.tls.current.load().digest);
            // A file may be on a disk that is far away.
            if let Ok(look) = tokio::task::spawn_blocking(move || Look::at(&files, in_use)).await {
                watcher.take(look);
            }
            watcher.log_warning();
        }
    }
}

/// What is wrong, of which contents.
type Broken = (Option<[u8; 32]>, Vec<TlsError>);

enum Look {
    Unchanged,
    Changed(Box<Credentials>),
    Broken(Broken),
}

impl Look {
    fn at(files: &Files, in_use: [u8; 32]) -> Self {
        let contents = match Contents::read(files) {
            Ok(contents) => contents,
            Err(errors) => return Look::Broken((None, errors)),
        };
        let digest = contents.digest();
        if digest == in_use {
            return Look::Unchanged;
        }
        match Credentials::new(files, &contents) {
            Ok(credentials) => Look::Changed(Box::new(credentials)),
            Err(errors) => Look::Broken((Some(digest), errors)),
        }
    }
}

struct Watcher {
    tls: Tls,
    /// What was broken at the last look.
    seen: Option<Broken>,
    /// The broken set that was logged last.
    logged: Option<Broken>,
    /// The warning that was logged last.
    warning: Option<CertificateWarning>,
}

impl Watcher {
    fn take(&mut self, look: Look) {
        match look {
            Look::Unchanged => (self.seen, self.logged) = (None, None),
            Look::Changed(new) => {
                // Neither an old file that is put back by mistake nor one that is written too early must cut this node off.
                let fault = match new.age.warning() {
                    Some(CertificateWarning::Expired(at)) => {
                        Some(format!("it expired at {at}: write one that is valid"))
                    }
                    Some(CertificateWarning::NotYet(at)) => {
                        Some(format!("it is valid from {at} on: it is taken into use then"))
                    }
                    _ => None,
                };
                if let Some(fault) = fault
                    && self.tls.age().is_valid()
                {
                    return self.broken((Some(new.digest), Vec::new()), &fault);
                }
                (self.seen, self.logged) = (None, None);
                let until = moment(new.age.not_after);
                self.tls.current.store(Arc::from(new));
                info!(
                    target: TARGET, file = %self.tls.files.cert.display(), %until,
                    "new TLS files are in use for new links; open ones stay"
                );
            }
            Look::Broken(broken) => {
                let text: Vec<String> = broken
                    .1
                    .iter()
                    .map(|TlsError { key, shown, fault }| format!("{key} = \"{shown}\": {fault}"))
                    .collect();
                self.broken(broken, &text.join("; "));
            }
        }
    }

    fn broken(&mut self, broken: Broken, cause: &str) {
        if self.seen.as_ref() != Some(&broken) {
            self.seen = Some(broken);
        } else if self.logged.as_ref() != Some(&broken) {
            warn!(
                target: TARGET, file = %self.tls.files.cert.display(), error = cause,
                "the TLS files have changed and cannot be used: those from before stay in use"
            );
            self.logged = Some(broken);
        }
    }

    /// Logs when the certificate in use is about to expire, and when it has expired.
    fn log_warning(&mut self) {
        let warning = self.tls.age().warning();
        if warning != self.warning {
            if let Some(warning) = &warning {
                warn!(target: TARGET, "the certificate in {} {warning}", self.tls.files.cert.display());
            }
            self.warning = warning;
        }
    }
}
