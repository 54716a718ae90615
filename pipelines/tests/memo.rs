//! What the memo says of itself, and what it lets go: never an answer that a live turn needs.

mod support;

use std::sync::atomic::Ordering;

use ajatus_events::{AnswerKey, topic};
use ajatus_kafka::{Log as _, Record, partition_for_user};
use ajatus_pipelines::{MemoSurvey, RuntimeConfig};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::{Moody, Seen, World};

/// Entries and live ones, of all groups together.
fn sums(survey: &MemoSurvey) -> (u64, u64) {
    survey.groups.iter().fold((0, 0), |sums, group| (sums.0 + group.entries, sums.1 + group.live))
}

/// An answer that no turn has asked for, as another program might leave it; where it lies.
async fn stray(world: &World, user: usize, model: &str, input: &str) -> String {
    let user_id = world.users[user];
    let key = AnswerKey { user_id, model: model.to_owned(), prompt: "-".to_owned(), input: input.to_owned() }.to_string();
    let record = Record { key: key.clone().into_bytes(), value: Some(b"\x01{\"answer\":\"AAAA\"}".to_vec()) };
    world.log.append(topic::MODEL_ANSWERS, partition_for_user(user_id, 4), vec![record]).await.expect("appended");
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_answers_by_model_and_says_which_are_needed() {
    let mut world = World::new(2).await;
    let model = Moody::new("moody");
    let running = world.start(&model, RuntimeConfig::default()).await;
    assert_eq!(running.survey_memo().await.expect("looked"), MemoSurvey::default(), "an empty memo is known at once");
    for number in 1..=6 {
        world.say(0, number, Some(&format!("text {}", number % 3))).await;
        world.say(1, number, Some("the same")).await;
    }
    world.settled(&running).await;
    stray(&world, 0, "moody@0", "00").await;
    stray(&world, 1, "older@1", "11").await;
    let survey = running.survey_memo().await.expect("looked");
    let groups: Vec<(&str, &str, u64, u64)> = survey.groups.iter().map(|group| (group.model.as_str(), group.prompt.as_str(), group.entries, group.live)).collect();
    assert_eq!(groups, [("moody@0", "-", 5, 4), ("older@1", "-", 1, 0)]);
    for group in &survey.groups {
        assert!(group.bytes > group.live_bytes && group.oldest_ms <= group.newest_ms && group.oldest_ms > 1_600_000_000_000, "{group:?}");
    }
    assert_eq!(world.live_keys(topic::MODEL_ANSWERS).await.len(), 6, "to look erases nothing");
    running.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lets_go_what_nobody_needs_and_after_a_restart_no_model_is_asked_and_the_views_are_equal() {
    let mut world = World::new(3).await;
    let (mut truth, mut random) = (Seen::new(), StdRng::seed_from_u64(11));
    let model = Moody::new("moody");
    for round in 0..4 {
        let running = world.start(&model, RuntimeConfig { max_epoch_rows: 8, ..RuntimeConfig::default() }).await;
        for _ in 0..40 {
            let (user, number) = (random.random_range(0..3_usize), random.random_range(1..20_u128));
            let text = random.random_bool(0.7).then(|| format!("word {}", random.random_range(0..6)));
            world.say(user, number, text.as_deref()).await;
            match text {
                Some(text) => drop(truth.insert((world.users[user], number), text)),
                None => drop(truth.remove(&(world.users[user], number))),
            }
            if random.random_bool(0.1) {
                // In the middle of the work, too.
                running.collect_memo().await.expect("collected");
            }
        }
        let strays = [stray(&world, 0, "moody@0", "00").await, stray(&world, 2, "gone@1", "11").await];
        world.settled(&running).await;
        let collected = running.collect_memo().await.expect("collected");
        assert!(collected.erased >= 2 && collected.compacted >= 2, "{collected:?}");
        let kept = world.live_keys(topic::MODEL_ANSWERS).await;
        assert!(strays.iter().all(|stray| !kept.contains_key(stray)));
        let needed: std::collections::BTreeSet<(ajatus_events::UserId, &String)> = truth.iter().map(|((user, _), text)| (*user, text)).collect();
        assert_eq!(kept.len(), needed.len(), "round {round}: one answer for each text of each user");
        let (before, asked) = (world.seen().await, model.asked.load(Ordering::SeqCst));
        assert_eq!(before.0, truth);
        running.stop().await.expect("stopped");

        let again = world.start(&model, RuntimeConfig::default()).await;
        let survey = again.survey_memo().await.expect("looked");
        let needed = u64::try_from(needed.len()).expect("small");
        assert_eq!(sums(&survey), (needed, needed), "round {round}: after a restart all of it is needed");
        assert_eq!(model.asked.load(Ordering::SeqCst), asked, "round {round}: no model is asked again");
        assert_eq!(world.seen().await, before);
        again.stop().await.expect("stopped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_no_answer_of_a_user_whose_turns_are_forgotten() {
    let mut world = World::new(2).await;
    let model = Moody::new("moody");
    let running = world.start(&model, RuntimeConfig::default()).await;
    for number in 1..=5 {
        world.say(0, number, Some(&format!("mine {number}"))).await;
        world.say(1, number, Some(&format!("theirs {number}"))).await;
    }
    world.settled(&running).await;
    for number in 1..=5 {
        world.say(0, number, None).await;
    }
    world.settled(&running).await;
    running.collect_memo().await.expect("collected");
    let kept = world.live_keys(topic::MODEL_ANSWERS).await;
    assert_eq!(kept.len(), 5);
    assert!(kept.keys().all(|key| key.starts_with(&world.users[1].to_string())), "{kept:?}");
    running.stop().await.expect("stopped");
    // What they say anew is asked anew, and is kept.
    let asked = model.asked.load(Ordering::SeqCst);
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 9, Some("mine 1")).await;
    world.settled(&running).await;
    assert_eq!(model.asked.load(Ordering::SeqCst), asked + 1);
    assert_eq!(sums(&running.collect_memo().await.expect("collected")), (6, 6));
    running.stop().await.expect("stopped");
}
