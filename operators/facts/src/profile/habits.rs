//! How somebody writes, and when: sums of whole numbers, so that any turn can be taken out again exactly.

use chrono::{DateTime, Datelike as _, Timelike as _};
use serde::{Deserialize, Serialize};

/// Hours of a day.
pub const HOURS: usize = 24;

/// Sums over turns of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Habits {
    /// Turns.
    pub turns: u64,
    /// Words.
    pub words: u64,
    /// Characters.
    pub characters: u64,
    /// Turns with a question mark.
    pub questions: u64,
    /// Turns with an exclamation mark.
    pub exclamations: u64,
    /// Turns with an emoji.
    pub emoji: u64,
    /// Turns in Finnish.
    pub finnish: u64,
    /// Turns in English.
    pub english: u64,
    /// Turns by hour of the day, UTC.
    pub hours: [u64; HOURS],
    /// Turns by day of the week, Monday first, UTC.
    pub weekdays: [u64; 7],
}

/// Small words that tell the two languages apart.
const FINNISH: [&str; 22] = [
    "ei", "en", "että", "hei", "ja", "joo", "kiitos", "kun", "kuin", "kyllä", "minun", "minä", "moi", "mutta", "mä", "oli", "olen", "on", "se", "sekä", "tai", "voi",
];
const ENGLISH: [&str; 22] = [
    "a", "an", "and", "are", "but", "for", "i", "i'm", "in", "is", "it", "my", "of", "so", "that", "the", "this", "to", "was", "we", "with", "you",
];

impl Habits {
    /// Of one turn.
    #[must_use]
    pub fn of(text: &str, at_us: i64) -> Self {
        let mut habits = Self { turns: 1, ..Self::default() };
        let lower = text.to_lowercase();
        let (mut finnish, mut english) = (0_u32, 0_u32);
        for word in lower.split(|letter: char| !letter.is_alphanumeric() && letter != '\'').filter(|word| !word.is_empty()) {
            habits.words += 1;
            finnish += u32::from(FINNISH.contains(&word)) + u32::from(word.contains(['ä', 'ö']));
            english += u32::from(ENGLISH.contains(&word));
        }
        let letter = |found: bool| u64::from(found);
        habits.characters = text.chars().count() as u64;
        habits.questions = letter(text.contains('?'));
        habits.exclamations = letter(text.contains('!'));
        habits.emoji = letter(text.chars().any(|letter| matches!(u32::from(letter), 0x1F300..=0x1FAFF | 0x2600..=0x27BF)));
        habits.finnish = letter(finnish > english);
        habits.english = letter(english > finnish);
        if let Some(at) = DateTime::from_timestamp_micros(at_us) {
            habits.hours[at.hour() as usize % HOURS] = 1;
            habits.weekdays[at.weekday().num_days_from_monday() as usize % 7] = 1;
        }
        habits
    }

    /// So many times this.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.each(&Self::default(), |value, _| *value *= count);
        self
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.each(other, |value, other| *value += other);
        self
    }

    fn each(&mut self, other: &Self, mut change: impl FnMut(&mut u64, u64)) {
        change(&mut self.turns, other.turns);
        change(&mut self.words, other.words);
        change(&mut self.characters, other.characters);
        change(&mut self.questions, other.questions);
        change(&mut self.exclamations, other.exclamations);
        change(&mut self.emoji, other.emoji);
        change(&mut self.finnish, other.finnish);
        change(&mut self.english, other.english);
        self.hours.iter_mut().zip(other.hours).for_each(|(value, other)| change(value, other));
        self.weekdays.iter_mut().zip(other.weekdays).for_each(|(value, other)| change(value, other));
    }
}
