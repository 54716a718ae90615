//! New rows out of column ranges of others.

use super::kind::offset;
use super::{Kind, Row, Writer};

/// A plan for a row made of columns of one or more source rows, by copying their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weave {
    shapes: Vec<Vec<Kind>>,
    /// Source, first column, one past the last.
    runs: Vec<(usize, usize, usize)>,
}

impl Weave {
    /// A row of `parts` (source, column), in that order; `shapes` are the sources' columns.
    ///
    /// # Panics
    /// On a part that is not in the shapes, which is a bug of the planner.
    #[must_use]
    pub fn new(shapes: Vec<Vec<Kind>>, parts: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for (source, column) in parts {
            assert!(column < shapes[source].len(), "column {column} of source {source} in {shapes:?}");
            match runs.last_mut() {
                Some(run) if run.0 == source && run.2 == column => run.2 += 1,
                _ => runs.push((source, column, column + 1)),
            }
        }
        Self { shapes, runs }
    }

    /// A row of some columns of one source.
    #[must_use]
    pub fn pick(shape: &[Kind], columns: &[usize]) -> Self {
        Self::new(vec![shape.to_vec()], columns.iter().map(|column| (0, *column)))
    }

    /// Of this result only `columns`, in that order.
    #[must_use]
    pub fn select(&self, columns: &[usize]) -> Self {
        let parts: Vec<(usize, usize)> = self.runs.iter().flat_map(|run| (run.1..run.2).map(|column| (run.0, column))).collect();
        Self::new(self.shapes.clone(), columns.iter().map(|column| parts[*column]))
    }

    /// Whether the result is the one source unchanged.
    #[must_use]
    pub fn identity(&self) -> bool {
        self.shapes.len() == 1 && (self.runs == [(0, 0, self.shapes[0].len())] || self.shapes[0].is_empty())
    }

    /// Writes the result behind what is in `out`.
    #[inline]
    pub fn put(&self, sources: &[&Row], out: &mut Writer) {
        for (source, from, to) in &self.runs {
            let (kinds, bytes) = (&self.shapes[*source], sources[*source].bytes());
            let start = offset(kinds, *from, bytes);
            let end = if *to == kinds.len() { bytes.len() } else { start + offset(&kinds[*from..], to - from, &bytes[start..]) };
            out.encoded(&bytes[start..end]);
        }
    }

    /// The result.
    #[must_use]
    #[inline]
    pub fn make(&self, sources: &[&Row], out: &mut Writer) -> Row {
        self.put(sources, out);
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_joins_and_reorders_without_decoding() {
        let mut writer = Writer::new();
        let left = [Kind::Text, Kind::Int64, Kind::Bool];
        writer.text("abc");
        writer.null();
        writer.bool(true);
        let first = writer.finish();
        writer.int64(7);
        let second = writer.finish();
        let weave = Weave::new(vec![left.to_vec(), vec![Kind::Int64]], [(0, 2), (1, 0), (0, 0), (0, 1)]);
        writer.bool(true);
        writer.int64(7);
        writer.text("abc");
        writer.null();
        let expected = writer.finish();
        assert_eq!(weave.make(&[&first, &second], &mut writer), expected);
        let narrow = weave.select(&[1, 2]).make(&[&first, &second], &mut writer);
        writer.int64(7);
        writer.text("abc");
        assert_eq!(narrow, writer.finish());
        assert!(Weave::pick(&left, &[0, 1, 2]).identity());
        assert!(!Weave::pick(&left, &[0, 2, 1]).identity());
    }
}
