//! Which attributes have one value at a time, which contradict each other, and which depend on which.

/// Attributes of which a person has one at a time: a new value supersedes the one before.
const SINGLE: [&str; 20] = [
    "age", "birthday", "children", "commute", "dentist", "diet", "doctor", "employer", "gym", "home", "marital_status", "name", "office", "origin",
    "partner", "profession", "school", "species", "spouse", "studies",
];

/// What goes stale when something else changes: the dependent attribute, and what it depends on. A way to work is made of a home and a place
/// of work; a gym, a doctor and a dentist are near one or the other. From the general case of dependent facts in Memora and MEME (2026).
const DEPENDS: [(&str, &[&str]); 5] = [
    ("commute", &["home", "office", "employer"]),
    ("dentist", &["home"]),
    ("doctor", &["home"]),
    ("gym", &["home", "commute"]),
    ("office", &["employer"]),
];

/// Values that cannot both be so.
const OPPOSITES: [(&str, &str); 2] = [("likes", "dislikes"), ("dislikes", "likes")];

/// Whether a person has one value of the attribute at a time.
#[must_use]
pub fn one_at_a_time(attribute: &str) -> bool {
    SINGLE.binary_search(&attribute).is_ok()
}

/// Attributes whose change makes this one stale.
#[must_use]
pub fn depends_on(attribute: &str) -> &'static [&'static str] {
    DEPENDS.iter().find(|(dependent, _)| *dependent == attribute).map_or(&[], |(_, on)| on)
}

/// The attribute of which the same value contradicts this one.
pub(super) fn opposite(attribute: &str) -> Option<&'static str> {
    OPPOSITES.iter().find(|(one, _)| *one == attribute).map(|(_, other)| *other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order_and_nothing_depends_on_itself() {
        assert!(SINGLE.is_sorted());
        for (dependent, on) in DEPENDS {
            assert!(one_at_a_time(dependent) && on.iter().all(|on| one_at_a_time(on)), "{dependent}");
            // No way leads back: the walk ends because every step goes to an attribute from which this one cannot be reached.
            let mut seen = vec![dependent];
            let mut open = on.to_vec();
            while let Some(next) = open.pop() {
                assert_ne!(next, dependent);
                if !seen.contains(&next) {
                    seen.push(next);
                    open.extend(depends_on(next));
                }
            }
        }
    }
}
