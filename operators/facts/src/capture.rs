//! What a pattern takes from a sentence: names, places, numbers, people's words for things.

use std::cell::Cell;

use chrono::NaiveDate;

use super::date_words::{Told, number};
use super::finnish;
use super::lexicon;
use super::object;
use super::places::{self, Local};
use super::words::{Kind, Word};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) value: String,
    /// Points off the rule's confidence.
    pub(crate) doubt: u8,
}

/// What was taken: one value or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) pieces: Vec<Piece>,
    /// Behind its last word.
    pub(crate) end: usize,
    /// What a word for a relative or an animal stands for.
    pub(crate) attribute: Option<super::fact::Attribute>,
    /// The time within, of a plan.
    pub(crate) time: Option<Told>,
}

/// A sentence in which rules are tried.
pub(crate) struct Scene<'a> {
    pub(crate) text: &'a str,
    pub(crate) words: &'a [Word],
    /// The part that states something.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) times: Vec<Told>,
    pub(crate) today: NaiveDate,
    /// Parts of patterns tried.
    pub(crate) steps: Cell<u64>,
}

impl Scene<'_> {
    pub(crate) fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    pub(crate) fn at(&self, at: usize) -> Option<&Word> {
        (at < self.to).then(|| &self.words[at]).filter(|word| !word.quoted)
    }

    pub(crate) fn word(&self, at: usize) -> Option<&str> {
        self.at(at).map(|word| word.lower.as_str())
    }

    /// The text of words `from..to`, its white space made single.
    pub(crate) fn shown(&self, from: usize, to: usize) -> String {
        let to = to.min(self.to);
        if from >= to {
            return String::new();
        }
        let shown = self.text.get(self.words[from].start..self.words[to - 1].end).unwrap_or_default();
        shown.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The time that begins at a word.
    pub(crate) fn time(&self, at: usize) -> Option<Told> {
        let found = self.times.partition_point(|told| told.from < at);
        self.times.get(found).copied().filter(|told| told.from == at)
    }
}

impl Scene<'_> {
    /// The time at a word, where a preposition of it may stand before: the Finnish `on` is the English one too.
    fn time_around(&self, at: usize) -> Option<Told> {
        let found = self.times.partition_point(|told| told.from <= at).checked_sub(1)?;
        self.times.get(found).copied().filter(|told| told.from == at || (told.from < at && at <= told.core))
    }
}

/// Kinds of what is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Name,
    /// A name that is common, or a name behind which a clause ends.
    BareName,
    Place,
    Org,
    Prof,
    Job,
    Rel,
    Pet,
    Age,
    Count,
    Things,
    Languages,
    Field,
    Plan,
    Doing,
    Time,
    /// Any time; nothing is shown of it.
    When,
    /// Finnish: in a place, from it, to it, at an organisation.
    PlaceIn,
    PlaceFrom,
    PlaceTo,
    OrgIn,
    /// Finnish: professions, as they are and in the essive.
    Ammatti,
    Ammattina,
    /// Finnish: things in the elative, the partitive and the allative; languages in the partitive.
    ThingsFrom,
    ThingsPart,
    ThingsFor,
    Kielet,
    FieldPart,
    Ika,
    NameOf,
    RelFi,
    End,
}

impl What {
    /// By its name in the rules' files.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "barename" => Self::BareName,
            "place" => Self::Place,
            "org" => Self::Org,
            "prof" => Self::Prof,
            "job" => Self::Job,
            "rel" => Self::Rel,
            "pet" => Self::Pet,
            "age" => Self::Age,
            "count" => Self::Count,
            "things" => Self::Things,
            "languages" => Self::Languages,
            "field" => Self::Field,
            "plan" => Self::Plan,
            "doing" => Self::Doing,
            "time" => Self::Time,
            "when" => Self::When,
            "place_in" => Self::PlaceIn,
            "place_from" => Self::PlaceFrom,
            "place_to" => Self::PlaceTo,
            "org_in" => Self::OrgIn,
            "ammatti" => Self::Ammatti,
            "ammattina" => Self::Ammattina,
            "things_from" => Self::ThingsFrom,
            "things_part" => Self::ThingsPart,
            "things_for" => Self::ThingsFor,
            "kielet" => Self::Kielet,
            "field_part" => Self::FieldPart,
            "ika" => Self::Ika,
            "name_of" => Self::NameOf,
            "rel_fi" => Self::RelFi,
            "end" => Self::End,
            _ => return None,
        })
    }
}

pub(crate) fn one(value: impl Into<String>, doubt: u8, end: usize) -> Option<Taken> {
    Some(Taken { pieces: vec![Piece { value: value.into(), doubt }], end, attribute: None, time: None })
}

/// Takes one thing that begins at a word.
pub(crate) fn take(what: What, scene: &Scene<'_>, at: usize) -> Option<Taken> {
    scene.step();
    match what {
        What::Name => name(scene, at, 3),
        What::BareName => bare_name(scene, at),
        What::Place => place(scene, at),
        What::Org => org(scene, at),
        What::Prof => profession(scene, at),
        What::Job => object::job(scene, at),
        What::Rel | What::Pet | What::RelFi => related(scene, at, what),
        What::Age => scene.at(at).filter(|word| word.kind == Kind::Number).and_then(|word| word.lower.parse::<u32>().ok()).filter(|age| (1..=120).contains(age)).and_then(|age| one(age.to_string(), 0, at + 1)),
        What::Count => {
            let count = scene.at(at).and_then(|word| number(word).or((word.lower == "a").then_some(1)))?;
            (1..=20).contains(&count).then(|| one(count.to_string(), 0, at + 1))?
        }
        What::Things => object::things(scene, at),
        What::Field => object::field(scene, at),
        What::Languages => languages(scene, at, |word| lexicon::language(word).then(|| capitalised(word))),
        What::Kielet => languages(scene, at, |word| lexicon::finnish_language(word).map(str::to_owned)),
        What::Plan => object::plan(scene, at, false),
        What::Doing => object::plan(scene, at, true),
        What::Time => {
            let told = scene.time_around(at)?;
            Some(Taken { pieces: vec![Piece { value: super::reader::birthday(told.when)?, doubt: 0 }], end: told.to, attribute: None, time: Some(told) })
        }
        What::When => {
            let told = scene.time(at)?;
            Some(Taken { pieces: vec![Piece { value: String::new(), doubt: 0 }], end: told.to, attribute: None, time: Some(told) })
        }
        What::PlaceIn => finnish_place(scene, at, Local::In),
        What::PlaceFrom => finnish_place(scene, at, Local::From),
        What::PlaceTo => finnish_place(scene, at, Local::To),
        What::OrgIn => finnish_org(scene, at),
        What::Ammatti => scene.word(at).filter(|word| lexicon::finnish_profession(word)).and_then(|word| one(word, 0, at + 1)),
        What::Ammattina => {
            let base = finnish::essive(scene.word(at)?)?;
            let doubt = if lexicon::finnish_profession(&base) { 0 } else { 15 };
            one(base, doubt, at + 1)
        }
        What::ThingsFrom => object::inflected(scene, at, finnish::elative),
        What::ThingsPart => object::inflected(scene, at, finnish::partitive),
        What::ThingsFor => object::inflected(scene, at, finnish::allative),
        What::FieldPart => object::inflected(scene, at, |word| finnish::partitive(word).filter(|_| lexicon::finnish_language(word).is_none()).or_else(|| lexicon::finnish_language(word).map(str::to_owned))),
        What::Ika => scene.word(at).and_then(|word| word.strip_suffix("-vuotias").or_else(|| word.strip_suffix("v")).map(str::to_owned)).and_then(|age| one(age.parse::<u8>().ok()?.to_string(), 0, at + 1)),
        What::NameOf => {
            let name = name(scene, at, 1)?;
            let base = finnish::genitive_name(&name.pieces[0].value);
            one(base, 0, name.end)
        }
        // Nothing more may be said of it: the clause ends here.
        What::End => ends(scene, at).then(|| Taken { pieces: Vec::new(), end: at, attribute: None, time: None }),
    }
}

/// Whether a clause ends before a word.
pub(crate) fn ends(scene: &Scene<'_>, at: usize) -> bool {
    const JOINS: [&str; 19] =
        ["and", "but", "or", "because", "so", "since", "now", "today", "from", "who", "by", "ja", "mutta", "sekä", "koska", "eli", "joten", "nice", "with"];
    scene.time(at).is_some() || scene.at(at).is_none_or(|word| matches!(word.kind, Kind::Sign(_)) || JOINS.contains(&word.lower.as_str()))
}

fn capitalised(word: &str) -> String {
    let mut out = String::new();
    let mut fresh = true;
    for letter in word.chars() {
        if fresh { out.extend(letter.to_uppercase()) } else { out.push(letter) }
        fresh = letter == ' ' || letter == '-';
    }
    out
}

/// Words with a capital letter, or common given names, at most `most`.
fn name(scene: &Scene<'_>, at: usize, most: usize) -> Option<Taken> {
    let mut end = at;
    let mut all_known = true;
    while end < at + most
        && let Some(word) = scene.at(end)
        && word.kind == Kind::Word
        && word.lower.chars().count() > 1
        && !lexicon::no_name(&word.lower)
        && (word.capital || lexicon::given_name(&word.lower))
        && (end == at || scene.time(end).is_none())
    {
        all_known &= word.capital;
        end += 1;
    }
    if end == at || scene.word(end) == Some("'s") {
        return None;
    }
    let shown = scene.shown(at, end);
    if all_known { one(shown, 0, end) } else { one(capitalised(&shown), 10, end) }
}

/// A name after `I'm`: many other things stand there too, so nothing may follow it, and a surname only a common given name.
fn bare_name(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    let found = name(scene, at, 2)?;
    let first = scene.at(at)?;
    let common = lexicon::given_name(&first.lower);
    let alone = found.end == at + 1;
    let shouted = first.lower.chars().count() > 1 && scene.text.get(first.start..first.end).is_some_and(|shown| shown.chars().all(|letter| !letter.is_lowercase()));
    let place = places::known(&first.lower) || places::finnish_base(&first.lower, Local::In).is_some();
    let fits = first.capital && !shouted && !place && (common || alone) && ends(scene, found.end) && !lexicon::language(&first.lower);
    let doubt = if common { 5 } else { 25 };
    fits.then(|| one(found.pieces[0].value.clone(), doubt, found.end))?
}

fn place(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    let start = at + usize::from(scene.word(at) == Some("the"));
    let joining = |at: usize| matches!(scene.word(at), Some("de" | "of" | "la" | "upon" | "am"));
    let capital = |at: usize| scene.at(at).is_some_and(|word| word.capital && word.kind == Kind::Word && !matches!(word.lower.as_str(), "i" | "my") && scene.time(at).is_none());
    let mut end = start;
    while end < start + 4 && (capital(end) || (end > start && joining(end) && capital(end + 1))) {
        end += 1;
    }
    if end == start {
        // Without a capital letter only what is known.
        let two = scene.shown(start, (start + 2).min(scene.to)).to_lowercase();
        end = if places::known(&two) { start + 2 } else { start + usize::from(places::known(scene.word(start)?)) };
        if end == start || scene.word(end) == Some("'s") {
            return None;
        }
        return one(capitalised(&scene.shown(start, end)), 5, end);
    }
    if scene.word(end) == Some("'s") || scene.at(at).is_some_and(|word| lexicon::no_name(&word.lower) && !word.lower.eq("the")) {
        return None;
    }
    let shown = scene.shown(start, end);
    let doubt = if places::known(&shown.to_lowercase()) { 0 } else { 10 };
    // `Paris, France`: the country belongs to it, and is not said again.
    let mut after = end;
    if scene.word(end) == Some(",") && capital(end + 1) && scene.word(end + 1).is_some_and(places::known) {
        after = end + 2;
    }
    one(shown, doubt, after)
}

fn org(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    const PLACES: [&str; 28] = [
        "bakery", "bank", "bar", "café", "cafe", "clinic", "company", "daycare", "factory", "farm", "garage", "gym", "hospital", "hotel", "kindergarten", "library", "museum", "nursery",
        "office", "pharmacy", "restaurant", "school", "shop", "startup", "store", "supermarket", "theatre", "university",
    ];
    let start = at + usize::from(matches!(scene.word(at), Some("the" | "a" | "an")));
    let capital = |at: usize| scene.at(at).is_some_and(|word| word.capital && !lexicon::no_name(&word.lower) && word.kind == Kind::Word);
    let mut end = start;
    while end < start + 5 && (capital(end) || (end > start && matches!(scene.word(end), Some("of" | "&" | "for")) && capital(end + 1))) {
        end += 1;
    }
    if end > start {
        return if scene.word(end) == Some("'s") { None } else { one(scene.shown(start, end), 0, end) };
    }
    (start > at).then_some(())?;
    let last = (start..start + 3).find(|at| scene.word(*at).is_some_and(|word| PLACES.contains(&word)))?;
    one(scene.shown(start, last + 1), 20, last + 1)
}

fn profession(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    const NOT_NOW: [&str; 16] =
        ["former", "retired", "ex", "future", "aspiring", "wannabe", "terrible", "bad", "good", "great", "big", "not", "amateur", "no", "hobby", "passionate"];
    let mut end = None;
    for place in at..at + 4 {
        let Some(word) = scene.at(place).filter(|word| word.kind == Kind::Word && !NOT_NOW.contains(&word.lower.as_str())) else { break };
        if lexicon::profession(&word.lower) {
            end = Some(place + 1);
        }
    }
    let end = end.filter(|end| scene.word(*end) != Some("'s"))?;
    one(scene.shown(at, end).to_lowercase(), 0, end)
}

fn related(scene: &Scene<'_>, at: usize, what: What) -> Option<Taken> {
    let word = scene.word(at)?;
    // `Koira` is a relation only where the pattern says whose: `minun koira`, `meillä on koira`.
    let (attribute, base) = if what == What::RelFi { lexicon::finnish_relation(word)? } else { lexicon::relation(word)? };
    let pet = attribute == super::fact::Attribute::Pet;
    if what == What::Pet && (!pet || scene.word(at + 1) == Some("'s")) {
        return None;
    }
    let mut taken = one(base, 0, at + 1)?;
    taken.attribute = Some(attribute);
    Some(taken)
}

/// Languages with what stands between them.
fn languages(scene: &Scene<'_>, at: usize, known: impl Fn(&str) -> Option<String>) -> Option<Taken> {
    const BETWEEN: [&str; 37] = [
        ",", "and", "or", "both", "a", "little", "bit", "of", "some", "fluent", "good", "basic", "native", "fluently", "also", "as", "well", "ja", "sekä", "että", "tai", "myös", "vähän", "hieman", "hyvin",
        "sujuvasti", "äidinkielenäni", "paljon", "hyvää", "sujuvaa", "välttävästi", "melko", "aika", "jonkin", "verran", "kotona", "enkä",
    ];
    let (mut pieces, mut end, mut next) = (Vec::new(), at, at);
    while next < at + 24 {
        scene.step();
        let Some(word) = scene.word(next) else { break };
        if let Some(value) = known(word) {
            pieces.push(Piece { value, doubt: 0 });
            end = next + 1;
        } else if !BETWEEN.contains(&word) {
            break;
        }
        next += 1;
    }
    (!pieces.is_empty()).then_some(Taken { pieces, end, attribute: None, time: None })
}

/// A place in a local case. The capital letter of an unknown one is asked for.
fn finnish_place(scene: &Scene<'_>, at: usize, case: Local) -> Option<Taken> {
    let word = scene.at(at).filter(|word| word.kind == Kind::Word)?;
    if let Some(base) = places::finnish_base(&word.lower, case) {
        return one(capitalised(base), if word.capital { 0 } else { 5 }, at + 1);
    }
    let shown = word.capital.then(|| scene.shown(at, at + 1))?;
    if scene.time(at).is_some() {
        return None;
    }
    let (inner, outer) = places::endings(case);
    let stem = inner.iter().chain(outer).find_map(|ending| shown.strip_suffix(ending));
    let stem = match (stem, case) {
        (Some(stem), _) => stem.to_owned(),
        // Illative: a long vowel and `n`.
        (None, Local::To) => {
            let mut letters = shown.strip_suffix('n')?.chars().rev();
            let (last, before) = (letters.next()?, letters.next()?);
            (last == before && "aeiouyäö".contains(last)).then(|| shown.chars().take(shown.chars().count() - 2).collect())?
        }
        (None, _) => return None,
    };
    (stem.chars().count() >= 3).then(|| one(finnish::short_e(&stem), 20, at + 1))?
}

/// An employer or a school in the inessive or adessive: `Nokialla`, `Helsingin yliopistossa`, `IBM:llä`.
fn finnish_org(scene: &Scene<'_>, at: usize) -> Option<Taken> {
    const HEADS: [&str; 9] = ["yliopisto", "koulu", "sairaala", "ammattikorkeakoulu", "lukio", "korkeakoulu", "kaupungi", "päiväkodi", "opisto"];
    let case = |shown: &str| ["ssa", "ssä", "lla", "llä"].iter().find_map(|ending| shown.strip_suffix(ending).map(|stem| stem.trim_end_matches(':').to_owned()));
    let mut end = at;
    while end < at + 3 {
        let word = scene.at(end).filter(|word| word.kind == Kind::Word)?;
        let head = case(&word.lower).filter(|stem| HEADS.iter().any(|head| stem.ends_with(head)));
        if !word.capital && head.is_none() {
            return None;
        }
        let shown = scene.shown(end, end + 1);
        if let Some(stem) = case(&shown) {
            let town = places::finnish_base(&word.lower, Local::In).is_some_and(|base| base != "nokia");
            if (end == at && (town || head.is_some() && !word.capital)) || stem.chars().count() < 2 {
                return None;
            }
            let before = scene.shown(at, end);
            let stem = match stem.as_str() {
                "kaupungi" => "kaupunki".to_owned(),
                "päiväkodi" => "päiväkoti".to_owned(),
                _ => finnish::short_e(&stem).to_owned(),
            };
            let value = if before.is_empty() { stem } else { format!("{before} {stem}") };
            return one(value, if head.is_some() || word.lower == "nokialla" { 0 } else { 10 }, end + 1);
        }
        end += 1;
    }
    None
}
