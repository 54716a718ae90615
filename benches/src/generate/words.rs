//! Words, some far more often than others.

use std::collections::HashSet;
use std::io::Write;

use rand::Rng as _;
use rand::rngs::SmallRng;

const DISTINCT: usize = 5_000;
/// Some letters of two bytes, so that an engine that miscounts bytes is found.
const LETTERS: [char; 24] =
    ['a', 'b', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'r', 's', 't', 'u', 'v', 'y', 'ä', 'ö', 'å'];

/// `{"word":"…"}` a row, out of 5,000 words of 4 to 12 letters. The cube of a uniform number chooses: the first of a hundred parts of
/// the vocabulary takes about a fifth of all rows.
pub(super) fn write(rows: u64, random: &mut SmallRng, out: &mut impl Write) -> std::io::Result<()> {
    let (mut known, mut vocabulary) = (HashSet::new(), Vec::with_capacity(DISTINCT));
    while vocabulary.len() < DISTINCT {
        let length = random.random_range(4..=12);
        let word: String = (0..length).map(|_| LETTERS[random.random_range(0..LETTERS.len())]).collect();
        if known.insert(word.clone()) {
            vocabulary.push(word);
        }
    }
    // In whole numbers, so that every machine chooses the same: a third power out of a million million millions.
    const SIDE: u64 = 1_000_000;
    for _ in 0..rows {
        let third = u128::from(random.random_range(0..SIDE)).pow(3) * DISTINCT as u128 / u128::from(SIDE).pow(3);
        let word = &vocabulary[usize::try_from(third).unwrap_or_default().min(DISTINCT - 1)];
        writeln!(out, "{{\"word\":\"{word}\"}}")?;
    }
    Ok(())
}
