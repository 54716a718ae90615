//! Replies: their order, their bounds, and their end on every path.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ajatus_events::{ConversationId, Interaction, topic};
use ajatus_kafka::{Log as _, wire};
use ajatus_serving::reply::{FrameBody, Frames, ReplyConfig, ReplyLimits, Replier};
use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{World, frames};

/// Every turn on the log, in order of partition and offset.
async fn turns(world: &World) -> Vec<Interaction> {
    let mut turns = Vec::new();
    for partition in 0..4 {
        let chunk = world.log.read(topic::INTERACTIONS, partition, 0, 1_000).await.expect("read");
        turns.extend(chunk.entries.into_iter().filter_map(|entry| entry.value).map(|value| wire::decode::<Interaction>(&value).expect("a turn")));
    }
    turns
}

async fn last_of(frames: Frames) -> FrameBody {
    let all: Vec<_> = tokio::time::timeout(super::support::PATIENCE, frames.collect()).await.expect("the frames end");
    all.into_iter().next_back().expect("a last frame").body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_said_at_once_get_positions_of_their_own() {
    let world = Arc::new(World::start().await);
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (world, token, path) = (Arc::clone(&world), token.clone(), format!("/v1/conversations/{conversation}/messages"));
        posts.spawn(async move { world.call(Method::POST, &path, Some(&token), Some(json!({ "text": format!("message {number}") }))).await.0 });
    }
    assert!(posts.join_all().await.iter().all(|status| *status == StatusCode::CREATED));
    let mut positions: Vec<u32> = turns(&world).await.iter().map(|turn| turn.position).collect();
    positions.sort_unstable();
    assert_eq!(positions, [0, 1, 2, 3, 4, 5, 6, 7]);
    Arc::into_inner(world).expect("the last").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_server_ends_open_streams_and_keeps_what_was_said() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    world.words.permits.forget_permits(1_000);
    world.words.length.store(50, Ordering::SeqCst);
    let url = format!("{}/v1/conversations/{conversation}/messages", world.base);
    let response = world.http.post(url).bearer_auth(&token).json(&json!({ "text": "hei" })).send().await.expect("an answer");
    world.words.permits.add_permits(2);
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    while !text.contains("word1") {
        text.push_str(std::str::from_utf8(&stream.next().await.expect("more").expect("a chunk")).expect("text"));
    }
    let begun = Instant::now();
    let mut reading = tokio::task::JoinSet::new();
    reading.spawn(async move {
        while let Some(Ok(chunk)) = stream.next().await {
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        text
    });
    let log = Arc::clone(&world.log);
    world.stop_serving().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "the open stream held up the end for {:?}", begun.elapsed());
    let told = frames(&reading.join_next().await.expect("one").expect("read"));
    let last = told.last().expect("an end");
    assert_eq!((&last["type"], &last["finish_reason"]), (&json!("done"), &json!("stopped")), "{last}");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_stopped_before_its_first_word_leaves_no_empty_turn() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    world.words.permits.forget_permits(1_000);
    let url = format!("{}/v1/conversations/{conversation}/messages", world.base);
    let mut response = world.http.post(url).bearer_auth(&token).json(&json!({ "text": "hei" })).send().await.expect("an answer");
    let first = response.chunk().await.expect("a chunk").expect("text");
    let id = frames(std::str::from_utf8(&first).expect("text"))[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(world.call(Method::POST, &format!("/v1/replies/{id}/stop"), Some(&token), None).await.0, StatusCode::ACCEPTED);
    let told = frames(&response.text().await.expect("text"));
    let last = told.last().expect("an end");
    assert_eq!((&last["finish_reason"], &last["message_id"]), (&json!("stopped"), &Value::Null), "{last}");
    assert_eq!(turns(&world).await.len(), 1, "only the question is on the log");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_says_nothing_is_given_up_at_the_deadline() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = ConversationId(world.conversation(&token).await.parse().expect("an id"));
    world.words.permits.forget_permits(1_000);
    let limits = ReplyLimits { deadline: Duration::from_secs(1), ..ReplyLimits::default() };
    let replier = Replier::with_limits(world.reply_parts(), ReplyConfig::default(), limits);
    let user = world.user_id("aino").await;
    let frames = replier.start(user, conversation, "hei".to_owned()).await.expect("taken");
    assert!(matches!(last_of(frames).await, FrameBody::Error { problem } if problem.code == "unavailable"));
    // What was said by then is kept. The pipeline has brought the question in, so the next reply does not wait for it.
    world.remember().await;
    world.words.permits.add_permits(1);
    let frames = replier.start(user, conversation, "hei again".to_owned()).await.expect("taken");
    assert!(matches!(last_of(frames).await, FrameBody::Done { finish_reason, message_id: Some(_), .. } if finish_reason == "timeout"));
    replier.close().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_at_once_are_bounded_and_a_refused_message_is_not_on_the_log() {
    let world = World::start().await;
    let (token, _) = (world.user("aino").await, world.user("other").await);
    let conversation = ConversationId(world.conversation(&token).await.parse().expect("an id"));
    world.words.permits.forget_permits(1_000);
    let limits = ReplyLimits { running_per_user: 2, running: 3, ..ReplyLimits::default() };
    let replier = Replier::with_limits(world.reply_parts(), ReplyConfig::default(), limits);
    let (user, other) = (world.user_id("aino").await, world.user_id("other").await);
    let first = replier.start(user, conversation, "one".to_owned()).await.expect("taken");
    let second = replier.start(user, conversation, "two".to_owned()).await.expect("taken");
    let refused = replier.start(user, conversation, "three".to_owned()).await.err().expect("refused");
    assert_eq!((refused.status, refused.code.as_str()), (429, "too_many_replies"));
    let third = replier.start(other, conversation, "four".to_owned()).await.expect("another user has room");
    let refused = replier.start(other, conversation, "five".to_owned()).await.err().expect("refused");
    assert_eq!((refused.status, refused.code.as_str()), (503, "unavailable"));
    assert_eq!(turns(&world).await.len(), 3);
    assert!(replier.stop(user, first.id()));
    assert!(matches!(last_of(first).await, FrameBody::Done { .. }));
    let again = replier.start(user, conversation, "three".to_owned()).await.expect("there is room again");
    replier.close().await;
    for frames in [second, third, again] {
        assert!(matches!(last_of(frames).await, FrameBody::Done { finish_reason, .. } if finish_reason == "stopped"));
    }
    assert_eq!(replier.start(user, conversation, "late".to_owned()).await.err().expect("closed").status, 503);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_cannot_be_read_from_old_frames() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    world.call(Method::POST, &path, Some(&token), Some(json!({ "text": "the secret is under the stone" }))).await;
    world.remember().await;
    let (_, page) = world.call(Method::GET, &path, Some(&token), None).await;
    let id = page["items"][0]["id"].as_str().expect("an id").to_owned();
    // Another talk is given it as a memory.
    let other = world.conversation(&token).await;
    let (_, reply) = world.call(Method::POST, &format!("/v1/conversations/{other}/messages"), Some(&token), Some(json!({ "text": "where is the secret" }))).await;
    assert_eq!(reply["memories"][0]["id"], id.as_str());
    let old = format!("/v1/replies/{}/frames", reply["reply_id"].as_str().expect("an id"));
    assert_eq!(world.call(Method::GET, &old, Some(&token), None).await.0, StatusCode::OK);
    assert_eq!(world.call(Method::DELETE, &format!("{path}/{id}"), Some(&token), None).await.0, StatusCode::ACCEPTED);
    assert_eq!(world.call(Method::GET, &old, Some(&token), None).await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_message_does_not_wait_for_its_own_place_in_the_memory() {
    let world = World::start().await;
    let token = world.user("aino").await;
    let conversation = world.conversation(&token).await;
    // No pipeline runs here, so waiting for the message itself would take the whole second.
    let begun = Instant::now();
    let (status, _) = world.call(Method::POST, &format!("/v1/conversations/{conversation}/messages"), Some(&token), Some(json!({ "text": "hei" }))).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    world.stop().await;
}
