//! The translated text, and where each of its bytes comes from.

use crate::diagnostic::{Source, Span};

/// Something that means the same in most cases, but not in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is different there.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// A pipeline in Arroyo's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The text, to be sent as it is.
    pub sql: String,
    /// What is different there.
    pub notes: Vec<Note>,
    pieces: Vec<Piece>,
}

/// A run of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Its first byte.
    start: usize,
    /// One past its last byte.
    end: usize,
    /// What it was made from.
    from: Span,
    /// Whether it is that, byte by byte.
    copied: bool,
}

/// A text that is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    sql: String,
    pub(super) notes: Vec<Note>,
    pieces: Vec<Piece>,
}

impl Text {
    /// Writes what stands for a place of the file.
    pub(super) fn made(&mut self, sql: &str, from: Span) {
        self.push(sql, from, false);
    }

    /// Writes a place of the file as it is.
    pub(super) fn copied(&mut self, source: &Source, from: Span) {
        self.push(source.slice(from), from, true);
    }

    pub(super) fn note(&mut self, span: Span, message: String) {
        self.notes.push(Note { message, span });
    }

    fn push(&mut self, sql: &str, from: Span, copied: bool) {
        let start = self.sql.len();
        self.sql.push_str(sql);
        self.pieces.push(Piece { start, end: self.sql.len(), from, copied });
    }

    pub(super) fn finish(self) -> Translation {
        Translation { sql: self.sql, notes: self.notes, pieces: self.pieces }
    }
}

impl Translation {
    /// The place in the file that a range of the text stands for; lines and columns from 1, columns counted in characters.
    #[must_use]
    pub fn place(&self, start: (u64, u64), end: (u64, u64)) -> Option<Span> {
        let text = Source::new("", self.sql.as_str());
        let from = self.place_of(text.offset_of(start.0, start.1), false)?;
        let to = self.place_of(text.offset_of(end.0, end.1), true).unwrap_or(from);
        Some(if to.end >= from.start { from.to(to) } else { from })
    }

    /// The place of a byte; an `end` belongs to what is before it.
    fn place_of(&self, at: usize, end: bool) -> Option<Span> {
        let piece = self.pieces.iter().find(|piece| if end { piece.start < at && at <= piece.end } else { piece.start <= at && at < piece.end })?;
        if !piece.copied {
            return Some(piece.from);
        }
        let at = piece.from.start + (at - piece.start);
        Some(Span::new(at, at))
    }
}

/// A name as it must be written: quoted unless it is small letters, digits and `_`.
pub(super) fn name(name: &str) -> String {
    let plain = name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    // What could be a word of the language is quoted too: quotes never change a folded name.
    let word = sql_word(name);
    if plain && !word && name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_') { name.to_owned() } else { quoted(name, '"') }
}

/// Whether sqlparser knows the name as a word of SQL.
fn sql_word(name: &str) -> bool {
    use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
    ALL_KEYWORDS.binary_search(&name.to_ascii_uppercase().as_str()).is_ok()
}

/// A text between quotes.
pub(super) fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for letter in text.chars() {
        if letter == quote {
            out.push(quote);
        }
        out.push(letter);
    }
    out.push(quote);
    out
}
