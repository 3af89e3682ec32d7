//! Plain tables: aligned columns, no frames, no control characters.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with a line for the header and one for each row, each ended by `\n`.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
    }
    table.trim_fmt().lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// The text with control characters replaced: the name of a peer must not control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["name", "n"], rows), "name    n\na       1\nlonger  2\n");
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        let shown = table(&["name"], [vec!["evil\x1b[2J\nname".to_owned()]]);
        assert_eq!(shown, "name\nevil\u{fffd}[2J\u{fffd}name\n");
    }
}
