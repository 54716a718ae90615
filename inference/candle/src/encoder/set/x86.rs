//! The instruction sets of x86-64. `step` of each `f32` set is one fused multiply-add, so all of them give the same bits.
#![expect(unsafe_code, reason = "vector instructions take addresses, and are there only where the processor has them")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m256, __m512, __m512bh, _mm_load_ss, _mm256_broadcastss_ps, _mm256_fmadd_ps, _mm256_maskload_ps, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_storeu_ps,
    _mm512_broadcastss_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_maskz_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::{Set, Work, bf16, narrow_f32};

/// Reads 16 numbers that may lie anywhere. With a mask that takes all of them it is a plain read; the function without a mask goes through the
/// standard library's own copy, which a build that checks preconditions checks each time, in the innermost loop.
#[inline(always)]
unsafe fn load_16(from: *const f32) -> __m512 {
    // SAFETY: the caller gives the address of 16 numbers, within `run` of a set that has these instructions.
    unsafe { _mm512_maskz_loadu_ps(u16::MAX, from) }
}

/// Reads 8 numbers that may lie anywhere; as [`load_16`].
#[inline(always)]
unsafe fn load_8(from: *const f32) -> __m256 {
    // SAFETY: the caller gives the address of 8 numbers, within `run` of a set that has these instructions.
    unsafe { _mm256_maskload_ps(from, _mm256_set1_epi32(-1)) }
}

/// Defines an instruction set whose values are made by [`Set::detect`] alone, and the parts that differ in nothing but their vectors.
macro_rules! set {
    (
        $(#[$about:meta])* $name:ident, $features:literal, [$($feature:tt),+], rows $rows:literal, lanes $lanes:literal, per cell $per_cell:literal,
        $sums:ty, $zero:ident, $load:ident, $store:ident;
        $($parts:tt)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        pub(in crate::encoder) struct $name(());

        impl Set for $name {
            type Sums = $sums;
            type Cells = $sums;
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;
            const PER_CELL: usize = $per_cell;

            fn detect() -> Option<Self> {
                ($(is_x86_feature_detected!($feature))&&+).then_some(Self(()))
            }

            fn run<W: Work>(self, work: W) -> W::Done {
                #[target_feature(enable = $features)]
                fn compiled<W: Work>(set: $name, work: W) -> W::Done {
                    work.work(set)
                }
                // SAFETY: this value was made by `detect`, so the processor has these instructions.
                unsafe { compiled(self, work) }
            }

            #[inline(always)]
            unsafe fn zero() -> $sums {
                // SAFETY: called within `run` only, as `Set` says; so are all below.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> $sums {
                // SAFETY: the caller gives the address of as many numbers.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut f32, sums: $sums) {
                // SAFETY: the caller gives the address of room for as many numbers.
                unsafe { $store(to, sums) }
            }

            #[inline(always)]
            unsafe fn cells(from: *const u32) -> $sums {
                // SAFETY: the caller gives the address of as many cells, which are read as they are.
                unsafe { $load(from.cast()) }
            }

            $($parts)*
        }
    };
}

set! {
    /// `bf16` in 512-bit vectors.
    Bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16", ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16"], rows 12, lanes 16, per cell 2,
    __m512, _mm512_setzero_ps, load_16, _mm512_storeu_ps;

    #[inline(always)]
    unsafe fn spread(from: *const u32) -> __m512 {
        // SAFETY: the caller gives the address of a cell; its bits are passed on, whatever number they would be.
        unsafe { _mm512_broadcastss_ps(_mm_load_ss(from.cast())) }
    }

    #[inline(always)]
    unsafe fn step(sums: __m512, row: __m512, columns: __m512) -> __m512 {
        // SAFETY: 512 bits are 512 bits.
        unsafe { _mm512_dpbf16_ps(sums, std::mem::transmute::<__m512, __m512bh>(row), std::mem::transmute::<__m512, __m512bh>(columns)) }
    }

    #[inline(always)]
    fn narrow(values: &[f32], cells: &mut [u32]) {
        for (cell, pair) in cells.iter_mut().zip(values.as_chunks::<2>().0) {
            *cell = bf16(pair[0]) | (bf16(pair[1]) << 16);
        }
    }

    #[inline(always)]
    fn join(rows: [&[u32]; 2], cells: &mut [u32]) {
        for ((pair, first), second) in cells.as_chunks_mut::<2>().0.iter_mut().zip(rows[0]).zip(rows[1]) {
            *pair = [(first & 0xffff) | (second << 16), (first >> 16) | (second & 0xffff_0000)];
        }
    }
}

set! {
    /// `f32` in 512-bit vectors.
    Avx512, "avx512f,avx512bw,avx512dq,avx512vl", ["avx512f", "avx512bw", "avx512dq", "avx512vl"], rows 12, lanes 16, per cell 1,
    __m512, _mm512_setzero_ps, load_16, _mm512_storeu_ps;

    #[inline(always)]
    unsafe fn spread(from: *const u32) -> __m512 {
        // SAFETY: the caller gives the address of a cell.
        unsafe { _mm512_broadcastss_ps(_mm_load_ss(from.cast())) }
    }

    #[inline(always)]
    unsafe fn step(sums: __m512, row: __m512, columns: __m512) -> __m512 {
        // SAFETY: within `run`.
        unsafe { _mm512_fmadd_ps(row, columns, sums) }
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

set! {
    /// `f32` in 256-bit vectors.
    Avx2, "avx2,fma", ["avx2", "fma"], rows 6, lanes 8, per cell 1,
    __m256, _mm256_setzero_ps, load_8, _mm256_storeu_ps;

    #[inline(always)]
    unsafe fn spread(from: *const u32) -> __m256 {
        // SAFETY: the caller gives the address of a cell.
        unsafe { _mm256_broadcastss_ps(_mm_load_ss(from.cast())) }
    }

    #[inline(always)]
    unsafe fn step(sums: __m256, row: __m256, columns: __m256) -> __m256 {
        // SAFETY: within `run`.
        unsafe { _mm256_fmadd_ps(row, columns, sums) }
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
