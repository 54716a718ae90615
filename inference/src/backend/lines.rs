//! Bytes to lines, and lines to server-sent events.
//!
//! Holds always: a character is never split, however the bytes come; a line ends at LF, CRLF or CR; what is not text or longer
//! than a bound is an error. Source: the event stream format of the HTML standard, section 9.2.

/// Bytes of a line at most.
const LONGEST: usize = 1 << 20;

/// Why there is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    /// It is not UTF-8.
    NotText,
    /// It has no end in sight.
    TooLong,
}

impl LineError {
    pub(crate) fn reason(self) -> String {
        match self {
            Self::NotText => "a line of its stream is not UTF-8".to_owned(),
            Self::TooLong => format!("a line of its stream is longer than {LONGEST} bytes"),
        }
    }
}

/// Lines as they grow.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    held: Vec<u8>,
    /// Bytes of `held` that hold no line end.
    looked_at: usize,
    /// The last line ended in CR, so an LF right after it belongs to it.
    after_cr: bool,
}

impl Lines {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    pub(crate) fn next(&mut self) -> Option<Result<String, LineError>> {
        if self.after_cr && !self.held.is_empty() {
            if self.held[0] == b'\n' {
                self.held.remove(0);
            }
            self.after_cr = false;
        }
        let Some(end) = self.held[self.looked_at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.looked_at = self.held.len();
            return (self.held.len() > LONGEST).then_some(Err(LineError::TooLong));
        };
        let end = self.looked_at + end;
        self.after_cr = self.held[end] == b'\r';
        let rest = self.held.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.held, rest);
        line.truncate(end);
        self.looked_at = 0;
        Some(String::from_utf8(line).map_err(|_| LineError::NotText))
    }

    /// What stands after the last line end, for formats whose last line needs none.
    pub(crate) fn rest(&mut self) -> Option<Result<String, LineError>> {
        let rest = std::mem::take(&mut self.held);
        self.looked_at = 0;
        (!rest.is_empty()).then(|| String::from_utf8(rest).map_err(|_| LineError::NotText))
    }
}

/// The data of events, line by line.
#[derive(Debug, Default)]
pub(crate) struct Events {
    data: Option<String>,
    begun: bool,
}

impl Events {
    /// Takes a line; gives an event's data where the line ends one.
    pub(crate) fn line(&mut self, line: &str) -> Option<String> {
        let line = if self.begun { line } else { line.strip_prefix('\u{feff}').unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            return self.data.take();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        // Comments have no field name; event names, ids and retry times say nothing here.
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8], pieces: &[usize]) -> Vec<Result<String, LineError>> {
        let (mut lines, mut events, mut found) = (Lines::default(), Events::default(), Vec::new());
        let (mut from, mut sizes) = (0, pieces.iter().cycle());
        while from < bytes.len() {
            let to = (from + sizes.next().copied().unwrap_or(1).max(1)).min(bytes.len());
            lines.push(&bytes[from..to]);
            from = to;
            while let Some(line) = lines.next() {
                match line {
                    Ok(line) => found.extend(events.line(&line).map(Ok)),
                    Err(error) => found.push(Err(error)),
                }
            }
        }
        found
    }

    #[test]
    fn reads_the_same_events_however_the_bytes_are_cut() {
        let stream = "\u{feff}: a comment\r\nevent: x\r\ndata: {\"a\": \"yö\"}\r\n\r\ndata:two\rdata:  lines 🦀\r\rid: 7\n\nretry\ndata\n\ndata: [DONE]\n\ndata: cut off";
        let expected = ["{\"a\": \"yö\"}", "two\n lines 🦀", "", "[DONE]"];
        for pieces in [&[1_usize][..], &[2], &[3], &[5, 1], &[7], &[1_000], &[13, 2, 1]] {
            let found: Vec<String> = events(stream.as_bytes(), pieces).into_iter().map(|event| event.expect("text")).collect();
            assert_eq!(found, expected, "{pieces:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_text_and_lines_without_an_end() {
        assert_eq!(events(b"data: \xff\xfe\n\ndata: good\n\n", &[4]), [Err(LineError::NotText), Ok("good".to_owned())]);
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; LONGEST + 1]);
        assert_eq!(lines.next(), Some(Err(LineError::TooLong)));
        assert_eq!(lines.rest().map(|rest| rest.map(|rest| rest.len())), Some(Ok(LONGEST + 1)));
    }

    #[test]
    fn a_thousand_random_cuts_and_bytes_never_panic_and_lose_no_line() {
        use rand::rngs::StdRng;
        use rand::{Rng as _, SeedableRng as _};
        let mut dice = StdRng::seed_from_u64(11);
        for _ in 0..1_000 {
            let alphabet = b"da:t \n\r\xc3\xb6[{\"";
            let bytes: Vec<u8> = (0..dice.random_range(0..60)).map(|_| alphabet[dice.random_range(0..alphabet.len())]).collect();
            let pieces: Vec<usize> = (0..5).map(|_| dice.random_range(1..9)).collect();
            assert_eq!(events(&bytes, &pieces), events(&bytes, &[usize::MAX >> 1]), "{bytes:?} in {pieces:?}");
        }
    }
}
