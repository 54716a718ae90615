//! How long a search takes; run by hand: `cargo test -p ajatus-memory --lib retrieve::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use ajatus_events::{Body, ConversationId, InteractionId, Role, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use super::*;
use crate::postgres::Memory;

const USER: UserId = UserId(Uuid::from_u128(1));
const DIMENSION: usize = 384;

/// Words as often as in talk: the n-th is 1/n as common as the first.
fn word(random: &mut StdRng) -> String {
    let place = 8000_f64.powf(random.random_range(0.0..1.0));
    format!("w{place:.0}x")
}

fn sentence(random: &mut StdRng, words: std::ops::Range<usize>) -> String {
    let count = random.random_range(words);
    let words: Vec<String> = (0..count).map(|_| word(random)).collect();
    words.join(" ")
}

fn unit(random: &mut StdRng) -> Vec<f32> {
    let raw: Vec<f32> = (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
    let long = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / long).collect()
}

fn turn(number: u32, random: &mut StdRng) -> Memory {
    Memory {
        id: InteractionId(Uuid::from_u128(u128::from(number))),
        user_id: USER,
        conversation_id: ConversationId(Uuid::from_u128(u128::from(number / 600))),
        session: number / 20,
        position: number,
        role: Role::Other,
        occurred_at: DateTime::<Utc>::UNIX_EPOCH + TimeDelta::hours(400_000 + i64::from(number)),
        body: Body {
            text: sentence(random, 5..45),
            speaker: Some(if number.is_multiple_of(2) { "Aino" } else { "Dave" }.to_owned()),
            ..Body::default()
        },
        epoch: 1,
    }
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    eprintln!("{what}: p50 {:.2?}, p99 {:.2?}, n {}", at(50), at(99), times.len());
}

/// Is a search of 10,000 turns below 5 ms (p50) and 20 ms (p99), and one right after a write too?
#[test]
#[ignore = "measures; run by hand"]
fn a_search_of_10_000_turns() {
    let mut random = StdRng::seed_from_u64(7);
    let mut arena = Arena::new(USER);
    for number in 0..10_000 {
        let (turn, vector) = (turn(number, &mut random), unit(&mut random));
        arena.upsert(turn, &vector);
    }
    let options = SearchOptions::default();
    let search = |arena: &mut Arena, random: &mut StdRng, with_vector: bool| {
        let question = format!("What {} did Aino buy in May?", sentence(random, 4..9));
        let vector = if with_vector { unit(random) } else { Vec::new() };
        let clock = Instant::now();
        let query = arena.prepare(&question);
        assert_eq!(arena.search(&query, &vector, &options).len(), 20);
        clock.elapsed()
    };
    eprintln!("first search after loading: {:.2?}", search(&mut arena, &mut random, true));
    told("search", (0..1000).map(|_| search(&mut arena, &mut random, true)).collect());
    told("search by words alone", (0..1000).map(|_| search(&mut arena, &mut random, false)).collect());
    let after = |number: u32| {
        let (turn, vector) = (turn(10_000 + number % 50, &mut random), unit(&mut random));
        arena.upsert(turn, &vector);
        search(&mut arena, &mut random, true)
    };
    told("search right after a write", (0..300).map(after).collect());
}
