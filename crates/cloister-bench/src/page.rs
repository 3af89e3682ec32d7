//! The page in the repository: pictures first, then the tables, and on which machine all this was.

mod pictures;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;

use crate::benchmarks::{ALL, Benchmark};
use crate::record::Results;
use crate::table;

/// The name of the page in its directory.
const NAME: &str = "measurements.md";

/// Why there is no page.
#[derive(Debug, Error)]
#[error("cannot write {path}: {cause}; --page takes a directory that can be written to")]
pub(crate) struct PageError {
    path: PathBuf,
    cause: io::Error,
}

/// The machine, and the day.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    cores: usize,
    model: String,
    kernel: String,
    at: Timestamp,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            model: model.map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            at: Timestamp::now(),
        }
    }
}

/// Writes the page and its pictures into `directory`; returns which files these are.
pub(crate) fn write(
    directory: &Path,
    machine: &Machine,
    results: &Results,
    failed: &[&str],
) -> Result<Vec<PathBuf>, PageError> {
    let wrote = |path: PathBuf, text: &str| {
        let result = fs::write(&path, text);
        result.map_err(|cause| PageError { path: path.clone(), cause }).map(|()| path)
    };
    fs::create_dir_all(directory).map_err(|cause| PageError { path: directory.to_owned(), cause })?;
    let pictures = pictures::all(results);
    let mut files = vec![wrote(directory.join(NAME), &text(machine, results, failed, &pictures))?];
    for picture in &pictures {
        files.push(wrote(directory.join(picture.file), &picture.svg)?);
    }
    Ok(files)
}

fn text(machine: &Machine, results: &Results, failed: &[&str], pictures: &[pictures::Picture]) -> String {
    let Machine { cores, model, kernel, at } = machine;
    let day = at.strftime("%e %B %Y, %H:%M UTC").to_string();
    let mut page = format!(
        "# What Cloister takes\n\n\
         Written by `cargo run --release -p cloister-bench -- all --page docs`, which measures all of this anew: on\n\
         {cores} processors ({model}), Linux {kernel}, {}.\n\n",
        day.trim()
    );
    for picture in pictures {
        page += &format!("![{}]({})\n\n", picture.alt, picture.file);
    }
    page += "Each figure is the median of its runs, with the least and the greatest beside it. A baseline is measured in the same \
             run, right beside the\nfigure. The ratio is the median of the ratios of such pairs. It is a bare mesh of \
             ractor_cluster nodes, each dialled from one end, or what\nelse is said. Nodes are processes of their own on \
             addresses of 127.0.0.0/8. Where a run consists of many things, such as the nodes of a\ncluster or the calls of a \
             second, `p99` is over these. The last column is Cloister 0.18.1 for Elixir, in the same unit, or libcluster \
             3.5.0\n(mesh only).\n";
    for benchmark in ALL.iter().filter(|benchmark| measured(benchmark, results)) {
        page += &format!("\n## {}\n\n`{}`: {}.\n\n", title(benchmark), benchmark.name, benchmark.what);
        page += &table::markdown(benchmark, results);
    }
    if !failed.is_empty() {
        page += &format!("\n**Not measured**, since it went wrong: {}.\n", failed.join(", "));
    }
    page
}

fn measured(benchmark: &Benchmark, results: &Results) -> bool {
    !table::records(benchmark, results).is_empty()
}

/// The name with a capital in front.
fn title(benchmark: &Benchmark) -> String {
    let mut letters = benchmark.name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Run;

    #[test]
    fn the_page_names_the_machine_and_shows_pictures_before_tables() {
        let directory = tempfile::tempdir().unwrap();
        let mut results = Results::default();
        for (n, value) in [(3, 100.0), (50, 2000.0)] {
            results.note("assembly", n, Run { baseline: Some(value / 2.0), ..Run::from(value) });
        }
        results.parts("kill-told", 3, [4.0, 5.0, 6.0]);
        let files = write(directory.path(), &Machine::here(), &results, &["idle"]).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["measurements.md", "assembly.svg", "detection.svg"]);
        let page = fs::read_to_string(&files[0]).unwrap();
        let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words} in {page}"));
        assert!(place(&Machine::here().model) < place("](assembly.svg)"));
        assert!(place("](assembly.svg)") < place("## Assembly"));
        assert!(place("100 ms") < place("2000 ms"));
        assert!(page.contains("went wrong: idle"));
        assert!(!page.contains("## Ring"), "what was not measured is left out");
    }

    #[test]
    fn a_page_that_cannot_be_written_says_where_and_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write(file.path(), &Machine::here(), &Results::default(), &[]).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()) && error.contains("directory"), "{error}");
    }
}
