//! Lines of a text, found from slices of it.

/// Finds the line of a slice inside the text it was cut from.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Notes where the lines of `text` begin.
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        Self { text, starts: starts.collect() }
    }

    /// The line, from 1, on which `part` begins; `part` must be cut from the same text, otherwise 0.
    pub(crate) fn of(&self, part: &str) -> usize {
        let (base, at) = (self.text.as_ptr() as usize, part.as_ptr() as usize);
        if at < base || at > base + self.text.len() {
            return 0;
        }
        self.starts.partition_point(|start| *start <= at - base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_part() {
        let text = "a\nbb\n\nccc";
        let lines = Lines::new(text);
        assert_eq!(lines.of(text.split_at(0).1), 1);
        assert_eq!(lines.of(text.split_at(2).1), 2);
        assert_eq!(lines.of(text.split_at(6).1), 4);
    }
}
