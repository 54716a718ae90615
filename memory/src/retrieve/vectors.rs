//! Vectors of one user's turns, eight bits a component, in one block: a search reads all of it, so its size is its time.
//!
//! Each vector is scaled by its own largest component. The error of a cosine is some 0.0005 (about 1/127 of a component,
//! averaged over hundreds); on the evaluation set the ranking does not change by it.

/// Largest component of a turn's vector, and of a question's.
const TURN: f32 = 127.0;
const QUESTION: f32 = 32_767.0;

/// Vectors by slot.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    /// Components of each; shorter vectors end in zeros.
    dimension: usize,
    rows: Vec<i8>,
    /// What a row's components are to be multiplied by.
    scales: Vec<f32>,
}

/// A question's vector, ready to be compared.
pub(super) struct Asked {
    row: Vec<i16>,
    scale: f32,
}

impl Vectors {
    /// Puts a vector in a slot, at most one past the last.
    pub(super) fn put(&mut self, slot: u32, vector: &[f32]) {
        let at = slot as usize;
        self.widen(vector.len());
        if at == self.scales.len() {
            self.scales.push(0.0);
            self.rows.resize(self.rows.len() + self.dimension, 0);
        }
        let scale = largest(vector) / TURN;
        self.scales[at] = scale;
        let row = self.row_mut(at);
        row.fill(0);
        if scale > 0.0 {
            for (held, value) in row.iter_mut().zip(vector) {
                *held = rounded(value / scale, TURN) as i8;
            }
        }
    }

    /// Takes a vector out; nothing of it remains.
    pub(super) fn clear(&mut self, slot: u32) {
        self.scales[slot as usize] = 0.0;
        self.row_mut(slot as usize).fill(0);
    }

    /// Bytes held, about.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() + self.scales.len() * 4
    }

    /// Another model's vectors may be longer.
    fn widen(&mut self, dimension: usize) {
        if dimension <= self.dimension {
            return;
        }
        let mut rows = vec![0; dimension * self.scales.len()];
        if self.dimension > 0 {
            for (new, old) in rows.chunks_exact_mut(dimension).zip(self.rows.chunks_exact(self.dimension)) {
                for (value, held) in new.iter_mut().zip(old) {
                    *value = *held;
                }
            }
        }
        (self.rows, self.dimension) = (rows, dimension);
    }

    fn row(&self, at: usize) -> &[i8] {
        &self.rows[at * self.dimension..(at + 1) * self.dimension]
    }

    fn row_mut(&mut self, at: usize) -> &mut [i8] {
        &mut self.rows[at * self.dimension..(at + 1) * self.dimension]
    }

    /// Prepares a question's vector.
    pub(super) fn asked(&self, vector: &[f32]) -> Asked {
        // So that the sum of all products fits.
        #[expect(clippy::cast_precision_loss, reason = "a bound")]
        let most = (i32::MAX as f32 / (TURN + 1.0) / self.dimension.max(1) as f32).min(QUESTION).floor();
        let scale = largest(vector) / most;
        let value = |at: usize| vector.get(at).filter(|_| scale > 0.0).map_or(0, |value| rounded(value / scale, most));
        Asked { row: (0..self.dimension).map(value).collect(), scale }
    }

    /// Inner product of a slot's vector and a question's.
    #[expect(clippy::cast_precision_loss, reason = "rounded as every cosine is")]
    pub(super) fn cosine(&self, slot: u32, asked: &Asked) -> f32 {
        dot(self.row(slot as usize), &asked.row) as f32 * self.scales[slot as usize] * asked.scale
    }

    /// Length of a weighted sum of vectors.
    pub(super) fn sum_length(&self, parts: impl Iterator<Item = (f32, u32)>, sum: &mut Vec<f32>) -> f32 {
        sum.clear();
        sum.resize(self.dimension, 0.0);
        for (weight, slot) in parts {
            let weight = weight * self.scales[slot as usize];
            for (total, value) in sum.iter_mut().zip(self.row(slot as usize)) {
                *total += weight * f32::from(*value);
            }
        }
        sum.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-9)
    }
}

/// Sum of products. It cannot overflow ([`Vectors::asked`] sees to it); wrapping, because a check on every addition would keep
/// the compiler from using vector instructions, in a build with checks ten times the time.
fn dot(held: &[i8], asked: &[i16]) -> i32 {
    held.iter().zip(asked).fold(0, |sum: i32, (held, asked)| sum.wrapping_add(i32::from(*held) * i32::from(*asked)))
}

fn largest(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value.abs()).filter(|value| value.is_finite()).fold(0.0, f32::max)
}

/// Rounds to a whole number within bounds; what is not a number is 0.
#[expect(clippy::cast_possible_truncation, reason = "clamped to far less")]
fn rounded(value: f32, most: f32) -> i16 {
    value.round().clamp(-most, most) as i16
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn unit(dimension: usize, random: &mut StdRng) -> Vec<f32> {
        let raw: Vec<f32> = (0..dimension).map(|_| random.random_range(-1.0..1.0)).collect();
        let long = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
        raw.iter().map(|value| value / long).collect()
    }

    #[test]
    fn cosines_are_those_of_the_vectors_to_a_thousandth() {
        let mut random = StdRng::seed_from_u64(1);
        for dimension in [1, 16, 384, 1024, 4096] {
            let mut vectors = Vectors::default();
            let held: Vec<Vec<f32>> = (0..20).map(|_| unit(dimension, &mut random)).collect();
            for (slot, vector) in (0_u32..).zip(&held) {
                vectors.put(slot, vector);
            }
            let question = unit(dimension, &mut random);
            let asked = vectors.asked(&question);
            for (slot, vector) in (0_u32..).zip(&held) {
                let exact: f32 = vector.iter().zip(&question).map(|(a, b)| a * b).sum();
                let error = (vectors.cosine(slot, &asked) - exact).abs();
                assert!(error < if dimension < 300 { 0.005 } else { 0.001 }, "{dimension}: {error}");
            }
            // The worst case for the sum: all components at their largest.
            vectors.put(0, &vec![1.0; dimension]);
            let ones = vectors.asked(&vec![1.0; dimension]);
            let exact = f32::from(u16::try_from(dimension).expect("small"));
            assert!((vectors.cosine(0, &ones) / exact - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn bears_vectors_of_no_length_of_another_length_and_of_no_number() {
        let mut vectors = Vectors::default();
        vectors.put(0, &[]);
        vectors.put(1, &[0.0, 1.0]);
        vectors.put(2, &[f32::NAN, f32::INFINITY, 1.0]);
        let asked = vectors.asked(&[0.0, 1.0]);
        assert!((vectors.cosine(1, &asked) - 1.0).abs() < 0.01 && vectors.cosine(0, &asked).abs() < 1e-6);
        assert!(vectors.cosine(2, &asked).is_finite());
        vectors.clear(1);
        assert!(vectors.cosine(1, &asked).abs() < 1e-6 && vectors.row(1).iter().all(|value| *value == 0));
    }
}
