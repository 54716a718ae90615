//! The queries with plain loops and maps, from the events alone. It shares nothing with the engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Query;
use super::answer::{Cell, Column, Kind, Rows};
use super::events::Events;

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

use Kind::{Instant, Mean, Text, Thousandths, Whole};

/// Every query that there is a file for.
#[rustfmt::skip]
pub(super) const QUERIES: &[Query] = &[
    Query { name: "q0", answer: q0, columns: &[column("auction", Whole), column("bidder", Whole), column("price", Whole), column("at", Instant)] },
    Query { name: "q1", answer: q1, columns: &[column("auction", Whole), column("bidder", Whole), column("price", Thousandths), column("at", Instant)] },
    Query { name: "q2", answer: q2, columns: &[column("auction", Whole), column("price", Whole), column("at", Instant)] },
    Query { name: "q3", answer: q3, columns: &[column("id", Whole), column("name", Text), column("city", Text), column("state", Text)] },
    Query { name: "q4", answer: q4, columns: &[column("category", Whole), column("mean", Mean)] },
    Query { name: "q5", answer: q5, columns: &[column("since", Instant), column("auction", Whole), column("bids", Whole)] },
    Query { name: "q7", answer: q7, columns: &[column("auction", Whole), column("bidder", Whole), column("price", Whole), column("at", Instant)] },
    Query { name: "q8", answer: q8, columns: &[column("id", Whole), column("name", Text), column("since", Instant)] },
];

const SECOND: i64 = 1_000;

fn floor(at: i64, width: i64) -> i64 {
    at.div_euclid(width) * width
}

/// Every bid.
fn q0(events: &Events, out: &mut Rows) {
    for bid in &events.bids {
        out.add([Cell::Whole(bid.auction), Cell::Whole(bid.bidder), Cell::Whole(bid.price), Cell::Instant(bid.at)]);
    }
}

/// Every bid in another currency.
fn q1(events: &Events, out: &mut Rows) {
    for bid in &events.bids {
        let price = Cell::Thousandths(i128::from(bid.price) * 908);
        out.add([Cell::Whole(bid.auction), Cell::Whole(bid.bidder), price, Cell::Instant(bid.at)]);
    }
}

/// Bids on some auctions.
fn q2(events: &Events, out: &mut Rows) {
    for bid in events.bids.iter().filter(|bid| bid.auction % 123 == 0) {
        out.add([Cell::Whole(bid.auction), Cell::Whole(bid.price), Cell::Instant(bid.at)]);
    }
}

/// Who sells in category 10 and lives in one of three states.
fn q3(events: &Events, out: &mut Rows) {
    let persons: HashMap<i64, _> = events.persons.iter().map(|person| (person.id, person)).collect();
    for auction in events.auctions.iter().filter(|auction| auction.category == 10) {
        let seller = persons.get(&auction.seller);
        if let Some(person) = seller.filter(|person| ["OR", "ID", "CA"].contains(&person.state.as_str())) {
            let text = |text: &str| Cell::Text(text.to_owned());
            out.add([Cell::Whole(auction.id), text(&person.name), text(&person.city), text(&person.state)]);
        }
    }
}

/// The mean of the highest timely bids of each category's auctions.
fn q4(events: &Events, out: &mut Rows) {
    let mut highest: HashMap<i64, i64> = HashMap::new();
    let auctions: HashMap<i64, _> = events.auctions.iter().map(|auction| (auction.id, auction)).collect();
    for bid in &events.bids {
        let timely = auctions.get(&bid.auction).is_some_and(|auction| auction.at <= bid.at && bid.at <= auction.expires);
        if timely {
            let price = highest.entry(bid.auction).or_insert(bid.price);
            *price = bid.price.max(*price);
        }
    }
    let mut categories: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (id, price) in highest {
        let sums = categories.entry(auctions[&id].category).or_default();
        *sums = (sums.0 + price, sums.1 + 1);
    }
    for (category, (sum, count)) in categories {
        out.add([Cell::Whole(category), Cell::Mean(sum as f64 / count as f64)]);
    }
}

/// The auctions with most bids of every ten seconds, every two seconds.
fn q5(events: &Events, out: &mut Rows) {
    let mut counts: BTreeMap<i64, HashMap<i64, i64>> = BTreeMap::new();
    for bid in &events.bids {
        let last = floor(bid.at, 2 * SECOND);
        for since in (0..5).map(|back| last - back * 2 * SECOND) {
            *counts.entry(since).or_default().entry(bid.auction).or_default() += 1;
        }
    }
    for (since, auctions) in counts {
        let most = auctions.values().copied().max().unwrap_or_default();
        for (auction, bids) in auctions.into_iter().filter(|(_, bids)| *bids == most) {
            out.add([Cell::Instant(since), Cell::Whole(auction), Cell::Whole(bids)]);
        }
    }
}

/// The highest bids of every ten seconds.
fn q7(events: &Events, out: &mut Rows) {
    let mut highest: HashMap<i64, i64> = HashMap::new();
    for bid in &events.bids {
        let price = highest.entry(floor(bid.at, 10 * SECOND)).or_insert(bid.price);
        *price = bid.price.max(*price);
    }
    for bid in events.bids.iter().filter(|bid| highest[&floor(bid.at, 10 * SECOND)] == bid.price) {
        out.add([Cell::Whole(bid.auction), Cell::Whole(bid.bidder), Cell::Whole(bid.price), Cell::Instant(bid.at)]);
    }
}

/// Who registered and sold within the same ten seconds.
fn q8(events: &Events, out: &mut Rows) {
    let sellers: BTreeSet<(i64, i64)> =
        events.auctions.iter().map(|auction| (auction.seller, floor(auction.at, 10 * SECOND))).collect();
    let mut told = BTreeSet::new();
    for person in &events.persons {
        let since = floor(person.at, 10 * SECOND);
        if sellers.contains(&(person.id, since)) && told.insert((person.id, since)) {
            out.add([Cell::Whole(person.id), Cell::Text(person.name.clone()), Cell::Instant(since)]);
        }
    }
}
