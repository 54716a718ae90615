//! Kinds of things and words for things of that kind: what lets "which instruments" find a turn that says "violin".
//!
//! Written by hand for this crate, from general vocabulary; no word of it was taken from an evaluation's questions. A kind's
//! own names count as words of it. A wrong or missing word costs one signal of many a little.

use std::collections::HashMap;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};

use super::lexicon::Language;

/// A set of kinds: bit n is the n-th line of the tables.
pub(super) type Kinds = u64;

/// What a kind is asked for by, and words for things of that kind.
type Table = [(&'static str, &'static str); 26];

const ENGLISH: Table = [
    ("instrument", "guitar piano violin cello drum flute trumpet saxophone clarinet harp banjo ukulele keyboard bass accordion"),
    (
        "sport exercise",
        "football soccer basketball baseball tennis golf hockey volleyball swimming running cycling skiing boxing rugby surfing \
         skating climbing yoga gym marathon karate badminton jogging workout",
    ),
    (
        "hobby activity pastime leisure interest relax destress",
        "painting drawing reading hiking camping swimming running dancing gardening cooking baking fishing knitting photography \
         pottery yoga gaming chess sewing writing cycling climbing surfing meditation skiing singing crafting kayaking birdwatching",
    ),
    ("pet animal", "dog cat puppy kitten rabbit hamster parrot fish turtle bird horse snake lizard gecko pup kitty"),
    (
        "food dish meal snack eat cook bake recipe dessert cuisine",
        "pizza pasta soup salad bread cake cookie pie burger sandwich chicken fish steak rice curry sushi taco noodle chocolate \
         pancake cheese fruit vegetable pastry muffin roast stew lasagna",
    ),
    ("drink beverage", "coffee tea beer wine juice smoothie water soda milk cocktail latte"),
    ("book novel read author series", "story trilogy memoir biography chapter reading poem fantasy thriller"),
    ("movie film watch show", "comedy drama thriller documentary cinema series episode horror animation"),
    (
        "music song band artist concert listen",
        "album singer jazz rock pop classical playlist orchestra festival gig",
    ),
    ("game play videogame", "chess poker puzzle console playstation nintendo xbox boardgame scrabble monopoly card multiplayer strategy"),
    (
        "art craft artwork creative create make paint",
        "painting drawing sculpture pottery sketch canvas portrait landscape mural clay watercolor collage photography",
    ),
    (
        "place country city travel trip visit vacation destination holiday go",
        "beach mountain lake forest museum park island hotel flight camping tour travel visited castle",
    ),
    (
        "family relative child kid parent sibling",
        "mother mom mum father dad sister brother son daughter wife husband grandmother grandma grandfather grandpa uncle aunt \
         cousin niece nephew",
    ),
    (
        "job work career profession occupation company business",
        "office boss manager engineer teacher nurse doctor designer developer lawyer chef intern promotion interview startup \
         store hired",
    ),
    (
        "health illness injury condition problem issue",
        "doctor hospital surgery pain allergy asthma diabetes therapy ankle knee back medication diagnosis fever migraine \
         insomnia stress anxiety weight",
    ),
    (
        "event celebration party attend participate",
        "wedding birthday festival parade concert fair conference workshop graduation reunion ceremony fundraiser gala \
         tournament contest competition meetup anniversary charity",
    ),
    ("vehicle car transport drive", "truck van motorcycle bike bicycle bus train boat scooter suv convertible"),
    ("clothes clothing wear outfit accessory", "dress shirt shoe jacket hat coat jeans scarf necklace sweater boots ring bracelet"),
    (
        "subject study degree course class school major learn",
        "math history biology chemistry physics psychology law medicine engineering economics philosophy college university exam \
         semester",
    ),
    ("language", "english spanish french german italian japanese chinese korean finnish swedish russian portuguese"),
    ("gift present receive", "card flower book necklace ring chocolate gave"),
    (
        "feeling emotion mood feel",
        "happy sad proud excited nervous anxious grateful scared lonely stressed thrilled upset relieved frustrated overwhelmed",
    ),
    ("plant flower garden", "rose tulip sunflower tomato herb basil tree cactus orchid daisy lily lavender"),
    ("device gadget technology electronics", "phone laptop computer tablet camera headphone console tv watch keyboard monitor"),
    ("volunteer charity community help cause", "shelter donation fundraiser mentor nonprofit homeless campaign"),
    ("goal plan dream future aspiration", "want hope someday wish aim"),
];

const FINNISH: Table = [
    ("soitin soittaa", "kitara piano viulu sello rumpu huilu trumpetti saksofoni haitari basso kantele klarinetti"),
    (
        "urheilu liikunta laji treeni",
        "jalkapallo koripallo tennis jääkiekko lentopallo uinti juoksu pyöräily hiihto sulkapallo sali jooga salibandy lenkki \
         kiipeily pesäpallo golf luistelu",
    ),
    (
        "harrastus harrastaa vapaa-aika rentoutua",
        "maalaus piirtäminen lukeminen vaellus retkeily tanssi puutarha kokkaus leivonta kalastus neulonta valokuvaus keramiikka \
         kirjoittaminen kuoro melonta sienestys marjastus",
    ),
    ("lemmikki eläin", "koira kissa pentu kani hamsteri papukaija kala kilpikonna lintu hevonen"),
    (
        "ruoka ateria herkku resepti syödä leipoa kokata",
        "pizza pasta keitto salaatti leipä kakku piirakka kana kala riisi juusto jäätelö suklaa lettu pulla puuro makaroni",
    ),
    ("juoma juoda", "kahvi tee olut viini mehu vesi maito limsa"),
    ("kirja romaani lukea kirjailija", "tarina runo elämäkerta dekkari trilogia"),
    ("elokuva leffa katsoa ohjelma", "komedia draama dokumentti sarja jakso kauhu"),
    ("musiikki laulu yhtye bändi artisti kuunnella", "levy keikka konsertti laulaja festivaali rock jazz"),
    ("peli pelata", "shakki pokeri lautapeli konsoli korttipeli palapeli"),
    ("taide käsityö maalata luoda", "maalaus piirros veistos keramiikka luonnos taulu muotokuva savi akvarelli"),
    ("paikka maa kaupunki matka matkustaa loma vierailla", "ranta vuori järvi metsä museo puisto saari hotelli lento linna mökki"),
    (
        "perhe sukulainen lapsi vanhempi sisarus",
        "äiti isä sisko veli poika tytär vaimo mies mummo ukki pappa setä täti eno serkku",
    ),
    (
        "työ ammatti ura yritys",
        "toimisto pomo insinööri opettaja hoitaja lääkäri suunnittelija kokki haastattelu ylennys",
    ),
    (
        "terveys sairaus vamma vaiva ongelma",
        "lääkäri sairaala leikkaus kipu allergia astma diabetes terapia nilkka polvi selkä lääke kuume migreeni stressi",
    ),
    (
        "tapahtuma juhla osallistua",
        "häät syntymäpäivä festivaali paraati konsertti messut konferenssi valmistujaiset turnaus kilpailu",
    ),
    ("ajoneuvo auto kulkuneuvo ajaa", "rekka pakettiauto moottoripyörä pyörä bussi juna vene skootteri"),
    ("vaate asu pukeutua", "mekko paita kenkä takki hattu huivi kaulakoru villapaita saappaat"),
    (
        "oppiaine opinto opiskella kurssi koulu",
        "matematiikka historia biologia kemia fysiikka psykologia oikeustiede lääketiede yliopisto tentti tutkinto",
    ),
    ("kieli", "englanti espanja ranska saksa italia japani kiina suomi ruotsi venäjä viro"),
    ("lahja saada", "kortti kukka antoi"),
    (
        "tunne mieliala tuntea",
        "onnellinen surullinen ylpeä innostunut hermostunut ahdistunut kiitollinen yksinäinen stressaantunut",
    ),
    ("kasvi kukka puutarha", "ruusu tulppaani auringonkukka tomaatti yrtti basilika puu kaktus orkidea"),
    ("laite tekniikka", "puhelin läppäri tietokone tabletti kamera kuuloke konsoli"),
    ("vapaaehtoistyö hyväntekeväisyys auttaa", "vapaaehtoinen turvakoti lahjoitus keräys"),
    ("tavoite suunnitelma unelma haave", "haluan toivon haluaisin"),
];

/// Kinds by stem: those a stem asks for, and those it is a thing of.
#[derive(Default)]
struct Lookup {
    asked: HashMap<String, Kinds>,
    things: HashMap<String, Kinds>,
}

impl Lookup {
    fn new(table: &Table, stemmer: &Stemmer) -> Self {
        let mut lookup = Self::default();
        for (number, (asked, things)) in table.iter().enumerate() {
            let kind: Kinds = 1 << number;
            for word in asked.split_whitespace() {
                let stem = stemmer.stem(word).into_owned();
                *lookup.asked.entry(stem.clone()).or_default() |= kind;
                *lookup.things.entry(stem).or_default() |= kind;
            }
            for word in things.split_whitespace() {
                *lookup.things.entry(stemmer.stem(word).into_owned()).or_default() |= kind;
            }
        }
        lookup
    }
}

static LOOKUP: LazyLock<[Lookup; 2]> = LazyLock::new(|| {
    [Lookup::new(&ENGLISH, &Stemmer::create(Algorithm::English)), Lookup::new(&FINNISH, &Stemmer::create(Algorithm::Finnish))]
});

fn lookup(language: Language) -> &'static Lookup {
    match language {
        Language::English => &LOOKUP[0],
        Language::Finnish => &LOOKUP[1],
    }
}

/// Kinds that a question's stems ask for.
pub(super) fn asked<'a>(stems: impl IntoIterator<Item = &'a String>, language: Language) -> Kinds {
    let known = &lookup(language).asked;
    stems.into_iter().filter_map(|stem| known.get(stem)).fold(0, |all, kinds| all | kinds)
}

/// Kinds of which a text holds a thing, and kinds of which it holds two; a stem counts once.
pub(super) fn held(stems: &[String], language: Language) -> (Kinds, Kinds) {
    let known = &lookup(language).things;
    let mut found: Vec<&String> = stems.iter().filter(|stem| known.contains_key(*stem)).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().filter_map(|stem| known.get(stem)).fold((0, 0), |(one, two), kinds| (one | kinds, two | (one & kinds)))
}

#[cfg(test)]
mod tests {
    use super::super::lexicon::stems;
    use super::*;

    fn of(text: &str, language: Language) -> (Kinds, Kinds) {
        held(&stems(text, language), language)
    }

    #[test]
    fn knows_a_violin_for_an_instrument_in_both_languages() {
        let question = stems("Which instruments can she play?", Language::English);
        let instruments = asked(&question, Language::English) & 1;
        assert_eq!(instruments, 1);
        assert_eq!(of("I practise the violin", Language::English).0 & 1, 1);
        assert_eq!(of("We slept until noon", Language::English), (0, 0));
        assert_eq!(asked(&stems("Mitä soittimia hän soittaa?", Language::Finnish), Language::Finnish) & 1, 1);
        assert_eq!(of("Harjoittelen viulua", Language::Finnish).0 & 1, 1);
    }

    #[test]
    fn counts_two_different_things_but_not_one_twice() {
        assert_eq!(of("the violin and the violin", Language::English).1 & 1, 0);
        assert_eq!(of("the violin and the cello", Language::English).1 & 1, 1);
    }

    #[test]
    fn the_two_tables_name_the_same_kinds_in_the_same_order() {
        // A spot check by words whose kind is plain.
        for (english, finnish) in [("dog", "koira"), ("coffee", "kahvi"), ("wedding", "häät"), ("camera", "kamera"), ("museum", "museo")] {
            assert_ne!(of(english, Language::English).0 & of(finnish, Language::Finnish).0, 0, "{english}");
        }
    }
}
