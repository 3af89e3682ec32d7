//! A text that is never printed.

use std::fmt;
use std::sync::Arc;

/// A text that is never printed: `Debug` and `Display` show `***`.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use cloister::config::Secret;
///
/// let secret = Secret::from("correct horse");
/// assert_eq!((secret.to_string().as_str(), secret.expose()), ("***", "correct horse"));
/// ```
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The text itself. Keep it out of logs and errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
