//! Places: the larger towns of Finland and common cities and countries, with their Finnish forms. Written by hand for this crate;
//! a place that is not here is taken by its capital letter and its ending, with less confidence.

/// Finnish: base form, genitive without `n` (the stem of the local cases), illative or allative, and whether the outer cases are used
/// (`Tampereella`).
const FINNISH: [(&str, &str, &str, bool); 106] = [
    ("helsinki", "helsingi", "helsinkiin", false),
    ("espoo", "espoo", "espooseen", false),
    ("tampere", "tamperee", "tampereelle", true),
    ("vantaa", "vantaa", "vantaalle", true),
    ("oulu", "oulu", "ouluun", false),
    ("turku", "turu", "turkuun", false),
    ("jyväskylä", "jyväskylä", "jyväskylään", false),
    ("lahti", "lahde", "lahteen", false),
    ("kuopio", "kuopio", "kuopioon", false),
    ("pori", "pori", "poriin", false),
    ("kouvola", "kouvola", "kouvolaan", false),
    ("joensuu", "joensuu", "joensuuhun", false),
    ("lappeenranta", "lappeenranna", "lappeenrantaan", false),
    ("hämeenlinna", "hämeenlinna", "hämeenlinnaan", false),
    ("vaasa", "vaasa", "vaasaan", false),
    ("seinäjoki", "seinäjoe", "seinäjoelle", true),
    ("rovaniemi", "rovanieme", "rovaniemelle", true),
    ("mikkeli", "mikkeli", "mikkeliin", false),
    ("kotka", "kotka", "kotkaan", false),
    ("salo", "salo", "saloon", false),
    ("porvoo", "porvoo", "porvooseen", false),
    ("kokkola", "kokkola", "kokkolaan", false),
    ("hyvinkää", "hyvinkää", "hyvinkäälle", true),
    ("lohja", "lohja", "lohjalle", true),
    ("järvenpää", "järvenpää", "järvenpäähän", false),
    ("rauma", "rauma", "raumalle", true),
    ("kajaani", "kajaani", "kajaaniin", false),
    ("kerava", "kerava", "keravalle", true),
    ("savonlinna", "savonlinna", "savonlinnaan", false),
    ("nokia", "nokia", "nokialle", true),
    ("ylöjärvi", "ylöjärve", "ylöjärvelle", true),
    ("kangasala", "kangasala", "kangasalle", true),
    ("riihimäki", "riihimäe", "riihimäelle", true),
    ("raisio", "raisio", "raisioon", false),
    ("raahe", "raahe", "raaheen", false),
    ("imatra", "imatra", "imatralle", true),
    ("hamina", "hamina", "haminaan", false),
    ("tornio", "tornio", "tornioon", false),
    ("kemi", "kemi", "kemiin", false),
    ("iisalmi", "iisalme", "iisalmelle", true),
    ("varkaus", "varkaude", "varkauteen", false),
    ("kirkkonummi", "kirkkonumme", "kirkkonummelle", true),
    ("tuusula", "tuusula", "tuusulaan", false),
    ("nurmijärvi", "nurmijärve", "nurmijärvelle", true),
    ("naantali", "naantali", "naantaliin", false),
    ("kaarina", "kaarina", "kaarinaan", false),
    ("inari", "inari", "inariin", false),
    ("kuusamo", "kuusamo", "kuusamoon", false),
    ("ylivieska", "ylivieska", "ylivieskaan", false),
    ("pietarsaari", "pietarsaare", "pietarsaareen", false),
    ("maarianhamina", "maarianhamina", "maarianhaminaan", false),
    ("hanko", "hango", "hankoon", false),
    ("suomi", "suome", "suomeen", false),
    ("ruotsi", "ruotsi", "ruotsiin", false),
    ("norja", "norja", "norjaan", false),
    ("tanska", "tanska", "tanskaan", false),
    ("islanti", "islanni", "islantiin", false),
    ("viro", "viro", "viroon", false),
    ("latvia", "latvia", "latviaan", false),
    ("liettua", "liettua", "liettuaan", false),
    ("venäjä", "venäjä", "venäjälle", true),
    ("saksa", "saksa", "saksaan", false),
    ("ranska", "ranska", "ranskaan", false),
    ("espanja", "espanja", "espanjaan", false),
    ("italia", "italia", "italiaan", false),
    ("englanti", "englanni", "englantiin", false),
    ("skotlanti", "skotlanni", "skotlantiin", false),
    ("irlanti", "irlanni", "irlantiin", false),
    ("hollanti", "hollanni", "hollantiin", false),
    ("alankomaat", "alankomai", "alankomaihin", false),
    ("belgia", "belgia", "belgiaan", false),
    ("sveitsi", "sveitsi", "sveitsiin", false),
    ("itävalta", "itävalla", "itävaltaan", false),
    ("puola", "puola", "puolaan", false),
    ("tšekki", "tšeki", "tšekkiin", false),
    ("unkari", "unkari", "unkariin", false),
    ("kreikka", "kreika", "kreikkaan", false),
    ("turkki", "turki", "turkkiin", false),
    ("portugali", "portugali", "portugaliin", false),
    ("ukraina", "ukraina", "ukrainaan", false),
    ("yhdysvallat", "yhdysvalloi", "yhdysvaltoihin", false),
    ("kanada", "kanada", "kanadaan", false),
    ("japani", "japani", "japaniin", false),
    ("kiina", "kiina", "kiinaan", false),
    ("intia", "intia", "intiaan", false),
    ("thaimaa", "thaimaa", "thaimaahan", false),
    ("australia", "australia", "australiaan", false),
    ("britannia", "britannia", "britanniaan", false),
    ("eurooppa", "euroopa", "eurooppaan", false),
    ("lappi", "lapi", "lappiin", false),
    ("ahvenanmaa", "ahvenanmaa", "ahvenanmaalle", true),
    ("tukholma", "tukholma", "tukholmaan", false),
    ("göteborg", "göteborgi", "göteborgiin", false),
    ("oslo", "oslo", "osloon", false),
    ("kööpenhamina", "kööpenhamina", "kööpenhaminaan", false),
    ("tallinna", "tallinna", "tallinnaan", false),
    ("tartto", "tarto", "tarttoon", false),
    ("riika", "riia", "riikaan", false),
    ("pietari", "pietari", "pietariin", false),
    ("berliini", "berliini", "berliiniin", false),
    ("pariisi", "pariisi", "pariisiin", false),
    ("lontoo", "lontoo", "lontooseen", false),
    ("rooma", "rooma", "roomaan", false),
    ("madrid", "madridi", "madridiin", false),
    ("praha", "praha", "prahaan", false),
    ("wien", "wieni", "wieniin", false),
];

/// Names of places in English that may be written without a capital letter, beside the Finnish towns.
const ENGLISH: [&str; 92] = [
    "amsterdam", "argentina", "athens", "australia", "austria", "bangalore", "barcelona", "beijing", "belgium", "bergen", "berlin", "boston",
    "brazil", "brussels", "budapest", "california", "canada", "chicago", "chile", "china", "copenhagen", "denmark", "dublin", "edinburgh", "egypt", "england",
    "estonia", "europe", "finland", "florida", "france", "geneva", "germany", "gothenburg", "greece", "hamburg", "hong kong", "hungary", "iceland", "india",
    "indonesia", "ireland", "israel", "istanbul", "italy", "japan", "kenya", "lapland", "latvia", "lisbon", "lithuania", "london", "los angeles", "madrid",
    "malmö", "melbourne", "mexico", "milan", "montreal", "moscow", "munich", "new york", "new zealand", "nigeria", "norway", "oslo", "paris", "poland", "portugal", "prague",
    "riga", "rome", "russia", "san francisco", "scotland", "seattle", "seoul", "singapore", "spain", "stockholm", "sweden", "switzerland", "sydney", "tallinn",
    "texas", "thailand", "tokyo", "toronto", "turkey", "ukraine", "vienna", "wales",
];

/// The local cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// In a place: `Helsingissä`, `Tampereella`.
    In,
    /// From a place: `Helsingistä`, `Tampereelta`.
    From,
    /// To a place: `Helsinkiin`, `Tampereelle`.
    To,
}

/// Whether a name, in lower case, is a place known here.
pub(crate) fn known(name: &str) -> bool {
    ENGLISH.contains(&name) || FINNISH.iter().any(|(base, ..)| *base == name)
}

/// The ending of a local case, inner and outer.
pub(crate) fn endings(case: Local) -> (&'static [&'static str], &'static [&'static str]) {
    match case {
        Local::In => (&["ssa", "ssä"], &["lla", "llä"]),
        Local::From => (&["sta", "stä"], &["lta", "ltä"]),
        Local::To => (&[], &["lle"]),
    }
}

/// The base form of a known place that stands in a local case, in lower case.
pub(crate) fn finnish_base(word: &str, case: Local) -> Option<&'static str> {
    let (inner, outer) = endings(case);
    FINNISH.iter().find_map(|(base, stem, to, on)| {
        if case == Local::To {
            return (word == *to).then_some(*base);
        }
        let list = if *on { outer } else { inner };
        list.iter().any(|ending| word.strip_suffix(ending) == Some(stem)).then_some(*base)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_places_back_to_their_base_form() {
        for (word, case, base) in [
            ("helsingissä", Local::In, "helsinki"),
            ("tampereella", Local::In, "tampere"),
            ("nokialla", Local::In, "nokia"),
            ("turussa", Local::In, "turku"),
            ("rovaniemeltä", Local::From, "rovaniemi"),
            ("lahdesta", Local::From, "lahti"),
            ("turkuun", Local::To, "turku"),
            ("yhdysvalloissa", Local::In, "yhdysvallat"),
        ] {
            assert_eq!(finnish_base(word, case), Some(base), "{word}");
        }
        assert_eq!(finnish_base("sohvalla", Local::In), None);
    }
}
