//! What is wrong with a pipeline file, where, and what to write instead.
//!
//! A [`Source`] is one file as the user named it, a [`Span`] a range of its bytes, a [`Diagnostic`] one finding with a stable
//! [`Code`]. Holds always: a finding renders without a panic, whatever its span; lines and columns start at 1 and columns count
//! Unicode scalar values, as editors do. Not promised: the wording of messages; only codes are stable.

mod code;
mod render;
mod similar;

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Span as SqlSpan;

pub use code::Code;
pub use similar::closest;

/// One pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path as the user gave it; only shown, never opened.
    pub name: String,
    /// Its whole text.
    pub text: String,
    /// What `${NAME}` stands for; options of models and lengths of vectors are read with it.
    pub settings: BTreeMap<String, String>,
}

/// A range of bytes of a [`Source`], the end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte; equal to `start` for a place between two characters.
    pub end: usize,
}

/// A line and a column, both from 1; the column counts Unicode scalar values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which rule refuses the file.
    pub code: Code,
    /// What is wrong here: lower case, no full stop.
    pub message: String,
    /// Where; none if the whole file is meant.
    pub span: Option<Span>,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Everything that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Source {
    /// Names a text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), settings: BTreeMap::new() }
    }

    /// The same file, read with these values in the place of `${NAME}`.
    #[must_use]
    pub fn with_settings(self, settings: BTreeMap<String, String>) -> Self {
        Self { settings, ..self }
    }

    /// Gives the bytes that a span of sqlparser's stands for, or nothing for its empty span.
    ///
    /// sqlparser counts lines and characters from 1; what lies outside the text is moved to the nearest place inside.
    pub fn span_of(&self, span: SqlSpan) -> Option<Span> {
        if span.start.line == 0 || span.end.line == 0 {
            return None;
        }
        let start = self.offset_of(span.start.line, span.start.column);
        let end = self.offset_of(span.end.line, span.end.column);
        Some(Span { start, end: end.max(start) })
    }

    /// Gives the line and column of a byte offset; an offset inside a character counts as that character.
    pub fn position(&self, offset: usize) -> Position {
        let before = self.before(offset);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        Position { line: before.matches('\n').count() + 1, column: column + 1 }
    }

    /// Gives the text under a span, cut to whole characters.
    pub fn slice(&self, span: Span) -> &str {
        let start = self.before(span.start).len();
        let end = self.before(span.end).len();
        self.text.get(start..end).unwrap_or("")
    }

    /// Gives the offset of a line and a column, both from 1.
    pub(crate) fn offset_of(&self, line: u64, column: u64) -> usize {
        let mut start = 0;
        for (number, text) in (1u64..).zip(self.text.split_inclusive('\n')) {
            if number == line {
                let wanted = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
                let in_line = text.char_indices().nth(wanted).map_or(text.len(), |(at, _)| at);
                return start + in_line;
            }
            start += text.len();
        }
        self.text.len()
    }

    /// Spans the character at an offset; empty at the end.
    pub(crate) fn letter(&self, offset: usize) -> Span {
        let start = self.before(offset).len();
        let length = self.text.get(start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        Span::new(start, start + length)
    }

    /// Gives the text before an offset, moved back to a character's start.
    fn before(&self, offset: usize) -> &str {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.get(..end).unwrap_or("")
    }
}

impl Span {
    /// Names the bytes from `start` to before `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Spans from the first byte of this to the last of `other`.
    pub fn to(self, other: Self) -> Self {
        Self::new(self.start, other.end)
    }
}

impl Diagnostic {
    /// Starts a finding that has no place yet; line breaks in the message become spaces.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into().replace(char::is_control, " "), span: None, hint: None }
    }

    /// Says where; a planner that has no span may pass `None`.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Asks "did you mean" for the candidate nearest to `name`, and leaves the hint alone if none is near.
    #[must_use]
    pub fn suggest<'a>(self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match closest(name, candidates) {
            Some(near) => self.hint(format!("did you mean \"{near}\"?")),
            None => self,
        }
    }
}

/// Cuts a text of the file that a message repeats to 40 characters.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or("")),
        None => text.to_owned(),
    }
}

impl Diagnostics {
    /// Renders every finding, a blank line between two.
    pub fn render(&self, source: &Source) -> String {
        let parts: Vec<String> = self.0.iter().map(|found| found.render(source)).collect();
        parts.join("\n")
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(found: Vec<Diagnostic>) -> Self {
        Self(found)
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, found) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{found}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::{Location, Span as SqlSpan};

    use super::*;

    #[test]
    fn counts_characters_and_not_bytes() {
        let source = Source::new("ä.sql", "äö\nyö ja päivä\n");
        let at = source.text.find("päivä").expect("it is there");
        assert_eq!(source.position(at), Position { line: 2, column: 7 });
        let span = source.span_of(SqlSpan::new(Location { line: 2, column: 7 }, Location { line: 2, column: 12 }));
        assert_eq!(source.slice(span.expect("it is not empty")), "päivä");
    }

    #[test]
    fn has_no_span_for_the_empty_one_of_sqlparser() {
        assert_eq!(Source::new("a.sql", "a").span_of(SqlSpan::empty()), None);
    }

    #[test]
    fn moves_a_place_outside_the_text_inside() {
        let source = Source::new("a.sql", "aä");
        let span = source.span_of(SqlSpan::new(Location { line: 1, column: 9 }, Location { line: 7, column: 1 }));
        assert_eq!(span, Some(Span { start: 3, end: 3 }));
        assert_eq!(source.position(2), Position { line: 1, column: 2 });
    }

    #[test]
    fn suggests_only_what_is_near() {
        let near = Diagnostic::new(Code::UnknownOption, "unknown option \"topc\"").suggest("topc", ["topic", "type"]);
        assert_eq!(near.hint.as_deref(), Some("did you mean \"topic\"?"));
        let far = Diagnostic::new(Code::UnknownOption, "unknown option \"zzz\"").suggest("zzz", ["topic", "type"]);
        assert_eq!(far.hint, None);
    }

    #[test]
    fn keeps_a_message_in_one_line_and_what_it_repeats_short() {
        let found = Diagnostic::new(Code::Syntax, format!("found `{}`", shorten(&"yö\n".repeat(20))));
        assert_eq!(found.message, format!("found `{}y…`", "yö ".repeat(13)));
        assert_eq!(shorten("yö"), "yö");
    }

    #[test]
    fn displays_every_finding_of_a_file_in_one_line() {
        let all = Diagnostics(vec![
            Diagnostic::new(Code::UnknownTable, "unknown table \"a\""),
            Diagnostic::new(Code::UnknownTable, "unknown table \"b\""),
        ]);
        assert_eq!(all.to_string(), "P0301: unknown table \"a\"; P0301: unknown table \"b\"");
    }
}
