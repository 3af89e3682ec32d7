//! The variables of `--env`: text with expressions of the node's number.
//!
//! `{n}` is the number, `{3000+n}` a sum of it; products such as `{3000+10*n}` work as well. Braces around anything
//! else, such as JSON, stay as they are.

use std::str::FromStr;

/// A variable for the environment of each node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) key: String,
    value: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Sum(Vec<Term>),
}

/// `factor`, or `factor * n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    factor: i64,
    is_of_n: bool,
}

impl Variable {
    /// The value for node `n`.
    pub(crate) fn value(&self, n: usize) -> String {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        let value = |term: &Term| if term.is_of_n { term.factor.saturating_mul(n) } else { term.factor };
        let shown = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Sum(terms) => terms.iter().map(value).fold(0, i64::saturating_add).to_string(),
        };
        self.value.iter().map(shown).collect()
    }

    /// Whether each node has a value of its own.
    pub(crate) fn is_of_n(&self) -> bool {
        self.value.iter().any(|piece| matches!(piece, Piece::Sum(_)))
    }
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !text.contains('\0') => {
                Ok(Self { key: key.to_owned(), value: pieces(value) })
            }
            _ => Err("write KEY=VALUE, such as PORT=8080 or PORT={3000+n}".to_owned()),
        }
    }
}

fn pieces(mut text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    while let Some(start) = text.find('{') {
        let (before, rest) = text.split_at(start);
        plain += before;
        let inner = &rest[1..];
        // The closing brace of this one, and not of one inside of it.
        match inner.find(['{', '}']).filter(|&end| inner[end..].starts_with('}')) {
            Some(end) if sum(&inner[..end]).is_some() => {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.extend(sum(&inner[..end]).map(Piece::Sum));
                text = &inner[end + 1..];
            }
            _ => {
                plain.push('{');
                text = inner;
            }
        }
    }
    plain += text;
    pieces.push(Piece::Text(plain));
    pieces.retain(|piece| *piece != Piece::Text(String::new()));
    pieces
}

/// The terms of `3000 + 2*n - 1`; `None` if it is no sum, or has no `n`.
fn sum(text: &str) -> Option<Vec<Term>> {
    let compact: String = text.chars().filter(|c| *c != ' ').collect();
    let signed = compact.replace('-', "+-");
    let terms: Vec<_> = signed.trim_start_matches('+').split('+').map(term).collect::<Option<_>>()?;
    terms.iter().any(|term| term.is_of_n).then_some(terms)
}

fn term(text: &str) -> Option<Term> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let number = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok().map(|n| sign * n))?
    };
    match text.split_once('*') {
        _ if text == "n" => Some(Term { factor: sign, is_of_n: true }),
        Some((factor, "n") | ("n", factor)) => Some(Term { factor: number(factor)?, is_of_n: true }),
        Some(_) => None,
        None => Some(Term { factor: number(text)?, is_of_n: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, n: usize) -> String {
        text.parse::<Variable>().unwrap().value(n)
    }

    #[test]
    fn a_variable_is_split_at_its_first_equals_sign() {
        let variable: Variable = "A=b=c".parse().unwrap();
        assert_eq!((variable.key.as_str(), variable.value(1)), ("A", "b=c".to_owned()));
        assert_eq!(value("A=", 1), "");
        assert!("A".parse::<Variable>().is_err() && "=b".parse::<Variable>().is_err());
    }

    #[test]
    fn an_expression_is_a_sum_of_the_number() {
        for (text, expected) in [
            ("P={n}", "3"),
            ("P={3000+n}", "3003"),
            ("P={n + 3000}", "3003"),
            ("P={3000+10*n-1}", "3029"),
            ("P=/data/{n}/of/{2*n}", "/data/3/of/6"),
            ("P={-n}", "-3"),
        ] {
            assert_eq!(value(text, 3), expected, "{text}");
            assert!(text.parse::<Variable>().unwrap().is_of_n());
        }
    }

    #[test]
    fn other_braces_stay_as_they_are() {
        for text in
            ["{}", "{name}", r#"{"a":{"n":1}}"#, "{", "}{", "{3000}", "{n+}", "{1*2}", "{n*n}", "{{x}}"]
        {
            assert_eq!(value(&format!("A={text}"), 3), text);
        }
        assert_eq!(value("A={{n}}", 3), "{3}");
    }
}
