//! Writes the changes that `cargo mutants --list --json` lists into the sources, all at once and each behind a switch.
//!
//! One program then stands for all changed programs: it is compiled once, and `CLOISTER_MUTANT=17` in its environment
//! switches change 17 on. An operator becomes a choice between the changed and the unchanged expression, a function gets an
//! early `return`, an arm of a match gets a guard. The number of a change is its place in the list.
//!
//! Usage: `mutate LIST CRATE [WITHOUT]`. `LIST` is that list. `CRATE` is the directory of a copy of the crate, which is
//! rewritten. `WITHOUT` lists the numbers that are left out because they do not compile, separated by white space. The
//! numbers of all changes that were written are printed. What stands in constants and in `const fn` cannot be switched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use proc_macro2::{LineColumn, Span};
use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// What stands at the end of the crate's `lib.rs`.
const SWITCH: &str = r#"
mod mutate {
    static ON: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
        std::env::var("CLOISTER_MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
    });
    pub(crate) fn on(number: usize) -> bool {
        *ON == number
    }
}
"#;

type Place = (usize, usize);
type Changes = BTreeMap<(String, Place), Vec<(usize, String)>>;

fn main() {
    let [list, dir, without @ ..] = &env::args().skip(1).collect::<Vec<_>>()[..] else {
        panic!("usage: mutate LIST CRATE [WITHOUT]");
    };
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let without: BTreeSet<usize> = without
        .iter()
        .flat_map(|file| read(file.as_ref()).split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .map(|number| number.parse().expect("a number"))
        .collect();
    let list: Vec<Value> = serde_json::from_str(&read(list.as_ref())).expect("a list in JSON");
    let mut changes: BTreeMap<String, Changes> = BTreeMap::new();
    for (number, change) in list.iter().enumerate().filter(|(number, _)| !without.contains(number)) {
        let text = |key: &str| change[key].as_str().expect("a text").to_owned();
        let at = |key: &str| change["span"]["start"][key].as_u64().expect("a number") as usize;
        let of_file = changes.entry(text("file")).or_default();
        let place = (text("genre"), (at("line"), at("column")));
        of_file.entry(place).or_default().push((number, text("replacement")));
    }
    for (file, changes) in changes {
        let within = file.split_once("src/").expect("a file of a crate").1;
        let path = Path::new(dir).join("src").join(within);
        let source = read(&path);
        let parsed = syn::parse_file(&source).unwrap_or_else(|e| panic!("{file}: {e}"));
        let mut finder = Finder { source: Source::new(&source), changes, edits: Vec::new() };
        finder.visit_file(&parsed);
        let Finder { source, mut edits, .. } = finder;
        edits.sort_by_key(|edit| (edit.start, edit.start != edit.end, usize::MAX - edit.end));
        let mut written = source.render(0, source.text.len(), &edits);
        if within == "lib.rs" {
            panic!("no changes are expected in lib.rs");
        }
        written.push('\n');
        fs::write(&path, written).expect("the copy can be written");
        for edit in edits {
            edit.numbers().for_each(|number| println!("{number}"));
        }
    }
    let root = Path::new(dir).join("src/lib.rs");
    let library = read(&root);
    fs::write(root, library + SWITCH).expect("the copy can be written");
}

/// Something to be written around, or instead of, a part of the source, or in front of it if the part is empty.
struct Edit {
    start: usize,
    end: usize,
    kind: Kind,
}

enum Kind {
    /// The changed texts of an expression, each with its number.
    Choice(Vec<(usize, String)>),
    /// What a function returns at once.
    Return(Vec<(usize, String)>),
    /// An arm without a guard is not taken.
    Arm(usize),
}

impl Edit {
    fn numbers(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        match &self.kind {
            Kind::Choice(changed) | Kind::Return(changed) => {
                Box::new(changed.iter().map(|(number, _)| *number))
            }
            Kind::Arm(number) => Box::new(std::iter::once(*number)),
        }
    }
}

struct Source<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines }
    }

    fn offset(&self, at: LineColumn) -> usize {
        let line = self.lines[at.line - 1];
        let column = self.text[line..].char_indices().nth(at.column);
        column.map_or(self.text.len(), |(bytes, _)| line + bytes)
    }

    fn range(&self, span: Span) -> (usize, usize) {
        (self.offset(span.start()), self.offset(span.end()))
    }

    /// The part from `start` to `end` with those edits that lie in it.
    fn render(&self, start: usize, end: usize, edits: &[Edit]) -> String {
        let mut written = String::new();
        let mut at = start;
        for (next, edit) in edits.iter().enumerate() {
            if edit.start < at || edit.end > end {
                continue;
            }
            written.push_str(&self.text[at..edit.start]);
            at = edit.end;
            match &edit.kind {
                Kind::Choice(changed) => {
                    written.push_str("/*(*/(");
                    for (number, text) in changed {
                        let _ = write!(
                            written,
                            "if crate::mutate::on({number}) {{/*<{number}*/{text}/*>*/}} else "
                        );
                    }
                    let unchanged = self.render(edit.start, edit.end, &edits[next + 1..]);
                    let _ = write!(written, "{{ {unchanged} }})/*)*/");
                }
                Kind::Return(changed) => {
                    for (number, text) in changed {
                        let _ = write!(
                            written,
                            "if crate::mutate::on({number}) {{/*<{number}*/return {text};/*>*/}} "
                        );
                    }
                }
                Kind::Arm(number) => {
                    let _ = write!(written, " if /*<{number}*/!crate::mutate::on({number})/*>*/");
                }
            }
        }
        written.push_str(&self.text[at..end]);
        written
    }
}

/// Finds the places of the changes.
struct Finder<'a> {
    source: Source<'a>,
    changes: Changes,
    edits: Vec<Edit>,
}

impl Finder<'_> {
    fn take(&mut self, genre: &str, span: Span) -> Vec<(usize, String)> {
        let at = span.start();
        self.changes.remove(&(genre.to_owned(), (at.line, at.column + 1))).unwrap_or_default()
    }

    fn edit(&mut self, (start, end): (usize, usize), kind: Kind) {
        self.edits.push(Edit { start, end, kind });
    }

    fn body(&mut self, returned: &syn::ReturnType, block: &syn::Block) {
        // Two returns of `impl Trait` are of two types.
        if matches!(returned, syn::ReturnType::Type(_, returned) if matches!(**returned, syn::Type::ImplTrait(_)))
        {
            return;
        }
        let Some(first) = block.stmts.first().map(Spanned::span) else { return };
        let changed = self.take("FnValue", first);
        if !changed.is_empty() {
            let at = self.source.offset(first.start());
            self.edit((at, at), Kind::Return(changed));
        }
    }

    /// The operator of `whole`, if it is in the list.
    fn operator(&mut self, genre: &str, whole: Span, operator: Span) {
        let ((start, end), (from, to)) = (self.source.range(whole), self.source.range(operator));
        let (left, right) = (&self.source.text[start..from], &self.source.text[to..end]);
        let (left, right) = (left.to_owned(), right.to_owned());
        let changed = self.take(genre, operator);
        let changed: Vec<_> =
            changed.into_iter().map(|(number, by)| (number, format!("{left}{by}{right}"))).collect();
        if !changed.is_empty() {
            self.edit((start, end), Kind::Choice(changed));
        }
    }
}

/// Whether an expression binds names, so that it may stand in a chain of conditions only.
fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.sig.output, &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.sig.output, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if !binds(&binary.left) && !binds(&binary.right) {
            self.operator("BinaryOperator", binary.span(), binary.op.span());
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        self.operator("UnaryOperator", unary.span(), unary.op.span());
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_match(&mut self, found: &'ast syn::ExprMatch) {
        // Without such an arm none can be left out.
        let takes_all =
            found.arms.iter().any(|arm| arm.guard.is_none() && matches!(arm.pat, syn::Pat::Wild(_)));
        for arm in &found.arms {
            if let Some((_, guard)) = &arm.guard {
                let changed = self.take("MatchArmGuard", guard.span());
                if !changed.is_empty() {
                    self.edit(self.source.range(guard.span()), Kind::Choice(changed));
                }
            } else if takes_all && let [(number, _)] = self.take("MatchArm", arm.span())[..] {
                let (_, end) = self.source.range(arm.pat.span());
                self.edit((end, end), Kind::Arm(number));
            }
        }
        visit::visit_expr_match(self, found);
    }
}
