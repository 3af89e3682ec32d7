//! The values of one source, before the merge.

use std::fmt;

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::problem::{Origin, Problem};

/// The values of one source, and its problems.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub(super) entries: Vec<LayerValue>,
    pub(super) problems: Vec<Problem>,
}

/// One value.
#[derive(Clone)]
pub(super) struct LayerValue {
    /// The key, its levels separated by dots.
    pub(super) key: String,
    /// Where the value was written.
    pub(super) origin: Origin,
    /// Where each item of a list stands, if the items have origins of their own.
    pub(super) items: Vec<Origin>,
    /// The value as it is shown in a message.
    pub(super) shown: String,
    /// Text, a whole number as `I128`, or an array of texts; anything else is rejected later.
    pub(super) value: ValueKind,
}

/// Keys only: one of the values may be a secret.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.iter().map(|entry| &entry.key)).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |entry: &LayerValue| Value::new(Some(&entry.origin.to_string()), entry.value.clone());
        Ok(self.entries.iter().map(|entry| (entry.key.clone(), value(entry))).collect())
    }
}
