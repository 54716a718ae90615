//! `f32` without instructions of any kind named: what the compiler makes of arrays.

use super::{Set, Work, narrow_f32};

const LANES: usize = 8;

/// Every processor.
#[derive(Clone, Copy)]
pub(in crate::encoder) struct Portable;

#[expect(unsafe_code, reason = "the contract of all instruction sets")]
impl Set for Portable {
    type Sums = [f32; LANES];
    type Cells = [f32; LANES];
    const LANES: usize = LANES;
    const ROWS: usize = 4;
    const PER_CELL: usize = 1;

    fn detect() -> Option<Self> {
        Some(Self)
    }

    fn run<W: Work>(self, work: W) -> W::Done {
        work.work(self)
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Sums {
        // SAFETY: the caller gives the address of as many numbers; an array needs no more alignment than its element.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, sums: Self::Sums) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; LANES]>().write(sums) }
    }

    #[inline(always)]
    unsafe fn cells(from: *const u32) -> Self::Cells {
        // SAFETY: as in `load`; a cell holds the bits of a number.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn spread(from: *const u32) -> Self::Cells {
        // SAFETY: the caller gives the address of a cell.
        [f32::from_bits(unsafe { from.read() }); LANES]
    }

    #[inline(always)]
    unsafe fn step(mut sums: Self::Sums, row: Self::Cells, columns: Self::Cells) -> Self::Sums {
        for ((sum, row), column) in sums.iter_mut().zip(row).zip(columns) {
            *sum = row.mul_add(column, *sum);
        }
        sums
    }

    #[inline(always)]
    fn narrow(values: &[f32], cells: &mut [u32]) {
        narrow_f32(values, cells);
    }

    #[inline(always)]
    fn join(rows: [&[u32]; 2], cells: &mut [u32]) {
        cells.copy_from_slice(rows[0]);
    }
}
