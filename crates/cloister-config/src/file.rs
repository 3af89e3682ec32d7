//! The values of a file, with the line and column of each.

use std::ops::Range;
use std::path::Path;

use config::{Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KeyType};
use super::layer::{Layer, LayerValue};
use super::problem::{Origin, Problem, ProblemKind, shown};
use super::set;

/// The values of a file. Fails if it is not TOML at all.
pub(super) fn read(path: &Path, text: &str) -> Result<Layer, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = File { path, text, layer: Layer::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        file.table("", table.get_ref());
        return Ok(file.layer);
    }
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| Problem {
            // Without the text of the line, which may hold the cookie.
            origin: file.origin(error.span().unwrap_or_default()),
            key: None,
            value: None,
            kind: ProblemKind::Syntax(shown(error.message().trim_end_matches(", expected nothing"))),
        })
        .collect();
    // Later mistakes of a line are mostly consequences of the first.
    problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    problems.dedup_by_key(|problem| match problem.origin {
        Origin::Line { line, .. } => line,
        _ => 0,
    });
    Err(problems)
}

/// The first byte of a file that is not UTF-8.
pub(super) fn end_of_text(path: &Path, bytes: &[u8], valid: usize) -> Origin {
    let text = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    origin(path, &text, text.len())
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    layer: Layer,
}

impl File<'_> {
    fn table(&mut self, above: &str, table: &DeTable<'_>) {
        for (word, value) in table {
            // A dot in a quoted key would look like a level.
            let name = word.get_ref();
            let name = if name.contains('.') { format!("\"{name}\"") } else { name.clone().into_owned() };
            let key = if above.is_empty() { name } else { format!("{above}.{name}") };
            let span = word.span();
            match (key.as_str(), value.get_ref()) {
                (section, DeValue::Table(inner)) if keys::SECTIONS.contains(&section) => {
                    self.table(&key, inner)
                }
                ("timing", _) => self.problem(span, &key, None, ProblemKind::NotASection("`[timing]`")),
                ("tls", _) => self.problem(span, &key, None, ProblemKind::NotASection("`[tls]`")),
                ("limits", _) => self.problem(span, &key, None, ProblemKind::NotASection("`[limits]`")),
                ("admin", _) => self.problem(span, &key, None, ProblemKind::NotASection("`[admin]`")),
                ("rings", _) => self.problem(span, &key, None, ProblemKind::NotASection("`[rings.<name>]`")),
                _ if above == "rings" => self.ring(word, &key, value),
                _ => self.value(span, &key, value),
            }
        }
    }

    fn ring(&mut self, word: &Spanned<std::borrow::Cow<'_, str>>, key: &str, value: &Spanned<DeValue<'_>>) {
        let DeValue::Table(inner) = value.get_ref() else {
            return self.problem(word.span(), key, None, ProblemKind::NotASection("`[rings.<name>]`"));
        };
        if let Err(kind) = set::check_ring_name(word.get_ref()) {
            return self.problem(word.span(), "rings", None, kind);
        }
        if inner.is_empty() {
            return self.problem(word.span(), key, None, ProblemKind::NoTags);
        }
        self.table(key, inner);
    }

    fn value(&mut self, span: Range<usize>, key: &str, value: &Spanned<DeValue<'_>>) {
        let Some(kind) = keys::kind(key) else {
            let section = value.get_ref().is_table().then(|| keys::nearest_section(key)).flatten();
            let nearest = section.or_else(|| keys::nearest(key));
            return self.problem(span, key, None, ProblemKind::UnknownKey { nearest });
        };
        let span = value.span();
        let shown = match kind {
            KeyType::Secret => "***".to_owned(),
            _ => shown(self.text.get(span.clone()).unwrap_or_default()),
        };
        let written = value.get_ref();
        match typed(kind, written) {
            Ok(value) => {
                let origin = self.origin(span);
                let items = written
                    .as_array()
                    .map(|items| items.iter().map(|item| self.origin(item.span())).collect());
                let items = items.unwrap_or_default();
                self.layer.entries.push(LayerValue { key: key.to_owned(), origin, items, shown, value });
            }
            Err(kind) => {
                // A table may be long, and may hold a secret.
                let shown = (!written.is_table()).then_some(shown);
                self.problem(span, key, shown, kind);
            }
        }
    }

    fn problem(&mut self, span: Range<usize>, key: &str, value: Option<String>, kind: ProblemKind) {
        let origin = self.origin(span);
        self.layer.problems.push(Problem { origin, key: Some(shown(key)), value, kind });
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        origin(self.path, self.text, span.start)
    }
}

fn origin(path: &Path, text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Origin::Line {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

fn typed(kind: KeyType, value: &DeValue<'_>) -> Result<ValueKind, ProblemKind> {
    match (kind, value) {
        (
            KeyType::Text
            | KeyType::Word
            | KeyType::Secret
            | KeyType::Duration
            | KeyType::Size
            | KeyType::OneOrList,
            DeValue::String(text),
        ) => Ok(ValueKind::String(text.clone().into_owned())),
        (KeyType::Word, DeValue::Boolean(word)) => Ok(ValueKind::String(word.to_string())),
        (KeyType::Number, DeValue::Integer(number)) => {
            // A number that does not fit is out of every bound.
            let number = i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX);
            Ok(ValueKind::I128(number))
        }
        (KeyType::Duration, DeValue::Integer(number)) => {
            Err(ProblemKind::NoUnit(format!("\"{}s\"", number.as_str())))
        }
        (KeyType::Duration, DeValue::Float(number)) => {
            Err(ProblemKind::NoUnit(format!("\"{}s\"", number.as_str())))
        }
        (KeyType::Size, DeValue::Integer(number)) => {
            Err(ProblemKind::NoUnit(format!("\"{}B\"", number.as_str())))
        }
        (KeyType::List | KeyType::OneOrList, DeValue::Array(items)) => {
            let item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(text) => Ok(Value::from(text.clone().into_owned())),
                other => Err(ProblemKind::WrongType {
                    found: match other {
                        DeValue::Array(_) | DeValue::Table(_) => "a list of lists or tables",
                        _ => "a list of other things than texts",
                    },
                    wanted: wanted(kind),
                }),
            };
            items.iter().map(item).collect::<Result<_, _>>().map(ValueKind::Array)
        }
        _ => Err(ProblemKind::WrongType { found: found(value), wanted: wanted(kind) }),
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn wanted(kind: KeyType) -> &'static str {
    match kind {
        KeyType::Text | KeyType::Secret => "a text in quotes",
        KeyType::Word => "a word in quotes, or true or false",
        KeyType::Number => "a whole number, without quotes",
        KeyType::Duration => "a text like \"250ms\", \"2s\" or \"1m30s\"",
        KeyType::Size => "a text like \"64MiB\" or \"1GiB\"",
        KeyType::List => "a list of texts like [\"a\", \"b\"]",
        KeyType::OneOrList => "a text, or a list of texts like [\"a\", \"b\"]",
    }
}
