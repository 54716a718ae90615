//! What a search promises, each on a few turns made by hand.

use ajatus_events::{Body, ConversationId, InteractionId, Role, UserId};
use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use super::*;
use crate::postgres::Memory;

const USER: UserId = UserId(Uuid::from_u128(1));

fn turn(number: u128, session: u32, speaker: Option<&str>, text: &str) -> Memory {
    let day = "2026-03-01T08:00:00Z".parse::<DateTime<Utc>>().expect("a time") + chrono::TimeDelta::days(i64::from(session) * 30);
    Memory {
        id: InteractionId(Uuid::from_u128(number)),
        user_id: USER,
        conversation_id: ConversationId(Uuid::from_u128(1)),
        session,
        position: u32::try_from(number).expect("small"),
        role: if speaker.is_some() { Role::Other } else { Role::User },
        occurred_at: day,
        body: Body { text: text.to_owned(), speaker: speaker.map(str::to_owned), ..Body::default() },
        epoch: 1,
    }
}

/// Small talk, seven turns a session, and then the turns that matter.
fn arena(said: &[(u32, Option<&str>, &str)]) -> Arena {
    let mut arena = Arena::new(USER);
    let talk = ["How are you?", "Fine, thanks.", "It rained a lot.", "Good night!", "See you soon.", "That sounds nice.", "I am tired."];
    for (number, text) in (0..42_u32).zip(talk.iter().cycle()) {
        arena.upsert(turn(u128::from(number) + 1, number / 7, Some(if number % 2 == 0 { "Aino" } else { "Dave" }), text), &[]);
    }
    for (number, (session, speaker, text)) in said.iter().enumerate() {
        arena.upsert(turn(100 + number as u128, *session, *speaker, text), &[]);
    }
    arena
}

fn search(arena: &mut Arena, question: &str, options: &SearchOptions) -> Found {
    let query = arena.prepare(question);
    arena.find(&query, &[], options)
}

fn texts(found: &Found) -> Vec<&str> {
    found.hits.iter().map(|hit| hit.memory.body.text.as_str()).collect()
}

#[test]
fn finds_by_words_alone_when_there_is_no_vector() {
    let mut arena = arena(&[(3, Some("Dave"), "My grandmother Hilkka repaired clocks in Oulu.")]);
    let found = search(&mut arena, "Who repaired clocks?", &SearchOptions { explain: true, ..SearchOptions::default() });
    assert_eq!(texts(&found)[0], "My grandmother Hilkka repaired clocks in Oulu.");
    assert!(found.confident && found.evidence.cosine.is_none(), "{:?}", found.evidence);
    let dense = ["dense_turn", "dense_near", "dense_wide", "answer", "agreement"];
    assert!(found.hits.iter().flat_map(|hit| &hit.signals).all(|(name, _)| !dense.contains(name)));
}

#[test]
fn finds_by_words_in_other_scripts() {
    let mut arena = arena(&[(1, None, "我的猫叫毛毛，她喜欢睡在窗台上。"), (2, None, "Моя кошка спит на окне."), (3, None, "私の犬は公園が好きです。")]);
    for (question, answer) in [("我的猫叫什么名字？", "我的猫叫毛毛，她喜欢睡在窗台上。"), ("где спит кошка?", "Моя кошка спит на окне."), ("犬は何が好きですか", "私の犬は公園が好きです。")] {
        let found = search(&mut arena, question, &SearchOptions::default());
        assert_eq!(texts(&found)[0], answer, "{question}");
    }
}

#[test]
fn the_shares_of_a_hit_make_its_score_and_scores_never_rise() {
    let mut random = StdRng::seed_from_u64(3);
    let mut arena = Arena::new(USER);
    let words = ["cello", "Oulu", "river", "sister", "three", "May", "yesterday", "why?", "guitar", "in Kemi, Mustikka", "bread"];
    for number in 0..200_u32 {
        let text: Vec<&str> = (0..random.random_range(1..30)).filter_map(|_| words.choose(&mut random).copied()).collect();
        let speaker = ["Aino", "Dave"].choose(&mut random).copied();
        let vector = [random.random_range(-1.0..1.0), random.random_range(-1.0..1.0), 0.5_f32];
        arena.upsert(turn(u128::from(number), number / 9, speaker, &text.join(" ")), &vector);
    }
    for question in ["Which instruments does Aino play?", "When was Dave in Oulu?", "Where did I eat bread in May?", "mökki", ""] {
        for diversity in [None, Some(0.0), Some(1.0)] {
            let options = SearchOptions { limit: 50, explain: true, diversity, ..SearchOptions::default() };
            let query = arena.prepare(question);
            let hits = arena.search(&query, &[0.6, 0.0, 0.8], &options);
            assert_eq!(hits.len(), 50);
            for hit in &hits {
                let sum: f32 = hit.signals.iter().map(|(_, share)| share).sum();
                assert!((sum - hit.score).abs() < 1e-3, "{question}: {sum} is not {}: {:?}", hit.score, hit.signals);
            }
            assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "{question}");
        }
    }
}

#[test]
fn a_signal_switched_off_has_no_share() {
    let mut arena = arena(&[(2, Some("Dave"), "I bought three cellos in Oulu in May.")]);
    for signal in Signal::all() {
        let options = SearchOptions { explain: true, signals: Signals::ALL.without(signal), ..SearchOptions::default() };
        let found = search(&mut arena, "How many instruments did Dave buy in March?", &options);
        assert!(found.hits.iter().flat_map(|hit| &hit.signals).all(|(name, _)| *name != signal.name()), "{}", signal.name());
    }
}

#[test]
fn a_question_for_several_things_finds_things_of_the_kind_by_whom_it_names() {
    let mut arena = arena(&[
        (1, Some("Aino"), "I practise the violin every day now."),
        (4, Some("Aino"), "Then I got out my old cello."),
        (4, Some("Dave"), "A drum would be louder."),
    ]);
    let place = |signals: Signals, wanted: &str, arena: &mut Arena| {
        let found = search(arena, "Which instruments does Aino have?", &SearchOptions { limit: 50, signals, ..SearchOptions::default() });
        texts(&found).iter().position(|text| *text == wanted).expect("found")
    };
    let all = Signals::ALL;
    for wanted in ["I practise the violin every day now.", "Then I got out my old cello."] {
        assert!(place(all, wanted, &mut arena) < place(all.without(Signal::Kind), wanted, &mut arena), "{wanted}");
        assert!(place(all, wanted, &mut arena) < place(all, "A drum would be louder.", &mut arena), "{wanted}: not the one asked about");
    }
    let options = SearchOptions { explain: true, ..SearchOptions::default() };
    // The same question for one thing does not look at kinds.
    let one = search(&mut arena, "Is that instrument Aino's?", &options);
    assert!(one.hits.iter().flat_map(|hit| &hit.signals).all(|(name, _)| *name != "kind"));
}

#[test]
fn diversity_prefers_other_sessions() {
    let said: Vec<(u32, Option<&str>, &str)> =
        vec![(1, None, "The sauna is hot today."), (1, None, "The sauna is hot now."), (1, None, "The sauna is hot again."), (4, None, "Our sauna got hot at last.")];
    let mut arena = arena(&said);
    let sessions = |diversity: f32, arena: &mut Arena| -> Vec<u32> {
        let options = SearchOptions { limit: 4, diversity: Some(diversity), ..SearchOptions::default() };
        search(arena, "hot sauna", &options).hits.iter().map(|hit| hit.memory.session).collect()
    };
    let place = |sessions: Vec<u32>| sessions.iter().position(|session| *session == 4).unwrap_or(9);
    assert!(place(sessions(1.0, &mut arena)) <= place(sessions(0.0, &mut arena)));
}

#[test]
fn times_of_the_question_prefer_or_filter_and_fall_back_to_all() {
    // Sessions begin on 1 March and follow each other by thirty days.
    let mut arena = arena(&[(0, None, "We painted the boat."), (3, None, "We painted the boat.")]);
    let now = Some("2026-06-15T08:00:00Z".parse().expect("a time"));
    let options = |time, now| SearchOptions { limit: 50, time, now, ..SearchOptions::default() };
    let first = |found: &Found| found.hits[0].memory.session;
    for question in ["When did we paint the boat last month?", "Milloin maalasimme the boat viime kuussa? We painted the boat"] {
        let found = search(&mut arena, question, &options(TimeUse::Prefer, now));
        assert_eq!(first(&found), 3, "{question}");
        let found = search(&mut arena, question, &options(TimeUse::Only, now));
        assert!(found.hits.iter().all(|hit| hit.memory.session == 3), "{question}");
    }
    // No present: the words resolve to nothing. No turn of the time: all turns.
    assert_eq!(search(&mut arena, "We painted the boat last month", &options(TimeUse::Only, None)).hits.len(), 44);
    assert_eq!(search(&mut arena, "We painted the boat two years ago", &options(TimeUse::Only, now)).hits.len(), 44);
    let march = search(&mut arena, "What did we paint in March 2026?", &options(TimeUse::Only, None));
    assert!(!march.hits.is_empty() && march.hits.iter().all(|hit| hit.memory.session <= 1));
}

#[test]
fn a_rare_name_of_the_best_turn_leads_to_other_turns() {
    let mut arena = arena(&[
        (1, Some("Dave"), "My cousin, Hilkka, repaired the old clock tower."),
        (5, Some("Dave"), "Yesterday, Hilkka moved away."),
    ]);
    let place = |signals: Signals, arena: &mut Arena| {
        let found = search(arena, "Who repaired the clock tower?", &SearchOptions { limit: 50, signals, ..SearchOptions::default() });
        texts(&found).iter().position(|text| *text == "Yesterday, Hilkka moved away.").expect("found")
    };
    assert!(place(Signals::ALL, &mut arena) < place(Signals::ALL.without(Signal::Hop), &mut arena));
}

#[test]
fn a_budget_of_tokens_is_kept_but_for_the_first_hit() {
    let long = "sauna ".repeat(100);
    let mut arena = arena(&[(1, None, &long), (2, None, "A sauna.")]);
    let budget = |tokens| SearchOptions { limit: 50, token_budget: Some(tokens), ..SearchOptions::default() };
    let spent = |found: &Found| found.hits.iter().map(|hit| hit.memory.body.text.chars().count().div_ceil(4)).sum::<usize>();
    assert!(spent(&search(&mut arena, "sauna", &budget(40))) <= 40.max(long.len() / 4));
    assert_eq!(search(&mut arena, "sauna", &budget(0)).hits.len(), 1);
    assert_eq!(search(&mut arena, "sauna", &budget(usize::MAX)).hits.len(), 44);
}

#[test]
fn says_whether_an_answer_is_likely_and_finds_nothing_below_a_threshold() {
    let mut arena = arena(&[(3, Some("Dave"), "My grandmother Hilkka repaired clocks in Oulu.")]);
    let known = search(&mut arena, "Did Dave's grandmother repair clocks?", &SearchOptions::default());
    assert!(known.confident, "{:?}", known.evidence);
    let unknown = search(&mut arena, "Which quantum computer did Dave's employer purchase?", &SearchOptions::default());
    assert!(!unknown.confident && !unknown.hits.is_empty(), "{:?}", unknown.evidence);
    let strict = SearchOptions { min_score: 0.3, ..SearchOptions::default() };
    assert!(search(&mut arena, "Which quantum computer did Dave's employer purchase?", &strict).hits.is_empty());
    assert!(!search(&mut arena, "Did Dave's grandmother repair clocks?", &strict).hits.is_empty());
}

#[test]
fn bears_any_question_and_any_limit() {
    let mut empty = Arena::new(USER);
    assert_eq!(search(&mut empty, "anything", &SearchOptions::default()), Found::default());
    let mut arena = arena(&[(1, None, "猫が好き 🎉")]);
    let enormous = "what which how many mitä in May 2023 ".repeat(20_000);
    for question in ["", "?", "🎉", "猫", "\u{0}\u{1e}\u{1f}", "Aino", "' 's '", enormous.as_str()] {
        for limit in [0, 1, 5, 10_000] {
            let options = SearchOptions { limit, now: Some(DateTime::<Utc>::MIN_UTC), ..SearchOptions::default() };
            assert_eq!(search(&mut arena, question, &options).hits.len(), limit.min(43));
        }
    }
}
