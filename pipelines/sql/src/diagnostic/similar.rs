//! "Did you mean": the nearest known name, if one is near enough.

/// Names longer than this are not compared, so that a suggestion costs at most a few thousand steps.
const LONGEST: usize = 64;

/// Gives the candidate with the fewest edits from `name`, the first of equals, or nothing if a third of it would change.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    if wanted.is_empty() || wanted.len() > LONGEST {
        return None;
    }
    let limit = wanted.len().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (candidate.to_lowercase().chars().collect::<Vec<_>>(), candidate))
        .filter(|(letters, _)| !letters.is_empty() && letters.len().abs_diff(wanted.len()) <= limit)
        .map(|(letters, candidate)| (distance(&wanted, &letters), candidate))
        .filter(|(edits, _)| *edits <= limit && *edits < wanted.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn finds_a_swap_a_gap_and_another_case() {
        let known = ["topic", "type", "format", "event_time"];
        assert_eq!(closest("tpoic", known), Some("topic"));
        assert_eq!(closest("fomat", known), Some("format"));
        assert_eq!(closest("EventTime", known), Some("event_time"));
        assert_eq!(closest("päivä", ["paiva", "yö"]), Some("paiva"));
    }

    #[test]
    fn does_not_guess_wildly() {
        assert_eq!(closest("x", ["y", "z"]), None);
        assert_eq!(closest("", ["y"]), None);
        assert_eq!(closest(&"a".repeat(1_000), ["topic"]), None);
    }
}
