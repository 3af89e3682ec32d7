//! What was said already, so that it is not said again at each new connection.

use std::collections::BTreeSet;

/// How much is remembered. A peer can make up names, and must not fill the memory with them.
const MOST: usize = 1024;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Once(BTreeSet<String>);

impl Once {
    /// Whether `what` was not said before. When there is too much to remember, all is forgotten.
    pub(super) fn is_news(&mut self, what: String) -> bool {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_news_once_and_memory_is_bounded() {
        let mut once = Once::default();
        assert!(once.is_news("a".to_owned()));
        assert!(!once.is_news("a".to_owned()));
        for n in 0..5_000 {
            once.is_news(n.to_string());
        }
        assert!(once.0.len() <= MOST);
    }
}
