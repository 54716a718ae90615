//! Words: what is one, which carry nothing, what their stem is, and which language a text is in.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use rust_stemmers::{Algorithm, Stemmer};

/// Language of a text, which chooses its stemmer and stop list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// English, and whatever is neither.
    English,
    /// Finnish.
    Finnish,
}

static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}']+").expect("a constant expression"));

static ENGLISH_STOP: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    "a an the of to in on at for and or is are was were be been do does did has have had with from by as it its that this \
     what when where who whom which how why i you he she they we his her their my your me him them us will would can could \
     should about into than then so if not"
        .split_whitespace()
        .collect()
});

static FINNISH_STOP: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    "ja tai sekä että kun jos niin kuin on ovat oli olivat olla ole olen olet olemme olette ollut olleet ei en et emme ette \
     eivät se sen sitä siinä siitä siihen sillä sille ne niitä niiden tämä tämän tätä tässä tästä nämä tuo tuon tuota minä \
     minun minua minulla minulle sinä sinun sinua sinulla sinulle hän hänen häntä hänellä hänelle me meidän te teidän he \
     heidän mikä mitä minkä missä mistä mihin millä mille milloin koska kuka kuka kenen ketä kenelle miksi miten kuinka \
     joka jonka jota jossa josta johon jotka mutta vaan myös vielä nyt sitten kanssa oma omaa onko oliko voi voisi"
        .split_whitespace()
        .collect()
});

/// Words that tell Finnish from English though they hold no ä or ö.
static FINNISH_MARKS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let mut marks: HashSet<&str> = FINNISH_STOP.iter().copied().collect();
    // Spelled like English words.
    for word in ["he", "me", "on", "ne", "tai", "se", "en"] {
        marks.remove(word);
    }
    marks.extend("kiitos joo kyllä moi hei terve olisi ihan aika tosi kiva hyvin hyvää kaikki mulla sulla mun sun oon".split_whitespace());
    marks
});

impl Language {
    /// Names the language by its letters and small words; ties and unknown languages are English.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let (mut finnish, mut english) = (0_i32, 0_i32);
        for found in WORD.find_iter(&lower) {
            let word = found.as_str();
            finnish += i32::from(FINNISH_MARKS.contains(word)) + i32::from(word.contains(['ä', 'ö']));
            english += i32::from(ENGLISH_STOP.contains(word) && !matches!(word, "on" | "he" | "me" | "as"));
        }
        if finnish > english { Self::Finnish } else { Self::English }
    }
}

/// Stems of the words that carry something, in order, repeated as they stand. Of a script that does not part its words, the
/// pairs of adjacent letters.
pub(super) fn stems(text: &str, language: Language) -> Vec<String> {
    let lower = text.to_lowercase();
    let (stop, stemmer) = match language {
        Language::English => (&*ENGLISH_STOP, Stemmer::create(Algorithm::English)),
        Language::Finnish => (&*FINNISH_STOP, Stemmer::create(Algorithm::Finnish)),
    };
    let mut found = Vec::new();
    for word in WORD.find_iter(&lower).map(|found| found.as_str()) {
        let word = word.strip_suffix("'s").unwrap_or(word);
        if word.chars().any(unparted) {
            let letters: Vec<char> = word.chars().collect();
            found.extend(letters.windows(2.min(letters.len())).map(|pair| pair.iter().collect::<String>()));
        } else if !word.is_empty() && !stop.contains(word) {
            found.push(stemmer.stem(word).into_owned());
        }
    }
    found
}

/// Letters of Chinese, Japanese, Thai, Lao, Khmer and Burmese.
fn unparted(letter: char) -> bool {
    matches!(letter, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_finnish_from_english() {
        assert_eq!(Language::of("Where does Mustikka sleep?"), Language::English);
        assert_eq!(Language::of("Missä Mustikka nukkuu?"), Language::Finnish);
        assert_eq!(Language::of("Kiitos, joo kiva!"), Language::Finnish);
        assert_eq!(Language::of("He told me to go on"), Language::English);
        assert_eq!(Language::of("🎉 42"), Language::English);
    }

    #[test]
    fn stems_both_languages_and_drops_what_carries_nothing() {
        assert_eq!(stems("What did Dave's dogs chase?", Language::English), ["dave", "dog", "chase"]);
        let (a, b) = (stems("Mökillä", Language::Finnish), stems("mökin", Language::Finnish));
        assert_eq!(a, b, "forms of one Finnish word share a stem");
        assert!(stems("'s ' the", Language::English).len() <= 1);
    }

    #[test]
    fn pairs_the_letters_of_scripts_that_do_not_part_their_words() {
        assert_eq!(stems("我喜欢猫", Language::English), ["我喜", "喜欢", "欢猫"]);
        assert_eq!(stems("猫 and cats", Language::English), ["猫", "cat"]);
        assert_eq!(stems("кошка", Language::English), ["кошка"]);
    }
}
