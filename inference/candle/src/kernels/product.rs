//! Matrix products with few rows, by tiles that stay in registers.
//!
//! The right-hand side lies in panels of [`COLUMNS`] columns, packed once. Every component of the result is summed in one order, from the first
//! row of the panel to the last; so it depends on nothing but its own row and column: not on how many rows there are, and with `f32` not on the
//! instruction set (each step is one fused multiply-add).

use super::math;
use super::set::{Set, Work};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;
/// Rows of the highest tile.
const HIGHEST: usize = 12;

/// The left-hand side: cells in rows that may be apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) cells: &'a [u32],
    /// Cells from one row to the next.
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

/// How the numbers of a right-hand side are kept.
pub(crate) trait Kept: Copy {
    /// Reads [`Set::LANES`] of them into cells; the contract is that of [`Set`]'s functions.
    #[expect(unsafe_code, reason = "the contract of all instruction sets")]
    unsafe fn cells<S: Set>(from: *const Self) -> S::Cells;
}

/// Numbers that are kept as products read them, and written one by one.
pub(crate) trait Written: Kept + Send + Sync {
    fn of(value: f32) -> Self;
}

impl Written for u32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value.to_bits()
    }
}

impl Written for Half {
    #[inline(always)]
    fn of(value: f32) -> Self {
        half::f16::from_f32(value).to_bits()
    }
}

/// As cells, of any set.
impl Kept for u32 {
    #[inline(always)]
    #[expect(unsafe_code, reason = "the contract of all instruction sets")]
    unsafe fn cells<S: Set>(from: *const Self) -> S::Cells {
        // SAFETY: passed on.
        unsafe { S::cells(from) }
    }
}

/// A number in 16 bits, as `bf16`; read by sets with one number in a cell.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Brain(pub(crate) u16);

impl Kept for Brain {
    #[inline(always)]
    #[expect(unsafe_code, reason = "the contract of all instruction sets")]
    unsafe fn cells<S: Set>(from: *const Self) -> S::Cells {
        // SAFETY: passed on; it is a number in 16 bits.
        unsafe { S::from_bf16(from.cast()) }
    }
}

/// A number in 16 bits, as `f16`; read by sets with one number in a cell. A plain integer, so that zeros come from the system and cost nothing until they are written.
pub(crate) type Half = u16;

impl Kept for Half {
    #[inline(always)]
    #[expect(unsafe_code, reason = "the contract of all instruction sets")]
    unsafe fn cells<S: Set>(from: *const Self) -> S::Cells {
        // SAFETY: passed on.
        unsafe { S::from_f16(from) }
    }
}

/// The right-hand side: panels of [`COLUMNS`] columns, `depth` rows of cells each, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, K = u32> {
    pub(crate) cells: &'a [K],
    pub(crate) depth: usize,
    pub(crate) count: usize,
}

/// Where the result goes.
pub(crate) enum Out<'a> {
    /// As it is.
    Sums {
        /// Rows of `stride` numbers.
        to: &'a mut [f32],
        stride: usize,
    },
    /// As a left-hand side of the next product.
    Cells {
        /// Rows of `stride` cells.
        to: &'a mut [u32],
        stride: usize,
        /// Through the Gaussian error linear unit.
        gelu: bool,
    },
}

/// `left[rows, depth] * right[depth, panels * COLUMNS] + bias`.
pub(crate) struct Product<'a, K = u32> {
    pub(crate) left: Rows<'a>,
    pub(crate) right: Panels<'a, K>,
    /// A number for each column; none is zero.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) out: Out<'a>,
}

/// Addresses of a tile's parts.
#[derive(Clone, Copy)]
struct Places<K> {
    depth: usize,
    left: *const u32,
    left_stride: usize,
    right: *const K,
    /// What the components begin with; null is zero.
    bias: *const f32,
    out: *mut f32,
    out_stride: usize,
}

impl<K: Kept> Work for Product<'_, K> {
    type Done = ();

    /// # Panics
    /// If a slice is too short: that is our bug.
    #[inline(always)]
    fn work<S: Set>(self, _: S) {
        let Self { left, right, bias, mut out } = self;
        if left.count == 0 || right.count == 0 || right.depth == 0 {
            return;
        }
        assert!(left.cells.len() >= (left.count - 1) * left.stride + right.depth, "the left side holds its rows");
        assert!(right.cells.len() >= right.count * right.depth * COLUMNS, "the right side holds its panels");
        assert!(bias.is_none_or(|bias| bias.len() >= right.count * COLUMNS), "there is a bias for every column");
        let (room, stride, width) = match &out {
            Out::Sums { to, stride } => (to.len(), *stride, right.count * COLUMNS),
            Out::Cells { to, stride, .. } => (to.len(), *stride, right.count * COLUMNS / S::PER_CELL),
        };
        assert!(room >= (left.count - 1) * stride + width, "the result has room");
        let mut tile = [0.0_f32; HIGHEST * COLUMNS];
        for panel in 0..right.count {
            let columns = &right.cells[panel * right.depth * COLUMNS..][..right.depth * COLUMNS];
            let bias = bias.map_or(std::ptr::null(), |bias| bias[panel * COLUMNS..].as_ptr());
            for row in (0..left.count).step_by(S::ROWS) {
                let rows = S::ROWS.min(left.count - row);
                let places = Places {
                    depth: right.depth,
                    left: left.cells[row * left.stride..].as_ptr(),
                    left_stride: left.stride,
                    right: columns.as_ptr(),
                    bias,
                    out: tile.as_mut_ptr(),
                    out_stride: COLUMNS,
                };
                match &mut out {
                    Out::Sums { to, stride } => {
                        let out = to[row * *stride + panel * COLUMNS..].as_mut_ptr();
                        multiply::<S, K>(rows, Places { out, out_stride: *stride, ..places });
                    }
                    Out::Cells { to, stride, gelu } => {
                        multiply::<S, K>(rows, places);
                        let tile = &mut tile[..rows * COLUMNS];
                        if *gelu {
                            tile.iter_mut().for_each(|value| *value = math::gelu(*value));
                        }
                        let across = COLUMNS / S::PER_CELL;
                        for (at, values) in tile.chunks_exact(COLUMNS).enumerate() {
                            S::narrow(values, &mut to[(row + at) * *stride + panel * across..][..across]);
                        }
                    }
                }
            }
        }
    }
}

/// One tile, `rows` rows high.
#[inline(always)]
fn multiply<S: Set, K: Kept>(rows: usize, at: Places<K>) {
    match rows.min(S::ROWS) {
        1 => tile::<S, K, 1>(at),
        2 => tile::<S, K, 2>(at),
        3 => tile::<S, K, 3>(at),
        4 => tile::<S, K, 4>(at),
        5 => tile::<S, K, 5>(at),
        6 => tile::<S, K, 6>(at),
        7 => tile::<S, K, 7>(at),
        8 => tile::<S, K, 8>(at),
        9 => tile::<S, K, 9>(at),
        10 => tile::<S, K, 10>(at),
        11 => tile::<S, K, 11>(at),
        _ => tile::<S, K, HIGHEST>(at),
    }
}

/// Does something for each row of a tile, written out: a loop keeps the sums in registers only where the compiler unrolls it, and a build that checks
/// arithmetic does not.
macro_rules! each_row {
    ($rows:ident, $row:ident, $body:block) => {
        each_row!(@ $rows, $row, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $rows:ident, $row:ident, $body:block, $($number:literal)+) => {
        $(if $number < $rows {
            let $row = $number;
            $body
        })+
    };
}

pub(crate) use each_row;

#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions take addresses; the product checks every slice's length before")]
fn tile<S: Set, K: Kept, const R: usize>(at: Places<K>) {
    // SAFETY: called within `Set::run`, by `Product` alone. It has checked that there are R rows of `depth` cells at `left`, `depth` rows of COLUMNS cells
    // at `right`, COLUMNS numbers at `bias` if that is not null, and room for R rows of COLUMNS numbers at `out`; COLUMNS is a multiple of two vectors.
    unsafe {
        for from in (0..COLUMNS).step_by(2 * S::LANES) {
            let mut sums = [[S::zero(); 2]; R];
            if !at.bias.is_null() {
                let bias = [S::load(at.bias.wrapping_add(from)), S::load(at.bias.wrapping_add(from + S::LANES))];
                sums = [bias; R];
            }
            let mut right = at.right.wrapping_add(from);
            let mut left: [*const u32; R] = std::array::from_fn(|row| at.left.wrapping_add(row * at.left_stride));
            let end = right.wrapping_add(at.depth * COLUMNS);
            // Addresses that go on, rather than numbers that are added up: a build that checks arithmetic has none to check here.
            while right != end {
                let columns = [K::cells::<S>(right), K::cells::<S>(right.wrapping_add(S::LANES))];
                each_row!(R, row, {
                    let cell = S::spread(left[row]);
                    sums[row][0] = S::step(sums[row][0], cell, columns[0]);
                    sums[row][1] = S::step(sums[row][1], cell, columns[1]);
                    left[row] = left[row].wrapping_add(1);
                });
                right = right.wrapping_add(COLUMNS);
            }
            each_row!(R, row, {
                let out = at.out.wrapping_add(row * at.out_stride + from);
                S::store(out, sums[row][0]);
                S::store(out.wrapping_add(S::LANES), sums[row][1]);
            });
        }
    }
}

/// Puts `[outputs, inputs]` weights (as linear layers have them: a row an output) into panels of their transpose.
///
/// `outputs` is a multiple of [`COLUMNS`], `inputs` one of [`Set::PER_CELL`].
pub(crate) fn pack<S: Set>(weights: &[f32], outputs: usize, inputs: usize) -> Vec<u32> {
    let depth = inputs / S::PER_CELL;
    let mut panels = vec![0; outputs * depth];
    let mut cells = vec![0; depth];
    for (output, row) in weights.chunks_exact(inputs).enumerate() {
        S::narrow(row, &mut cells);
        let (panel, column) = (output / COLUMNS, output % COLUMNS);
        for (step, cell) in cells.iter().enumerate() {
            panels[(panel * depth + step) * COLUMNS + column] = *cell;
        }
    }
    panels
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::super::set::Portable;
    #[cfg(target_arch = "x86_64")]
    use super::super::set::{Avx2, Avx512, Bf16};
    use super::*;

    /// Numbers as a set holds them, by candle's own rounding.
    fn held<S: Set>(values: &[f32]) -> Vec<f32> {
        if S::PER_CELL == 1 {
            return values.to_vec();
        }
        let tensor = Tensor::new(values, &Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32)?.to_vec1());
        tensor.expect("rounded")
    }

    /// A product's sides.
    struct Case {
        rows: usize,
        inputs: usize,
        outputs: usize,
        left: Vec<f32>,
        weights: Vec<f32>,
        bias: Vec<f32>,
    }

    impl Case {
        fn random(dice: &mut StdRng, (rows, inputs, outputs): (usize, usize, usize)) -> Self {
            let mut random = |count: usize| -> Vec<f32> { (0..count).map(|_| dice.random_range(-1.0..1.0)).collect() };
            Self { rows, inputs, outputs, left: random(rows * inputs), weights: random(outputs * inputs), bias: random(outputs) }
        }

        /// The sums, and the cells of their activation.
        fn run<S: Set>(&self, set: S, rows: std::ops::Range<usize>, bias: bool) -> (Vec<f32>, Vec<u32>) {
            let depth = self.inputs / S::PER_CELL;
            let mut cells = vec![0; rows.len() * depth];
            S::narrow(&self.left[rows.start * self.inputs..rows.end * self.inputs], &mut cells);
            let packed = pack::<S>(&self.weights, self.outputs, self.inputs);
            let left = Rows { cells: &cells, stride: depth, count: rows.len() };
            let right = Panels { cells: &packed, depth, count: self.outputs / COLUMNS };
            let bias = bias.then_some(self.bias.as_slice());
            let (mut sums, mut gelu) = (vec![f32::NAN; rows.len() * self.outputs], vec![u32::MAX; rows.len() * self.outputs / S::PER_CELL]);
            set.run(Product { left, right, bias, out: Out::Sums { to: &mut sums, stride: self.outputs } });
            set.run(Product { left, right, bias, out: Out::Cells { to: &mut gelu, stride: self.outputs / S::PER_CELL, gelu: true } });
            (sums, gelu)
        }

        /// The sums by double precision, of factors as the set holds them.
        fn exact<S: Set>(&self, bias: bool) -> Vec<f64> {
            let (left, weights) = (held::<S>(&self.left), held::<S>(&self.weights));
            let sum = |row: &[f32], weights: &[f32]| row.iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let biases = self.bias.iter().map(|value| if bias { f64::from(*value) } else { 0.0 });
            let columns: Vec<(&[f32], f64)> = weights.chunks_exact(self.inputs).zip(biases).collect();
            left.chunks_exact(self.inputs).flat_map(|row| columns.iter().map(move |(column, bias)| sum(row, column) + bias)).collect()
        }
    }

    fn holds<S: Set>() {
        let Some(set) = S::detect() else {
            eprintln!("not tried, because this processor does not have it: {}", std::any::type_name::<S>());
            return;
        };
        let mut dice = StdRng::seed_from_u64(3);
        let mut shapes = vec![(1, 2, 32), (2, 4, 32), (7, 32, 64), (12, 384, 96), (13, 386, 32), (29, 1_000, 64), (40, 1_536, 32)];
        shapes.extend((0..30).map(|_| (dice.random_range(1..60), 2 * dice.random_range(1..200), 32 * dice.random_range(1..5))));
        for shape in shapes {
            let case = Case::random(&mut dice, shape);
            for bias in [false, true] {
                let (sums, cells) = case.run(set, 0..case.rows, bias);
                for (at, (found, exact)) in sums.iter().zip(case.exact::<S>(bias)).enumerate() {
                    assert!((f64::from(*found) - exact).abs() < 1e-4, "{shape:?} at {at}: {found}, but {exact}");
                }
                let activated: Vec<f32> = sums.iter().map(|sum| math::gelu(*sum)).collect();
                let mut narrow = vec![0; cells.len()];
                S::narrow(&activated, &mut narrow);
                assert_eq!(cells, narrow, "{shape:?}: the activation");
                for row in [0, case.rows / 2, case.rows - 1] {
                    let (alone, _) = case.run(set, row..row + 1, bias);
                    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&alone), bits(&sums[row * case.outputs..][..case.outputs]), "{shape:?}: row {row} alone");
                    if S::PER_CELL == 1 {
                        assert_eq!(bits(&case.run(Portable, row..row + 1, bias).0), bits(&alone), "{shape:?}: row {row} by the portable set");
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_right_for_any_shape_and_a_row_has_the_bits_that_it_has_alone() {
        holds::<Portable>();
        #[cfg(target_arch = "x86_64")]
        {
            holds::<Avx2>();
            holds::<Avx512>();
            holds::<Bf16>();
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_become_the_nearest_bf16_and_not_a_number_stays_so() {
        let mut dice = StdRng::seed_from_u64(4);
        let mut values: Vec<f32> = (0..2_000).map(|_| f32::from_bits(dice.random())).collect();
        values.extend([0.0, -0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1.003_906_3, 1.011_718_8]);
        let mut cells = vec![0; values.len() / 2];
        Bf16::narrow(&values, &mut cells);
        for (at, (value, right)) in values.iter().zip(held::<Bf16>(&values)).enumerate() {
            let found = f32::from_bits((cells[at / 2] >> (16 * (at % 2))) << 16);
            assert!(found.to_bits() == right.to_bits() || (found.is_nan() && right.is_nan()), "{value:e} became {found:e}, not {right:e}");
        }
    }
}
