//! A node that watches what it answers, for the tests to compare with what others answered at the same time.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cloister::{Cloister, Status};
use cloister_integration::{Claimed, Line};

use crate::print;

/// How long the thread rests between two questions. A question takes some 30 µs, so two nodes that claim one thing for a millisecond are
/// seen. Forty nodes that watch themselves still leave the processors to what is tested.
const PAUSE: Duration = Duration::from_micros(200);

/// Answers further apart than this are not joined to one stretch: anything may have happened in between.
const APART: u64 = 50_000_000;

/// A stretch is printed at the latest after this, because a process that is killed takes the present one with it.
const LONGEST: u64 = 100_000_000;

/// How many keys it asks for: `key-0` and so on, as the command `claims`.
const KEYS: usize = 32;

/// The stretch that goes on.
static STRETCH: Mutex<Option<Stretch>> = Mutex::new(None);

/// A stretch that goes on, and the beginning of the last question, from which the next gap counts.
struct Stretch {
    claimed: Claimed,
    last: u64,
}

/// Begins to watch; again does nothing. In a thread of its own, which nothing that the node does can hold up.
pub(crate) fn begin(cloister: &Cloister) {
    static BEGUN: OnceLock<()> = OnceLock::new();
    if BEGUN.set(()).is_err() {
        return;
    }
    let cloister = cloister.clone();
    std::thread::spawn(move || {
        let keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key}")).collect();
        loop {
            ask(&cloister, &keys);
            std::thread::sleep(PAUSE);
        }
    });
}

/// Prints what has not been printed yet.
pub(crate) fn print_answers() {
    let stretch = STRETCH.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(stretch) = stretch {
        print::line(&Line::Claimed(stretch.claimed));
    }
}

/// Asks once. No answer is dropped: one that differs from the last begins a stretch of its own, and so does one during
/// which the view changed.
fn ask(cloister: &Cloister, keys: &[String]) {
    let before = print::now();
    let epoch = cloister.epoch();
    let up = cloister.status() == Status::Up;
    let sentry = cloister.is_sentry();
    let mine = keys.iter().enumerate().filter(|(_, key)| cloister.is_mine(key)).map(|(at, _)| at).collect();
    let later = cloister.epoch();
    let after = print::now();
    let claimed = Claimed {
        from: after,
        to: before,
        // Some of the answers may be of the view before. The later one is named. What a node may not claim in an old view it may claim in
        // the new one. The comparison of two nodes does not look at epochs.
        epoch: later.map(|epoch| epoch.as_u64()),
        up,
        sentry,
        mine,
        samples: 1,
        apart: 0,
    };
    let mut stretch = STRETCH.lock().unwrap_or_else(PoisonError::into_inner);
    let joins = epoch == later;
    match stretch.as_mut() {
        Some(stretch) if joins && goes_on(stretch, &claimed) => {
            stretch.claimed.to = before;
            stretch.claimed.samples += 1;
            stretch.claimed.apart = stretch.claimed.apart.max(before.saturating_sub(stretch.last));
            stretch.last = before;
        }
        _ => {
            let ended = stretch.replace(Stretch { claimed, last: before });
            drop(stretch);
            if let Some(ended) = ended {
                print::line(&Line::Claimed(ended.claimed));
            }
        }
    }
}

fn goes_on(stretch: &Stretch, now: &Claimed) -> bool {
    let Stretch { claimed, last } = stretch;
    let same = (claimed.epoch, claimed.up, claimed.sentry, &claimed.mine)
        == (now.epoch, now.up, now.sentry, &now.mine);
    same && now.to.saturating_sub(*last) < APART && now.from.saturating_sub(claimed.from) < LONGEST
}
