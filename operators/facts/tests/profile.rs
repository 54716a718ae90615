//! What becomes of claims and edits: superseding and its undoing, what depends on what, and the user's last word.

use ajatus_events::{ProfileEdit, ProfileOp};
use ajatus_facts::Polarity;
use ajatus_facts::profile::{Claim, Edit, Entry, Habits, State, derive};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

/// Later than everything here.
const NOW: i64 = 1_000_000;

fn claim(turn: &str, said_us: i64, attribute: &str, value: &str) -> Claim {
    Claim {
        said_us,
        turn: turn.to_owned(),
        start: 0,
        end: 10,
        attribute: attribute.to_owned(),
        about: "self".to_owned(),
        value: value.to_owned(),
        polarity: Polarity::Holds,
        confidence: 90,
        valid_from_us: None,
        valid_to_us: None,
        rule: "en.test".to_owned(),
        version: "rules.1".to_owned(),
    }
}

fn ended(turn: &str, said_us: i64, attribute: &str, value: &str) -> Claim {
    Claim { polarity: Polarity::Ended, ..claim(turn, said_us, attribute, value) }
}

fn edit(id: &str, at_us: i64, op: ProfileOp, attribute: &str, value: &str, instead: Option<&str>) -> Edit {
    let edit = ProfileEdit {
        op,
        attribute: attribute.to_owned(),
        about: "self".to_owned(),
        value: Some(value.to_owned()),
        instead: instead.map(str::to_owned),
    };
    Edit { at_us, id: id.to_owned(), edit }
}

/// `attribute=value:state` of every entry.
fn seen(claims: &[Claim], edits: &[Edit]) -> Vec<String> {
    derive(claims, edits).iter().map(|entry| format!("{}={}:{}", entry.attribute, entry.value, entry.state(NOW).as_str())).collect()
}

fn one(entries: &[Entry], value: &str) -> Entry {
    let found: Vec<&Entry> = entries.iter().filter(|entry| entry.value == value).collect();
    assert_eq!(found.len(), 1, "{value} in {entries:?}");
    found[0].clone()
}

#[test]
fn a_later_value_supersedes_and_its_deletion_brings_the_older_one_back() {
    let (old, new) = (claim("t1", 10, "home", "Turku"), claim("t2", 20, "home", "Oulu"));
    assert_eq!(seen(&[old.clone(), new.clone()], &[]), ["home=Turku:superseded", "home=Oulu:current"]);
    let entries = derive(&[old.clone(), new], &[]);
    let cause = one(&entries, "Turku").ended_by.expect("superseded");
    assert_eq!((cause.turn.as_str(), cause.value.as_deref(), cause.at_us), ("t2", Some("Oulu"), 20));
    assert_eq!(seen(&[old], &[]), ["home=Turku:current"]);
}

#[test]
fn what_was_said_last_wins_over_what_began_last() {
    // "I live in Turku" in 22, then, in 30: "I moved to Oulu in 19".
    let moved = Claim { valid_from_us: Some(19), ..claim("t2", 30, "home", "Oulu") };
    let entries = derive(&[claim("t1", 22, "home", "Turku"), moved], &[]);
    assert_eq!(one(&entries, "Oulu").state(NOW), State::Current);
    let turku = one(&entries, "Turku");
    assert_eq!((turku.state(NOW), turku.from_us, turku.to_us), (State::Superseded, Some(22), Some(22)));
}

#[test]
fn an_upcoming_value_leaves_the_present_one_until_then() {
    let moving = Claim { valid_from_us: Some(50), ..claim("t2", 30, "home", "Oulu") };
    let entries = derive(&[claim("t1", 10, "home", "Turku"), moving], &[]);
    let states = |now: i64| (one(&entries, "Turku").state(now), one(&entries, "Oulu").state(now));
    assert_eq!(states(40), (State::Current, State::Upcoming));
    assert_eq!(states(50), (State::Superseded, State::Current));
    // And the other way round: what is so now does not undo the plan.
    let moving = Claim { valid_from_us: Some(50), ..claim("t2", 30, "home", "Oulu") };
    let entries = derive(&[moving, claim("t3", 35, "home", "Turku")], &[]);
    let states = |now: i64| (one(&entries, "Turku").state(now), one(&entries, "Oulu").state(now));
    assert_eq!((states(40), states(50)), ((State::Current, State::Upcoming), (State::Superseded, State::Current)));
}

#[test]
fn a_past_value_supersedes_nothing_and_a_value_that_comes_back_is_another_stretch() {
    let past = Claim { valid_from_us: Some(1), valid_to_us: Some(5), ..claim("t2", 20, "home", "Kemi") };
    assert_eq!(seen(&[claim("t1", 10, "home", "Turku"), past], &[]), ["home=Kemi:past", "home=Turku:current"]);
    let there_and_back = [claim("t1", 10, "home", "Turku"), claim("t2", 20, "home", "Oulu"), claim("t3", 30, "home", "turku")];
    let entries = derive(&there_and_back, &[]);
    let turku: Vec<(u32, Option<i64>, Option<i64>)> =
        entries.iter().filter(|entry| entry.value.to_lowercase() == "turku").map(|entry| (entry.stint, entry.from_us, entry.to_us)).collect();
    assert_eq!(turku, [(0, Some(10), Some(20)), (1, Some(30), None)]);
}

#[test]
fn many_values_stand_side_by_side_and_opposites_do_not() {
    let claims = [claim("t1", 10, "likes", "jazz"), claim("t2", 20, "likes", "tea"), claim("t3", 30, "dislikes", "Jazz")];
    assert_eq!(seen(&claims, &[]), ["dislikes=Jazz:current", "likes=jazz:superseded", "likes=tea:current"]);
    assert_eq!(seen(&claims[..2], &[]), ["likes=jazz:current", "likes=tea:current"]);
    assert_eq!(seen(&[claim("t1", 10, "likes", "jazz"), ended("t2", 20, "likes", "jazz")], &[]), ["likes=jazz:past"]);
    assert_eq!(seen(&[claim("t1", 10, "employer", "Nokia"), ended("t2", 20, "employer", "*")], &[]), ["employer=Nokia:past"]);
}

#[test]
fn what_depends_on_a_changed_fact_goes_stale_until_it_is_said_again() {
    let before = vec![claim("t1", 10, "home", "Turku"), claim("t2", 11, "commute", "by tram"), claim("t3", 12, "gym", "Forum Gym"), claim("t4", 13, "likes", "tea")];
    assert!(seen(&before, &[]).iter().all(|entry| entry.ends_with("current")));
    let mut moved = before.clone();
    moved.push(claim("t5", 20, "home", "Oulu"));
    assert_eq!(seen(&moved, &[]), ["commute=by tram:stale", "gym=Forum Gym:stale", "home=Turku:superseded", "home=Oulu:current", "likes=tea:current"]);
    let stale = one(&derive(&moved, &[]), "Forum Gym").stale.expect("stale");
    assert_eq!((stale.why.as_str(), stale.at_us, stale.turn.as_str()), ("commute", 20, "t5"));
    // A new way to work; the gym near the old one stays in doubt.
    let mut again = moved.clone();
    again.push(claim("t6", 30, "commute", "by bus"));
    assert_eq!(seen(&again, &[])[..3], ["commute=by tram:superseded", "commute=by bus:current", "gym=Forum Gym:stale"]);
    // Without the move nothing was ever in doubt.
    assert_eq!(derive(&before, &[]), derive(&moved.into_iter().filter(|claim| claim.turn != "t5").collect::<Vec<_>>(), &[]));
    assert_eq!(seen(&before, &[edit("e1", 15, ProfileOp::Pin, "gym", "forum gym", None)])[1], "gym=Forum Gym:current");
}

#[test]
fn a_correction_says_it_never_was_and_goes_when_it_is_taken_back() {
    let said = [claim("t1", 10, "home", "Turku"), claim("t2", 12, "home", "Turku")];
    let corrected = [edit("e1", 20, ProfileOp::Correct, "home", "turku", Some("Kuopio"))];
    assert_eq!(seen(&said, &corrected), ["home=Turku:corrected", "home=Kuopio:current"]);
    let kuopio = one(&derive(&said, &corrected), "Kuopio");
    assert_eq!((kuopio.confidence, kuopio.sources[0].turn.as_str(), kuopio.sources[0].rule.as_str()), (100, "e1", "user.correct"));
    assert_eq!(seen(&said, &[]), ["home=Turku:current"]);
    // Said after the correction, it counts again.
    let mut later = said.to_vec();
    later.push(claim("t3", 30, "home", "Turku"));
    assert_eq!(seen(&later, &corrected).last().map(String::as_str), Some("home=Turku:current"));
}

#[test]
fn what_the_user_has_forgotten_keeps_no_words() {
    let said = [claim("t1", 10, "likes", "cigars"), claim("t2", 20, "likes", "tea")];
    let entries = derive(&said, &[edit("e1", 30, ProfileOp::Forget, "likes", "Cigars", None)]);
    assert_eq!(entries.iter().map(|entry| entry.state(NOW)).collect::<Vec<_>>(), [State::Forgotten, State::Current]);
    let text = serde_json::to_string(&entries).expect("JSON");
    assert!(!text.to_lowercase().contains("cigar") && !text.contains("t1"), "{text}");
    assert!(one(&derive(&said, &[edit("e1", 30, ProfileOp::Mute, "likes", "tea", None)]), "tea").flags.muted);
}

#[test]
fn confidence_grows_with_turns_and_not_with_words_of_one_turn() {
    let twice = [claim("t1", 10, "likes", "tea"), Claim { start: 20, ..claim("t1", 10, "likes", "tea") }];
    assert_eq!(one(&derive(&twice, &[]), "tea").confidence, 90);
    let two = [claim("t1", 10, "likes", "tea"), claim("t2", 20, "likes", "tea")];
    assert_eq!(one(&derive(&two, &[]), "tea").confidence, 99);
}

#[test]
fn any_order_and_any_repeats_give_the_same_and_every_source_is_there() {
    let mut random = StdRng::seed_from_u64(5);
    let values = ["Turku", "Oulu", "turku ", "Kemi", "*"];
    let attributes = ["home", "commute", "gym", "likes", "dislikes", "employer", "hobby"];
    let ops = [ProfileOp::Correct, ProfileOp::Pin, ProfileOp::Mute, ProfileOp::Forget];
    for round in 0..3_000 {
        let mut claims: Vec<Claim> = (0..random.random_range(0..12))
            .map(|number| {
                let said = random.random_range(0..40);
                let mut claim = claim(&format!("t{number}"), said, attributes.choose(&mut random).expect("some"), values.choose(&mut random).expect("some"));
                claim.polarity = *[Polarity::Holds, Polarity::Holds, Polarity::Holds, Polarity::Ended, Polarity::Denied].choose(&mut random).expect("some");
                claim.valid_from_us = random.random_bool(0.3).then(|| random.random_range(0..60));
                claim.valid_to_us = random.random_bool(0.2).then(|| random.random_range(0..60));
                claim.confidence = random.random_range(0..=100);
                claim
            })
            .collect();
        let mut edits: Vec<Edit> = (0..random.random_range(0..4))
            .map(|number| {
                let instead = random.random_bool(0.5).then_some("Kuopio");
                let (op, attribute) = (*ops.choose(&mut random).expect("some"), attributes.choose(&mut random).expect("some"));
                edit(&format!("e{number}"), random.random_range(0..40), op, attribute, values.choose(&mut random).expect("some"), instead)
            })
            .collect();
        let first = derive(&claims, &edits);
        let known: Vec<&str> = claims.iter().map(|claim| claim.turn.as_str()).chain(edits.iter().map(|edit| edit.id.as_str())).collect();
        let mut names: Vec<String> = first.iter().map(Entry::name).collect();
        for entry in &first {
            assert!(!entry.sources.is_empty(), "round {round}: {entry:?}");
            let causes = entry.ended_by.iter().chain(&entry.stale).map(|cause| cause.turn.as_str());
            assert!(entry.sources.iter().map(|source| source.turn.as_str()).chain(causes).all(|turn| known.contains(&turn)), "round {round}: {entry:?}");
            assert!(entry.from_us.zip(entry.to_us).is_none_or(|(from, to)| from <= to), "round {round}: {entry:?}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), first.len(), "round {round}: two entries of one name");
        claims.shuffle(&mut random);
        edits.shuffle(&mut random);
        let repeated: Vec<Claim> = claims.iter().chain(claims.choose(&mut random)).cloned().collect();
        assert_eq!(derive(&repeated, &edits), first, "round {round}");
    }
}

#[test]
fn habits_are_sums_that_come_apart_again() {
    let (a, b) = (Habits::of("Hei! Mitä kuuluu? 🎉", 3_600_000_000 * 7), Habits::of("I am fine and so is the cat", 86_400_000_000));
    assert_eq!((a.finnish, a.english, a.questions, a.exclamations, a.emoji, a.words, a.hours[7], a.weekdays[3]), (1, 0, 1, 1, 1, 3, 1, 1));
    assert_eq!((b.english, b.words, b.hours[0], b.weekdays[4]), (1, 8, 1, 1));
    let both = a.clone().and(&b);
    assert_eq!((both.turns, both.words, both.clone()), (2, 11, b.and(&a)));
    assert_eq!(a.clone().times(3), a.clone().and(&a).and(&a));
}
