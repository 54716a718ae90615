//! The quick way through a flat JSON document whose fields stand in the order of the last one's.
//!
//! Records of one source mostly look alike: the same fields in the same order, numbers and short texts. The layout of a document is learnt;
//! the next one is read by comparing its text with the layout. Holds always: what it reads is what the parser reads; whatever it is not
//! sure of it leaves to the parser (`None`): another order, escapes, fractions, nested values, text after the end. Not promised: that a document
//! is read this way.

/// A value as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flat<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(&'a str),
}

/// The fields of a document, in order: the name with its quotes, and whether anybody wants the value.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    fields: Vec<(Box<[u8]>, Option<usize>)>,
}

/// Fields above which a layout is not worth it.
const MOST: usize = 64;

impl Layout {
    /// The layout of a document that the parser has read; empty if it is not a flat one.
    pub(super) fn learn(text: &str, place: impl Fn(&str) -> Option<usize>) -> Self {
        let mut fields: Vec<(Box<[u8]>, Option<usize>)> = Vec::new();
        let bytes = text.as_bytes();
        let mut at = space(bytes, 0);
        if bytes.get(at) != Some(&b'{') {
            return Self::default();
        }
        at = space(bytes, at + 1);
        loop {
            let Some(end) = string(bytes, at) else { return Self::default() };
            let name = &bytes[at..end];
            // A name that is there twice is for the parser to judge.
            if fields.len() == MOST || fields.iter().any(|(known, _)| **known == *name) {
                return Self::default();
            }
            let Some(plain) = text.get(at + 1..end - 1) else { return Self::default() };
            fields.push((name.into(), place(plain)));
            at = space(bytes, end);
            if bytes.get(at) != Some(&b':') {
                return Self::default();
            }
            let Some((_, end)) = value(text, space(bytes, at + 1)) else { return Self::default() };
            at = space(bytes, end);
            match bytes.get(at) {
                Some(b',') => at = space(bytes, at + 1),
                Some(b'}') => break,
                _ => return Self::default(),
            }
        }
        Self { fields }
    }

    /// Gives the values that are wanted; `None` if the document has another layout, in which case some may have been given.
    #[inline]
    pub(super) fn read<'a>(&self, text: &'a str, mut give: impl FnMut(usize, Flat<'a>)) -> Option<()> {
        let bytes = text.as_bytes();
        let mut at = space(bytes, 0);
        let mut before = b'{';
        for (name, wanted) in &self.fields {
            if *bytes.get(at)? != before {
                return None;
            }
            before = b',';
            at = space(bytes, at + 1);
            if bytes.get(at..at + name.len())? != &**name {
                return None;
            }
            at = space(bytes, at + name.len());
            if *bytes.get(at)? != b':' {
                return None;
            }
            let (found, end) = value(text, space(bytes, at + 1))?;
            if let Some(place) = wanted {
                give(*place, found);
            }
            at = space(bytes, end);
        }
        (before == b',' && *bytes.get(at)? == b'}' && space(bytes, at + 1) == bytes.len()).then_some(())
    }
}

#[inline]
fn space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// Behind a text without escapes that begins at `at`.
#[inline]
fn string(bytes: &[u8], at: usize) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let mut end = at + 1;
    loop {
        match *bytes.get(end)? {
            b'"' => return Some(end + 1),
            // Escapes, and signs that must be escaped.
            b'\\' | 0..=0x1f => return None,
            _ => end += 1,
        }
    }
}

/// The value at `at`, and where it ends.
#[inline]
fn value(text: &str, at: usize) -> Option<(Flat<'_>, usize)> {
    let bytes = text.as_bytes();
    match *bytes.get(at)? {
        b'"' => {
            let end = string(bytes, at)?;
            Some((Flat::Text(text.get(at + 1..end - 1)?), end))
        }
        b'-' | b'0'..=b'9' => {
            let negative = bytes[at] == b'-';
            let first = at + usize::from(negative);
            let (mut end, mut number) = (first, 0_i64);
            while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
                number = number.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
                end += 1;
            }
            let digits = end - first;
            // 18 digits always fit; a zero in front, a fraction and an exponent are for the parser.
            let plain = (1..=18).contains(&digits) && (digits == 1 || bytes[first] != b'0') && !matches!(bytes.get(end), Some(b'.' | b'e' | b'E'));
            // The parser reads -0 as a float.
            (plain && !(negative && number == 0)).then_some((Flat::Int(if negative { -number } else { number }), end))
        }
        b't' => (bytes.get(at..at + 4)? == b"true").then_some((Flat::Bool(true), at + 4)),
        b'f' => (bytes.get(at..at + 5)? == b"false").then_some((Flat::Bool(false), at + 5)),
        b'n' => (bytes.get(at..at + 4)? == b"null").then_some((Flat::Null, at + 4)),
        _ => None,
    }
}
