//! Cuts a file into the words of its statements.
//!
//! The file is tokenised once, so that every position counts from its beginning. The dialect is PostgreSQL's: there `->` and
//! `->>` bind tighter than `=` (in sqlparser's generic dialect `a ->> 'b' = 'c'` means `a ->> ('b' = 'c')`), `text[]` and
//! `$$…$$` are known, and Arroyo reads it too.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace};

use crate::diagnostic::{Code, Diagnostic, Source, shorten};

/// How pipeline files are written.
pub(super) static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// A file cut at its semicolons.
pub(super) struct Lexed {
    /// The words of each statement, without spaces and comments; never empty.
    pub(super) statements: Vec<Vec<TokenWithSpan>>,
    /// Numbers of the lines that begin with a `--` comment, from 1.
    pub(super) comment_lines: BTreeSet<u64>,
}

/// Cuts a file; what is complete before a broken token is given, the rest is not.
pub(super) fn lex(source: &Source, errors: &mut Vec<Diagnostic>) -> Lexed {
    let mut tokens = Vec::new();
    let outcome = Tokenizer::new(&DIALECT, &source.text).tokenize_with_location_into_buf(&mut tokens);
    let comment_lines = comment_lines(&tokens);
    let read = tokens.last().and_then(|token| source.span_of(token.span)).map_or(0, |span| span.end);
    let mut statements: Vec<Vec<TokenWithSpan>> = vec![Vec::new()];
    for token in tokens {
        match (&token.token, statements.last_mut()) {
            (Token::SemiColon, _) | (_, None) => statements.push(Vec::new()),
            (Token::Whitespace(_), _) => {}
            (_, Some(open)) => open.push(token),
        }
    }
    if let Err(error) = outcome {
        errors.push(broken(source, read, &error));
        statements.pop();
    }
    statements.retain(|words| !words.is_empty());
    for words in &mut statements {
        free_extract(words);
        errors.extend(words.iter().find_map(|word| curly(source, word)));
    }
    Lexed { statements, comment_lines }
}

/// Lets `extract(model, text)` be a call: only before `from` is `extract` the keyword of `extract(year from t)`.
fn free_extract(words: &mut [TokenWithSpan]) {
    for at in 0..words.len() {
        let call = matches!(
            words.get(at + 1..at + 4),
            Some([open, name, comma])
                if open.token == Token::LParen && matches!(name.token, Token::Word(_)) && comma.token == Token::Comma
        );
        if let Some(TokenWithSpan { token: Token::Word(word), .. }) = words.get_mut(at)
            && call
            && word.keyword == Keyword::EXTRACT
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// Refuses a word in the quotes of a word processor: to SQL they are letters, and the word would be a strange name.
fn curly(source: &Source, word: &TokenWithSpan) -> Option<Diagnostic> {
    let Token::Word(name) = &word.token else { return None };
    let quotes = ['‘', '’', '“', '”', '´', '„', '«', '»'];
    let quoted = name.quote_style.is_none() && name.value.contains(quotes);
    quoted.then(|| {
        let message = format!("`{}` is not quoted as SQL quotes", shorten(&name.value));
        Diagnostic::new(Code::BadToken, message).at(source.span_of(word.span)).hint("strings are quoted with ' and names with \"")
    })
}

fn comment_lines(tokens: &[TokenWithSpan]) -> BTreeSet<u64> {
    let mut lines = BTreeSet::new();
    let mut occupied = 0;
    for token in tokens {
        let start = token.span.start.line;
        match &token.token {
            Token::Whitespace(Whitespace::SingleLineComment { prefix, .. }) if prefix == "--" && start > occupied => {
                lines.insert(start);
            }
            Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab) => {}
            _ => occupied = token.span.end.line,
        }
    }
    lines
}

/// Says what is wrong with the token that begins at an offset.
fn broken(source: &Source, start: usize, error: &TokenizerError) -> Diagnostic {
    let message = error.message.trim_end_matches('.').to_lowercase();
    let (message, hint) = if message.contains("comment") {
        ("unterminated comment".to_owned(), "a comment that begins with /* ends with */")
    } else if message.contains("string") {
        (message, "a string ends with ', and a ' inside of it is written ''")
    } else {
        (message, "nothing after this place could be read")
    };
    Diagnostic::new(Code::BadToken, message).at(source.letter(start)).hint(hint)
}
