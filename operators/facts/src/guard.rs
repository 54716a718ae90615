//! Sentences that say nothing for certain: questions, wishes, conditions, what others say, games and jokes.
//!
//! A sentence is judged whole: one such word, and no fact is taken from it. That loses some facts, and keeps false ones out.

use super::words::{Kind, Sentence, Word};

/// Words after which nothing in the sentence is certain, or is somebody else's.
const UNSURE: &[&str] = &[
    // Conditions and wishes.
    "if", "unless", "whether", "would", "could", "might", "should", "wish", "wishes", "wished", "imagine", "imagined", "suppose", "supposedly", "pretend",
    "pretending", "pretends", "maybe", "perhaps", "possibly", "probably", "hopefully", "hypothetically", "dreamed", "dreamt", "dreaming", "almost",
    "allegedly", "apparently", "assuming", "sometimes", "rarely", "joked", "unsure",
    // What others say.
    "say", "says", "said", "saying", "tell", "tells", "told", "claim", "claims", "claimed", "claiming", "thinks", "thought", "think", "believe",
    "believes", "believed", "asks", "asked", "wrote", "writes", "heard", "according", "assume", "assumes", "assumed", "guess", "guesses", "insists",
    "suggests", "suggested", "quote", "quotes", "quoted", "lyrics", "sings", "sang", "announced", "replied", "answered", "mentioned", "convinced",
    "rumour", "rumor", "false", "untrue", "lie", "lied", "lying", "kidding", "joking", "jk", "sarcasm",
    // Finnish.
    "jos", "josko", "mikäli", "ehkä", "kenties", "kai", "mahdollisesti", "luultavasti", "todennäköisesti", "ikään", "melkein", "muka", "kuulemma", "leikisti",
    "sanoi", "sanoo", "sanoin", "sanovat", "sanoivat", "sanotaan", "sanonut", "kertoi", "kertoo", "kertoivat", "kertovat", "kysyi", "kysyy", "väittää", "väitti",
    "väittävät", "luulee", "luuli", "luulen", "luulin", "luulevat", "uskoo", "uskoi", "uskon", "arvelee", "arvelen", "kuulin", "mukaan", "kirjoitti", "kirjoittaa",
    "laulaa", "lauloi", "kuvittele", "kuvitellaan", "kuvittelen", "kuvittelin", "leikitään", "leikin", "unelmoin", "haaveilen", "toivon", "toivoisin", "haluaisin", "valehtelin",
    "valehtelen", "läppä", "vitsi", "vitsinä", "joskus", "harvoin",
];

/// Pairs of words that place a sentence in a story.
const STORY: &[(&str, &str)] = &[
    ("the", "game"), ("this", "game"), ("the", "movie"), ("the", "novel"), ("the", "story"), ("the", "book"), ("my", "novel"), ("my", "dream"), ("a", "dream"),
    ("my", "character"), ("the", "song"), ("not", "true"), ("in", "theory"), ("as", "though"), ("my", "story"), ("hope", "to"), ("not", "sure"), ("used", "as"),
    ("ei", "totta"), ("en", "tiedä"), ("näin", "unta"), ("voi", "olla"), ("saatan", "muuttaa"), ("my", "avatar"), ("feel", "like"), ("feels", "like"),
];
const STORY_FINNISH: &[&str] = &["unessa", "unessani", "pelissä", "pelissäni", "tarinassa", "romaanissa", "kirjassa", "elokuvassa", "laulussa", "hahmoni", "roolipelissä"];

/// What takes back the sentence before it.
const TAKES_BACK: &[&str] = &["kidding", "joking", "jk", "lol", "läppä", "vitsi", "vitsi!", "psych", "vitsailin", "pilailin"];

/// Words that a question begins with.
const ASKING: &[&str] = &[
    "do", "does", "did", "am", "is", "are", "was", "were", "what", "where", "who", "whom", "whose", "which", "how", "when", "why", "can", "will", "shall", "have", "has",
    "had", "may", "so", "mitä", "mikä", "missä", "mistä", "mihin", "minne", "kuka", "kenen", "miten", "miksi", "milloin", "koska", "kuinka", "onko", "oletko", "olenko", "eikö", "enkö", "entä",
];

/// What a question at the end of a statement begins with: `…, what about you?`
const TURNS: &[&str] = &["what", "how", "and", "do", "are", "where", "did", "have", "entä", "entäs", "mites", "mitä", "miten", "missä", "asutko", "oletko", "pidätkö", "onko"];

/// The part of a sentence that states something: all, the part before a question at its end, or nothing.
pub(crate) fn stated(words: &[Word], sentence: Sentence, next: Option<Sentence>) -> Option<(usize, usize)> {
    let mut to = sentence.to;
    let part = |to: usize| &words[sentence.from..to];
    if sentence.question {
        let comma = part(to).iter().rposition(|word| word.sign(&[',', '-', '\u{2013}']))?;
        let turn = words.get(sentence.from + comma + 1)?;
        if !TURNS.contains(&turn.lower.as_str()) {
            return None;
        }
        to = sentence.from + comma;
    }
    let first = part(to).iter().find(|word| word.kind == Kind::Word)?;
    let asks = ASKING.contains(&first.lower.as_str()) && !matches!(first.lower.as_str(), "so" | "when" | "koska" | "have");
    if asks || asking_ending(&first.lower) {
        return None;
    }
    if part(to).iter().any(unsure) || part(to).windows(2).any(|pair| STORY.contains(&(pair[0].lower.as_str(), pair[1].lower.as_str()))) {
        return None;
    }
    // A short remark takes back what was said before it: `I live on Mars. Just kidding!`
    let taken_back = next.is_some_and(|next| next.to - next.from <= 5 && words[next.from..next.to].iter().any(|word| TAKES_BACK.contains(&word.lower.as_str())));
    (!taken_back).then_some((sentence.from, to))
}

fn unsure(word: &Word) -> bool {
    if word.quoted || word.kind != Kind::Word {
        return false;
    }
    let lower = word.lower.as_str();
    UNSURE.contains(&lower) || STORY_FINNISH.contains(&lower) || (!word.capital && conditional(lower))
}

/// `asuisin`, `olisimme`: a Finnish verb in the conditional.
fn conditional(lower: &str) -> bool {
    const NOUNS: [&str; 8] = ["kotoisin", "takaisin", "nykyisin", "mieluisin", "kriisin", "poliisin", "aikaisin", "toisin"];
    lower.chars().count() > 6 && ["isin", "isimme", "isitte", "isivat", "isivät"].iter().any(|ending| lower.ends_with(ending)) && !NOUNS.contains(&lower)
        || matches!(lower, "olisi" | "olisin" | "asuisi" | "voisin" | "voisi" | "saisi")
}

/// `asunko`, `onkohan`: a Finnish word that makes a question.
fn asking_ending(lower: &str) -> bool {
    const WORDS: [&str; 5] = ["asunko", "asutko", "olenko", "oletko", "pidänkö"];
    WORDS.contains(&lower) || ["nko", "nkö", "tko", "tkö", "kohan", "köhän"].iter().any(|ending| lower.ends_with(ending))
}
