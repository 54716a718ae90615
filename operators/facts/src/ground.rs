//! What a model answered, as facts: read, and held against the text it was asked about.
//!
//! Holds always: every word of a value that is kept stands in the text (its beginning does, so that cases are let pass), or the fact is at
//! most [`UNFOUND`] sure; whom it is about stands in the text; times are resolved from the text's own words, never taken from the model.
//! Not promised: that what is found was meant so. A model is believed up to [`BELIEVED`].

use std::collections::BTreeSet;

use serde::Deserialize;

use super::date::{self, Look};
use super::date_words::{self, Lead, number};
use super::fact::{Attribute, Fact, Polarity, SELF};
use super::guard;
use super::words::{Kind, Word, sentences, words};

/// Most that a model's fact is believed, in percent: below what a rule says outright.
const BELIEVED: u8 = 80;
/// Most for a value that stands only in a question, a quotation or a wish.
const UNSTATED: u8 = 30;
/// Most for a value of a closed kind (`married`, `vegan`, a kind of animal) that does not stand in the text in this form.
const UNFOUND: u8 = 40;
/// Facts of one answer that are looked at.
const MOST: usize = 64;

/// Why an answer holds no facts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroundError {
    /// It is not JSON of the form of `facts.v1.schema.json`.
    Form {
        /// What the parser says.
        reason: String,
    },
}

impl std::fmt::Display for GroundError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Form { reason } = self;
        write!(out, "the answer is no list of facts: {reason}; it must fit the schema facts.v1")
    }
}

impl std::error::Error for GroundError {}

#[derive(Deserialize)]
struct Answer {
    facts: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    attribute: String,
    value: String,
    #[serde(default)]
    about: Option<String>,
    #[serde(default)]
    polarity: Option<Polarity>,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    when: Option<String>,
}

/// The facts in a model's answer about `text`, which was said at `said_at_us`, microseconds since 1970.
///
/// `prompt` (`facts.v1`) and `model` become the facts' rule and version. Facts whose attribute is none, or whose value or person does not
/// stand in the text, are left out.
///
/// # Errors
/// [`GroundError::Form`] if the answer is not the JSON that was asked for.
pub fn ground(answer: &str, text: &str, said_at_us: i64, prompt: &str, model: &str) -> Result<Vec<Fact>, GroundError> {
    let answer: Answer = serde_json::from_str(answer).map_err(|error| GroundError::Form { reason: error.to_string() })?;
    let page = Page::of(text);
    let today = date::day_of(said_at_us);
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for said in answer.facts.into_iter().take(MOST) {
        let (Ok(attribute), value) = (said.attribute.parse::<Attribute>(), said.value.trim().to_owned()) else { continue };
        let polarity = said.polarity.unwrap_or(Polarity::Holds);
        let Some(about) = page.about(said.about.as_deref()) else { continue };
        let Some((most, start, end)) = page.find(attribute, &value, polarity) else { continue };
        if !seen.insert((attribute, value.to_lowercase(), about.clone(), polarity)) {
            continue;
        }
        let percent = said.confidence.filter(|sure| sure.is_finite()).map_or(f64::from(BELIEVED), |sure| if sure <= 1.0 { sure * 100.0 } else { sure });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
        let confidence = (percent.clamp(0.0, 100.0) as u8).min(BELIEVED).min(most);
        let (valid_from_us, valid_to_us) = today.and_then(|today| page.valid(attribute, polarity, said.when.as_deref()?, today)).unwrap_or_default();
        out.push(Fact { attribute, value, about, polarity, confidence, valid_from_us, valid_to_us, start, end, rule: prompt.to_owned(), version: model.to_owned() });
    }
    Ok(out)
}

/// A text with what of it is stated.
struct Page {
    words: Vec<Word>,
    stated: Vec<(usize, usize)>,
}

impl Page {
    fn of(text: &str) -> Self {
        let words = words(text);
        let all = sentences(&words, text);
        let stated = all.iter().enumerate().filter_map(|(at, sentence)| guard::stated(&words, *sentence, all.get(at + 1).copied())).collect();
        Self { words, stated }
    }

    /// The words of a value, one after the other anywhere in the text; where the first stands.
    fn place(&self, word: &Word) -> Option<usize> {
        let digits = number(word);
        let places = self.words.iter().enumerate().filter(|(_, known)| same(&known.lower, &word.lower) || (digits.is_some() && number(known) == digits));
        let mut places = places.map(|(at, _)| at).peekable();
        let first = places.peek().copied();
        places.find(|at| self.is_stated(*at)).or(first)
    }

    fn is_stated(&self, at: usize) -> bool {
        !self.words[at].quoted && self.stated.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    /// How sure a value can be at most, and where it stands; `None`: it does not.
    fn find(&self, attribute: Attribute, value: &str, polarity: Polarity) -> Option<(u8, usize, usize)> {
        if value == "*" && polarity != Polarity::Holds {
            return Some((BELIEVED, 0, self.words.last().map_or(0, |word| word.end)));
        }
        let parts: Vec<Word> = words(value).into_iter().filter(|word| !matches!(word.kind, Kind::Sign(_))).collect();
        let telling = |word: &&Word| parts.len() == 1 || word.lower.chars().count() > 2;
        let places: Option<Vec<usize>> = parts.iter().filter(telling).map(|word| self.place(word)).collect();
        match places.filter(|places| !places.is_empty()) {
            Some(places) => {
                let (first, last) = (*places.iter().min()?, *places.iter().max()?);
                let most = if places.iter().all(|at| self.is_stated(*at)) { BELIEVED } else { UNSTATED };
                Some((most, self.words[first].start, self.words[last].end))
            }
            None => {
                let closed = matches!(attribute, Attribute::MaritalStatus | Attribute::Diet | Attribute::Species);
                let end = self.words.last()?.end;
                closed.then_some((if self.stated.is_empty() { UNSTATED } else { UNFOUND }, 0, end))
            }
        }
    }

    /// Whom a fact is about; `None`: somebody who is not in the text.
    fn about(&self, about: Option<&str>) -> Option<String> {
        let about = about.unwrap_or(SELF).trim();
        if matches!(about.to_lowercase().as_str(), "" | "self" | "user" | "the user" | "speaker" | "i" | "me" | "minä") {
            return Some(SELF.to_owned());
        }
        let parts = words(about);
        (parts.iter().all(|word| self.place(word).is_some()) && !parts.is_empty()).then(|| about.to_owned())
    }

    fn valid(&self, attribute: Attribute, polarity: Polarity, when: &str, today: chrono::NaiveDate) -> Option<(Option<i64>, Option<i64>)> {
        let parts = words(when);
        if parts.is_empty() || !parts.iter().all(|word| self.place(word).is_some()) {
            return None;
        }
        let told = date_words::times(&parts, 0, parts.len()).first().copied()?;
        let look = if attribute == Attribute::Plan { Look::Forward } else { Look::Back };
        let span = told.when.span(today, look)?;
        let (from, to) = (date::midnight_us(span.from), date::midnight_us(span.to));
        Some(match (polarity, told.lead) {
            _ if attribute == Attribute::Plan => (from, to),
            (Polarity::Ended, Lead::Since | Lead::At) | (_, Lead::Until) => (None, from),
            _ => (from, None),
        })
    }
}

/// Whether two words are forms of one: they begin alike, up to three letters of an ending.
fn same(said: &str, wanted: &str) -> bool {
    if said == wanted {
        return true;
    }
    let common = said.chars().zip(wanted.chars()).take_while(|(one, other)| one == other).count();
    let (said, wanted) = (said.chars().count(), wanted.chars().count());
    common >= 3 && common + 3 >= wanted && common + 5 >= said
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Minä asun Helsingissä ja pidän kahvista. Menen Roomaan ensi perjantaina. Asuuko Liisa Turussa?";
    /// 2026-03-04, a Wednesday.
    const SAID_US: i64 = 1_772_582_400_000_000;

    fn one(fact: &str) -> Option<Fact> {
        ground(&format!("{{\"facts\":[{fact}]}}"), TEXT, SAID_US, "facts.v1", "m@1").expect("the form").pop()
    }

    #[test]
    fn keeps_what_stands_in_the_text_and_drops_what_does_not() {
        let home = one(r#"{"attribute":"home","value":"Helsinki","confidence":0.95}"#).expect("kept");
        assert_eq!((home.confidence, home.about.as_str(), home.rule.as_str(), home.version.as_str()), (BELIEVED, "self", "facts.v1", "m@1"));
        assert_eq!(TEXT.get(home.start..home.end), Some("Helsingissä"));
        assert_eq!(one(r#"{"attribute":"home","value":"Stockholm","confidence":1}"#), None);
        assert_eq!(one(r#"{"attribute":"likes","value":"tee"}"#), None);
        assert_eq!(one(r#"{"attribute":"home","value":"Helsinki","about":"Pekka"}"#), None);
        assert_eq!(one(r#"{"attribute":"shoe_size","value":"Helsinki"}"#), None);
    }

    #[test]
    fn is_not_sure_of_what_is_only_asked() {
        assert_eq!(one(r#"{"attribute":"home","value":"Turku","about":"Liisa"}"#).map(|fact| fact.confidence), Some(UNSTATED));
        assert_eq!(one(r#"{"attribute":"marital_status","value":"married"}"#).map(|fact| fact.confidence), Some(UNFOUND));
    }

    #[test]
    fn resolves_a_time_from_the_words_of_the_text_alone() {
        let plan = one(r#"{"attribute":"plan","value":"Roomaan","when":"ensi perjantaina"}"#).expect("kept");
        assert_eq!(plan.valid_from_us, Some(SAID_US + 2 * 86_400_000_000));
        assert_eq!(plan.valid_to_us, Some(SAID_US + 3 * 86_400_000_000));
        let invented = one(r#"{"attribute":"plan","value":"Roomaan","when":"tomorrow"}"#).expect("kept");
        assert_eq!((invented.valid_from_us, invented.valid_to_us), (None, None));
    }

    #[test]
    fn says_what_is_wrong_with_an_answer_of_another_form() {
        for answer in ["", "[]", "{}", r#"{"facts":[{"value":"x"}]}"#, r#"{"facts":[{"attribute":"home","value":"x","polarity":"maybe"}]}"#] {
            let error = ground(answer, TEXT, SAID_US, "facts.v1", "m").expect_err(answer);
            assert!(error.to_string().contains("schema facts.v1"), "{error}");
        }
    }
}
