//! Functions of single numbers and rows, written so that the compiler makes vectors of them; sums in a fixed order.

/// Numbers of which the functions on rows make vectors.
pub(crate) const LANES: usize = 16;

/// e to the power of x, to 2 units in the last place, for x from -87 to 88: Cody and Waite's reduction, Cephes' polynomial.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: a number of this size has no digits after the point, and its lowest bits are the whole number that was added.
    const WHOLE: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, WHOLE);
    let n = shifted - WHOLE;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    for coefficient in [1.398_2e-3_f32, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, coefficient);
    }
    let y = p.mul_add(r * r, r) + 1.0;
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// The error function, to 4e-7: the rational approximation of Eigen's and XLA's float32 erf, on [-4, 4].
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut p = -2.726_142_3e-10_f32;
    for coefficient in [2.770_681_4e-8_f32, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2] {
        p = p.mul_add(square, coefficient);
    }
    let mut q = -1.456_607_2e-5_f32;
    for coefficient in [-2.133_740_6e-4_f32, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        q = q.mul_add(square, coefficient);
    }
    x * p / q
}

/// The Gaussian error linear unit, by the error function as BERT has it.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The sum, lane by lane and then the lanes from the first to the last.
#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Layer normalisation of a row, in place.
#[inline(always)]
pub(crate) fn normalise(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    #[expect(clippy::cast_precision_loss, reason = "a layer's width")]
    let width = row.len() as f32;
    let mean = sum(row) / width;
    row.iter_mut().for_each(|value| *value -= mean);
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|value| value * value).sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * value;
        }
    }
    let variance = (lanes.iter().sum::<f32>() + rest) / width;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *value = *value * scale * weight + bias;
    }
}

/// Root mean square normalisation of a row into another.
#[inline(always)]
pub(crate) fn normalise_square(row: &[f32], weight: &[f32], epsilon: f32, to: &mut [f32]) {
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|value| value * value).sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * value;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a layer's width")]
    let mean = (lanes.iter().sum::<f32>() + rest) / row.len() as f32;
    let scale = 1.0 / (mean + epsilon).sqrt();
    for ((value, weight), to) in row.iter().zip(weight).zip(to) {
        *to = value * scale * weight;
    }
}

/// The sigmoid linear unit.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Softmax of `scale` times a row, in place.
#[inline(always)]
pub(crate) fn softmax(row: &mut [f32], scale: f32) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    let most = lanes.iter().copied().fold(rest, f32::max);
    row.iter_mut().for_each(|value| *value = exp((*value - most) * scale));
    let share = 1.0 / sum(row);
    row.iter_mut().for_each(|value| *value *= share);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_exact_functions() {
        for step in -8_800..8_800_i16 {
            let x = f32::from(step) / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 4e-7 * exact + 1e-37, "exp({x}) = {}, but {exact}", exp(x));
        }
        // Values of the error function to ten places.
        for (x, exact) in [(0.0, 0.0), (0.1, 0.112_462_916_0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (1.7, 0.983_790_458_6), (2.5, 0.999_593_048_0), (4.0, 0.999_999_984_6)] {
            assert!((f64::from(erf(x)) - exact).abs() < 4e-7, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x).to_bits() & 0x7fff_ffff, erf(x).to_bits() & 0x7fff_ffff);
        }
        let mut row = [1.0, 2.0, 3.0, -50.0];
        softmax(&mut row, 2.0);
        let whole: f64 = [2.0_f64, 4.0, 6.0, -100.0].iter().map(|value| value.exp()).sum();
        for (found, value) in row.iter().zip([2.0_f64, 4.0, 6.0, -100.0]) {
            assert!((f64::from(*found) - value.exp() / whole).abs() < 1e-6);
        }
    }
}
