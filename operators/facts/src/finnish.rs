//! Finnish nouns back to a base form, as far as an ending can tell it.
//!
//! Consonant gradation is not undone by rule, because the weak grade has no single strong one (`keito-` is `keitto`, `keido-` would be
//! `keito`): common words stand in a list, others keep the stem they show.

use super::lexicon::given_name;

/// Words whose stem in the elative and allative, singular or plural, is not their base form.
const STEMS: [(&str, &str); 46] = [
    ("musiiki", "musiikki"), ("keito", "keitto"), ("uinni", "uinti"), ("hiihdo", "hiihto"), ("talve", "talvi"), ("lume", "lumi"), ("mere", "meri"),
    ("järve", "järvi"), ("leivä", "leipä"), ("maido", "maito"), ("olue", "olut"), ("koiri", "koirat"), ("kissoi", "kissat"), ("kirjoi", "kirjat"),
    ("elokuvi", "elokuvat"), ("peleistä", "pelit"), ("pelei", "pelit"), ("hevosi", "hevoset"), ("lapsi", "lapset"), ("kukki", "kukat"), ("juhli", "juhlat"),
    ("sieni", "sienet"), ("marjoi", "marjat"), ("matkoi", "matkat"), ("pähkinöi", "pähkinät"), ("pähkinä", "pähkinä"), ("maapähkinöi", "maapähkinät"),
    ("äyriäisi", "äyriäiset"), ("kissa", "kissa"), ("siitepöly", "siitepöly"), ("kananmuni", "kananmunat"), ("munai", "munat"), ("mansikoi", "mansikat"),
    ("omenoi", "omenat"), ("sitrushedelmi", "sitrushedelmät"), ("lääkkei", "lääkkeet"), ("penisilliini", "penisilliini"), ("kaloi", "kalat"),
    ("koivu", "koivu"), ("sade", "sade"), ("satee", "sade"), ("tanssi", "tanssi"), ("jazzi", "jazz"), ("rocki", "rock"), ("runoi", "runot"), ("autoi", "autot"),
];

fn back(ending: &str, front: &str, word: &str) -> Option<String> {
    word.strip_suffix(ending).or_else(|| word.strip_suffix(front)).filter(|stem| stem.chars().count() >= 2).map(str::to_owned)
}

fn base(stem: String) -> String {
    if let Some((_, known)) = STEMS.iter().find(|(form, _)| *form == stem) {
        return (*known).to_owned();
    }
    // -nen: klassise-, saunomise-.
    match stem.strip_suffix("ise") {
        Some(root) if root.chars().count() >= 2 => format!("{root}inen"),
        _ => stem,
    }
}

/// From the elative: `kahvista`, `saunomisesta`, `klassisesta`.
pub(crate) fn elative(word: &str) -> Option<String> {
    back("sta", "stä", word).map(base)
}

/// From the allative: `kissalle`, `pähkinöille`.
pub(crate) fn allative(word: &str) -> Option<String> {
    word.strip_suffix("lle").filter(|stem| stem.chars().count() >= 2).map(|stem| base(stem.to_owned()))
}

/// From the essive: `opettajana`, `lakimiehenä`.
pub(crate) fn essive(word: &str) -> Option<String> {
    let stem = back("na", "nä", word)?;
    Some(match stem.strip_suffix("miehe") {
        Some(root) => format!("{root}mies"),
        None => base(stem),
    })
}

/// From the partitive singular: `kahvia`, `suklaata`, `kalaa`, `saunomista`; a plural keeps its form.
pub(crate) fn partitive(word: &str) -> Option<String> {
    if let Some(root) = back("mista", "mistä", word) {
        return Some(format!("{root}minen"));
    }
    if let Some(root) = back("ista", "istä", word).filter(|root| root.chars().count() >= 4) {
        return Some(format!("{root}inen"));
    }
    if let Some(stem) = back("ta", "tä", word) {
        // kalastusta, ystävyyttä has another ending.
        if stem.ends_with("us") || stem.ends_with("ys") {
            return Some(stem);
        }
        let mut last = stem.chars().rev();
        let (end, before) = (last.next()?, last.next()?);
        return (vowel(end) && vowel(before)).then_some(stem);
    }
    let stem = back("a", "ä", word)?;
    match stem.chars().last()? {
        // Partitive plurals end in -ja, -jä, -iä, -oita: kirjoja, elokuvia.
        'j' => Some(word.to_owned()),
        last if vowel(last) => Some(stem),
        _ => None,
    }
}

fn vowel(letter: char) -> bool {
    matches!(letter, 'a' | 'e' | 'i' | 'o' | 'u' | 'y' | 'ä' | 'ö')
}

/// A given name from the genitive: `Annan`, `Matin`, `Liam:in`; the name as it stands otherwise.
pub(crate) fn genitive_name(name: &str) -> String {
    let stem = name.split(':').next().filter(|stem| *stem != name).or_else(|| name.strip_suffix('n').filter(|stem| stem.chars().last().is_some_and(vowel)));
    let Some(stem) = stem else { return name.to_owned() };
    let lower = stem.to_lowercase();
    if given_name(&lower) {
        return stem.to_owned();
    }
    // The weak grade of a doubled consonant: Mati-, Peka-.
    let strong = stem.char_indices().rev().nth(1).map(|(at, letter)| {
        let mut strong = stem.to_owned();
        strong.insert(at, letter);
        strong
    });
    strong.filter(|strong| given_name(&strong.to_lowercase())).unwrap_or_else(|| stem.to_owned())
}

/// A stem in a long `e` belongs to a word in a short one: `Konee-`, `Tamperee-`.
pub(crate) fn short_e(stem: &str) -> &str {
    stem.strip_suffix('e').filter(|short| short.ends_with('e')).unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_endings_off() {
        for (form, case, wanted) in [
            ("kahvista", elative as fn(&str) -> Option<String>, Some("kahvi")),
            ("musiikista", elative, Some("musiikki")),
            ("saunomisesta", elative, Some("saunominen")),
            ("klassisesta", elative, Some("klassinen")),
            ("pähkinöille", allative, Some("pähkinät")),
            ("insinöörinä", essive, Some("insinööri")),
            ("lakimiehenä", essive, Some("lakimies")),
            ("kahvia", partitive, Some("kahvi")),
            ("suklaata", partitive, Some("suklaa")),
            ("kalaa", partitive, Some("kala")),
            ("kirjoja", partitive, Some("kirjoja")),
            ("saunomista", partitive, Some("saunominen")),
            ("yksin", partitive, None),
        ] {
            assert_eq!(case(form).as_deref(), wanted, "{form}");
        }
    }
}
