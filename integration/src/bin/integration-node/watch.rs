//! A node that watches what it answers, for the tests to compare with what others answered at the same time.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cloister::{Cloister, Status};
use cloister_integration::{Claimed, Line};

use crate::print;

/// How often it asks itself.
const EVERY: Duration = Duration::from_millis(10);

/// What is further apart than this is not taken for one stretch: anything may have happened in between.
const APART: u64 = 50_000_000;

/// A stretch is told at the latest after this, so that little is lost with a node that is killed.
const LONGEST: u64 = 1_000_000_000;

/// How many keys it asks for: `key-0` and so on, as the command `claims`.
const KEYS: usize = 32;

/// The stretch that goes on.
static STRETCH: Mutex<Option<Claimed>> = Mutex::new(None);

/// Begins to watch; again does nothing. In a thread of its own, which nothing that the node does can hold up.
pub(crate) fn begin(cloister: &Cloister) {
    static BEGUN: OnceLock<()> = OnceLock::new();
    if BEGUN.set(()).is_err() {
        return;
    }
    let cloister = cloister.clone();
    std::thread::spawn(move || {
        loop {
            ask(&cloister);
            std::thread::sleep(EVERY);
        }
    });
}

/// Tells what has not been told yet.
pub(crate) fn tell() {
    let stretch = STRETCH.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(stretch) = stretch {
        print::line(&Line::Claimed(stretch));
    }
}

fn ask(cloister: &Cloister) {
    let before = print::now();
    let epoch = cloister.epoch();
    let up = cloister.status() == Status::Up;
    let sentry = cloister.is_sentry();
    let mine = (0..KEYS).filter(|key| cloister.is_mine(format!("key-{key}"))).collect();
    let same = cloister.epoch() == epoch;
    let after = print::now();
    let now = Claimed {
        from: after,
        to: before,
        epoch: epoch.map(|epoch| epoch.as_u64()),
        up,
        sentry,
        mine,
        samples: 1,
    };
    let mut stretch = STRETCH.lock().unwrap_or_else(PoisonError::into_inner);
    match stretch.as_mut() {
        Some(stretch) if same && goes_on(stretch, &now) => {
            stretch.to = before;
            stretch.samples += 1;
        }
        _ => {
            // Answers from two views are no answer.
            let ended = std::mem::replace(&mut *stretch, same.then_some(now));
            drop(stretch);
            if let Some(ended) = ended {
                print::line(&Line::Claimed(ended));
            }
        }
    }
}

fn goes_on(stretch: &Claimed, now: &Claimed) -> bool {
    let same = (stretch.epoch, stretch.up, stretch.sentry, &stretch.mine)
        == (now.epoch, now.up, now.sentry, &now.mine);
    let last = stretch.from.max(stretch.to);
    same && now.to.saturating_sub(last) < APART && now.from.saturating_sub(stretch.from) < LONGEST
}
