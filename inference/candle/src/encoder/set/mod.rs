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

pub(super) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512, Bf16};

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
pub(super) trait Work {
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
pub(super) trait Set: Copy + Send + Sync + 'static {
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

    /// Puts a row of numbers into cells; their count is a multiple of [`Self::PER_CELL`].
    fn narrow(values: &[f32], cells: &mut [u32]);
    /// Makes one row of a panel of [`Self::PER_CELL`] rows whose numbers stand side by side: `cells` has a cell for each number of a row.
    fn join(rows: [&[u32]; 2], cells: &mut [u32]);
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
