//! What people like, study, are going to do: free words, cut where the clause goes on to something else.

use super::capture::{Piece, Scene, Taken, one};
use super::words::Kind;

/// Words that no thing begins with: they point at something said before, or begin a clause.
const POINTING: &[&str] = &[
    "it", "that", "this", "these", "those", "you", "him", "her", "them", "me", "us", "your", "yours", "his", "their", "how", "what", "when", "where", "who", "why", "if", "one", "everything",
    "nothing", "something", "anything", "everyone", "everybody", "i", "we", "he", "she", "they", "'s", "not", "be", "being", "having", "there", "here", "about", "very", "so", "too",
    "a lot", "both", "either", "neither", "more", "most", "least", "hearing", "seeing", "yourself", "each", "another", "any", "no", "know", "same",
];
/// Words within a thing that point at something said before: it does not stand for itself.
const WITHIN: &[&str] = &["it", "them", "him", "her", "this", "that", "these", "those", "there", "here", "you", "your", "me", "us", "who", "which"];
/// Words that go on with what was begun: a thing that is cut before one of them is not whole.
const UNFINISHED: &[&str] = &["that", "which", "who", "as", "like", "at", "is", "are", "was", "were", "has", "you", "i", "until", "before", "after", "all"];
/// What has its own article and is known to everybody.
const UNIQUE: &[&str] = &["sea", "ocean", "outdoors", "beach", "mountains", "forest", "piano", "guitar", "violin", "countryside", "sun", "rain", "snow", "city", "dark", "cold", "winter", "summer"];
/// Words that end a thing.
const STOPS: &[&str] = &[
    "and", "or", "but", "because", "when", "if", "so", "since", "although", "though", "that", "which", "who", "while", "as", "than", "more", "most", "very", "really", "lot", "too",
    "also", "now", "anymore", "these", "every", "much", "best", "best", "even", "for", "though", "either", "especially", "whenever", "lately", "however", "at", "all", "like", "is", "are",
    "was", "were", "has", "until", "over", "before", "after", "then", "anyway", "you", "i",
];
/// Verbs of a clause of its own: a list does not go on over them.
const VERBS: &[&str] = &[
    "likes", "loves", "hates", "lives", "works", "is", "was", "has", "have", "had", "are", "am", "were", "goes", "wants", "plays", "speaks", "prefers", "studies", "enjoys", "does", "do", "will",
    "can", "moved", "live", "work", "study", "like", "love", "hate", "enjoy", "prefer", "speak", "want", "need", "got", "went", "lived", "worked", "married", "came", "bought", "hope", "try",
    "think", "know", "used", "my", "our", "i", "we", "he", "she", "they", "it", "you", "not", "there", "here", "wear", "feel", "get", "go", "take", "usually", "dislike", "never",
];

const LONGEST: usize = 5;
const MOST: usize = 8;

/// One thing: words up to where it ends.
fn thing(scene: &Scene<'_>, at: usize, listed: bool) -> Option<(String, usize)> {
    let mut start = at;
    let (mut infinitive, mut definite) = (false, false);
    while let Some(word) = scene.word(start) {
        let skipped = matches!(word, "a" | "an" | "the" | "some" | "all" | "to" | "both" | "going") && start < at + 2 && !(word == "going" && scene.word(start + 1) != Some("to"));
        if !skipped {
            break;
        }
        infinitive |= word == "to";
        definite |= word == "the";
        start += 1;
    }
    let first = scene.at(start).filter(|word| word.kind == Kind::Word && scene.time(start).is_none())?;
    // `The smell` is that of something said before; `the Beatles` and `the sea` are not.
    if definite && !first.capital && !UNIQUE.contains(&first.lower.as_str()) {
        return None;
    }
    let first = first.lower.as_str();
    if POINTING.contains(&first) || STOPS.contains(&first) || (listed && VERBS.contains(&first) && !infinitive) || (infinitive && matches!(first, "be" | "see" | "know" | "think" | "thank" | "say")) {
        return None;
    }
    let mut end = start;
    while let Some(word) = scene.at(end) {
        scene.step();
        let ended = matches!(word.kind, Kind::Sign(sign) if !matches!(sign, '&' | '+')) || (end > start && (STOPS.contains(&word.lower.as_str()) || scene.time(end).is_some()));
        if ended {
            if UNFINISHED.contains(&word.lower.as_str()) {
                return None;
            }
            break;
        }
        if WITHIN.contains(&word.lower.as_str()) {
            return None;
        }
        if word.lower == "a" && scene.word(end + 1) == Some("lot") {
            break;
        }
        // A clause of its own, or more words than one thing has.
        let verb = end > start && VERBS.contains(&word.lower.as_str());
        if verb || end - start >= LONGEST {
            return None;
        }
        end += 1;
    }
    Some((scene.shown(start, end), end)).filter(|(shown, _)| !shown.is_empty())
}

/// Things in a list: `tea, coffee and old maps`.
pub(crate) fn things(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    let (first, mut end) = thing(scene, at, false)?;
    let mut pieces = vec![Piece { value: first, doubt: 0 }];
    while pieces.len() < MOST {
        let comma = usize::from(scene.word(end) == Some(","));
        let and = usize::from(matches!(scene.word(end + comma), Some("and" | "or" | "&")));
        if comma + and == 0 {
            break;
        }
        let Some((next, after)) = thing(scene, end + comma + and, true) else { break };
        // After a comma alone a clause of any kind may follow: a list has its `and` in the end, or single words.
        if and == 0 && next.split_whitespace().count() > 2 {
            break;
        }
        pieces.push(Piece { value: next, doubt: 5 });
        end = after;
    }
    Some(Taken { pieces, end, attribute: None, time: None })
}

/// What somebody works as: `as a nurse`, `as a teacher of history`.
pub(crate) fn job(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    let end = (at..at + 4).take_while(|at| scene.at(*at).is_some_and(|word| word.kind == Kind::Word && !STOPS.contains(&word.lower.as_str()) && !matches!(word.lower.as_str(), "at" | "in" | "with" | "on" | "from"))).count() + at;
    let last = scene.word(end.checked_sub(1).filter(|last| *last >= at)?)?;
    let doubt = if super::lexicon::profession(last) { 0 } else { 15 };
    one(scene.shown(at, end).to_lowercase(), doubt, end)
}

/// What somebody studies: one to four words up to where.
pub(crate) fn field(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    const NO_FIELD: [&str; 22] =
        ["hard", "a", "at", "in", "every", "for", "too", "much", "online", "abroad", "here", "there", "with", "alone", "to", "on", "the", "my", "from", "during", "part-time", "full-time"];
    let inside = |at: usize| {
        scene.at(at).is_some_and(|word| {
            let lower = word.lower.as_str();
            word.kind == Kind::Word && !NO_FIELD.contains(&lower) && !POINTING.contains(&lower) && !STOPS.contains(&lower) && scene.time(at).is_none()
        })
    };
    let end = (at..at + 4).take_while(|at| inside(*at)).count() + at;
    (end > at).then(|| one(scene.shown(at, end), 0, end))?
}

/// What somebody is going to do, with its time taken out. `doing`: it begins with a word in `-ing`.
pub(crate) fn plan(scene: &Scene<'_>, at: usize, doing: bool) -> Option<Taken> {
    const ENDS: [&str; 16] = ["but", "because", "so", "mutta", "koska", "joten", "kun", "when", "although", "vaikka", "että", "that", "after", "before", "where", "who"];
    const EMPTY: [&str; 6] = ["definitely", "also", "just", "still", "finally", "myös"];
    const STATES: [&str; 12] = ["feeling", "being", "thinking", "having", "looking", "trying", "hoping", "wondering", "going", "getting", "doing", "talking"];
    const SUBJECTS: [&str; 12] = ["i", "we", "my", "he", "she", "they", "it", "minä", "mä", "hän", "the", "you"];
    const LONGEST: usize = 14;
    if doing && !scene.word(at).is_some_and(|word| word.ends_with("ing") && word.len() > 5 && !STATES.contains(&word)) {
        return None;
    }
    let (mut end, mut time, mut kept) = (at, None, Vec::new());
    while let Some(word) = scene.at(end) {
        scene.step();
        if let Some(told) = scene.time(end) {
            // The first time counts; a second one belongs to something else.
            if time.is_some() {
                break;
            }
            (time, end) = (Some(told), told.to);
            continue;
        }
        let joins = matches!(word.lower.as_str(), "and" | "ja") && (time.is_some() || scene.word(end + 1).is_some_and(|next| SUBJECTS.contains(&next)));
        if matches!(word.kind, Kind::Sign(_)) || joins || ENDS.contains(&word.lower.as_str()) || end - at >= LONGEST {
            break;
        }
        if !kept.is_empty() || !EMPTY.contains(&word.lower.as_str()) {
            kept.push(end);
        }
        end += 1;
    }
    // `Make it for them tomorrow`: a plan, but of what is not said.
    let vague = kept.iter().any(|at| scene.word(*at).is_some_and(|word| WITHIN.contains(&word)));
    while kept.last().is_some_and(|last| matches!(scene.word(*last), Some("too" | "also" | "again" | "on" | "in" | "at" | "by"))) {
        kept.pop();
    }
    let value = kept.iter().map(|at| scene.shown(*at, at + 1)).collect::<Vec<_>>().join(" ").replace(" 's", "'s");
    (!value.is_empty()).then_some(Taken { pieces: vec![Piece { value, doubt: if vague { 25 } else { 0 } }], end, attribute: None, time })
}

/// Finnish things in one case, in a list; each word of a thing is inflected alike: `klassisesta musiikista ja kahvista`.
pub(crate) fn inflected(scene: &Scene<'_>, at: usize, base: impl Fn(&str) -> Option<String>) -> Option<Taken> {
    const POINTING: [&str; 46] = [
        "siitä", "tästä", "tuosta", "sinusta", "hänestä", "minusta", "teistä", "heistä", "niistä", "näistä", "mistä", "kaikesta", "jostain", "jostakin", "asiasta", "jutusta", "sitä", "tätä", "tuota",
        "sinua", "häntä", "niitä", "heitä", "teitä", "minua", "mitä", "kaikkea", "jotain", "meistä", "meitä", "sille", "tälle", "kaikelle", "monelle", "enää", "ollenkaan", "lainkaan", "paljoa", "hyvää",
        "aina", "kanssa", "joka", "myötä", "ideasta", "ajatuksesta", "sua",
    ];
    const VERBS: [&str; 18] = [
        "lukea", "uida", "juosta", "laulaa", "tanssia", "matkustaa", "syödä", "nukkua", "pelata", "kirjoittaa", "kävellä", "hiihtää", "leipoa", "soittaa", "katsella", "katsoa", "piirtää", "maalata",
    ];
    let (mut pieces, mut end) = (Vec::new(), at);
    let mut next = at;
    while pieces.len() < MOST {
        let mut bases = Vec::new();
        let mut place = next;
        while bases.len() < 3
            && let Some(word) = scene.at(place).filter(|word| word.kind == Kind::Word && !POINTING.contains(&word.lower.as_str()) && scene.time(place).is_none())
        {
            scene.step();
            let found = if VERBS.contains(&word.lower.as_str()) { Some(word.lower.clone()) } else { base(&word.lower) };
            let Some(found) = found else { break };
            // A name keeps its capital letter.
            bases.push(if word.capital && place > scene.from { capital(&found) } else { found });
            place += 1;
        }
        if bases.is_empty() {
            break;
        }
        pieces.push(Piece { value: bases.join(" "), doubt: if pieces.is_empty() { 0 } else { 5 } });
        end = place;
        let comma = usize::from(scene.word(end) == Some(","));
        let and = usize::from(matches!(scene.word(end + comma), Some("ja" | "sekä" | "enkä" | "tai")));
        if comma + and == 0 {
            break;
        }
        next = end + comma + and;
    }
    (!pieces.is_empty()).then_some(Taken { pieces, end, attribute: None, time: None })
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
