//! The result as a person reads it: on a terminal, and in Markdown.

use comfy_table::{ContentArrangement, Table, presets};

use crate::benchmarks::{Bar, Benchmark, Figure, Ratio};
use crate::record::{Record, Results};

const HEADER: [&str; 9] =
    ["what", "N", "bar", "median", "min – max", "p99", "baseline", "ratio", "the Elixir ones"];

/// How a figure stands to its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// There is none.
    NoBar,
}

/// Whether the median keeps to the bar, and the median of the ratios to the greatest ratio.
pub(crate) fn verdict(figure: &Figure, record: &Record) -> Verdict {
    let by_bar = figure.bar(record.n).map(|bar| match bar {
        Bar::AtMost(most) => record.median <= most,
        Bar::AtLeast(least) => record.median >= least,
    });
    let by_ratio = figure.ratio_bar().zip(record.ratio).zip(record.baseline);
    let by_ratio = by_ratio.map(|((bar, ratio), baseline)| match bar {
        Ratio::AtMost { times, plus } => ratio <= times + plus / baseline,
        Ratio::AtLeast(share) => ratio >= share,
    });
    match (by_bar, by_ratio) {
        (None, None) => Verdict::NoBar,
        (bar, ratio) if bar.unwrap_or(true) && ratio.unwrap_or(true) => Verdict::Met,
        _ => Verdict::Missed,
    }
}

/// The records of a measurement with what belongs to them.
pub(crate) fn records<'a>(benchmark: &'a Benchmark, results: &Results) -> Vec<(&'a Figure, Record)> {
    let of = |figure: &'a Figure| {
        let sizes: Vec<usize> = results.of(figure.name).map(|(n, _)| n).collect();
        let records = sizes.into_iter().filter_map(|n| results.record(figure.name, n, figure.unit));
        records.map(move |record| (figure, record)).collect::<Vec<_>>()
    };
    benchmark.figures.iter().flat_map(of).collect()
}

/// The table for a terminal.
pub(crate) fn plain(benchmark: &Benchmark, results: &Results) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(HEADER);
    for (figure, record) in records(benchmark, results) {
        table.add_row(cells(figure, &record));
    }
    format!("{}: {}\n{}\n", benchmark.name, benchmark.what, table.trim_fmt())
}

/// The table in Markdown.
pub(crate) fn markdown(benchmark: &Benchmark, results: &Results) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&HEADER.map(str::to_owned));
    text += "|---|--:|---|--:|--:|--:|--:|--:|---|\n";
    for (figure, record) in records(benchmark, results) {
        text += &line(&cells(figure, &record));
    }
    text
}

fn cells(figure: &Figure, record: &Record) -> [String; 9] {
    let unit = if record.unit.is_empty() { String::new() } else { format!(" {}", record.unit) };
    let bar = figure.bar(record.n).map(|bar| match bar {
        Bar::AtMost(most) => format!("≤ {}", number(most)),
        Bar::AtLeast(least) => format!("≥ {}", number(least)),
    });
    let ratio = figure.ratio_bar().map(|bar| match bar {
        Ratio::AtMost { times, plus: 0.0 } => format!("≤ {times} ×"),
        Ratio::AtMost { times, plus } => format!("≤ {times} × + {plus}"),
        Ratio::AtLeast(share) => format!("≥ {share} ×"),
    });
    let bars: Vec<String> = bar.into_iter().chain(ratio).collect();
    let mark = match verdict(figure, record) {
        Verdict::Met => " ✓",
        Verdict::Missed => " **missed**",
        Verdict::NoBar => "",
    };
    [
        figure.what.to_owned(),
        record.n.to_string(),
        format!("{}{mark}", bars.join(", ")),
        format!("{}{unit}", number(record.median)),
        format!("{} – {}", number(record.min), number(record.max)),
        number(record.p99),
        record.baseline.map(number).unwrap_or_default(),
        record.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        figure.elixir_at(record.n).to_owned(),
    ]
}

/// Three digits that matter, or all before the point.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmarks::find;
    use crate::record::Run;

    fn noted(value: f64, baseline: f64) -> Results {
        let mut results = Results::default();
        results.note("assembly", 3, Run { baseline: Some(baseline), ..Run::from(value) });
        results
    }

    fn verdict_of(value: f64, baseline: f64) -> Verdict {
        let records = records(find("assembly").unwrap(), &noted(value, baseline));
        let [(figure, record)] = records.as_slice() else { panic!("one record") };
        verdict(figure, record)
    }

    #[test]
    fn a_bar_is_met_only_if_the_floor_is_not_left_too_far_behind_either() {
        assert_eq!(verdict_of(240.0, 100.0), Verdict::Met);
        assert_eq!(verdict_of(260.0, 100.0), Verdict::Missed, "over 250 ms");
        assert_eq!(verdict_of(240.0, 50.0), Verdict::Missed, "over three times 50 ms, and 20 ms");
        assert_eq!(verdict_of(169.0, 50.0), Verdict::Met);
    }

    #[test]
    fn more_is_better_where_the_bar_says_at_least() {
        let mut results = Results::default();
        let paired = |value| Run { baseline: Some(100.0), ..Run::from(value) };
        results.note("whois", 3, paired(29.0));
        results.note("whois", 10, paired(31.0));
        results.note("whois-shared", 3, 1.0);
        let records = records(find("look-up").unwrap(), &results);
        let verdicts: Vec<_> = records.iter().map(|(figure, record)| verdict(figure, record)).collect();
        assert_eq!(verdicts, [Verdict::Missed, Verdict::Met, Verdict::NoBar]);
    }

    #[test]
    fn a_row_says_bar_median_range_and_floor() {
        let results = noted(169.0, 50.0);
        let benchmark = find("assembly").unwrap();
        let text = markdown(benchmark, &results);
        let row = "| first launch to one view, by a list | 3 | ≤ 250, ≤ 3 × + 20 ✓ | 169 ms | 169 – 169 | 169 | 50 | 3.38 | \
                   10900; libcluster 520 |";
        assert_eq!(text.lines().nth(2), Some(row));
        assert!(plain(benchmark, &results).contains("169 ms"));
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let all = [0.0, 0.123, 1.061, 15.0, 15.25, 123.4, 10_900.0].map(number);
        assert_eq!(all, ["0", "0.12", "1.06", "15", "15.2", "123", "10900"]);
    }
}
