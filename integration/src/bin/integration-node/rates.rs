//! How fast calls go, as those commands want to know that begin with `rate`.

use std::time::{Duration, Instant};

use cloister::Cloister;
use cloister_integration::{Rate, in_turn, rate};
use serde_json::{Value, json};

use crate::counter::{COUNTER, CounterMessage, TALLY, TallyMessage};
use crate::worker::{NAME, WorkerMessage};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// All workers are asked, again and again, by so many callers at once.
pub(crate) async fn multicall(cloister: &Cloister, callers: usize, span: Duration) -> Value {
    let cloister = cloister.clone();
    let rate = rate(callers, span, move || {
        let cloister = cloister.clone();
        async move {
            let answers = cloister.multicall(NAME, WorkerMessage::Work, LIMIT).await;
            assert!(answers.failed.is_empty(), "{:?}", answers.failed);
        }
    });
    json!(rate.await)
}

/// So many messages are sent to all; it is over when all have counted all of them.
pub(crate) async fn multicast(cloister: &Cloister, messages: u64) -> Value {
    let before = tally(cloister).await;
    let began = Instant::now();
    for message in 0..messages {
        let sent = cloister.multicast(COUNTER, CounterMessage::Note(message));
        assert!(sent.failed.is_empty(), "{:?}", sent.failed);
    }
    loop {
        let now = tally(cloister).await;
        if now.iter().zip(&before).all(|(now, before)| now - before >= messages) {
            break;
        }
    }
    let took = began.elapsed();
    json!(Rate { done: messages, ..Rate::new(Vec::new(), took) })
}

async fn tally(cloister: &Cloister) -> Vec<u64> {
    let counts = cloister.multicall(TALLY, TallyMessage::Read, LIMIT).await;
    assert!(counts.failed.is_empty(), "{:?}", counts.failed);
    counts.ok.into_iter().map(|(_, count)| count).collect()
}

/// A worker is called in turn by the reference in hand and by a key that its node owns. It is that of another node, and that of this one.
pub(crate) async fn keyed(cloister: &Cloister, span: Duration) -> Value {
    let me = Some(cloister.node());
    let key = |own: bool| {
        let mut keys = (0..).map(|key| format!("key-{key}"));
        keys.find(|key| (cloister.whois(key) == me) == own).expect("both own some key")
    };
    let mut rates = Vec::new();
    for key in [key(false), key(true)] {
        let in_hand = cloister.locate::<WorkerMessage>(NAME, &key).expect("it has a worker");
        let held = || async {
            let answer = in_hand.call(WorkerMessage::Work, Some(LIMIT)).await;
            assert!(answer.expect("it lives").is_success());
        };
        let by_key = || async {
            let answer = cloister.call(NAME, &key, WorkerMessage::Work, LIMIT).await;
            assert!(answer.is_ok(), "{answer:?}");
        };
        rates.push(in_turn(span, held, by_key).await);
    }
    let [(held, keyed), (held_here, keyed_here)] = rates[..] else { unreachable!("there are two") };
    json!({ "held": held, "keyed": keyed, "held_here": held_here, "keyed_here": keyed_here })
}

/// The worker of another node is called in turn by the reference in hand, and by looking it up for each call.
pub(crate) async fn locate(cloister: &Cloister, span: Duration) -> Value {
    let me = Some(cloister.node());
    let mut keys = (0..).map(|key| format!("key-{key}"));
    let key = keys.find(|key| cloister.whois(key) != me).expect("another member owns some key");
    let in_hand = cloister.locate::<WorkerMessage>(NAME, &key).expect("it has a worker");
    let held = || async {
        let answer = in_hand.call(WorkerMessage::Work, Some(LIMIT)).await;
        assert!(answer.expect("it lives").is_success());
    };
    let located = || async {
        let worker = cloister.locate::<WorkerMessage>(NAME, &key).expect("it has a worker");
        let answer = worker.call(WorkerMessage::Work, Some(LIMIT)).await;
        assert!(answer.expect("it lives").is_success());
    };
    let (held, located) = in_turn(span, held, located).await;
    json!({ "held": held, "located": located })
}
