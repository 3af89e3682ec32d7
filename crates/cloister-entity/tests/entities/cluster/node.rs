//! A node of these tests: its entities, and what it does on command.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use cloister::{Cloister, Config, ManagerArguments, Timing};
use cloister_entity::{Context, DefineEntities, Entities, Entity, EntityError, EntityOptions, HandlerError};
use cloister_testkit::obedient::{self, Role};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Whether this process gives the answers of [`CounterMessage::AddLater`].
static ANSWERS: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
    alarms: u64,
    #[serde(default)]
    appended: Vec<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum CounterMessage {
    Add(u64),
    Get,
    AlarmIn(u64),
    Alarm,
    /// Every so many milliseconds from now on.
    RunEvery(u64),
    Alarms,
    /// Adds one, and is answered when the test says so.
    AddLater,
    /// Adds one after so many milliseconds.
    AddSlowly(u64),
    /// Adds one after so many milliseconds, in which it blocks its thread and cannot be dropped.
    Block(u64),
    /// Takes 10 ms.
    Append(u64),
    /// How many were appended, if each is greater than the one before.
    InOrder,
    /// How many were appended.
    Appended,
}

impl Entity for Counter {
    const NAME: &'static str = "counter";
    type Message = CounterMessage;
    type Reply = u64;

    async fn handle(
        &mut self,
        context: &mut Context<'_, Self>,
        message: CounterMessage,
    ) -> Result<u64, HandlerError> {
        match message {
            CounterMessage::Add(count) => self.count += count,
            CounterMessage::Get => {}
            CounterMessage::AlarmIn(ms) => {
                context.schedule(Duration::from_millis(ms), &CounterMessage::Alarm)?;
            }
            CounterMessage::Alarm => {
                self.alarms += 1;
                println!("alarm {} {} in {}", context.key(), self.alarms, context.epoch());
            }
            CounterMessage::RunEvery(ms) => {
                self.count += 1;
                println!("ran {} {} {}", context.key(), context.epoch(), self.count);
                context.schedule(Duration::from_millis(ms), &CounterMessage::RunEvery(ms))?;
            }
            CounterMessage::Alarms => return Ok(self.alarms),
            CounterMessage::Append(number) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                self.appended.push(number);
            }
            CounterMessage::InOrder => {
                if !self.appended.is_sorted_by(|before, after| before < after) {
                    return Err(HandlerError::new(format!("not in order: {:?}", self.appended)));
                }
                return Ok(self.appended.len() as u64);
            }
            CounterMessage::Appended => return Ok(self.appended.len() as u64),
            CounterMessage::AddSlowly(ms) => {
                println!("begins {}", context.key());
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.count += 1;
            }
            CounterMessage::Block(ms) => {
                println!("begins {}", context.key());
                std::thread::sleep(Duration::from_millis(ms));
                self.count += 1;
            }
            CounterMessage::AddLater => {
                self.count += 1;
                let (reply, count) = (context.reply_later(), self.count);
                tokio::spawn(async move {
                    let answers = ANSWERS.subscribe().wait_for(|given| *given).await.is_ok();
                    if answers { reply.send(&count) } else { Ok(()) }
                });
            }
        }
        Ok(self.count)
    }
}

pub(super) async fn node(role: Role, options: EntityOptions, timing: Timing) {
    let config = Config::new("entities").seeds(role.seeds()).port(role.port).consensus(2).timing(timing);
    let mut arguments = ManagerArguments::new(config).unwrap();
    let counters = arguments.entities::<Counter>(options).unwrap();
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    println!("up");
    let leaving = cloister.clone();
    obedient::obey(move |command| {
        let (counters, leaving) = (counters.clone(), leaving.clone());
        async move { obey(&leaving, &counters, &command).await }
    });
    cloister.wait_stopped().await;
}

async fn obey(cloister: &Cloister, counters: &Entities<Counter>, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let key = words.get(1).copied().unwrap_or_default();
    let number = || words[2].parse::<u64>().unwrap();
    fn shown(result: Result<u64, EntityError>) -> String {
        result.map_or_else(|error| format!("error {error}"), |value| value.to_string())
    }
    // Sends a message to as many keys; how many answer as they should, and the first error.
    let each = async |message: CounterMessage, is_right: fn(u64, u64) -> bool| {
        let (mut right, mut error) = (0, String::new());
        for n in 0..number() {
            let message = match &message {
                CounterMessage::Add(_) => CounterMessage::Add(n),
                other => other.clone(),
            };
            match counters.call(&format!("{key}{n}"), message).await {
                Ok(value) => right += u64::from(is_right(value, n)),
                Err(failed) => error = failed.to_string(),
            }
        }
        format!("{right} {error}").trim().to_owned()
    };
    match words[0] {
        "get" => shown(counters.call(key, CounterMessage::Get).await),
        "later" => shown(counters.call(key, CounterMessage::AddLater).await),
        "slow" => shown(counters.call(key, CounterMessage::AddSlowly(number())).await),
        "block" => shown(counters.call(key, CounterMessage::Block(number())).await),
        "answer" => ANSWERS.send_replace(true).to_string(),
        "owner" => counters.owner(key).map_or_else(String::new, |node| node.name().to_string()),
        "len" => shown(counters.len().await),
        "local" => counters.local_keys().count().to_string(),
        // Each with its own number.
        "fill" => each(CounterMessage::Add(0), |value, n| value == n).await,
        "all" => each(CounterMessage::Get, |value, n| value == n).await,
        "run" => each(CounterMessage::RunEvery(words[3].parse().unwrap()), |value, _| value == 1).await,
        "twice" => each(CounterMessage::Get, |value, n| value == 2 * n).await,
        "more" => each(CounterMessage::Add(0), |value, n| value == 2 * n).await,
        "alarms" => each(CounterMessage::Alarms, |value, _| value == 1).await,
        "schedule" => each(CounterMessage::AlarmIn(words[3].parse().unwrap()), |value, n| value == n).await,
        // Adds one so often; how many were acknowledged, and the longest one, and the last error.
        "count" => {
            let (mut done, mut longest, mut error) = (0, Duration::ZERO, String::new());
            for _ in 0..number() {
                let began = Instant::now();
                match counters.call(key, CounterMessage::Add(1)).await {
                    Ok(_) => done += 1,
                    Err(failed) => error = failed.to_string(),
                }
                longest = longest.max(began.elapsed());
            }
            format!("{done} longest {} ms {error}", longest.as_millis())
        }
        "append" => {
            for n in 0..number() {
                counters.cast(key, CounterMessage::Append(n)).await.unwrap();
            }
            "done".to_owned()
        }
        "cast_slow" => {
            counters.cast(key, CounterMessage::AddSlowly(number())).await.unwrap();
            "done".to_owned()
        }
        "appended" => shown(counters.call(key, CounterMessage::Appended).await),
        "in_order" => shown(counters.call(key, CounterMessage::InOrder).await),
        "casts" => {
            for _ in 0..number() {
                counters.cast(key, CounterMessage::Add(1)).await.unwrap();
            }
            "done".to_owned()
        }
        "leave" => {
            cloister.leave().await;
            "left".to_owned()
        }
        other => panic!("no such command: {other}"),
    }
}
