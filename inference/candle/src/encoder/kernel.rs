//! Matrix products of small height: kernels chosen when the program runs, all with the same bits.
//!
//! The right-hand side lies in panels of [`COLUMNS`] columns, row after row. Every component of the result is summed in one order, from the
//! first row of the panel to the last, with fused multiply-adds; so it depends on nothing but its own row and column: not on how
//! many rows there are, not on the kernel, not on the machine (where it fuses, as all that we run on do).

use std::sync::OnceLock;

/// Columns of a panel.
pub(super) const COLUMNS: usize = 32;
/// Rows of a panel that are taken before the next panel's: they stay in the nearest cache.
const DEPTH: usize = 384;

/// A way to multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// 512-bit vectors, 12 rows at a time.
    Avx512,
    /// 256-bit vectors, 6 rows at a time.
    Avx2,
    /// Whatever the compiler makes of it.
    Portable,
}

impl Kernel {
    /// The best that this processor has.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().first().copied().unwrap_or(Self::Portable))
    }

    /// Those that this processor has, the best first.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512);
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }
}

/// A matrix in rows that may be apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    /// From one row to the next.
    pub(super) stride: usize,
}

/// The right-hand side: panels of [`COLUMNS`] columns.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [f32],
    /// From one row of a panel to the next.
    pub(super) stride: usize,
    /// From one panel to the next.
    pub(super) apart: usize,
    pub(super) count: usize,
    /// Rows of a panel.
    pub(super) depth: usize,
}

/// What a component begins with and what becomes of it.
#[derive(Clone, Copy)]
pub(super) enum Finish<'a> {
    /// From zero, as it is.
    Plain,
    /// From the column's bias, as it is.
    Bias(&'a [f32]),
    /// From the column's bias, through the Gaussian error linear unit.
    BiasGelu(&'a [f32]),
}

/// `out[rows, panels * COLUMNS] = left[rows, depth] * right[depth, panels * COLUMNS]`.
///
/// # Panics
/// If a slice is too short: that is our bug.
pub(super) fn multiply(kernel: Kernel, rows: usize, left: Rows<'_>, right: Panels<'_>, out: &mut [f32], out_stride: usize, finish: Finish<'_>) {
    if rows == 0 || right.count == 0 || right.depth == 0 {
        return;
    }
    assert!(left.data.len() >= (rows - 1) * left.stride + right.depth, "the left side holds its rows");
    let last = (right.count - 1) * right.apart + (right.depth - 1) * right.stride + COLUMNS;
    assert!(right.data.len() >= last, "the right side holds its panels");
    assert!(out.len() >= (rows - 1) * out_stride + right.count * COLUMNS, "the result has room");
    let bias = match finish {
        Finish::Plain => None,
        Finish::Bias(bias) | Finish::BiasGelu(bias) => Some(bias),
    };
    assert!(bias.is_none_or(|bias| bias.len() >= right.count * COLUMNS), "there is a bias for every column");
    let height = match kernel {
        Kernel::Avx512 => 12,
        Kernel::Avx2 | Kernel::Portable => 6,
    };
    for from in (0..right.depth).step_by(DEPTH) {
        let depth = DEPTH.min(right.depth - from);
        let (fresh, done) = (from == 0, from + depth == right.depth);
        for panel in 0..right.count {
            let b = &right.data[panel * right.apart + from * right.stride..];
            let start = if fresh { Some(bias.map(|bias| &bias[panel * COLUMNS..][..COLUMNS])) } else { None };
            for row in (0..rows).step_by(height) {
                let count = height.min(rows - row);
                let a = Rows { data: &left.data[row * left.stride + from..], stride: left.stride };
                let c = &mut out[row * out_stride + panel * COLUMNS..];
                tile(kernel, count, depth, a, (b, right.stride), c, out_stride, start);
                if done && matches!(finish, Finish::BiasGelu(_)) {
                    for line in c.chunks_mut(out_stride).take(count) {
                        line[..COLUMNS].iter_mut().for_each(|value| *value = super::math::gelu(*value));
                    }
                }
            }
        }
    }
}

/// One tile: `start` is what its components begin with (a bias, or zero); none to go on from what is there.
type Start<'a> = Option<Option<&'a [f32]>>;

#[expect(clippy::too_many_arguments, reason = "what a tile is made of")]
fn tile(kernel: Kernel, rows: usize, depth: usize, a: Rows<'_>, b: (&[f32], usize), c: &mut [f32], c_stride: usize, start: Start<'_>) {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => x86::tile_512(rows, depth, a, b, c, c_stride, start),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => x86::tile_256(rows, depth, a, b, c, c_stride, start),
        _ => portable(rows, depth, a, b, c, c_stride, start),
    }
}

#[expect(clippy::too_many_arguments, reason = "what a tile is made of")]
fn portable(rows: usize, depth: usize, a: Rows<'_>, b: (&[f32], usize), c: &mut [f32], c_stride: usize, start: Start<'_>) {
    for row in 0..rows {
        let mut sums = [0.0_f32; COLUMNS];
        match start {
            None => sums.copy_from_slice(&c[row * c_stride..][..COLUMNS]),
            Some(Some(bias)) => sums.copy_from_slice(bias),
            Some(None) => {}
        }
        for (k, factor) in a.data[row * a.stride..][..depth].iter().enumerate() {
            let line = &b.0[k * b.1..][..COLUMNS];
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum = factor.mul_add(*value, *sum);
            }
        }
        c[row * c_stride..][..COLUMNS].copy_from_slice(&sums);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "vector instructions take addresses; multiply() checks every slice's length before")]

    use std::arch::x86_64::{
        __m256, __m512, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{COLUMNS, Rows, Start};

    /// Addresses of a tile's parts.
    #[derive(Clone, Copy)]
    struct Places {
        depth: usize,
        a: *const f32,
        a_stride: usize,
        b: *const f32,
        b_stride: usize,
        c: *mut f32,
        c_stride: usize,
        /// What the components begin with: the result itself, a bias, or (null) zero.
        start: *const f32,
        start_stride: usize,
    }

    fn places(rows: usize, depth: usize, a: Rows<'_>, b: (&[f32], usize), c: &mut [f32], c_stride: usize, start: Start<'_>) -> Places {
        assert!(rows > 0 && a.data.len() >= (rows - 1) * a.stride + depth, "the tile's left side");
        assert!(b.0.len() >= (depth - 1) * b.1 + COLUMNS && c.len() >= (rows - 1) * c_stride + COLUMNS, "the tile's other sides");
        let (begin, start_stride) = match start {
            None => (c.as_ptr(), c_stride),
            Some(Some(bias)) => {
                assert!(bias.len() >= COLUMNS, "the tile's bias");
                (bias.as_ptr(), 0)
            }
            Some(None) => (std::ptr::null(), 0),
        };
        Places { depth, a: a.data.as_ptr(), a_stride: a.stride, b: b.0.as_ptr(), b_stride: b.1, c: c.as_mut_ptr(), c_stride, start: begin, start_stride }
    }

    #[expect(clippy::too_many_arguments, reason = "what a tile is made of")]
    pub(super) fn tile_512(rows: usize, depth: usize, a: Rows<'_>, b: (&[f32], usize), c: &mut [f32], c_stride: usize, start: Start<'_>) {
        let at = places(rows, depth, a, b, c, c_stride, start);
        // SAFETY: this kernel is chosen where the processor has AVX-512 only; `places` checked that every address lies in its slice.
        unsafe {
            match rows {
                1 => rows_512::<1>(at),
                2 => rows_512::<2>(at),
                3 => rows_512::<3>(at),
                4 => rows_512::<4>(at),
                5 => rows_512::<5>(at),
                6 => rows_512::<6>(at),
                7 => rows_512::<7>(at),
                8 => rows_512::<8>(at),
                9 => rows_512::<9>(at),
                10 => rows_512::<10>(at),
                11 => rows_512::<11>(at),
                _ => rows_512::<12>(at),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn rows_512<const R: usize>(at: Places) {
        let mut sums: [[__m512; 2]; R] = [[_mm512_setzero_ps(); 2]; R];
        // SAFETY: as at the caller: R rows of `depth` components at `a`, `depth` rows of a panel at `b`, R rows of it at `c`.
        unsafe {
            if !at.start.is_null() {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let from = at.start.add(row * at.start_stride);
                    *sum = [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))];
                }
            }
            for k in 0..at.depth {
                let line = at.b.add(k * at.b_stride);
                let (left, right) = (_mm512_loadu_ps(line), _mm512_loadu_ps(line.add(16)));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let factor = _mm512_set1_ps(*at.a.add(row * at.a_stride + k));
                    sum[0] = _mm512_fmadd_ps(factor, left, sum[0]);
                    sum[1] = _mm512_fmadd_ps(factor, right, sum[1]);
                }
            }
            for (row, sum) in sums.iter().enumerate() {
                let to = at.c.add(row * at.c_stride);
                _mm512_storeu_ps(to, sum[0]);
                _mm512_storeu_ps(to.add(16), sum[1]);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a tile is made of")]
    pub(super) fn tile_256(rows: usize, depth: usize, a: Rows<'_>, b: (&[f32], usize), c: &mut [f32], c_stride: usize, start: Start<'_>) {
        let at = places(rows, depth, a, b, c, c_stride, start);
        // SAFETY: this kernel is chosen where the processor has AVX2 and FMA only; `places` checked that every address, and those of
        // the second half of the panel 16 further on, lie in their slices.
        unsafe {
            for half in [0, 16] {
                let start = if at.start.is_null() { at.start } else { at.start.add(half) };
                let at = Places { b: at.b.add(half), c: at.c.add(half), start, ..at };
                match rows {
                    1 => rows_256::<1>(at),
                    2 => rows_256::<2>(at),
                    3 => rows_256::<3>(at),
                    4 => rows_256::<4>(at),
                    5 => rows_256::<5>(at),
                    _ => rows_256::<6>(at),
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn rows_256<const R: usize>(at: Places) {
        let mut sums: [[__m256; 2]; R] = [[_mm256_setzero_ps(); 2]; R];
        // SAFETY: as at the caller: R rows of `depth` components at `a`, half of `depth` rows of a panel at `b`, R rows of it at `c`.
        unsafe {
            if !at.start.is_null() {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let from = at.start.add(row * at.start_stride);
                    *sum = [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))];
                }
            }
            for k in 0..at.depth {
                let line = at.b.add(k * at.b_stride);
                let (left, right) = (_mm256_loadu_ps(line), _mm256_loadu_ps(line.add(8)));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let factor = _mm256_broadcast_ss(&*at.a.add(row * at.a_stride + k));
                    sum[0] = _mm256_fmadd_ps(factor, left, sum[0]);
                    sum[1] = _mm256_fmadd_ps(factor, right, sum[1]);
                }
            }
            for (row, sum) in sums.iter().enumerate() {
                let to = at.c.add(row * at.c_stride);
                _mm256_storeu_ps(to, sum[0]);
                _mm256_storeu_ps(to.add(8), sum[1]);
            }
        }
    }
}

/// Puts `[rows, columns]` weights (as linear layers have them: a row an output) into panels of their transpose.
pub(super) fn pack(weights: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut panels = vec![0.0; outputs.div_ceil(COLUMNS) * inputs * COLUMNS];
    for output in 0..outputs {
        let (panel, column) = (output / COLUMNS, output % COLUMNS);
        for input in 0..inputs {
            panels[(panel * inputs + input) * COLUMNS + column] = weights[output * inputs + input];
        }
    }
    panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn every_kernel_gives_the_same_bits_for_every_number_of_rows() {
        let mut dice = StdRng::seed_from_u64(3);
        for (rows, inputs, outputs) in [(1, 1, 32), (2, 3, 32), (7, 32, 64), (12, 384, 96), (13, 385, 32), (29, 1_000, 64), (40, 1_536, 32)] {
            let mut random = |count: usize| -> Vec<f32> { (0..count).map(|_| dice.random_range(-1.0..1.0)).collect() };
            let (left, weights, bias) = (random(rows * inputs), random(outputs * inputs), random(outputs));
            let packed = pack(&weights, outputs, inputs);
            let right = Panels { data: &packed, stride: COLUMNS, apart: inputs * COLUMNS, count: outputs / COLUMNS, depth: inputs };
            let run = |kernel: Kernel, rows: usize, left: &[f32], finish: Finish<'_>| {
                let mut out = vec![f32::NAN; rows * outputs];
                multiply(kernel, rows, Rows { data: left, stride: inputs }, right, &mut out, outputs, finish);
                out
            };
            for finish in [Finish::Plain, Finish::Bias(&bias), Finish::BiasGelu(&bias)] {
                let expected = run(Kernel::Portable, rows, &left, finish);
                for kernel in Kernel::all() {
                    let found = run(kernel, rows, &left, finish);
                    assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{kernel:?} {rows} x {inputs} x {outputs}");
                    // One row alone has the bits that it has in company.
                    for row in [0, rows / 2, rows - 1] {
                        let alone = run(kernel, 1, &left[row * inputs..][..inputs], finish);
                        assert_eq!(alone, found[row * outputs..][..outputs], "{kernel:?} row {row} of {rows}");
                    }
                }
            }
            // And they are right, by sums in double precision.
            let found = run(Kernel::best(), rows, &left, Finish::Bias(&bias));
            for row in 0..rows {
                for output in 0..outputs {
                    let sum: f64 = (0..inputs).map(|at| f64::from(left[row * inputs + at]) * f64::from(weights[output * inputs + at])).sum();
                    let expected = sum + f64::from(bias[output]);
                    assert!((f64::from(found[row * outputs + output]) - expected).abs() < 1e-4, "{row} {output}");
                }
            }
        }
    }
}
