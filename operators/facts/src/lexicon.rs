//! Words the rules know: relations, professions, animals, languages, given names. Written by hand for this crate.

use super::fact::Attribute;

/// What a word for a relative or an animal makes: the attribute, and the word in its base form.
pub(crate) fn relation(word: &str) -> Option<(Attribute, &'static str)> {
    let find = |word: &str| RELATIONS.iter().find(|(known, ..)| *known == word).map(|(known, attribute)| (*attribute, *known));
    if let Some(found) = find(word) {
        return Some(found);
    }
    // Finnish: vaimoni, vaimomme.
    let stem = ["ni", "mme"].iter().find_map(|tail| word.strip_suffix(tail))?;
    let bare = match stem {
        "miehe" => "mies",
        "tyttäre" => "tytär",
        "lapse" => "lapsi",
        "velje" => "veli",
        other => other,
    };
    FINNISH_RELATIONS.iter().find(|(known, _)| *known == bare).map(|(known, attribute)| (*attribute, *known))
}

const RELATIONS: [(&str, Attribute); 49] = [
    ("wife", Attribute::Spouse),
    ("husband", Attribute::Spouse),
    ("spouse", Attribute::Spouse),
    ("girlfriend", Attribute::Partner),
    ("boyfriend", Attribute::Partner),
    ("partner", Attribute::Partner),
    ("fiancé", Attribute::Partner),
    ("fiancée", Attribute::Partner),
    ("fiance", Attribute::Partner),
    ("fiancee", Attribute::Partner),
    ("son", Attribute::Child),
    ("daughter", Attribute::Child),
    ("child", Attribute::Child),
    ("kid", Attribute::Child),
    ("baby", Attribute::Child),
    ("brother", Attribute::Sibling),
    ("sister", Attribute::Sibling),
    ("mother", Attribute::Parent),
    ("mom", Attribute::Parent),
    ("mum", Attribute::Parent),
    ("father", Attribute::Parent),
    ("dad", Attribute::Parent),
    ("grandmother", Attribute::Grandparent),
    ("grandfather", Attribute::Grandparent),
    ("grandma", Attribute::Grandparent),
    ("grandpa", Attribute::Grandparent),
    ("uncle", Attribute::Relative),
    ("aunt", Attribute::Relative),
    ("cousin", Attribute::Relative),
    ("niece", Attribute::Relative),
    ("nephew", Attribute::Relative),
    ("friend", Attribute::Friend),
    ("roommate", Attribute::Friend),
    ("cat", Attribute::Pet),
    ("dog", Attribute::Pet),
    ("puppy", Attribute::Pet),
    ("kitten", Attribute::Pet),
    ("rabbit", Attribute::Pet),
    ("hamster", Attribute::Pet),
    ("parrot", Attribute::Pet),
    ("horse", Attribute::Pet),
    ("turtle", Attribute::Pet),
    ("goldfish", Attribute::Pet),
    ("guinea-pig", Attribute::Pet),
    ("snake", Attribute::Pet),
    ("budgie", Attribute::Pet),
    ("bunny", Attribute::Pet),
    ("pony", Attribute::Pet),
    ("lizard", Attribute::Pet),
];

const FINNISH_RELATIONS: [(&str, Attribute); 33] = [
    ("vaimo", Attribute::Spouse),
    ("mies", Attribute::Spouse),
    ("aviomies", Attribute::Spouse),
    ("puoliso", Attribute::Spouse),
    ("tyttöystävä", Attribute::Partner),
    ("poikaystävä", Attribute::Partner),
    ("avopuoliso", Attribute::Partner),
    ("kumppani", Attribute::Partner),
    ("poika", Attribute::Child),
    ("tytär", Attribute::Child),
    ("tyttö", Attribute::Child),
    ("lapsi", Attribute::Child),
    ("sisko", Attribute::Sibling),
    ("pikkusisko", Attribute::Sibling),
    ("isosisko", Attribute::Sibling),
    ("veli", Attribute::Sibling),
    ("pikkuveli", Attribute::Sibling),
    ("isoveli", Attribute::Sibling),
    ("äiti", Attribute::Parent),
    ("isä", Attribute::Parent),
    ("mummo", Attribute::Grandparent),
    ("ukki", Attribute::Grandparent),
    ("serkku", Attribute::Relative),
    ("täti", Attribute::Relative),
    ("setä", Attribute::Relative),
    ("eno", Attribute::Relative),
    ("ystävä", Attribute::Friend),
    ("kaveri", Attribute::Friend),
    ("kissa", Attribute::Pet),
    ("koira", Attribute::Pet),
    ("kani", Attribute::Pet),
    ("hevonen", Attribute::Pet),
    ("hamsteri", Attribute::Pet),
];

/// A Finnish word for a relative or an animal in its base form.
pub(crate) fn finnish_relation(word: &str) -> Option<(Attribute, &'static str)> {
    FINNISH_RELATIONS.iter().find(|(known, _)| *known == word).map(|(known, attribute)| (*attribute, *known))
}

const PROFESSIONS: [&str; 106] = [
    "accountant", "actor", "actress", "analyst", "archaeologist", "architect", "artist", "astronomer", "author", "baker", "banker", "barber",
    "barista", "bartender", "biologist", "builder", "butcher", "carpenter", "cashier", "chef", "chemist", "cleaner", "coach", "composer", "consultant",
    "cook", "dancer", "dentist", "designer", "developer", "director", "doctor", "driver", "economist", "editor", "electrician", "engineer",
    "farmer", "firefighter", "fisherman", "florist", "gardener", "geologist", "hairdresser", "historian", "housewife", "illustrator",
    "interpreter", "journalist", "judge", "lawyer", "lecturer", "librarian", "linguist", "manager", "marketer", "mathematician", "mechanic", "midwife",
    "miner", "musician", "nurse", "nutritionist", "officer", "optician", "painter", "paramedic", "pastor", "pediatrician", "pharmacist",
    "photographer", "physicist", "physiotherapist", "pianist", "pilot", "plumber", "poet", "politician", "postman", "priest", "principal", "producer",
    "professor", "programmer", "psychiatrist", "psychologist", "realtor", "receptionist", "researcher", "sailor", "salesperson", "scientist",
    "sculptor", "secretary", "singer", "soldier", "statistician", "surgeon", "tailor", "teacher", "technician", "therapist", "translator", "vet",
    "waiter", "waitress",
];

/// More that stand for what somebody does.
const STATUS: [&str; 6] = ["student", "freelancer", "entrepreneur", "writer", "welder", "nanny"];

/// Whether a word names a profession, as the last word of its name.
pub(crate) fn profession(word: &str) -> bool {
    PROFESSIONS.binary_search(&word).is_ok() || STATUS.contains(&word)
}

const FINNISH_PROFESSIONS: [&str; 62] = [
    "ajoneuvoasentaja", "analyytikko", "arkkitehti", "arkeologi", "asentaja", "asianajaja", "autonkuljettaja", "eläinlääkäri", "fyysikko", "fysioterapeutti",
    "graafikko", "hammaslääkäri", "hitsaaja", "hoitaja", "insinööri", "johtaja", "juristi", "kampaaja", "kehittäjä", "kemisti", "kirjailija", "kirjanpitäjä",
    "kirvesmies", "kokki", "koodari", "konsultti", "kuljettaja", "kätilö", "lakimies", "leipuri", "lähihoitaja", "lääkäri", "maanviljelijä", "matemaatikko",
    "muusikko", "myyjä", "näyttelijä", "ohjelmoija", "opettaja", "opiskelija", "palomies", "pappi", "poliisi", "professori", "psykologi", "puuseppä",
    "rakentaja", "sairaanhoitaja", "sihteeri", "siivooja", "suunnittelija", "sähköasentaja", "taiteilija", "tarjoilija", "toimittaja", "tutkija",
    "valmentaja", "valokuvaaja", "virkailija", "yrittäjä", "kääntäjä", "putkimies",
];

/// A Finnish profession in its base form; the last part of a compound decides: `ohjelmistoinsinööri`.
pub(crate) fn finnish_profession(word: &str) -> bool {
    FINNISH_PROFESSIONS.iter().any(|known| word.ends_with(known))
}

const LANGUAGES: [&str; 34] = [
    "arabic", "bengali", "bulgarian", "chinese", "croatian", "czech", "danish", "dutch", "english", "estonian", "finnish", "french", "german",
    "greek", "hebrew", "hindi", "hungarian", "icelandic", "italian", "japanese", "korean", "latin", "latvian", "lithuanian", "mandarin", "norwegian",
    "persian", "polish", "portuguese", "romanian", "russian", "sami", "spanish", "swedish",
];
const MORE_LANGUAGES: [&str; 5] = ["thai", "turkish", "ukrainian", "vietnamese", "somali"];

/// Whether a word is the English name of a language.
pub(crate) fn language(word: &str) -> bool {
    LANGUAGES.contains(&word) || MORE_LANGUAGES.contains(&word)
}

const FINNISH_LANGUAGES: [&str; 26] = [
    "suomi", "ruotsi", "englanti", "saksa", "ranska", "espanja", "italia", "venäjä", "viro", "norja", "tanska", "hollanti", "puola", "japani", "kiina",
    "korea", "arabia", "somali", "turkki", "ukraina", "portugali", "latina", "saame", "unkari", "kreikka", "islanti",
];

/// A language by its Finnish name in the partitive: `suomea`, `englantia`.
pub(crate) fn finnish_language(word: &str) -> Option<&'static str> {
    FINNISH_LANGUAGES.iter().copied().find(|base| {
        let Some(rest) = word.strip_suffix(['a', 'ä']) else { return word == *base };
        // suomi: suomea; the rest adds its a.
        rest == *base || (*base == "suomi" && rest == "suome") || word == *base
    })
}

const NAMES: [&str; 179] = [
    "aada", "aino", "aleksi", "alex", "alice", "amanda", "amy", "anders", "andrew", "anna", "anne", "anni", "antti", "anu", "arto",
    "ashley", "barbara", "ben", "brian", "carol", "caroline", "charles", "charlotte", "chris", "daniel", "david", "dennis", "donna",
    "edward", "eemil", "eetu", "eeva", "eino", "elena", "elias", "elina", "elizabeth", "ella", "emilia", "emily", "emma", "eric", "erik",
    "erkki", "essi", "eveliina", "george", "hanna", "hannu", "heidi", "heikki", "helena", "helmi", "henri", "ida", "iida", "iiro", "ilkka",
    "impi", "isla", "jaana", "jack", "jacob", "james", "jane", "janne", "jari", "jason", "jenni", "jennifer", "jessica", "joanna",
    "johanna", "john", "jonas", "jonathan", "joonas", "joseph", "juha", "juho", "jukka", "julia", "jussi", "justin", "kaisa", "kalle",
    "karen", "kari", "karl", "kate", "katri", "kerttu", "kevin", "kirsi", "laura", "lauri", "leena", "leo", "liam", "liisa", "lilja",
    "linda", "lisa", "lucas", "maija", "mari", "maria", "maria-liisa", "marja", "mark", "markus", "martin", "mary", "matti", "max",
    "melissa", "merja", "michael", "michelle", "mika", "mikko", "minna", "nancy", "nicholas", "niko", "noah", "oliver", "olivia", "onni",
    "oona", "oskar", "outi", "paavo", "patricia", "patrick", "paul", "pekka", "peter", "petri", "rebecca", "reijo", "richard", "riikka",
    "risto", "ritva", "robert", "ryan", "sam", "sami", "samuel", "sandra", "sanna", "sara", "sarah", "satu", "scott", "seppo", "sharon",
    "sofia", "sophie", "stephen", "susan", "tapio", "teemu", "tero", "thomas", "tiina", "tim", "timo", "timothy", "toivo", "tom", "tuula",
    "urho", "veera", "venla", "ville", "väinö", "william",
];

/// Whether a word is a given name that is common in Finnish or English.
pub(crate) fn given_name(word: &str) -> bool {
    NAMES.contains(&word)
}

/// Words with a capital letter that are no names: nationalities, faiths, days and months.
pub(crate) fn no_name(word: &str) -> bool {
    const ENDINGS: [&str; 5] = ["ish", "ese", "ian", "ean", "ican"];
    const WORDS: [&str; 60] = [
        "i", "american", "german", "french", "dutch", "greek", "swiss", "swede", "finn", "dane", "czech", "thai", "mexican", "african", "asian", "european",
        "muslim", "jewish", "hindu", "buddhist", "catholic", "lutheran", "january", "february", "march", "april", "may", "june", "july", "august",
        "september", "october", "november", "december", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "christmas", "easter",
        "god", "ok", "okay", "yes", "no", "not", "the", "my", "so", "and", "but", "well", "sorry", "here", "back", "just", "very",
    ];
    WORDS.contains(&word) || (!given_name(word) && ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_that_is_searched_by_halves_is_sorted() {
        assert!(PROFESSIONS.is_sorted());
    }

    #[test]
    fn knows_relatives_with_and_without_a_possessive() {
        assert_eq!(relation("sister"), Some((Attribute::Sibling, "sister")));
        assert_eq!(relation("tyttäreni"), Some((Attribute::Child, "tytär")));
        assert_eq!(relation("koiramme"), Some((Attribute::Pet, "koira")));
        assert_eq!(relation("unelmani"), None);
    }
}
