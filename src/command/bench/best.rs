//! Which of the measured settings is the best: the fastest that keeps the latency.

/// Throughputs that differ by less than this share count as equal: two measurements of one setting differ as much.
const EQUAL: f64 = 0.01;

/// One measurement, as far as the choice is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// What is to be much: texts or tokens a second.
    pub(super) per_second: f64,
    /// What 99 of 100 waited at most, milliseconds.
    pub(super) p99_ms: f64,
    /// Whether it kept up with what was asked, and nothing failed.
    pub(super) sound: bool,
}

/// The choice, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The fastest that keeps the bound.
    Within(usize),
    /// Nothing keeps the bound; this one comes nearest to it.
    Nearest(usize),
}

impl Choice {
    /// Which.
    pub(super) fn at(self) -> usize {
        match self {
            Self::Within(at) | Self::Nearest(at) => at,
        }
    }
}

/// Chooses: of the sound measurements with a 99th percentile within the bound the fastest, and of those about as fast (1 %) the one with
/// the lowest latency. If none keeps the bound, the one with the lowest latency. Nothing, if none is sound. Among equals the first.
pub(super) fn best(candidates: &[Candidate], bound_ms: f64) -> Option<Choice> {
    let sound = || candidates.iter().enumerate().filter(|(_, candidate)| candidate.sound && candidate.p99_ms.is_finite());
    let quickest = |of: &mut dyn Iterator<Item = (usize, &Candidate)>| of.min_by(|(_, a), (_, b)| a.p99_ms.total_cmp(&b.p99_ms)).map(|(at, _)| at);
    let within = || sound().filter(|(_, candidate)| candidate.p99_ms <= bound_ms);
    let Some(most) = within().map(|(_, candidate)| candidate.per_second).max_by(f64::total_cmp) else {
        return quickest(&mut sound()).map(Choice::Nearest);
    };
    quickest(&mut within().filter(|(_, candidate)| candidate.per_second >= most * (1.0 - EQUAL))).map(Choice::Within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(per_second: f64, p99_ms: f64) -> Candidate {
        Candidate { per_second, p99_ms, sound: true }
    }

    #[test]
    fn takes_the_fastest_that_keeps_the_bound() {
        let measured = [of(100.0, 20.0), of(300.0, 90.0), of(400.0, 101.0), of(200.0, 50.0)];
        assert_eq!(best(&measured, 100.0), Some(Choice::Within(1)));
        assert_eq!(best(&measured, 101.0), Some(Choice::Within(2)), "the bound itself is kept");
        assert_eq!(best(&measured, 60.0), Some(Choice::Within(3)));
    }

    #[test]
    fn takes_the_quicker_of_two_that_are_about_as_fast() {
        assert_eq!(best(&[of(300.0, 90.0), of(298.0, 40.0), of(290.0, 10.0)], 100.0), Some(Choice::Within(1)));
    }

    #[test]
    fn takes_the_nearest_when_nothing_keeps_the_bound() {
        assert_eq!(best(&[of(300.0, 90.0), of(10.0, 40.0), of(400.0, 41.0)], 5.0), Some(Choice::Nearest(1)));
    }

    #[test]
    fn takes_nothing_that_failed_or_fell_behind_or_has_no_latency() {
        let failed = Candidate { sound: false, ..of(900.0, 1.0) };
        assert_eq!(best(&[failed, of(900.0, f64::NAN), of(5.0, 80.0)], 100.0), Some(Choice::Within(2)));
        assert_eq!(best(&[failed], 100.0), None);
        assert_eq!(best(&[], 100.0), None);
    }

    #[test]
    fn the_choice_does_not_depend_on_the_order_of_distinct_measurements() {
        let measured: Vec<Candidate> = (0_u32..40).map(|at| of(f64::from(at * 37 % 41) * 10.0, f64::from(at * 17 % 43))).collect();
        for bound in [0.5, 7.0, 20.0, 100.0] {
            let first = best(&measured, bound).map(|choice| measured[choice.at()]);
            let turned: Vec<Candidate> = measured.iter().rev().copied().collect();
            assert_eq!(first, best(&turned, bound).map(|choice| turned[choice.at()]), "{bound}");
        }
    }
}
