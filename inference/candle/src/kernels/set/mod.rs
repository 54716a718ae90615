//! Instruction sets: what a tile of a matrix product needs of a processor, and how code is compiled for each.
//!
//! Everything that runs often is written once, over [`Set`], and compiled for every set ([`Set::run`]). Which one runs is decided when the
//! program runs. A value of a set's type stands only where the processor has it: it is the proof that [`Set::run`] asks for.
//!
//! Numbers that a product reads lie in *cells* of 32 bits: one `f32`, or two `bf16` that stand one after the other in a row (the first in the lower half).
//! A step of a product takes one cell of a row and one of each column.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, Bf16, Vnni};

/// How vectors are computed: an instruction set and the numbers that it multiplies. Sums are `f32` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Products of `bf16` in 512-bit vectors (`avx512_bf16`): twice the rate of `f32`; 8 bits of each factor count.
    Bf16,
    /// `f32` in 512-bit vectors (`avx512f` and its companions).
    Avx512,
    /// `f32` in 256-bit vectors (`avx2` and `fma`).
    Avx2,
    /// `f32` in whatever vectors the compiler finds.
    Portable,
}

impl Kernel {
    /// All that there are, the fastest first.
    pub const ALL: [Self; 4] = [Self::Bf16, Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this processor has it.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => Bf16::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Bf16 | Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// Whether its vectors are those of `f32`, the same bits by each such kernel.
    #[must_use]
    pub fn exact(self) -> bool {
        self != Self::Bf16
    }
}

/// Work that is compiled for every instruction set.
pub(crate) trait Work {
    /// What comes of it.
    type Done;

    /// Does it. Implementations are `#[inline(always)]`, and so is all that they call often: code that is not inlined into [`Set::run`] is compiled
    /// for the lowest set.
    fn work<S: Set>(self, set: S) -> Self::Done;
}

/// An instruction set.
///
/// The functions on vectors have one contract: they are called within [`Set::run`] only, with addresses of as many numbers as they say.
#[expect(unsafe_code, reason = "vector instructions take addresses, and are there only where the processor has them")]
pub(crate) trait Set: Copy + Send + Sync + 'static {
    /// Running sums of neighbouring columns.
    type Sums: Copy;
    /// A cell of each of these columns.
    type Cells: Copy;
    /// Columns of such a vector.
    const LANES: usize;
    /// Rows of a tile: two vectors of sums for each row, and three vectors of cells, fill the registers.
    const ROWS: usize;
    /// Numbers in a cell.
    const PER_CELL: usize;

    /// The set, if this processor has it.
    fn detect() -> Option<Self>;

    /// Does work, compiled for this set.
    fn run<W: Work>(self, work: W) -> W::Done;

    /// No sums yet.
    unsafe fn zero() -> Self::Sums;
    /// Reads [`Self::LANES`] sums.
    unsafe fn load(from: *const f32) -> Self::Sums;
    /// Writes [`Self::LANES`] sums.
    unsafe fn store(to: *mut f32, sums: Self::Sums);
    /// Reads [`Self::LANES`] cells.
    unsafe fn cells(from: *const u32) -> Self::Cells;
    /// Reads one cell for all columns.
    unsafe fn spread(from: *const u32) -> Self::Cells;
    /// Adds the products of a row's cell with the columns' cells.
    unsafe fn step(sums: Self::Sums, row: Self::Cells, columns: Self::Cells) -> Self::Sums;

    /// Reads [`Self::LANES`] numbers kept as `bf16`, each into a cell of its own. Of sets with one number in a cell only.
    unsafe fn from_bf16(from: *const u16) -> Self::Cells;
    /// Reads [`Self::LANES`] numbers kept as `f16`, as [`Self::from_bf16`].
    unsafe fn from_f16(from: *const u16) -> Self::Cells;

    /// Puts a row of numbers into cells; their count is a multiple of [`Self::PER_CELL`].
    fn narrow(values: &[f32], cells: &mut [u32]);
    /// Makes one row of a panel of [`Self::PER_CELL`] rows whose numbers stand side by side: `cells` has a cell for each number of a row.
    fn join(rows: [&[u32]; 2], cells: &mut [u32]);
}

/// Work that needs [`Integers`]; otherwise as [`Work`].
pub(crate) trait IntegerWork {
    /// What comes of it.
    type Done;

    /// Does it; as [`Work::work`].
    fn work<S: Integers>(self, set: S) -> Self::Done;
}

/// Columns that the functions of [`Integers`] take at once.
pub(crate) const ABREAST: usize = 16;

/// What products by integers need of a processor: [`ABREAST`] columns at once, four numbers of each in a step.
///
/// A row's numbers are signed bytes from -127 to 127, a column's are unsigned. The integers are exact, and what is done with them in floating point is
/// done in one order; so every set gives the same bits. The contract of [`Set`] holds here too.
#[expect(unsafe_code, reason = "vector instructions take addresses, and are there only where the processor has them")]
pub(crate) trait Integers: Set {
    /// Rows of a tile.
    const HEIGHT: usize;
    /// Sums of products, an integer for each column.
    type Dots: Copy;
    /// Four numbers of each column.
    type Quads: Copy;
    /// A number for each column.
    type Columns: Copy;

    /// Does work, compiled for this set: [`Set::run`] for work that needs integers.
    fn run_integers<W: IntegerWork>(self, work: W) -> W::Done;

    /// Nothing summed yet.
    unsafe fn no_dots() -> Self::Dots;
    /// Reads four numbers a column from the lower halves of 64 bytes, or from the upper ones.
    unsafe fn nibbles<const UPPER: bool>(from: *const u8) -> Self::Quads;
    /// Reads four numbers a column from 64 bytes.
    unsafe fn bytes(from: *const u8) -> Self::Quads;
    /// Adds the products of four numbers of a row with those of each column; `BYTES` says that a column's may be above 15.
    unsafe fn dot<const BYTES: bool>(dots: Self::Dots, row: *const u32, columns: Self::Quads) -> Self::Dots;
    /// No sums yet.
    unsafe fn no_columns() -> Self::Columns;
    /// Reads a number a column, kept as `f16`.
    unsafe fn columns(from: *const u16) -> Self::Columns;
    /// `sums + dots * (scales * scale) + least * sum`, by a product and two fused multiply-adds.
    unsafe fn settle(sums: Self::Columns, dots: Self::Dots, scales: Self::Columns, least: Self::Columns, scale: f32, sum: f32) -> Self::Columns;
    /// Writes a number a column.
    unsafe fn put(to: *mut f32, columns: Self::Columns);
}

/// Numbers as cells of their own.
#[inline(always)]
fn narrow_f32(values: &[f32], cells: &mut [u32]) {
    for (cell, value) in cells.iter_mut().zip(values) {
        *cell = value.to_bits();
    }
}

/// The nearest `bf16`, of two equally near the even one; not a number stays so.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if value.is_nan() { (bits >> 16) | 0x40 } else { rounded }
}
