//! Profiles kept by the pipeline equal those made from scratch, over edits, deletions, corrections and restarts.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use ajatus_events::{Body, InteractionId, ProfileEdit, ProfileOp, UserId};
use ajatus_facts::profile::{Edit, Turn, batch};
use ajatus_memory::index::{Index, IndexConfig, PIPELINE};
use ajatus_memory::postgres::ProfileKey;
use ajatus_memory::profile::{AsOf, State, View, read, why, why_not};
use ajatus_memory::retrieve::SearchOptions;
use ajatus_pipelines::RuntimeConfig;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use support::{Moody, World, role_of, said_at};
use uuid::Uuid;

const TEXTS: [&str; 12] = [
    "Asun Turussa.",
    "I live in Oulu.",
    "I moved from Turku to Oulu in 1971.",
    "I like tea.",
    "I no longer like tea.",
    "En pidä teestä.",
    "My sister Anna lives in Kemi.",
    "I work at Nokia.",
    "I quit my job.",
    "Pottery again, and the kayak!",
    "The kayak needs paint.",
    "hei",
];

/// What lives: by user and number.
type Truth = BTreeMap<(usize, u128), Body>;

fn random_body(random: &mut StdRng, number: u128) -> Body {
    if number.is_multiple_of(5) {
        let op = *[ProfileOp::Correct, ProfileOp::Pin, ProfileOp::Mute, ProfileOp::Forget].choose(random).expect("some");
        let (attribute, value) = [("home", "Turku"), ("home", "Oulu"), ("likes", "tea"), ("employer", "Nokia")].choose(random).expect("some");
        let instead = (op == ProfileOp::Correct && random.random_bool(0.5)).then(|| "Kuopio".to_owned());
        let edit = ProfileEdit { op, attribute: (*attribute).to_owned(), about: "self".to_owned(), value: Some((*value).to_owned()), instead };
        return Body { edit: Some(edit), ..Body::default() };
    }
    let used = if number.is_multiple_of(3) { vec![InteractionId(Uuid::from_u128(random.random_range(1..30)))] } else { Vec::new() };
    Body { text: (*TEXTS.choose(random).expect("some")).to_owned(), used, ..Body::default() }
}

async fn talk(world: &mut World, truth: &mut Truth, random: &mut StdRng, records: usize) {
    for _ in 0..records {
        let (user, number) = (random.random_range(0..world.users.len()), random.random_range(1..30_u128));
        let body = random.random_bool(0.75).then(|| random_body(random, number));
        match &body {
            Some(body) => drop(truth.insert((user, number), body.clone())),
            None => drop(truth.remove(&(user, number))),
        }
        world.put(user, number, body).await;
    }
}

/// Turns and edits of one user.
fn parts(truth: &Truth, user: usize) -> (Vec<Turn>, Vec<Edit>) {
    let (mut turns, mut edits) = (Vec::new(), Vec::new());
    for ((_, number), body) in truth.iter().filter(|((whose, _), _)| *whose == user) {
        let (id, at_us) = (Uuid::from_u128(*number).to_string(), said_at(*number).timestamp_micros());
        match &body.edit {
            Some(edit) => edits.push(Edit { at_us, id, edit: edit.clone() }),
            None => turns.push(Turn {
                id,
                by_user: role_of(*number) == ajatus_events::Role::User,
                at_us,
                text: body.text.clone(),
                used: body.used.iter().map(ToString::to_string).collect(),
            }),
        }
    }
    (turns, edits)
}

/// Kind, name and body of everything in the tables must be what is made from scratch.
async fn assert_equal(world: &World, truth: &Truth, when: &str) {
    for (at, user) in world.users.iter().enumerate() {
        let (turns, edits) = parts(truth, at);
        let key = world.test.keys.user(*user).await.expect("a key");
        let should: BTreeSet<(ProfileKey, String)> =
            batch(&turns, &edits).into_iter().map(|document| (ProfileKey::of(&key, *user, document.kind, &document.name), document.body)).collect();
        let (_, held) = world.test.db.profile(&world.test.keys, *user, PIPELINE).await.expect("read");
        let held: BTreeSet<(ProfileKey, String)> = held.into_iter().map(|document| (document.key, document.body)).collect();
        assert_eq!(held, should, "{when}, user {at}");
        let held: BTreeSet<String> = world.test.db.profile_edits(&world.test.keys, *user).await.expect("read").into_iter().map(|edit| edit.id.to_string()).collect();
        assert_eq!(held, edits.into_iter().map(|edit| edit.id).collect(), "{when}, user {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_profile_equals_one_made_from_scratch_over_edits_deletions_and_restarts() {
    let mut world = World::new(4).await;
    let (mut truth, mut random) = (Truth::new(), StdRng::seed_from_u64(12));
    let model = Moody::new("moody");
    for round in 0..8_usize {
        talk(&mut world, &mut truth, &mut random, 20).await;
        let config = RuntimeConfig { workers: 1 + round % 2, max_epoch_rows: 8, compact_after: 20, ..RuntimeConfig::default() };
        let running = world.start(&model, config).await;
        world.settled(&running).await;
        assert_equal(&world, &truth, &format!("round {round}, after the start")).await;
        talk(&mut world, &mut truth, &mut random, 30).await;
        if round % 3 != 2 {
            world.settled(&running).await;
            assert_equal(&world, &truth, &format!("round {round}")).await;
        }
        // Every third time it is stopped in the middle of its work.
        running.stop().await.expect("stopped");
    }
    assert!(truth.values().any(|body| body.edit.is_some()) && truth.values().any(|body| !body.used.is_empty()));
}

async fn states(world: &World, user: UserId) -> Vec<String> {
    let view = View::at(said_at(100));
    let profile = read(&world.test.db, &world.test.keys, user, view).await.expect("read");
    profile.facts.iter().map(|fact| format!("{}={}:{}", fact.entry.attribute, fact.entry.value, fact.state.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_why_and_why_not_and_how_it_was_and_forgets_it_in_the_past_too() {
    let mut world = World::new(1).await;
    let (user, model) = (world.users[0], Moody::new("moody"));
    let running = world.start(&model, RuntimeConfig::default()).await;
    world.say(0, 1, Some("Hei! Asun Turussa.")).await;
    world.settled(&running).await;
    let turku = running.status().borrow().epoch;
    world.say(0, 2, Some("I live in Oulu.")).await;
    world.say(0, 4, Some("Would I like to live in Kemi?")).await;
    world.settled(&running).await;
    assert_eq!(states(&world, user).await, ["home=Turku:superseded", "home=Oulu:current"]);

    let (db, keys, view) = (&world.test.db, &world.test.keys, View::at(said_at(100)));
    let profile = read(db, keys, user, view).await.expect("read");
    let said = why(db, keys, user, &profile.facts[0]).await.expect("known");
    assert_eq!((said[0].words.as_deref(), said[0].source.rule.as_str()), (Some("Asun Turussa"), "fi.koti.asun"));
    let dropped = why_not(db, keys, user, &profile, "turku", None).await.expect("known");
    let cause = dropped.dropped[0].entry.ended_by.clone().expect("superseded");
    assert_eq!((cause.why.as_str(), cause.value.as_deref(), cause.turn), ("superseded", Some("Oulu"), Uuid::from_u128(2).to_string()));
    let unread = why_not(db, keys, user, &profile, "Kemi", Some("home")).await.expect("known");
    assert_eq!((unread.dropped.len(), unread.unread.len()), (0, 1), "{unread:?}");

    let past = |epoch| AsOf::Epoch(epoch).profile(db, keys, user, view);
    let then = past(turku).await.expect("made");
    assert_eq!(then.facts.iter().map(|fact| (fact.entry.value.as_str(), fact.state)).collect::<Vec<_>>(), [("Turku", State::Current)]);
    let now = past(u64::MAX).await.expect("made");
    assert_eq!(now.facts.iter().map(|fact| (&fact.id, &fact.entry)).collect::<Vec<_>>(), profile.facts.iter().map(|fact| (&fact.id, &fact.entry)).collect::<Vec<_>>());
    assert_eq!(AsOf::Time(chrono::DateTime::UNIX_EPOCH).profile(db, keys, user, view).await.expect("made").facts, []);
    let index = Index::new(db.clone(), keys.clone(), IndexConfig::default());
    let mut then = index.past(user, "0".parse().expect("an epoch")).await.expect("made");
    let (question, options) = (then.prepare("Where?"), SearchOptions::default());
    assert_eq!(then.search(&question, &[1.0, 0.0], &options).expect("searched").hits, []);
    let mut then = index.past(user, AsOf::Epoch(turku)).await.expect("made");
    assert_eq!(then.search(&question, &[1.0, 0.0], &options).expect("searched").hits.len(), 1);
    assert!(then.search(&question, &[1.0, 0.0, 0.0], &options).is_err(), "a vector of another model");
    assert!("soon".parse::<AsOf>().is_err());

    world.say(0, 2, None).await;
    world.settled(&running).await;
    assert_eq!(states(&world, user).await, ["home=Turku:current"]);
    world.say(0, 1, None).await;
    world.settled(&running).await;
    let past = AsOf::Epoch(turku).profile(&world.test.db, &world.test.keys, user, view).await.expect("made");
    assert_eq!(past.facts, [], "what was forgotten is absent from the past");
    running.stop().await.expect("stopped");
}
