//! Untrusted text for log lines, errors and pages, made harmless in one place.

/// The maximal number of characters that are shown of a peer's text.
const MAX_CHARS: usize = 256;

/// Text of a peer, of a name server or of a client, on one line of at most 256 characters: see [`sanitize_to`].
#[must_use]
pub fn sanitize(text: &str) -> String {
    sanitize_to(text, MAX_CHARS)
}

/// The first `max` characters of `text` and `…` for the rest. What ends a line, moves a cursor, changes colours or turns the direction of
/// writing is escaped, as in `\n` and `\u{1b}`. So no text can look like a line of its own, nor rewrite one.
#[must_use]
pub fn sanitize_to(text: &str, max: usize) -> String {
    let mut line = String::new();
    for c in text.chars().take(max) {
        match c {
            // `escape_debug` is for string literals. These are harmless outside of one.
            '"' | '\'' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_more_than_one_line_nor_commands_a_terminal() {
        let forged =
            "it\n2026-11-27T00:00:00Z ERROR cloister: gone\r\x1b[2J\x1b]0;title\x07\u{85}\u{2028}\u{202e}\0";
        let shown = sanitize(forged);
        assert_eq!(
            shown,
            "it\\n2026-11-27T00:00:00Z ERROR cloister: gone\\r\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{85}\\u{2028}\\u{202e}\\0"
        );
        assert!(shown.chars().all(|c| !c.is_control()));
    }

    #[test]
    fn plain_text_stays_as_it_is_and_long_text_is_cut() {
        let plain = "grüße \"it\" C:\\certs 'x' 漢字 app@[::1]:4370";
        assert_eq!(sanitize(plain), plain);
        assert_eq!(sanitize_to("abcdef", 3), "abc…");
        assert_eq!(sanitize_to("abc", 3), "abc");
        assert_eq!(sanitize(&"x".repeat(1 << 20)).chars().count(), MAX_CHARS + 1);
    }
}
