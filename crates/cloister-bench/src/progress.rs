//! What is being done now, and how much is left.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal, a line for each step elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar over so many steps.
    pub(crate) fn over(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}");
        bar.set_style(style.expect("invariant: the template is well formed"));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar }
    }

    /// The next step begins.
    pub(crate) fn begin(&self, step: &str) {
        self.bar.set_message(step.to_owned());
        if self.bar.is_hidden() {
            eprintln!("[{}/{}] {step}", self.bar.position() + 1, self.bar.length().unwrap_or_default());
        }
    }

    /// The progress of the step.
    pub(crate) fn detail(&self, step: &str, detail: &str) {
        self.bar.set_message(format!("{step}: {detail}"));
    }

    /// A step is done.
    pub(crate) fn done(&self) {
        self.bar.inc(1);
    }

    /// Says something that stays.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// All is done.
    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}
