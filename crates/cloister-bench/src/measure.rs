//! The measurements, one file for each family, and what they share.
//!
//! A measurement that goes wrong panics, as the harness of the integration tests does; the command says so, and goes on
//! with the next.

pub(crate) mod assembly;
pub(crate) mod calls;
mod cluster;
pub(crate) mod delivery;
pub(crate) mod failure;
pub(crate) mod hundred;
pub(crate) mod idle;
pub(crate) mod join;
pub(crate) mod moves;
pub(crate) mod placement;
pub(crate) mod rounds;
pub(crate) mod tables;

use std::net::Ipv4Addr;
use std::time::Duration;

use cloister_integration::Block;

use crate::progress::Progress;
use crate::record::{Results, Run};

/// The most nodes of any measurement of real processes, and one that joins them.
const MAX_NODES: u8 = 101;

/// What a measurement works with.
#[derive(Debug)]
pub(crate) struct Measuring<'a> {
    /// How often it is to be repeated.
    pub(crate) runs: usize,
    /// How long nothing may happen where nothing should.
    pub(crate) calm: Duration,
    pub(crate) results: &'a mut Results,
    pub(crate) progress: &'a Progress,
    /// What it is called at present.
    pub(crate) step: String,
}

impl Measuring<'_> {
    /// So many addresses of this host that no other program uses; the same ones each time.
    pub(crate) fn ips(&self, n: usize) -> Vec<Ipv4Addr> {
        static BLOCK: std::sync::OnceLock<Block> = std::sync::OnceLock::new();
        let mut ips = BLOCK.get_or_init(|| Block::new(MAX_NODES)).ips();
        assert!(n <= ips.len(), "{n} nodes, {} addresses", ips.len());
        ips.truncate(n);
        ips
    }

    /// Measures once for each run, and reports the progress.
    pub(crate) fn each_run(&mut self, mut run: impl FnMut(&mut Self, usize)) {
        for number in 0..self.runs {
            self.progress.detail(&self.step, &format!("run {} of {}", number + 1, self.runs));
            run(self, number);
        }
    }

    pub(crate) fn note(&mut self, figure: &'static str, n: usize, run: impl Into<Run>) {
        self.results.note(figure, n, run);
    }

    pub(crate) fn parts(&mut self, figure: &'static str, n: usize, parts: impl IntoIterator<Item = f64>) {
        self.results.parts(figure, n, parts);
    }
}

/// So many milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// From one moment of this host's clock to a later one, in milliseconds.
pub(crate) fn millis_between(from: u64, to: u64) -> f64 {
    millis(cloister_integration::between(from, to))
}

/// The present moment, in nanoseconds of the clock that all processes of this host share.
pub(crate) fn now() -> u64 {
    cloister::clock::Clock.now().as_nanos()
}
