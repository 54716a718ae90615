//! The next token.

use ajatus_inference::Sampling;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Tokens back that count as repeated.
const WINDOW: usize = 64;

/// Draws tokens: seeded, so that the same seed, model and machine give the same text.
pub(crate) struct Sampler {
    temperature: f64,
    top_p: f64,
    top_k: Option<usize>,
    penalty: f32,
    dice: StdRng,
}

impl Sampler {
    pub(crate) fn new(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p.clamp(0.01, 1.0),
            top_k: sampling.top_k.map(|k| k.max(1)),
            penalty: sampling.repetition_penalty,
            dice: StdRng::seed_from_u64(sampling.seed),
        }
    }

    /// The next token by its scores, of which those that cannot be are minus infinity. `None` if none can be.
    ///
    /// Only what was generated counts as repeated: a fact of the prompt is meant to be said.
    pub(crate) fn next(&mut self, scores: &mut [f32], generated: &[u32]) -> Option<u32> {
        self.penalise(scores, generated);
        let (mut best, mut most) = (None, f32::NEG_INFINITY);
        for (token, score) in scores.iter().enumerate() {
            if *score > most {
                (best, most) = (Some(token), *score);
            }
        }
        let best = u32::try_from(best?).ok()?;
        if self.temperature <= 0.0 { Some(best) } else { Some(self.draw(scores, most).unwrap_or(best)) }
    }

    /// Keskar et al. (2019), "CTRL", section 4.1; a score below zero is multiplied, so that both kinds become less likely.
    fn penalise(&self, scores: &mut [f32], generated: &[u32]) {
        if (self.penalty - 1.0).abs() < f32::EPSILON {
            return;
        }
        let recent = &generated[generated.len().saturating_sub(WINDOW)..];
        for (at, token) in recent.iter().enumerate() {
            // Once for each token, however often it came.
            if recent[..at].contains(token) {
                continue;
            }
            if let Some(score) = scores.get_mut(*token as usize) {
                *score = if *score > 0.0 { *score / self.penalty } else { *score * self.penalty };
            }
        }
    }

    /// Draws among the most probable: at most `top_k`, and of these the smallest set with `top_p` of their probability (Holtzman et al. 2020, "nucleus").
    fn draw(&mut self, scores: &[f32], most: f32) -> Option<u32> {
        let weight = |score: f32| (f64::from(score - most) / self.temperature).exp();
        let total: f64 = scores.iter().map(|score| weight(*score)).sum();
        // All tokens below this together have less than what the nucleus leaves out, so none of them is in it; few are left to be sorted.
        #[expect(clippy::cast_precision_loss, reason = "a vocabulary")]
        let least = if self.top_k.is_none() { total * (1.0 - self.top_p) / scores.len() as f64 } else { 0.0 };
        let mut kept: Vec<(f64, usize)> = scores.iter().enumerate().map(|(token, score)| (weight(*score), token)).filter(|(weight, _)| *weight > 0.0 && *weight >= least).collect();
        let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if let Some(k) = self.top_k.filter(|k| *k < kept.len()) {
            kept.select_nth_unstable_by(k, order);
            kept.truncate(k);
        }
        kept.sort_unstable_by(order);
        // Of all tokens, or of the k best.
        let mass = if self.top_k.is_none() { total } else { kept.iter().map(|(weight, _)| weight).sum() };
        let mut sum = 0.0;
        let nucleus = kept.iter().take_while(|(weight, _)| {
            let before = sum;
            sum += weight;
            before < self.top_p * mass
        });
        let nucleus: Vec<(f64, usize)> = nucleus.copied().collect();
        let mut left = self.dice.random::<f64>() * nucleus.iter().map(|(weight, _)| weight).sum::<f64>();
        for (weight, token) in &nucleus {
            left -= weight;
            if left < 0.0 {
                return u32::try_from(*token).ok();
            }
        }
        nucleus.last().and_then(|(_, token)| u32::try_from(*token).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_p: f64, top_k: Option<usize>) -> Sampling {
        Sampling { temperature, top_p, top_k, repetition_penalty: 1.0, seed: 7, schema: None }
    }

    fn shares(sampling: &Sampling, scores: &[f32], draws: u32) -> Vec<f64> {
        let mut sampler = Sampler::new(sampling);
        let mut counts = vec![0_u32; scores.len()];
        for _ in 0..draws {
            counts[sampler.next(&mut scores.to_vec(), &[]).expect("a token") as usize] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / f64::from(draws)).collect()
    }

    #[test]
    fn draws_as_often_as_probable_and_never_outside_the_nucleus() {
        // Probabilities 0.5, 0.25, 0.125, 0.0625 twice.
        let scores: Vec<f32> = [0.5_f32, 0.25, 0.125, 0.0625, 0.0625].map(f32::ln).to_vec();
        let close = |found: &[f64], wanted: &[f64]| found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 0.01);
        let all = shares(&sampling(1.0, 1.0, None), &scores, 40_000);
        assert!(close(&all, &[0.5, 0.25, 0.125, 0.0625, 0.0625]), "{all:?}");
        let nucleus = shares(&sampling(1.0, 0.75, None), &scores, 40_000);
        assert!(close(&nucleus, &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 0.0]), "{nucleus:?}");
        assert_eq!(nucleus[2..], [0.0; 3]);
        let three = shares(&sampling(1.0, 1.0, Some(3)), &scores, 40_000);
        assert!(close(&three, &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0, 0.0]) && three[3..] == [0.0; 2], "{three:?}");
        // Of the three best, four sevenths and two sevenths make up for 0.8.
        let both = shares(&sampling(1.0, 0.8, Some(3)), &scores, 40_000);
        assert!(close(&both, &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 0.0]) && both[2..] == [0.0; 3], "{both:?}");
        // Twice as hot is the square root of the probabilities.
        let roots: Vec<f64> = [0.5_f64, 0.25, 0.125, 0.0625, 0.0625].map(f64::sqrt).to_vec();
        let sum: f64 = roots.iter().sum();
        let hot = shares(&sampling(2.0, 1.0, None), &scores, 40_000);
        assert!(close(&hot, &roots.iter().map(|root| root / sum).collect::<Vec<_>>()), "{hot:?}");
    }

    #[test]
    fn is_greedy_without_temperature_repeats_itself_by_seed_and_leaves_out_what_cannot_be() {
        assert_eq!(shares(&sampling(0.0, 1.0, None), &[0.1, 0.3, 0.2], 5), [0.0, 1.0, 0.0]);
        let scores = [0.1, 0.3, 0.2, 0.25];
        let run = |seed: u64| -> Vec<u32> {
            let mut sampler = Sampler::new(&Sampling { seed, ..sampling(1.0, 1.0, None) });
            (0..50).filter_map(|_| sampler.next(&mut scores.to_vec(), &[])).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let mut masked = vec![f32::NEG_INFINITY, f32::NEG_INFINITY, -30.0];
        assert_eq!(Sampler::new(&sampling(1.0, 0.9, None)).next(&mut masked, &[]), Some(2));
        assert_eq!(Sampler::new(&sampling(1.0, 0.9, None)).next(&mut [f32::NEG_INFINITY; 3], &[]), None);
    }

    #[test]
    fn what_was_said_lately_becomes_less_likely_once_however_often_it_came() {
        let sampler = Sampler::new(&Sampling { repetition_penalty: 2.0, ..sampling(0.0, 1.0, None) });
        let mut scores = [4.0, -1.0, 3.0];
        sampler.penalise(&mut scores, &[0, 1, 0, 0, 99]);
        assert_eq!(scores, [2.0, -2.0, 3.0]);
        let mut old = vec![2; WINDOW];
        old.insert(0, 0);
        let mut scores = [4.0, 1.0, 1.0];
        sampler.penalise(&mut scores, &old);
        assert_eq!(scores, [4.0, 1.0, 0.5], "only the last {WINDOW} count");
    }
}
