//! Turns a user's vectors by a secret orthogonal matrix, so that they rest in another coordinate system than everybody else's.
//!
//! The matrix is a product of layers; each pairs the components at random and turns every pair in its plane by a random angle. Layers keep
//! lengths and inner products, so a search over one user's vectors finds the same after it, with the question turned alike. With sixteen
//! layers every component depends on every other.
//!
//! This is obfuscation and no encryption: whoever knows some texts of a user and their vectors can solve for the matrix, and how alike two
//! texts of one user are can be read off without it. What it gives: vectors of two users cannot be compared, a vector alone says nothing of
//! its text, and when the key is destroyed what is left of the vectors is noise.

/// Layers: each doubles what a component depends on at most, so nine would reach all of 384.
const LAYERS: usize = 16;

/// The matrix of one user for one number of components.
#[derive(Debug)]
pub(super) struct Rotation {
    dimension: usize,
    /// Per layer and pair: two components, cosine and sine.
    turns: Vec<(u32, u32, f32, f32)>,
}

impl Rotation {
    /// The matrix that a seed gives; the same on every machine, because only sums, products and quotients make it.
    pub(super) fn new(seed: &[u8; 32], dimension: usize) -> Self {
        let mut stream = blake3::Hasher::new_keyed(seed).update(&(dimension as u64).to_le_bytes()).finalize_xof();
        let mut next = move || {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        let mut turns = Vec::with_capacity(LAYERS * (dimension / 2));
        let mut order: Vec<u32> = (0..u32::try_from(dimension).expect("vectors are short")).collect();
        for _ in 0..LAYERS {
            // Fisher and Yates; that a number is a little likelier than another by 2^-50 does not matter here.
            for at in (1..order.len()).rev() {
                order.swap(at, (next() % (at as u64 + 1)) as usize);
            }
            for pair in order.chunks_exact(2) {
                // The rational points of the circle: t is the tangent of half the angle.
                #[expect(clippy::cast_precision_loss, reason = "53 bits are left")]
                let t = (next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
                let scale = 1.0 + t * t;
                let (cosine, sine) = ((1.0 - t * t) / scale, 2.0 * t / scale);
                // Half of them the other way round, so that all angles come.
                let sign = if next() & 1 == 0 { 1.0 } else { -1.0 };
                #[expect(clippy::cast_possible_truncation, reason = "vectors are f32")]
                turns.push((pair[0], pair[1], (sign * cosine) as f32, (sign * sine) as f32));
            }
        }
        Self { dimension, turns }
    }

    /// Turns a vector in place.
    pub(super) fn turn(&self, vector: &mut [f32]) {
        debug_assert_eq!(vector.len(), self.dimension);
        for (one, other, cosine, sine) in &self.turns {
            let (a, b) = (vector[*one as usize], vector[*other as usize]);
            vector[*one as usize] = cosine * a - sine * b;
            vector[*other as usize] = sine * a + cosine * b;
        }
    }

    /// Turns a vector back.
    pub(super) fn turn_back(&self, vector: &mut [f32]) {
        for (one, other, cosine, sine) in self.turns.iter().rev() {
            let (a, b) = (vector[*one as usize], vector[*other as usize]);
            vector[*one as usize] = cosine * a + sine * b;
            vector[*other as usize] = cosine * b - sine * a;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(seed: u64, dimension: usize) -> Vec<f32> {
        let mut stream = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        let mut bytes = vec![0; dimension];
        stream.fill(&mut bytes);
        let raw: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte) - 127.5).collect();
        let long = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
        raw.iter().map(|value| value / long).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn keeps_inner_products_and_comes_back() {
        for dimension in [1, 2, 3, 7, 384] {
            let rotation = Rotation::new(&[7; 32], dimension);
            let (a, b) = (unit(1, dimension), unit(2, dimension));
            let (mut left, mut right) = (a.clone(), b.clone());
            rotation.turn(&mut left);
            rotation.turn(&mut right);
            assert!((dot(&a, &b) - dot(&left, &right)).abs() < 1e-5, "{dimension}");
            rotation.turn_back(&mut left);
            assert!(left.iter().zip(&a).all(|(one, other)| (one - other).abs() < 1e-5), "{dimension}");
        }
    }

    #[test]
    fn mixes_everything_and_differs_by_user() {
        let dimension = 384;
        let rotation = Rotation::new(&[7; 32], dimension);
        let mut axis = vec![0.0; dimension];
        axis[0] = 1.0;
        rotation.turn(&mut axis);
        assert!(axis.iter().all(|value| *value != 0.0) && axis.iter().all(|value| value.abs() < 0.3), "one component is spread over all");
        let mut other = unit(1, dimension);
        let mut mine = other.clone();
        rotation.turn(&mut mine);
        Rotation::new(&[8; 32], dimension).turn(&mut other);
        assert!(dot(&mine, &other).abs() < 0.25, "the same text of two users points anywhere");
        assert!(dot(&mine, &unit(1, dimension)).abs() < 0.25);
        let mut again = unit(1, dimension);
        Rotation::new(&[7; 32], dimension).turn(&mut again);
        assert_eq!(again, mine, "the same on every run");
    }
}
