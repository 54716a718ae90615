//! What a question asks for: whom, when, and which kind of answer.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ajatus_events::UserId;
use regex::Regex;

use super::kinds::{self, Kinds};
use super::lexicon::{Language, stems};
use super::period::Times;

/// A question, resolved against one user's speakers; embed [`PreparedQuery::dense_text`], then search.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedQuery {
    /// Whose memory is asked.
    pub user: UserId,
    pub(super) dense_text: String,
    /// Stems of the question, names and all (Q of the recipe).
    pub(super) stems: Vec<String>,
    /// Stems without the speakers' names (Qn).
    pub(super) stems_unnamed: Vec<String>,
    /// How many of those come first and are of the question's own language.
    pub(super) own: usize,
    /// Stems of the speakers' names.
    pub(super) names: BTreeSet<String>,
    pub(super) about: About,
    pub(super) asks_when: bool,
    pub(super) asks_number: bool,
    pub(super) asks_name: bool,
    /// It asks for several things.
    pub(super) asks_list: bool,
    /// Kinds of things it names.
    pub(super) kinds: Kinds,
    pub(super) times: Times,
}

/// Whose turns a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Nobody, or several people.
    Anybody,
    /// The user: "I", "my", "minun".
    User,
    /// One speaker, by name.
    Speaker(String),
}

macro_rules! expression {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a constant expression"));
    };
}
expression!(SELF, r"(?i)\b(i|my|me|mine|i'm|i've|minä|minun|minua|minulla|minulle|mun|mulla)\b");
expression!(
    WHEN,
    r"(?i)\bwhen\b|what (date|day|month|year)|how long|\bmilloin\b|\bkoska\b|\bkauanko\b|kuinka kauan|min[äa] (päivä|vuon)|mill(ä|oin) (viiko|kuu)"
);
expression!(NUMBER, r"(?i)how (many|much|often|long|old)|kuinka (mon|paljon|usein|vanh|kauan)|\bmontako\b|\bpaljonko\b|minkä ikäi");
expression!(
    NAMED,
    r"(?i)\bwhere\b|\bwho\b|which|what (is|was) the name|\bmissä\b|\bmihin\b|\bmistä\b|\bkuka\b|\bketkä\b|\bkenen\b|\bkenelle\b|\bkenet\b|minkä nimi|mikä .*nimi"
);
expression!(
    SEVERAL,
    r"(?i)^how (many|often)\b|^what (are|have|has)\b|\b(kinds?|types?|sorts?|various|different|all the|list|both)\b|^kuinka (monta|usein)\b|\bmontako\b|\bmitkä\b|\bmillaisia\b|\b(kaikki|kaikkia|erilaisia|molemmat)\b"
);
expression!(FINNISH_SEVERAL, r"(?i)\b(mitä|mistä|missä|mihin) \p{L}+(ia|iä|ja|jä|ita|itä|ista|istä|issa|issä|ihin)\b");

/// Words that end the thing a question with "what" or "which" asks for; the later ones look like plurals.
const VERBS: [&str; 40] = [
    "does", "do", "did", "is", "are", "was", "were", "has", "have", "had", "will", "would", "can", "could", "should", "may", "might",
    "been", "being", "be", "happens", "makes", "helps", "means", "keeps", "inspires", "motivates", "brings", "causes", "gives",
    "takes", "comes", "goes", "looks", "sounds", "feels", "seems", "needs", "wants", "says",
];

impl PreparedQuery {
    /// Resolves a question against the names of the user's speakers.
    #[must_use]
    pub fn new(user: UserId, question: &str, speakers: &BTreeSet<String>) -> Self {
        let language = Language::of(question);
        let named: Vec<&String> = speakers.iter().filter(|speaker| names(question, speaker, language)).collect();
        let about = match named.as_slice() {
            [one] => About::Speaker((*one).clone()),
            [] if SELF.is_match(question) => About::User,
            _ => About::Anybody,
        };
        let unnamed = cut_names(question, speakers, language);
        let own = stems(&unnamed, language);
        Self {
            user,
            stems: query_stems(question, language),
            stems_unnamed: query_stems(&unnamed, language),
            names: speakers.iter().flat_map(|speaker| stems(speaker, Language::English)).collect(),
            asks_list: asks_list(&unnamed, language),
            kinds: kinds::asked(&own, language),
            own: own.len(),
            dense_text: if unnamed.trim().is_empty() { question.to_owned() } else { unnamed },
            about,
            asks_when: WHEN.is_match(question),
            asks_number: NUMBER.is_match(question),
            asks_name: NAMED.is_match(question),
            times: Times::of(&question.to_lowercase()),
        }
    }

    /// The question with its subject's name cut: what to embed. A small model otherwise finds turns that *address* the
    /// person (recall@10 31 against 60).
    #[must_use]
    pub fn dense_text(&self) -> &str {
        &self.dense_text
    }
}

/// Whether a question asks for several things: a plural behind "what" or "which", "how many", "both" and their like.
fn asks_list(question: &str, language: Language) -> bool {
    let question = question.trim();
    if SEVERAL.is_match(question) {
        return true;
    }
    if language == Language::Finnish {
        return FINNISH_SEVERAL.is_match(question);
    }
    let lower = question.to_lowercase();
    let mut after = words(&lower).skip_while(|word| !matches!(*word, "what" | "which"));
    after.next();
    after
        .take(4)
        .take_while(|word| !VERBS.contains(word))
        .any(|word| word.len() > 3 && word.ends_with('s') && !["ss", "'s", "us", "is"].iter().any(|ending| word.ends_with(ending)))
}

/// A Finnish question also carries English stems: a short Finnish turn may have been taken for English.
fn query_stems(text: &str, language: Language) -> Vec<String> {
    let mut found = stems(text, language);
    if language == Language::Finnish {
        let other = stems(text, Language::English);
        let new: Vec<String> = other.into_iter().filter(|stem| !found.contains(stem)).collect();
        found.extend(new);
    }
    found
}

/// Whether a word is this part of a name; Finnish adds endings ("Ainolla").
fn is_name(word: &str, part: &str, language: Language) -> bool {
    let word = word.strip_suffix("'s").unwrap_or(word);
    match word.strip_prefix(part) {
        Some("") => true,
        Some(ending) => language == Language::Finnish && part.chars().count() >= 3 && ending.chars().count() <= 4,
        None => false,
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'').filter(|word| !word.is_empty())
}

fn names(question: &str, speaker: &str, language: Language) -> bool {
    let (question, speaker) = (question.to_lowercase(), speaker.to_lowercase());
    words(&question).any(|word| speaker.split_whitespace().any(|part| is_name(word, part, language)))
}

/// Cuts every speaker's name, with its `'s` or Finnish ending and the space behind it.
fn cut_names(question: &str, speakers: &BTreeSet<String>, language: Language) -> String {
    let parts: Vec<String> =
        speakers.iter().flat_map(|speaker| speaker.to_lowercase().split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut kept = String::with_capacity(question.len());
    let mut rest = question;
    while let Some(start) = rest.find(|letter: char| letter.is_alphanumeric()) {
        let (before, from) = rest.split_at(start);
        kept.push_str(before);
        let end = from.find(|letter: char| !letter.is_alphanumeric() && letter != '\'').unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        let lower = word.to_lowercase();
        if parts.iter().any(|part| is_name(&lower, part, language)) {
            rest = after.trim_start();
        } else {
            kept.push_str(word);
            rest = after;
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(question: &str, speakers: &[&str]) -> PreparedQuery {
        let speakers = speakers.iter().map(|speaker| (*speaker).to_owned()).collect();
        PreparedQuery::new(UserId(uuid::Uuid::nil()), question, &speakers)
    }

    #[test]
    fn cuts_the_subject_and_keeps_it_as_a_feature() {
        let query = prepared("What did Dave's sister buy in May 2023?", &["Dave", "Ann Lee"]);
        assert_eq!(query.dense_text(), "What did sister buy in May 2023?");
        assert_eq!(query.about, About::Speaker("Dave".into()));
        assert_eq!(query.times.calendar(), ([5].as_slice(), [2023].as_slice()));
    }

    #[test]
    fn names_nobody_when_two_are_named_and_the_user_when_it_says_i() {
        assert_eq!(prepared("Do Ann and Dave ski?", &["Dave", "Ann Lee"]).about, About::Anybody);
        assert_eq!(prepared("Where did I leave my keys?", &["Dave"]).about, About::User);
        assert_eq!(prepared("Missä minun avaimeni ovat?", &[]).about, About::User);
    }

    #[test]
    fn follows_finnish_endings_and_months() {
        let query = prepared("Mitä Ainolla oli mukana toukokuussa?", &["Aino"]);
        assert_eq!(query.about, About::Speaker("Aino".into()));
        assert_eq!(query.times.calendar().0, [5]);
        assert!(!query.dense_text().contains("Ainolla"), "{}", query.dense_text());
    }

    #[test]
    fn tells_questions_for_several_things() {
        for several in [
            "What books has Dave read?",
            "Which of Dave's pets sleep?",
            "How many children does she have?",
            "What has Dave bought?",
            "Mitä soittimia hän soittaa?",
            "Montako kissaa minulla on?",
            "Missä maissa olen käynyt?",
        ] {
            assert!(prepared(several, &["Dave"]).asks_list, "{several}");
        }
        for one in ["What is his cat called?", "What makes her laugh?", "When does this bus leave?", "What does Dave's boss say?", "Missä Mustikka nukkuu?", "Dave", ""] {
            assert!(!prepared(one, &["Dave"]).asks_list, "{one}");
        }
    }

    #[test]
    fn embeds_the_whole_question_when_only_a_name_is_left() {
        assert_eq!(prepared("Dave?", &["Dave"]).dense_text(), "?");
        assert_eq!(prepared("Dave", &["Dave"]).dense_text(), "Dave");
    }
}
