//! What was measured, and what is said of it: the middle, the range, the tail, and how it compares with its baseline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One run of a measurement, in the unit of its figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    /// What was measured.
    pub(crate) value: f64,
    /// What the baseline took right beside it, if there is one.
    pub(crate) baseline: Option<f64>,
    /// What all but one in a hundred stayed below within this run, if it was many things.
    pub(crate) p99: Option<f64>,
}

impl From<f64> for Run {
    fn from(value: f64) -> Self {
        Self { value, baseline: None, p99: None }
    }
}

/// All runs of one figure at one size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) runs: Vec<Run>,
    /// What each run consisted of, where that is known: each node's time, for example.
    pub(crate) parts: Vec<f64>,
}

/// All series, by the name of the figure and the size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results(BTreeMap<(&'static str, usize), Series>);

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Which figure.
    pub(crate) name: String,
    /// The size: nodes, mostly.
    pub(crate) n: usize,
    /// The unit of all numbers but the last.
    pub(crate) unit: String,
    /// How many runs.
    pub(crate) runs: usize,
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
    /// What 99 of 100 stayed below: of the parts of the runs where there are many, else of the runs.
    pub(crate) p99: f64,
    /// The median of the baseline.
    #[serde(rename = "floor")]
    pub(crate) baseline: Option<f64>,
    /// The median of value by baseline, each pair from one run.
    pub(crate) ratio: Option<f64>,
}

impl Results {
    /// Writes down a run.
    pub(crate) fn note(&mut self, figure: &'static str, n: usize, run: impl Into<Run>) {
        self.0.entry((figure, n)).or_default().runs.push(run.into());
    }

    /// Writes down what runs consisted of.
    pub(crate) fn parts(&mut self, figure: &'static str, n: usize, parts: impl IntoIterator<Item = f64>) {
        self.0.entry((figure, n)).or_default().parts.extend(parts);
    }

    /// The series of this figure, by size.
    pub(crate) fn of(&self, figure: &str) -> impl Iterator<Item = (usize, &Series)> {
        self.0.iter().filter(move |((name, _), _)| *name == figure).map(|((_, n), series)| (*n, series))
    }

    /// The line of this figure at this size, if anything was written down.
    pub(crate) fn record(&self, figure: &'static str, n: usize, unit: &str) -> Option<Record> {
        let series = self.0.get(&(figure, n)).filter(|series| !series.runs.is_empty())?;
        let values: Vec<f64> = series.runs.iter().map(|run| run.value).collect();
        let baselines: Vec<f64> = series.runs.iter().filter_map(|run| run.baseline).collect();
        let ratios: Vec<f64> =
            series.runs.iter().filter_map(|run| run.baseline.map(|baseline| run.value / baseline)).collect();
        let tails: Vec<f64> = series.runs.iter().filter_map(|run| run.p99).collect();
        let p99 = match (tails.is_empty(), series.parts.is_empty()) {
            (false, _) => quantile(&tails, 0.5),
            (true, false) => quantile(&series.parts, 0.99),
            (true, true) => quantile(&values, 0.99),
        };
        Some(Record {
            name: figure.to_owned(),
            n,
            unit: unit.to_owned(),
            runs: values.len(),
            min: quantile(&values, 0.0),
            median: quantile(&values, 0.5),
            max: quantile(&values, 1.0),
            p99,
            baseline: (!baselines.is_empty()).then(|| quantile(&baselines, 0.5)),
            ratio: (!ratios.is_empty()).then(|| quantile(&ratios, 0.5)),
        })
    }
}

impl Series {
    /// The middle, the least and the greatest value.
    pub(crate) fn range(&self) -> (f64, f64, f64) {
        range(self.runs.iter().map(|run| run.value))
    }

    /// The middle, the least and the greatest baseline, if there is one.
    pub(crate) fn baseline(&self) -> Option<(f64, f64, f64)> {
        let baselines: Vec<f64> = self.runs.iter().filter_map(|run| run.baseline).collect();
        (!baselines.is_empty()).then(|| range(baselines))
    }
}

fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let values: Vec<f64> = values.into_iter().collect();
    (quantile(&values, 0.5), quantile(&values, 0.0), quantile(&values, 1.0))
}

/// The value below which this share of all lies, between two neighbours in proportion; 0 for nothing.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (sorted.get(at.floor() as usize), sorted.get(at.ceil() as usize));
    match (below, above) {
        (Some(below), Some(above)) => below + (above - below) * at.fract(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours_in_proportion() {
        let values = [40.0, 10.0, 30.0, 20.0];
        let at = |share| quantile(&values, share);
        assert_eq!([at(0.0), at(0.5), at(1.0)], [10.0, 25.0, 40.0]);
        assert!((at(0.99) - 39.7).abs() < 1e-9);
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn a_ratio_is_of_pairs_and_not_of_medians() {
        let mut results = Results::default();
        for (value, baseline) in [(10.0, 10.0), (40.0, 10.0), (90.0, 30.0)] {
            results.note("kill", 3, Run { baseline: Some(baseline), ..Run::from(value) });
        }
        let record = results.record("kill", 3, "ms").unwrap();
        assert_eq!((record.min, record.median, record.max, record.runs), (10.0, 40.0, 90.0, 3));
        assert_eq!((record.baseline, record.ratio), (Some(10.0), Some(3.0)), "40/10 would be 4");
    }

    #[test]
    fn the_tail_is_that_of_the_parts_where_there_are_parts() {
        let mut results = Results::default();
        results.note("a", 1, 5.0);
        assert_eq!(results.record("a", 1, "").unwrap().p99, 5.0);
        results.parts("a", 1, [1.0, 9.0]);
        assert!(results.record("a", 1, "").unwrap().p99 > 8.0);
        results.note("b", 1, Run { p99: Some(7.0), ..Run::from(5.0) });
        assert_eq!(results.record("b", 1, "").unwrap().p99, 7.0);
        assert_eq!(results.record("c", 1, ""), None);
    }

    #[test]
    fn a_record_survives_json_in_one_line() {
        let mut results = Results::default();
        results.note("kill", 3, Run { baseline: Some(2.0), ..Run::from(3.5) });
        let record = results.record("kill", 3, "ms").unwrap();
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.contains('\n'));
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        let all = ["floor", "max", "median", "min", "n", "name", "p99", "ratio", "runs", "unit"];
        assert_eq!(names, all);
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }
}
