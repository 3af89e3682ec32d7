//! What the program has defined that all nodes should have alike, beside the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloister_proto::CommonSettings;
use ractor::ActorStatus;

use super::{Cloister, Shared};

impl Shared {
    /// The settings that all nodes should share, but for `consensus`, and what the manager that was started last has defined.
    pub(crate) fn common_settings(&self) -> Arc<CommonSettings> {
        self.common_settings.load_full()
    }

    /// A manager starts, with these definitions.
    pub(crate) fn define(&self, definitions: &BTreeMap<String, String>) {
        let settings = CommonSettings::clone(&self.common_settings.load());
        self.common_settings.store(Arc::new(settings.with_definitions(definitions)));
    }

    /// Whether a manager of this node runs: what is defined now would not be part of it.
    pub(crate) fn is_managed(&self) -> bool {
        self.manager().is_some_and(|manager| manager.get_status() != ActorStatus::Stopped)
    }
}

impl Cloister {
    /// The settings that all nodes of a cluster should have alike, as text, by their names in the configuration; `rings` are the named
    /// rings. Then what the program has defined, as `table stock`.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// println!("{}", cloister.common_settings()["timing.lease"]);
    /// # }
    /// ```
    #[must_use]
    pub fn common_settings(&self) -> BTreeMap<String, String> {
        let common = self.shared().common_settings();
        let mut settings = common.settings().clone();
        settings.extend(common.definitions().clone());
        settings.insert("rings".to_owned(), common.rings());
        settings.insert("consensus".to_owned(), self.consensus().to_string());
        settings
    }
}
