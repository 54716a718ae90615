//! How long does a durable append take, and how many records a second go in and out?
//!
//! `measure_log embedded FOLDER` or `measure_log kafka HOST:PORT`; the folder must be new, the broker without a topic
//! `measure`. Records have 500 bytes that do not compress. What is read back is compared with what was written.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ajatus_kafka::{EmbeddedLog, KafkaConfig, KafkaLog, Log, LogError, Record, Topics};
use rand::{RngCore as _, SeedableRng as _};

const SINGLE: u64 = 2_000;
const WRITERS: u64 = 20;
const BATCHES: u64 = 10;
const BATCH: u64 = 500;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(kind), Some(place), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: measure_log embedded FOLDER | measure_log kafka HOST:PORT".into());
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("topics.toml");
    std::fs::write(&path, "[[topic]]\nname = \"measure\"\npartitions = 4\ncleanup = \"compact\"\n")?;
    let topics = Topics::load(&path)?;
    let log: Arc<dyn Log> = match kind.as_str() {
        "embedded" => EmbeddedLog::open(Path::new(&place), topics)?,
        "kafka" => KafkaLog::connect(KafkaConfig::new(&place), topics).await?,
        other => return Err(format!("the log is {other:?}, but it must be embedded or kafka").into()),
    };
    if log.end_offset("measure", 0).await? != 0 {
        return Err("topic `measure` holds records already".into());
    }
    one_at_a_time(&*log).await?;
    many(log).await
}

fn record(number: u64) -> Record {
    let mut value = vec![0; 480];
    rand::rngs::SmallRng::seed_from_u64(number).fill_bytes(&mut value);
    Record { key: format!("{number:020}").into_bytes(), value: Some(value) }
}

async fn one_at_a_time(log: &dyn Log) -> Result<(), LogError> {
    let mut took = Vec::new();
    for number in 0..SINGLE {
        let clock = Instant::now();
        log.append("measure", 0, vec![record(number)]).await?;
        took.push(clock.elapsed());
    }
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 1_000];
    say(&format!("one durable append after another, {SINGLE} times: p50 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999)));
    Ok(())
}

async fn many(log: Arc<dyn Log>) -> Result<(), Failure> {
    let total = WRITERS * BATCHES * BATCH;
    // Made before the clock starts.
    let batches: Vec<Vec<Vec<Record>>> = (0..WRITERS)
        .map(|writer| (0..BATCHES).map(|batch| (0..BATCH).map(|at| record(SINGLE + (writer * BATCHES + batch) * BATCH + at)).collect()).collect())
        .collect();
    let clock = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for (writer, batches) in (0_u32..).zip(batches) {
        let log = Arc::clone(&log);
        writers.spawn(async move {
            for batch in batches {
                log.append("measure", writer % 4, batch).await?;
            }
            Ok::<(), LogError>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    tell(&format!("{total} records by {WRITERS} writers in batches of {BATCH}, written durably"), total, clock.elapsed());

    let (clock, mut seen) = (Instant::now(), Vec::new());
    for partition in 0..4 {
        let mut from = 0;
        loop {
            let chunk = log.read("measure", partition, from, 5_000).await?;
            if chunk.next == from {
                break;
            }
            from = chunk.next;
            seen.extend(chunk.entries);
        }
    }
    tell("all of them read", seen.len() as u64, clock.elapsed());
    seen.sort_unstable_by(|left, right| left.key.cmp(&right.key));
    let exact = seen.len() as u64 == SINGLE + total
        && (0..).zip(&seen).all(|(number, entry)| record(number) == Record { key: entry.key.clone(), value: entry.value.clone() });
    if exact { Ok(()) } else { Err("what was read is not what was written".into()) }
}

fn tell(what: &str, records: u64, took: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = records as f64 / took.as_secs_f64();
    say(&format!("{what}: {took:?}, {rate:.0} records/s"));
}

#[expect(clippy::print_stdout, reason = "what the example is for")]
fn say(line: &str) {
    println!("{line}");
}
