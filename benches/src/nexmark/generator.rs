//! Makes the events: of fifty, one person, three auctions and forty-six bids, as the benchmark's own generator does.
//!
//! One event a millisecond, so that an instant names its event. Ids count from 1,000. What is new is hot: half of the bids go to the
//! newest auction of a hundred, and most auctions are of the newest seller of a hundred; the rest is spread over those who came lately.

use std::io::Write as _;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::events::written;
use crate::error::BenchError;

/// Midnight, 1 January 2026, in milliseconds.
const START: i64 = 1_767_225_600_000;
const ROUND: u64 = 50;
const AUCTIONS: u64 = 3;
const FIRST_ID: u64 = 1_000;
/// Of how many the first is hot.
const HOT: u64 = 100;
/// How many came lately.
const LATELY: u64 = 200;

const FIRST: [&str; 8] = ["Aino", "Eero", "Helmi", "Oskari", "Saara", "Väinö", "Kerttu", "Ilmari"];
const LAST: [&str; 6] = ["Mäkinen", "Korhonen", "Virtanen", "Nieminen", "Laine", "Heikkilä"];
const PLACES: [(&str, &str); 9] = [
    ("Phoenix", "AZ"),
    ("Palo Alto", "CA"),
    ("San Francisco", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Redmond", "WA"),
    ("Seattle", "WA"),
    ("Cheyenne", "WY"),
];
const CHANNELS: [&str; 4] = ["apple", "google", "facebook", "baidu"];

/// Writes `person.jsonl`, `auction.jsonl` and `bid.jsonl` into a folder; `rows` counts the events of all three.
///
/// # Errors
/// [`BenchError::File`].
pub(crate) fn generate(rows: u64, seed: u64, folder: &Path) -> Result<(), BenchError> {
    let mut random = SmallRng::seed_from_u64(seed);
    // A folder is whole or not there: it is filled under another name.
    let partial = folder.with_extension("partial");
    std::fs::create_dir_all(&partial).map_err(BenchError::file(&partial))?;
    let open = |name: &str| {
        let path = partial.join(name);
        std::fs::File::create(&path).map_err(BenchError::file(&path))
    };
    let files = [open("person.jsonl")?, open("auction.jsonl")?, open("bid.jsonl")?];
    let [mut persons, mut auctions, mut bids] = files.map(|file| std::io::BufWriter::with_capacity(1 << 20, file));
    let made = (0..rows).try_for_each(|event| {
        let (round, place) = (event / ROUND, event % ROUND);
        let at = START + i64::try_from(event).unwrap_or(i64::MAX / 2);
        match place {
            0 => persons.write_all(person(FIRST_ID + round, at, &mut random).as_bytes()),
            1..=AUCTIONS => auctions.write_all(auction(round, place - 1, at, &mut random).as_bytes()),
            _ => bids.write_all(bid(round, at, &mut random).as_bytes()),
        }
    });
    let made = made.and_then(|()| persons.flush()).and_then(|()| auctions.flush()).and_then(|()| bids.flush());
    made.map_err(BenchError::file(&partial))?;
    drop((persons, auctions, bids));
    std::fs::rename(&partial, folder).map_err(BenchError::file(folder))
}

fn pick<T: Copy>(from: &[T], random: &mut SmallRng) -> T {
    from[random.random_range(0..from.len())]
}

/// One of the newest `LATELY` of `count` ids, or the hot one.
fn recent(count: u64, hot_of_a_hundred: u32, random: &mut SmallRng) -> u64 {
    let last = count - 1;
    if random.random_range(0..100) < hot_of_a_hundred {
        return FIRST_ID + last / HOT * HOT;
    }
    FIRST_ID + random.random_range(last.saturating_sub(LATELY - 1)..=last)
}

fn person(id: u64, at: i64, random: &mut SmallRng) -> String {
    let (first, last) = (pick(&FIRST, random), pick(&LAST, random));
    let (city, state) = pick(&PLACES, random);
    let card: Vec<String> = (0..4).map(|_| format!("{:04}", random.random_range(0..10_000))).collect();
    let (card, at) = (card.join(" "), written(at));
    format!(
        "{{\"id\":{id},\"name\":\"{first} {last}\",\"email_address\":\"{id}@example.org\",\"credit_card\":\"{card}\",\
         \"city\":\"{city}\",\"state\":\"{state}\",\"at\":\"{at}\",\"extra\":\"\"}}\n"
    )
}

fn auction(round: u64, place: u64, at: i64, random: &mut SmallRng) -> String {
    let id = FIRST_ID + round * AUCTIONS + place;
    let seller = recent(round + 1, 75, random);
    let category = random.random_range(10..=14);
    let initial = price(random);
    let reserve = initial + price(random);
    let expires = written(at + random.random_range(200..=20_000));
    let at = written(at);
    format!(
        "{{\"id\":{id},\"item_name\":\"item {id}\",\"description\":\"lot {id} of seller {seller}\",\"initial_bid\":{initial},\
         \"reserve\":{reserve},\"at\":\"{at}\",\"expires\":\"{expires}\",\"seller\":{seller},\"category\":{category},\"extra\":\"\"}}\n"
    )
}

fn bid(round: u64, at: i64, random: &mut SmallRng) -> String {
    let auction = recent((round + 1) * AUCTIONS, 50, random);
    let bidder = recent(round + 1, 75, random);
    let (price, channel) = (price(random), pick(&CHANNELS, random));
    let (item, at) = (random.random_range(0..1_000_000), written(at));
    format!(
        "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\"{channel}\",\
         \"url\":\"https://www.example.org/item/{item}\",\"at\":\"{at}\",\"extra\":\"\"}}\n"
    )
}

/// Cents; every power of ten from 100 to 10 million is as likely as another.
fn price(random: &mut SmallRng) -> i64 {
    let magnitude = 100 * 10_i64.pow(random.random_range(0..6));
    random.random_range(magnitude..magnitude * 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexmark::events::Events;

    #[test]
    fn keeps_the_shares_and_names_only_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("nexmark");
        generate(5_000, 7, &out).expect("written");
        let events = Events::read(&out).expect("read");
        assert_eq!((events.persons.len(), events.auctions.len(), events.bids.len()), (100, 300, 4_600));
        let persons: std::collections::HashSet<i64> = events.persons.iter().map(|person| person.id).collect();
        let auctions: std::collections::HashSet<i64> = events.auctions.iter().map(|auction| auction.id).collect();
        assert!(events.auctions.iter().all(|auction| persons.contains(&auction.seller) && auction.expires > auction.at));
        assert!(events.bids.iter().all(|bid| persons.contains(&bid.bidder)));
        assert!(events.bids.iter().all(|bid| auctions.contains(&bid.auction)));
    }
}
