//! A place in the words of one statement, with an error at the right word if the next one is not what it must be.
//!
//! Definitions are read word by word here, because sqlparser's tree of `create table` has no positions for types, constraints
//! and options; queries and types are left to sqlparser.

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::lexer::DIALECT;
use crate::diagnostic::{Code, Diagnostic, Source, Span, closest, shorten};

/// Words of one statement, so that a tree is small enough to be walked and dropped by recursion.
const MOST_WORDS: usize = 16_384;
/// Levels of `array<…>` in a row; sqlparser bounds every other nesting itself.
const MOST_ARRAYS: usize = 16;
/// Words that begin a statement.
const STARTS: [&str; 5] = ["create", "insert", "select", "with", "drop"];

/// Words that go on with a query.
const CLAUSES: [&str; 13] =
    ["from", "where", "group", "having", "order", "limit", "join", "left", "inner", "union", "window", "using", "offset"];

/// A name as written, folded unless it was quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) span: Span,
}

/// Reads one statement.
pub(super) struct Cursor<'a> {
    source: &'a Source,
    parser: Parser<'a>,
    whole: Span,
}

impl<'a> Cursor<'a> {
    /// Begins before the first word.
    pub(super) fn new(source: &'a Source, words: Vec<TokenWithSpan>) -> Result<Self, Diagnostic> {
        let span = |word: Option<&TokenWithSpan>| word.and_then(|word| source.span_of(word.span));
        let start = span(words.first()).map_or(0, |span| span.start);
        let end = span(words.last()).map_or(start, |span| span.end);
        let whole = Span::new(start, end);
        let arrays = words.windows(2 * MOST_ARRAYS).any(|run| run.chunks(2).all(opens_array));
        if words.len() > MOST_WORDS || arrays {
            let message = format!("the statement has more than {MOST_WORDS} words or {MOST_ARRAYS} nested lists");
            return Err(Diagnostic::new(Code::TooDeep, message)
                .at(whole)
                .hint("give its inner queries names with `create view`"));
        }
        Ok(Self { source, parser: Parser::new(&DIALECT).with_tokens_with_locations(words), whole })
    }

    /// Gives the file that is read.
    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    /// Gives the place of the whole statement.
    pub(super) fn whole(&self) -> Span {
        self.whole
    }

    /// Gives the place of the next word, or the end of the statement.
    pub(super) fn here(&self) -> Span {
        self.source.span_of(self.parser.peek_token_ref().span).unwrap_or(self.end())
    }

    /// Gives the place of the last word that was read.
    pub(super) fn last(&self) -> Span {
        self.source.span_of(self.parser.get_current_token().span).unwrap_or(self.end())
    }

    /// Gives the word `ahead` of the next one.
    pub(super) fn peek(&self, ahead: usize) -> &Token {
        &self.parser.peek_nth_token_ref(ahead).token
    }

    /// Tells whether the word `ahead` of the next one is this unquoted word.
    pub(super) fn peek_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek(ahead), Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    /// Gives the name that the next word would be.
    pub(super) fn peek_name(&self) -> Option<String> {
        match self.peek(0) {
            Token::Word(word) => Some(fold(&word.value, word.quote_style)),
            _ => None,
        }
    }

    /// Takes the next words if they are these.
    pub(super) fn accept(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(ahead, word)| self.peek_word(ahead, word));
        if all {
            self.skip(words.len());
        }
        all
    }

    /// Takes the next token if it is this one.
    pub(super) fn accept_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Goes over some words.
    pub(super) fn skip(&mut self, words: usize) {
        for _ in 0..words {
            self.parser.advance_token();
        }
    }

    /// Takes a word that must come.
    pub(super) fn expect(&mut self, word: &str) -> Result<(), Diagnostic> {
        if self.accept(&[word]) { Ok(()) } else { Err(self.unexpected(&format!("`{word}`"))) }
    }

    /// Takes a token that must come.
    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), Diagnostic> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected(&format!("`{token}`"))) }
    }

    /// Reads a name of one part; `what` says whose, with its article.
    pub(super) fn name(&mut self, what: &str) -> Result<Name, Diagnostic> {
        let span = self.here();
        let Some(text) = self.peek_name() else { return Err(self.unexpected(what)) };
        if text.is_empty() {
            return Err(Diagnostic::new(Code::Syntax, format!("expected {what}, found an empty name")).at(span));
        }
        self.skip(1);
        if self.peek(0) == &Token::Period {
            let found = Diagnostic::new(Code::Syntax, "a name of a pipeline file has one part, without a schema before it");
            return Err(found.at(span.to(self.here())));
        }
        Ok(Name { text, span })
    }

    /// Reads names in parentheses.
    pub(super) fn names(&mut self, what: &str) -> Result<Vec<Name>, Diagnostic> {
        self.expect_token(&Token::LParen)?;
        let mut names = vec![self.name(what)?];
        while self.accept_token(&Token::Comma) {
            names.push(self.name(what)?);
        }
        if self.accept_token(&Token::RParen) { Ok(names) } else { Err(self.unexpected("`,` or `)`")) }
    }

    /// Lets sqlparser read something, and gives its place.
    pub(super) fn sql<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>,
    ) -> Result<(T, Span), Diagnostic> {
        let start = self.here();
        match read(&mut self.parser) {
            Ok(value) => Ok((value, start.to(self.last()))),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Refuses words after the statement's end.
    pub(super) fn finish(&self) -> Result<(), Diagnostic> {
        if self.peek(0) == &Token::EOF {
            return Ok(());
        }
        let found = self.unexpected("the end of the statement");
        let last = match &self.parser.get_current_token().token {
            Token::Word(word) => word.value.to_ascii_lowercase(),
            _ => String::new(),
        };
        // A misspelt or foreign word reads as an alias, and the error shows only behind it.
        let start = STARTS.iter().find(|word| self.peek_word(0, word) || **word == last);
        Err(match (start, closest(&last, CLAUSES)) {
            (Some(start), _) => found.hint(format!("is a `;` missing before `{start}`?")),
            (None, Some(clause)) if clause != last => found.hint(format!("did you mean `{clause}` instead of `{last}`?")),
            _ => found,
        })
    }

    /// Says that something else must come next.
    pub(super) fn unexpected(&self, expected: &str) -> Diagnostic {
        let message = format!("expected {expected}, found {}", describe(&self.peek(0).to_string()));
        hinted(Diagnostic::new(Code::Syntax, message).at(self.here()), self.peek(0))
    }

    fn end(&self) -> Span {
        Span::new(self.whole.end, self.whole.end)
    }

    /// Turns sqlparser's sentence with its line and column into a finding.
    fn refused(&self, error: ParserError) -> Diagnostic {
        let (ParserError::TokenizerError(text) | ParserError::ParserError(text)) = error else {
            let found = Diagnostic::new(Code::TooDeep, "the statement is nested too deeply").at(self.whole);
            return found.hint("give its inner queries names with `create view`");
        };
        let (sentence, place) = split_location(&text);
        let message = match sentence.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: ")) {
            Some((expected, found)) => format!("expected {}, found {}", lower_first(expected), describe(found)),
            None => lower_first(sentence),
        };
        let at_word = place.and_then(|place| {
            (0..)
                .map(|index| self.parser.token_at(index))
                .take_while(|word| word.token != Token::EOF)
                .find(|word| (word.span.start.line, word.span.start.column) == place)
        });
        let span = at_word.and_then(|word| self.source.span_of(word.span));
        let token = at_word.map_or(&Token::EOF, |word| &word.token);
        hinted(Diagnostic::new(Code::Syntax, message).at(span.unwrap_or_else(|| self.here())), token)
    }
}

/// Folds a name as DataFusion does: ASCII letters of unquoted names only.
fn fold(text: &str, quote: Option<char>) -> String {
    if quote.is_some() { text.to_owned() } else { text.to_ascii_lowercase() }
}

fn opens_array(pair: &[TokenWithSpan]) -> bool {
    let array = |word: &Token| matches!(word, Token::Word(word) if word.value.eq_ignore_ascii_case("array"));
    matches!(pair, [a, b] if array(&a.token) && b.token == Token::Lt || array(&b.token) && a.token == Token::Lt)
}

fn describe(token: &str) -> String {
    if token == "EOF" { "the end of the statement".to_owned() } else { format!("`{}`", shorten(token)) }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let shout = text.chars().nth(1).is_some_and(char::is_uppercase);
    match letters.next() {
        Some(first) if !shout => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// Cuts " at Line: 1, Column: 2" off.
fn split_location(text: &str) -> (&str, Option<(u64, u64)>) {
    let cut = text.rsplit_once(" at Line: ").and_then(|(sentence, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((sentence, (line.parse().ok()?, column.parse().ok()?)))
    });
    cut.map_or((text, None), |(sentence, place)| (sentence, Some(place)))
}

fn hinted(found: Diagnostic, token: &Token) -> Diagnostic {
    match token {
        Token::Char('`') => found.hint("names are quoted with double quotes"),
        _ => found,
    }
}
