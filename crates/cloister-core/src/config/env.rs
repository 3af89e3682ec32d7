//! What the environment says.

use std::ffi::{OsStr, OsString};

use config::{Value, ValueKind};

use super::keys::{self, Kind};
use super::layer::{Entry, Layer};
use super::problem::{Fault, Place, Problem, Warning, quoted, shown};

/// Every `CLOISTER__*` but the one that names the file, in order of their names.
pub(super) fn read(variables: &[(OsString, OsString)]) -> Layer {
    let mut layer = Layer::default();
    let mut variables: Vec<_> =
        variables.iter().map(|(name, value)| (name.to_string_lossy(), value)).collect();
    variables.sort();
    for (name, value) in variables {
        if !name.starts_with(keys::PREFIX) || name == keys::FILE_VARIABLE {
            continue;
        }
        match entry(&name, value) {
            Ok(entry) => layer.entries.push(entry),
            Err((value, fault)) => {
                layer.problems.push(Problem {
                    place: place(&name),
                    key: keys::of_variable(&name),
                    value,
                    fault,
                });
            }
        }
    }
    layer
}

/// Variables that would mean something with two underscores. Kubernetes sets `CLOISTER_PORT` to a URL for a
/// service called `cloister`: that one is left in peace.
pub(super) fn near_misses(variables: &[(OsString, OsString)]) -> Vec<Warning> {
    let near_miss = |(name, value): &(OsString, OsString)| {
        let url = value.to_string_lossy().contains("://");
        let name = name.to_str()?;
        let rest = name.strip_prefix("CLOISTER_")?;
        let meant = super::KEYS
            .iter()
            .chain(&[keys::SEEDS_ALIAS])
            .map(|key| keys::variable(key))
            .find(|known| known.replace("__", "_").strip_prefix("CLOISTER_") == Some(rest))?;
        (!url).then(|| Warning::NotRead { variable: name.to_owned(), meant })
    };
    variables.iter().filter_map(near_miss).collect()
}

fn place(variable: &str) -> Place {
    Place::Variable(shown(variable))
}

/// The value of a variable; else what to show of it, and why it is none.
fn entry(name: &str, value: &OsStr) -> Result<Entry, (Option<String>, Fault)> {
    let key = name[keys::PREFIX.len()..].to_lowercase().replace("__", ".");
    // Upper case only: two spellings of one variable would leave it to chance which of them counts.
    let Some(kind) = keys::kind(&key).filter(|_| name == keys::variable(&key)) else {
        return Err((None, Fault::UnknownVariable { nearest: nearest(&key) }));
    };
    let Some(text) = value.to_str() else {
        return Err((None, Fault::NotUtf8));
    };
    let shown = if kind == Kind::Secret { "***".to_owned() } else { quoted(text) };
    let value = match kind {
        Kind::Text | Kind::Secret | Kind::Duration => ValueKind::String(text.to_owned()),
        Kind::Number if text.is_empty() => return Err((Some(shown), Fault::Empty)),
        Kind::Number => match text.parse() {
            Ok(number) => ValueKind::I128(number),
            Err(_) => return Err((Some(shown), Fault::NotANumber)),
        },
        Kind::List | Kind::OneOrList if text.trim().is_empty() => ValueKind::Array(Vec::new()),
        Kind::List | Kind::OneOrList => {
            ValueKind::Array(text.split(',').map(|item| Value::from(item.trim())).collect())
        }
    };
    Ok(Entry { key, place: place(name), shown, value })
}

fn nearest(key: &str) -> Option<String> {
    if strsim::damerau_levenshtein(key, "config") <= 2 {
        return Some(keys::FILE_VARIABLE.to_owned());
    }
    keys::nearest(key).map(|key| keys::variable(&key))
}

/// What is wrong with the file that a variable names.
pub(super) fn file_problem(path: &str, fault: Fault) -> Problem {
    Problem { place: place(keys::FILE_VARIABLE), key: None, value: Some(quoted(path)), fault }
}
