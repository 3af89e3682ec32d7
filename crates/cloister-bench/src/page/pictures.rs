//! Which pictures there are.

use crate::benchmarks::ELIXIR_ASSEMBLY;
use crate::plot::{Line, Panel, Point, Scale, svg};
use crate::record::{Results, Series, quantile};

/// One picture of the page.
pub(super) struct Picture {
    pub(super) file: &'static str,
    /// The alternative text.
    pub(super) alt: &'static str,
    pub(super) svg: String,
}

/// All of which something was measured.
pub(super) fn all(results: &Results) -> Vec<Picture> {
    let picture = |file, alt, panels: &[Panel]| svg(panels).map(|svg| Picture { file, alt, svg });
    [
        picture("assembly.svg", "Time of assembly over the number of processes", &assembly(results)),
        picture("detection.svg", "Distribution of the time until a loss is notified", &detection(results)),
        picture("ring.svg", "Balance of the ring, and what moves, over the number of nodes", &ring(results)),
        picture("tables.svg", "Pauses over the size of a table, and memory over entities", &tables(results)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn assembly(results: &Results) -> Vec<Panel> {
    let baseline = |(n, series): (usize, &Series)| Some(point(n, series.baseline()?));
    let bare = Line {
        label: "bare ractor_cluster mesh".to_owned(),
        points: results.of("assembly").filter_map(baseline).collect(),
    };
    let elixir = |label: &str, time: fn(&(usize, f64, f64)) -> f64| Line {
        label: label.to_owned(),
        points: ELIXIR_ASSEMBLY
            .iter()
            .map(|row| Point { x: row.0 as f64, y: time(row), range: None })
            .collect(),
    };
    vec![Panel {
        title: "From the first launch to one agreed view",
        x: "processes started at once",
        y: "ms",
        scale: Scale::Log,
        lines: vec![
            medians(results, "assembly", "by a list"),
            medians(results, "assembly-dns", "by DNS"),
            bare,
            elixir("Cloister for Elixir", |(_, cloister, _)| *cloister),
            elixir("libcluster", |(.., libcluster)| *libcluster),
        ],
    }]
}

fn detection(results: &Results) -> Vec<Panel> {
    let distributions = |figures: &[(&str, &str)]| {
        let of = |(figure, label): &(&str, &str)| {
            let sizes = results.of(figure);
            let label = |n: usize| format!("{label}, {n} nodes");
            sizes.map(|(n, series)| distribution(label(n), &series.parts)).collect::<Vec<_>>()
        };
        figures.iter().flat_map(of).collect()
    };
    vec![
        Panel {
            title: "A killed member: when the others are notified",
            x: "ms after the kill",
            y: "% of the listeners",
            scale: Scale::Linear,
            lines: distributions(&[("kill-told", "kill -9")]),
        },
        Panel {
            title: "A member that stands still: when the others are notified",
            x: "s after it stopped",
            y: "% of the listeners",
            scale: Scale::Linear,
            lines: distributions(&[("hang", "default timing"), ("hang-fast", "fast timing")]),
        },
    ]
}

fn ring(results: &Results) -> Vec<Panel> {
    vec![
        Panel {
            title: "How evenly the ring shares out",
            x: "nodes",
            y: "greatest share by the mean",
            scale: Scale::LogX,
            lines: vec![medians(results, "ring-balance", "greatest share")],
        },
        Panel {
            title: "What moves when one node comes or goes",
            x: "nodes",
            y: "in shares of 1/N",
            scale: Scale::LogX,
            lines: vec![
                medians(results, "ring-more", "one comes"),
                medians(results, "ring-less", "one goes"),
            ],
        },
    ]
}

fn tables(results: &Results) -> Vec<Panel> {
    vec![
        Panel {
            title: "The longest write while data moves",
            x: "MB in the table",
            y: "ms",
            scale: Scale::LogX,
            lines: vec![
                medians(results, "pause-join", "a node joins"),
                medians(results, "pause-leave", "it leaves"),
                medians(results, "pause-kill", "one of three is killed"),
            ],
        },
        Panel {
            title: "Three nodes with entities that rest",
            x: "thousands of entities",
            y: "MB in use, all three",
            scale: Scale::LogX,
            lines: vec![medians(results, "entity-memory", "a counter each, two copies")],
        },
    ]
}

/// The median at each size, with the range.
fn medians(results: &Results, figure: &str, label: &str) -> Line {
    let runs = results.of(figure).filter(|(_, series)| !series.runs.is_empty());
    Line { label: label.to_owned(), points: runs.map(|(n, series)| point(n, series.range())).collect() }
}

fn point(n: usize, (median, least, max): (f64, f64, f64)) -> Point {
    Point { x: n as f64, y: median, range: Some((least, max)) }
}

/// How many percent were notified by when.
fn distribution(label: String, parts: &[f64]) -> Line {
    let at = |percent: u32| {
        let share = f64::from(percent);
        Point { x: quantile(parts, share / 100.0), y: share, range: None }
    };
    let points = if parts.is_empty() { Vec::new() } else { (0..=100).map(at).collect() };
    Line { label, points }
}
