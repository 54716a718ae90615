//! A text as words and sentences.
//!
//! Holds always: spans are on borders of characters and in order; contractions are taken apart (`I'm` is `i` and `am`).

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    /// Begins with a digit: `34`, `12.5.`, `34-vuotias`, `2026-05-12`.
    Number,
    /// One sign.
    Sign(char),
}

/// A piece of text.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    /// In lower case, contractions written out.
    pub(crate) lower: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
    /// Begins with a capital letter.
    pub(crate) capital: bool,
    /// Stands in a quotation of more than two words: somebody else's words.
    pub(crate) quoted: bool,
}

impl Word {
    pub(crate) fn sign(&self, signs: &[char]) -> bool {
        matches!(self.kind, Kind::Sign(sign) if signs.contains(&sign))
    }
}

/// A sentence: words `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) question: bool,
}

const SHORT: [&str; 11] = ["mr", "mrs", "ms", "dr", "st", "prof", "esim", "ym", "mm", "ts", "eli"];

/// Takes a text apart.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let quotes = quotations(text);
    let mut quote = 0;
    let mut out: Vec<Word> = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, sign)) = chars.next() {
        while quotes.get(quote).is_some_and(|(_, end)| *end <= start) {
            quote += 1;
        }
        let quoted = quotes.get(quote).is_some_and(|(from, end)| (*from..*end).contains(&start));
        if sign.is_alphanumeric() {
            let number = sign.is_ascii_digit();
            let mut end = start + sign.len_utf8();
            while let Some(&(at, next)) = chars.peek() {
                let after = || text.get(at + next.len_utf8()..).and_then(|rest| rest.chars().next());
                let joins = match next {
                    '\'' | '\u{2019}' | '-' | ':' => after().is_some_and(char::is_alphanumeric) && !(next == ':' && number),
                    '.' if number => {
                        let more = after();
                        more.is_some_and(|more| more.is_ascii_digit()) || dotted(text.get(start..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())
                    }
                    _ => next.is_alphanumeric() || is_mark(next),
                };
                if !joins {
                    break;
                }
                end = at + next.len_utf8();
                chars.next();
            }
            push(&mut out, text, start, end, if number { Kind::Number } else { Kind::Word }, quoted);
        } else if !sign.is_whitespace() || sign == '\n' {
            let end = start + sign.len_utf8();
            out.push(Word { lower: sign.to_string(), start, end, kind: Kind::Sign(sign), capital: false, quoted });
        }
    }
    out
}

/// Combining marks belong to the letter before them.
fn is_mark(sign: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&sign)
}

/// Whether the dot behind a number belongs to it: `12.5.`, or `12. toukokuuta`.
fn dotted(number: &str, rest: &str) -> bool {
    let short = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    match number.split_once('.') {
        Some((day, month)) => short(day) && short(month),
        None => short(number) && rest.starts_with(' ') && rest.trim_start().chars().next().is_some_and(char::is_lowercase),
    }
}

fn push(out: &mut Vec<Word>, text: &str, start: usize, end: usize, kind: Kind, quoted: bool) {
    let surface = text.get(start..end).unwrap_or_default();
    let lower = surface.to_lowercase().replace('\u{2019}', "'");
    let capital = surface.chars().next().is_some_and(char::is_uppercase);
    let mut add = |lower: &str, start: usize, end: usize, capital: bool| {
        out.push(Word { lower: lower.to_owned(), start, end, kind, capital, quoted });
    };
    let whole = match lower.as_str() {
        "im" => Some(("i", "am")),
        "ive" => Some(("i", "have")),
        "dont" => Some(("do", "not")),
        "cant" | "can't" => Some(("can", "not")),
        "doesnt" => Some(("does", "not")),
        "won't" => Some(("will", "not")),
        "cannot" => Some(("can", "not")),
        _ => None,
    };
    if let Some((first, second)) = whole {
        add(first, start, end, capital);
        return add(second, end, end, false);
    }
    // Lower case may be longer than the surface, so the border is counted in characters.
    if let Some((stem, tail)) = lower.rsplit_once('\'') {
        let letters = stem.chars().count() - usize::from(tail == "t" && stem.ends_with('n'));
        let border = start + surface.char_indices().nth(letters).map_or(surface.len(), |(at, _)| at);
        let second = match tail {
            "m" => "am",
            "ve" => "have",
            "ll" => "will",
            "re" => "are",
            "d" => "would",
            "s" => "'s",
            "t" if stem.ends_with('n') => "not",
            _ => return add(&lower, start, end, capital),
        };
        let stem = if second == "not" { stem.strip_suffix('n').unwrap_or(stem) } else { stem };
        add(stem, start, border, capital);
        return add(second, border, end, false);
    }
    add(&lower, start, end, capital);
}

/// Quotations of more than two words, and lines that begin with `>`.
fn quotations(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, char)> = None;
    let mut before = ' ';
    let mut fresh = true;
    let mut line: Option<usize> = None;
    for (at, sign) in text.char_indices() {
        if sign == '\n' {
            if let Some(start) = line.take() {
                found.push((start, at));
            }
            fresh = true;
            before = sign;
            continue;
        }
        if fresh && sign == '>' && open.is_none() {
            line = Some(at);
        }
        fresh &= sign.is_whitespace();
        let next = || text.get(at + sign.len_utf8()..).and_then(|rest| rest.chars().next()).unwrap_or(' ');
        match open {
            _ if line.is_some() => {}
            None => {
                let close = match sign {
                    '"' => Some('"'),
                    '\u{201c}' | '\u{201e}' | '\u{201d}' => Some('\u{201d}'),
                    '\u{00ab}' => Some('\u{00bb}'),
                    '\'' | '\u{2018}' if !before.is_alphanumeric() && next().is_alphanumeric() => Some('\''),
                    _ => None,
                };
                open = close.map(|close| (at, close));
            }
            Some((start, close)) => {
                let single = close == '\'';
                let same = sign == close || (single && sign == '\u{2019}') || (close == '\u{201d}' && sign == '"');
                if same && (!single || (!next().is_alphanumeric() && before != ' ')) {
                    let end = at + sign.len_utf8();
                    if text.get(start..end).unwrap_or_default().split_whitespace().count() > 2 {
                        found.push((start, end));
                    }
                    open = None;
                }
            }
        }
        before = sign;
    }
    if let Some(start) = line {
        found.push((start, text.len()));
    }
    if let Some((start, close)) = open {
        // A lone apostrophe opens nothing; a quotation that never ends goes on to the end.
        if close != '\'' {
            found.push((start, text.len()));
        }
    }
    found.sort_unstable();
    found
}

/// The sentences of a text, without the signs that end them.
pub(crate) fn sentences(words: &[Word], text: &str) -> Vec<Sentence> {
    let mut out = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while at < words.len() {
        let word = &words[at];
        let abbreviated = at > from && word.sign(&['.']) && SHORT.contains(&words[at - 1].lower.as_str());
        let ends = word.sign(&['.', '!', '?', ';', '\n', '\u{2026}']) && !abbreviated;
        // `12.5. Menen …`: the dot of the date ends the sentence too.
        let dated = word.kind == Kind::Number
            && text.get(word.start..word.end).is_some_and(|surface| surface.ends_with('.'))
            && words.get(at + 1).is_some_and(|next| next.capital);
        if !ends && !dated {
            at += 1;
            continue;
        }
        let to = if dated { at + 1 } else { at };
        let mut question = word.sign(&['?']);
        at += 1;
        while ends && words.get(at).is_some_and(|next| next.sign(&['.', '!', '?'])) {
            question |= words[at].sign(&['?']);
            at += 1;
        }
        if to > from {
            out.push(Sentence { from, to, question });
        }
        from = at;
    }
    if from < words.len() {
        out.push(Sentence { from, to: words.len(), question: false });
    }
    out
}
