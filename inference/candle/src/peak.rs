//! The most arithmetic that a device does in matrix products, measured in this process.
//!
//! On a GPU: a product of two square matrices of bf16, by candle; nobody has run it on one yet. On this processor, in f32: a tile of a product, C += A B with A `[12, 256]` and B `[256, 32]` (AVX-512; `[6, 256]` and `[256, 16]` with AVX2), is computed again and again
//! from the nearest cache with nothing around it: what any kernel for larger matrices can come near to and none can pass. All threads at once,
//! because clocks fall when more cores work; the best of a few tries, because others may use the machine.
//! Not promised: the same figure twice.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use ajatus_inference::InferenceError;
use candle_core::{DType, Tensor};

use crate::device::Device;
use crate::files::broken;

/// Length of the inner dimension.
const DEPTH: usize = 256;
/// One try.
const TRY: Duration = Duration::from_millis(120);
/// Tries; the best counts.
const TRIES: usize = 3;
/// Tiles between two looks at the clock.
const BLOCK: u32 = 64;

/// Rows and columns of a GPU's matrices.
const SQUARE: usize = 8_192;
/// Products of a GPU's try, after one that is not counted.
const PRODUCTS: usize = 10;

/// Giga floating-point operations a second, a multiply-add counted as two: on a processor in f32, on so many threads at once; on a GPU in bf16. Blocks for
/// about 0.4 s.
///
/// # Errors
/// [`InferenceError::Backend`] for a GPU that is not there, or that this program was not built for.
pub fn gflops(device: Device, threads: usize) -> Result<f64, InferenceError> {
    match device {
        Device::Cpu => Ok((0..TRIES).map(|_| attempt(threads.max(1))).fold(0.0, f64::max)),
        Device::Cuda(_) => {
            let device = device.open()?;
            (0..TRIES).try_fold(0.0_f64, |best, _| Ok(best.max(square(&device, SQUARE, PRODUCTS)?))).map_err(|error: candle_core::Error| broken(error))
        }
    }
}

/// Products of two square matrices of bf16, each with other numbers.
fn square(device: &candle_core::Device, side: usize, products: usize) -> candle_core::Result<f64> {
    let random = || Tensor::randn(0.0_f32, 1.0, (side, side), device)?.to_dtype(DType::BF16);
    let right = random()?;
    let left = (0..=products).map(|_| random()).collect::<candle_core::Result<Vec<_>>>()?;
    black_box(left[0].matmul(&right)?);
    device.synchronize()?;
    let clock = Instant::now();
    for left in &left[1..] {
        black_box(left.matmul(&right)?);
    }
    device.synchronize()?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let flop = 2.0 * (side as f64).powi(3) * products as f64;
    Ok(flop / clock.elapsed().as_secs_f64() / 1e9)
}

fn attempt(threads: usize) -> f64 {
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                let tile = Tile::best();
                let (a, b) = (vec![0.5_f32; tile.rows * DEPTH], vec![0.25_f32; tile.columns * DEPTH]);
                black_box(tile.run(&a, &b));
                start.wait();
                let clock = Instant::now();
                let mut tiles = 0_u64;
                while clock.elapsed() < TRY {
                    for _ in 0..BLOCK {
                        black_box(tile.run(black_box(&a), black_box(&b)));
                    }
                    tiles += u64::from(BLOCK);
                }
                #[expect(clippy::cast_precision_loss, reason = "a rate")]
                let flop = tiles as f64 * (2 * tile.rows * tile.columns * DEPTH) as f64;
                flop / clock.elapsed().as_secs_f64()
            })
        })
        .collect();
    workers.into_iter().map(|worker| worker.join().unwrap_or(0.0)).sum::<f64>() / 1e9
}

/// A tile and what computes it.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    columns: usize,
    wide: bool,
}

impl Tile {
    /// The largest that this processor's registers hold.
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            return Self { rows: 12, columns: 32, wide: true };
        }
        Self { rows: 6, columns: 16, wide: false }
    }

    /// Computes it once; the sum of its components.
    fn run(self, a: &[f32], b: &[f32]) -> f32 {
        assert!(a.len() == self.rows * DEPTH && b.len() == self.columns * DEPTH, "the sides have the tile's size");
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: the lengths were checked above; the wide tile is chosen only where the processor has AVX-512, and `main` refuses one
            // without AVX2 and FMA.
            #[expect(unsafe_code, reason = "vector instructions that are chosen when the program runs")]
            unsafe {
                if self.wide { x86::wide(a.as_ptr(), b.as_ptr()) } else { x86::narrow(a.as_ptr(), b.as_ptr()) }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = self.wide;
            portable(a, b)
        }
    }
}

/// The same in plain code.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable(a: &[f32], b: &[f32]) -> f32 {
    let (rows, columns) = (a.len() / DEPTH, b.len() / DEPTH);
    let mut c = vec![0.0_f32; rows * columns];
    for (a, b) in a.chunks_exact(rows).zip(b.chunks_exact(columns)) {
        for (a, c) in a.iter().zip(c.chunks_exact_mut(columns)) {
            for (b, c) in b.iter().zip(c) {
                *c = a.mul_add(*b, *c);
            }
        }
    }
    c.iter().sum()
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions read through pointers")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
    };

    use super::DEPTH;

    /// A tile whose rows have names of their own, so that each stays in its registers however little the compiler optimises.
    macro_rules! tile {
        ($name:ident, $feature:literal, $vector:ty, $zero:ident, $load:ident, $set:ident, $fma:ident, $add:ident, $lanes:literal, $rows:literal, $($row:literal $left:ident $right:ident),+) => {
            /// Computes a tile; the sum over its rows and halves.
            ///
            /// # Safety
            /// `a` is `[DEPTH, rows]`, `b` is `[DEPTH, 2 * lanes]`; the processor has the feature.
            #[target_feature(enable = $feature)]
            unsafe fn $name(mut a: *const f32, mut b: *const f32) -> $vector {
                $(let (mut $left, mut $right) = ($zero(), $zero());)+
                for _ in 0..DEPTH {
                    // SAFETY: after `DEPTH` steps both pointers stand at the ends of the two sides.
                    unsafe {
                        let (low, high) = ($load(b), $load(b.add($lanes)));
                        $(
                            let across = $set(*a.add($row));
                            $left = $fma(across, low, $left);
                            $right = $fma(across, high, $right);
                        )+
                        (a, b) = (a.add($rows), b.add(2 * $lanes));
                    }
                }
                let mut sum = $zero();
                $(sum = $add(sum, $add($left, $right));)+
                sum
            }
        };
    }

    tile!(
        rows_12, "avx512f", __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps, 16, 12,
        0 l0 r0, 1 l1 r1, 2 l2 r2, 3 l3 r3, 4 l4 r4, 5 l5 r5, 6 l6 r6, 7 l7 r7, 8 l8 r8, 9 l9 r9, 10 l10 r10, 11 l11 r11
    );
    tile!(
        rows_6, "avx2,fma", __m256, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps, 8, 6,
        0 l0 r0, 1 l1 r1, 2 l2 r2, 3 l3 r3, 4 l4 r4, 5 l5 r5
    );

    /// # Safety
    /// `a` is `[DEPTH, 12]`, `b` is `[DEPTH, 32]`; the processor has AVX-512.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn wide(a: *const f32, b: *const f32) -> f32 {
        // SAFETY: as the caller promises.
        _mm512_reduce_add_ps(unsafe { rows_12(a, b) })
    }

    /// # Safety
    /// `a` is `[DEPTH, 6]`, `b` is `[DEPTH, 16]`; the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn narrow(a: *const f32, b: *const f32) -> f32 {
        let mut eight = [0.0_f32; 8];
        // SAFETY: as the caller promises; there is room for eight numbers.
        unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), rows_6(a, b)) };
        eight.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tile_that_is_timed_computes_the_product() {
        let tile = Tile::best();
        for tile in [tile, Tile { rows: 6, columns: 16, wide: false }] {
            // Small whole numbers: every order of summing gives the same.
            let side = |width: usize, by: usize| (0..width * DEPTH).map(|at| f32::from(u8::try_from(at * by % 5).expect("small"))).collect::<Vec<f32>>();
            let (a, b) = (side(tile.rows, 3), side(tile.columns, 7));
            assert_eq!(tile.run(&a, &b), portable(&a, &b));
        }
    }

    #[test]
    fn a_gpus_matrices_are_timed_and_one_that_is_not_there_is_an_error() {
        assert!(square(&candle_core::Device::Cpu, 64, 2).expect("computed") > 0.0);
        #[cfg(not(feature = "cuda"))]
        assert!(gflops(Device::Cuda(0), 1).is_err());
    }

    #[test]
    fn a_processor_does_at_least_a_billion_operations_a_second() {
        assert!(attempt(1) > 1.0);
    }
}
