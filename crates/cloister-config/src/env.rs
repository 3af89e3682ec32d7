//! The values of the environment.

use std::ffi::{OsStr, OsString};

use config::{Value, ValueKind};

use super::keys::{self, KeyType};
use super::layer::{Layer, LayerValue};
use super::problem::{Origin, Problem, ProblemKind, quoted, shown};

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
            Err((value, kind)) => {
                layer.problems.push(Problem {
                    origin: origin(&name),
                    key: keys::of_variable(&name),
                    value,
                    kind,
                });
            }
        }
    }
    layer
}

/// Variables that would be keys with two underscores. A user that sets one expects it to be read.
pub(super) fn near_misses(variables: &[(OsString, OsString)]) -> Vec<Problem> {
    let near_miss = |(name, value): &(OsString, OsString)| {
        let name = name.to_str()?;
        let meant = meant_by(name).filter(|_| !is_injected(name, &value.to_string_lossy()))?;
        let key = keys::of_variable(&meant);
        // Without the value: it may be a secret.
        Some(Problem { origin: origin(name), key, value: None, kind: ProblemKind::OneUnderscore { meant } })
    };
    variables.iter().filter_map(near_miss).collect()
}

/// The variable that this one would be with two underscores.
fn meant_by(name: &str) -> Option<String> {
    let flat = |name: &str| name.replace("__", "_");
    if name.starts_with(keys::PREFIX) || !name.starts_with("CLOISTER_") {
        return None;
    }
    let ring = flat(name)
        .strip_prefix("CLOISTER_RINGS_")
        .and_then(|rest| rest.strip_suffix("_TAGS"))
        .map(str::to_owned);
    if let Some(ring) = ring {
        return Some(keys::variable(&keys::ring(&ring)));
    }
    let known = super::KEYS.iter().chain(&[keys::SEEDS_ALIAS]).map(|key| keys::variable(key));
    known.chain([keys::FILE_VARIABLE.to_owned()]).find(|known| flat(known) == flat(name))
}

/// Whether Kubernetes or a link of Docker has set the variable, for a service or container called `cloister`: both set
/// `CLOISTER_PORT=tcp://10.96.0.7:4370`, and a link sets `CLOISTER_NAME=/app/cloister`. Their other variables are no keys.
fn is_injected(name: &str, value: &str) -> bool {
    match name {
        "CLOISTER_PORT" => ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme)),
        "CLOISTER_NAME" => value.starts_with('/'),
        _ => false,
    }
}

fn origin(variable: &str) -> Origin {
    Origin::Variable(shown(variable))
}

/// The value of a variable; else what to show of it, and what is wrong.
fn entry(name: &str, value: &OsStr) -> Result<LayerValue, (Option<String>, ProblemKind)> {
    let key = name[keys::PREFIX.len()..].to_lowercase().replace("__", ".");
    // Upper case only: with two spellings of one variable, the order would decide which one counts.
    let Some(kind) = keys::kind(&key).filter(|_| name == keys::variable(&key)) else {
        return Err((None, ProblemKind::UnknownVariable { nearest: nearest(&key) }));
    };
    let Some(text) = value.to_str() else {
        return Err((None, ProblemKind::NotUtf8));
    };
    let shown = if kind == KeyType::Secret { "***".to_owned() } else { quoted(text) };
    let value = match kind {
        KeyType::Text | KeyType::Word | KeyType::Secret | KeyType::Duration | KeyType::Size => {
            ValueKind::String(text.to_owned())
        }
        KeyType::Number if text.is_empty() => return Err((Some(shown), ProblemKind::Empty)),
        KeyType::Number => match text.parse() {
            Ok(number) => ValueKind::I128(number),
            Err(_) => return Err((Some(shown), ProblemKind::NotANumber)),
        },
        KeyType::List | KeyType::OneOrList if text.trim().is_empty() => ValueKind::Array(Vec::new()),
        KeyType::List | KeyType::OneOrList => {
            ValueKind::Array(text.split(',').map(|item| Value::from(item.trim())).collect())
        }
    };
    Ok(LayerValue { key, origin: origin(name), items: Vec::new(), shown, value })
}

fn nearest(key: &str) -> Option<String> {
    if strsim::damerau_levenshtein(key, "config") <= 2 {
        return Some(keys::FILE_VARIABLE.to_owned());
    }
    keys::nearest(key).map(|key| keys::variable(&key))
}

/// What is wrong with the file that a variable names.
pub(super) fn file_problem(path: &str, kind: ProblemKind) -> Problem {
    Problem { origin: origin(keys::FILE_VARIABLE), key: None, value: Some(quoted(path)), kind }
}
