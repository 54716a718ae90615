//! `f32` without instructions of any kind named: what the compiler makes of arrays.

use half::f16;

use super::{ABREAST, IntegerWork, Integers, Set, Work, narrow_f32};

const LANES: usize = 8;

/// Every processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

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
    unsafe fn from_bf16(from: *const u16) -> Self::Cells {
        // SAFETY: as in `load`.
        unsafe { from.cast::<[u16; LANES]>().read() }.map(|half| f32::from_bits(u32::from(half) << 16))
    }

    #[inline(always)]
    unsafe fn from_f16(from: *const u16) -> Self::Cells {
        // SAFETY: as in `load`.
        unsafe { from.cast::<[u16; LANES]>().read() }.map(|half| f16::from_bits(half).to_f32())
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

#[expect(unsafe_code, reason = "the contract of all instruction sets")]
impl Integers for Portable {
    const HEIGHT: usize = 2;
    type Dots = [i32; ABREAST];
    type Quads = [u8; 4 * ABREAST];
    type Columns = [f32; ABREAST];

    fn run_integers<W: IntegerWork>(self, work: W) -> W::Done {
        work.work(self)
    }

    #[inline(always)]
    unsafe fn no_dots() -> Self::Dots {
        [0; ABREAST]
    }

    #[inline(always)]
    unsafe fn nibbles<const UPPER: bool>(from: *const u8) -> Self::Quads {
        // SAFETY: the caller gives the address of 64 bytes.
        unsafe { from.cast::<Self::Quads>().read() }.map(|byte| if UPPER { byte >> 4 } else { byte & 15 })
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Quads {
        // SAFETY: the caller gives the address of 64 bytes.
        unsafe { from.cast::<Self::Quads>().read() }
    }

    #[inline(always)]
    unsafe fn dot<const BYTES: bool>(mut dots: Self::Dots, row: *const u32, columns: Self::Quads) -> Self::Dots {
        // SAFETY: the caller gives the address of a cell of four bytes.
        let row = unsafe { row.read() }.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
        for (dot, quad) in dots.iter_mut().zip(columns.as_chunks::<4>().0) {
            for (number, weight) in row.iter().zip(quad) {
                *dot += number * i32::from(*weight);
            }
        }
        dots
    }

    #[inline(always)]
    unsafe fn no_columns() -> Self::Columns {
        [0.0; ABREAST]
    }

    #[inline(always)]
    unsafe fn columns(from: *const u16) -> Self::Columns {
        // SAFETY: the caller gives the address of as many numbers.
        unsafe { from.cast::<[u16; ABREAST]>().read() }.map(|half| f16::from_bits(half).to_f32())
    }

    #[inline(always)]
    unsafe fn settle(mut sums: Self::Columns, dots: Self::Dots, scales: Self::Columns, least: Self::Columns, scale: f32, sum: f32) -> Self::Columns {
        for ((total, dot), (scales, least)) in sums.iter_mut().zip(dots).zip(scales.into_iter().zip(least)) {
            #[expect(clippy::cast_precision_loss, reason = "a block's integers stay below 2^24")]
            let dot = dot as f32;
            *total = least.mul_add(sum, dot.mul_add(scales * scale, *total));
        }
        sums
    }

    #[inline(always)]
    unsafe fn put(to: *mut f32, columns: Self::Columns) {
        // SAFETY: the caller gives the address of room for as many numbers.
        unsafe { to.cast::<Self::Columns>().write(columns) }
    }
}
