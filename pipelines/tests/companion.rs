//! The companion's pipeline: replayed equals incremental, exactly once, no model asked twice.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ajatus_events::{ChangeRecord, DeadLetter, topic};
use ajatus_kafka::{Log as _, Record, wire};
use ajatus_pipelines::RuntimeConfig;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::{Moody, Seen, World, counts_of, open_log};

const TEXTS: [&str; 6] = ["hei", "moi", "terve", "a kayak", "Mustikka", "the lamp"];

/// Says, edits and forgets at random, and keeps the truth beside it.
async fn talk(world: &mut World, truth: &mut Seen, random: &mut StdRng, turns: usize) {
    for _ in 0..turns {
        let (user, number) = (random.random_range(0..world.users.len()), random.random_range(1..25_u128));
        let text = random.random_bool(0.75).then(|| TEXTS[random.random_range(0..TEXTS.len())]);
        world.say(user, number, text).await;
        match text {
            Some(text) => drop(truth.insert((world.users[user], number), text.to_owned())),
            None => drop(truth.remove(&(world.users[user], number))),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_equal_the_truth_over_edits_deletions_and_restarts_on_one_worker_and_on_two() {
    let mut world = World::new(5).await;
    let (mut truth, mut random) = (Seen::new(), StdRng::seed_from_u64(4));
    let model = Moody::new("moody");
    for round in 0..8_usize {
        // Some of it was said while nothing ran.
        talk(&mut world, &mut truth, &mut random, 15).await;
        let config = RuntimeConfig { workers: 1 + round % 2, max_epoch_rows: 8, compact_after: 20, ..RuntimeConfig::default() };
        let running = world.start(&model, config).await;
        world.settled(&running).await;
        assert_eq!(world.seen().await.0, truth, "round {round}, after the start");
        talk(&mut world, &mut truth, &mut random, 25).await;
        if round % 3 != 2 {
            world.settled(&running).await;
            let (texts, _) = world.seen().await;
            assert_eq!(texts, truth, "round {round}");
            assert_eq!(world.counts().await, counts_of(&truth), "round {round}");
        }
        // Every third time it is stopped in the middle of its work.
        running.stop().await.expect("stopped");
    }
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.settled(&running).await;
    let (texts, _) = world.seen().await;
    assert_eq!(texts, truth);
    assert_eq!(world.counts().await, counts_of(&truth));
    running.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asks_no_model_twice_over_a_restart_and_keeps_the_first_answers() {
    let mut world = World::new(2).await;
    let model = Moody::new("moody");
    for number in 1..=10 {
        world.say(0, number, Some(&format!("text {}", number % 5))).await;
        world.say(1, number, Some("the same for all")).await;
    }
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.settled(&running).await;
    let (before, asked) = (world.seen().await, model.asked.load(Ordering::SeqCst));
    assert_eq!(asked, 6, "equal texts of one user are asked once, and never shared between users");
    running.stop().await.expect("stopped");

    let running = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 11, Some("text 1")).await;
    world.settled(&running).await;
    assert_eq!(model.asked.load(Ordering::SeqCst), asked, "the memo answers");
    let after = world.seen().await;
    assert!(before.1.iter().all(|(key, vector)| after.1.get(key) == Some(vector)), "a vector changed");
    running.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erases_an_answer_when_its_last_turn_is_forgotten() {
    let mut world = World::new(1).await;
    let model = Moody::new("moody");
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 1, Some("secret")).await;
    world.say(0, 2, Some("secret")).await;
    world.say(0, 3, Some("public")).await;
    world.settled(&running).await;
    assert_eq!(world.live_keys(topic::MODEL_ANSWERS).await.len(), 2);
    world.say(0, 1, None).await;
    world.settled(&running).await;
    assert_eq!(world.live_keys(topic::MODEL_ANSWERS).await.len(), 2, "another turn still needs it");
    world.say(0, 2, None).await;
    world.settled(&running).await;
    let mut news = world.log.appended(topic::MODEL_ANSWERS).expect("news");
    // The answer goes after its epoch is in the views.
    while world.live_keys(topic::MODEL_ANSWERS).await.len() != 1 {
        tokio::time::timeout(std::time::Duration::from_secs(10), news.changed()).await.expect("in time").expect("the log lives");
    }
    running.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_what_it_cannot_use_among_the_dead_letters_and_goes_on() {
    let mut world = World::new(1).await;
    let model = Moody::new("moody");
    let user = world.users[0];
    let key = |id: u128| format!("{user}/{}", uuid::Uuid::from_u128(id)).into_bytes();
    for record in [
        Record { key: b"no key at all".to_vec(), value: Some(b"x".to_vec()) },
        Record { key: key(1), value: Some(b"".to_vec()) },
        Record { key: key(2), value: Some(b"\x09{}".to_vec()) },
        Record { key: key(3), value: Some(b"\x01{\"half\": ".to_vec()) },
        Record { key: b"\xff\xfe".to_vec(), value: None },
    ] {
        world.append(user, record).await;
    }
    world.say(0, 4, Some("refuse me")).await;
    world.say(0, 5, Some("fine")).await;
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.settled(&running).await;
    assert_eq!(running.status().borrow().refused, 6);
    let (texts, _) = world.seen().await;
    assert_eq!(texts.values().collect::<Vec<_>>(), ["fine"]);
    running.stop().await.expect("stopped");
    let again = world.start(&model, RuntimeConfig::default()).await;
    world.settled(&again).await;
    again.stop().await.expect("stopped");
    let letters = world.live_keys(topic::DEAD_LETTERS).await;
    let codes: Vec<String> = letters.values().map(|value| wire::decode::<DeadLetter>(value).expect("a letter").code).collect();
    assert_eq!(letters.len(), 6, "each once, over a restart: {codes:?}");
    assert!(codes.iter().any(|code| code == "embed.refused"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tells_followers_every_change_and_then_the_frontier() {
    let mut world = World::new(1).await;
    let model = Moody::new("moody");
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 1, Some("one")).await;
    world.settled(&running).await;
    world.say(0, 1, None).await;
    world.settled(&running).await;
    running.stop().await.expect("stopped");
    let partition = ajatus_kafka::partition_for_user(world.users[0], 4);
    let chunk = world.log.read(topic::MEMORY_CHANGES, partition, 0, 100).await.expect("read");
    let told: Vec<String> = chunk
        .entries
        .iter()
        .filter_map(|entry| match wire::decode::<ChangeRecord>(entry.value.as_ref()?).expect("a change") {
            ChangeRecord::Memory(change) => Some(format!("{} {}", change.epoch, serde_json::to_value(&change.op).expect("JSON")["op"].as_str()?)),
            ChangeRecord::Frontier(frontier) => Some(format!("{} frontier {}", frontier.epoch, frontier.next_offset)),
        })
        .collect();
    assert_eq!(told, ["1 upsert", "1 frontier 1", "2 delete", "2 frontier 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn makes_the_views_anew_with_another_model() {
    let mut world = World::new(2).await;
    let first = Moody::new("first");
    let running = world.start(&first, RuntimeConfig::default()).await;
    for number in 1..=5 {
        world.say(0, number, Some(TEXTS[usize::try_from(number).expect("small") % 6])).await;
    }
    world.settled(&running).await;
    running.stop().await.expect("stopped");
    let second = Moody::new("second");
    // Said while nothing ran, so it lies after what was applied.
    world.say(1, 6, Some("later")).await;
    let running = world.start(&second, RuntimeConfig::default()).await;
    world.settled(&running).await;
    assert_eq!(second.asked.load(Ordering::SeqCst), 6, "every text again, by the new model");
    assert_eq!(world.seen().await.0.len(), 6);
    running.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_fences_the_first_which_says_so() {
    let mut world = World::new(1).await;
    let model = Moody::new("moody");
    let first = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 1, Some("one")).await;
    world.settled(&first).await;
    let second = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 2, Some("two")).await;
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), first.failed()).await.expect("in time");
    assert!(told.contains("fenced"), "{told}");
    world.settled(&second).await;
    assert_eq!(world.seen().await.0.len(), 2);
    first.stop().await.expect("stopped");
    second.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgets_nothing_when_the_log_is_reopened() {
    let mut world = World::new(1).await;
    let model = Moody::new("moody");
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 1, Some("one")).await;
    world.settled(&running).await;
    running.stop().await.expect("stopped");
    world.log.close().await;
    let path = world.folder.path().to_path_buf();
    world.log = open_log(&tempfile::tempdir().expect("a folder").keep());
    let placeholder = Arc::clone(&world.log);
    world.log = open_log(&path);
    drop(placeholder);
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 2, Some("one")).await;
    world.settled(&running).await;
    assert_eq!(world.seen().await.0.len(), 2);
    assert_eq!(model.asked.load(Ordering::SeqCst), 1);
    running.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_one_memo_and_stop_while_the_model_is_out() {
    let mut world = World::new(3).await;
    let model = Moody::new("moody");
    let config = RuntimeConfig { workers: 2, max_epoch_rows: 4, ..RuntimeConfig::default() };
    for number in 1..=30 {
        for user in 0..3 {
            world.say(user, number, Some(TEXTS[usize::try_from(number).expect("small") % 6])).await;
        }
    }
    // Stopped at once, most of it is not answered yet; a second run goes on.
    world.start(&model, config.clone()).await.stop().await.expect("stopped");
    let running = world.start(&model, config).await;
    world.settled(&running).await;
    assert_eq!(world.seen().await.0.len(), 90);
    assert_eq!(world.live_keys(topic::MODEL_ANSWERS).await.len(), 18, "one answer for each text of each user");
    let asked = model.asked.load(Ordering::SeqCst);
    for number in 1..=30 {
        world.say(0, number, None).await;
    }
    world.settled(&running).await;
    let mut news = world.log.appended(topic::MODEL_ANSWERS).expect("news");
    while world.live_keys(topic::MODEL_ANSWERS).await.len() != 12 {
        tokio::time::timeout(std::time::Duration::from_secs(10), news.changed()).await.expect("in time").expect("the log lives");
    }
    world.say(1, 31, Some(TEXTS[0])).await;
    world.settled(&running).await;
    assert_eq!(model.asked.load(Ordering::SeqCst), asked, "nothing is asked again");
    running.stop().await.expect("stopped");
}
