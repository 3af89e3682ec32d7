//! What was logged already, so that it is not logged again at each new connection.

use std::collections::BTreeSet;

/// How much is remembered. A peer can make up names, and must not fill the memory with them.
const MAX_LINES: usize = 1024;

/// The lines that were logged already.
#[derive(Debug, Default)]
pub(super) struct AlreadyLogged(BTreeSet<String>);

impl AlreadyLogged {
    /// Whether `what` was not logged before. When there is too much to remember, all is forgotten.
    pub(super) fn is_new(&mut self, what: String) -> bool {
        if self.0.len() >= MAX_LINES {
            self.0.clear();
        }
        self.0.insert(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_new_once_and_memory_is_bounded() {
        let mut logged = AlreadyLogged::default();
        assert!(logged.is_new("a".to_owned()));
        assert!(!logged.is_new("a".to_owned()));
        for n in 0..5_000 {
            logged.is_new(n.to_string());
        }
        assert!(logged.0.len() <= MAX_LINES);
    }
}
