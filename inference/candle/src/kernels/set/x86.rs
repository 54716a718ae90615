//! The instruction sets of x86-64. `step` of each `f32` set is one fused multiply-add, so all of them give the same bits.
#![expect(unsafe_code, reason = "vector instructions take addresses, and are there only where the processor has them")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512bh, __m512i, _mm_load_ss, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_broadcastss_ps, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_maskload_epi32, _mm256_maskload_ps, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps, _mm512_and_si512, _mm512_broadcastss_ps, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_slli_epi32, _mm512_srli_epi16, _mm512_storeu_ps,
};

use super::{IntegerWork, Integers, Set, Work, bf16, narrow_f32};

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

/// Reads 256 bits that may lie anywhere; as [`load_16`].
#[inline(always)]
unsafe fn bits_256(from: *const u8) -> __m256i {
    // SAFETY: the caller gives the address of 32 bytes, within `run` of a set that has these instructions.
    unsafe { _mm256_maskload_epi32(from.cast(), _mm256_set1_epi32(-1)) }
}

/// Reads 512 bits that may lie anywhere; as [`load_16`].
#[inline(always)]
unsafe fn bits_512(from: *const u8) -> __m512i {
    // SAFETY: the caller gives the address of 64 bytes, within `run` of a set that has these instructions.
    unsafe { _mm512_maskz_loadu_epi32(u16::MAX, from.cast()) }
}

/// 16 numbers kept as `bf16`.
#[inline(always)]
unsafe fn bf16_16(from: *const u16) -> __m512 {
    // SAFETY: as `bits_256`.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits_256(from.cast())))) }
}

/// 16 numbers kept as `f16`.
#[inline(always)]
unsafe fn f16_16(from: *const u16) -> __m512 {
    // SAFETY: as `bits_256`.
    unsafe { _mm512_cvtph_ps(bits_256(from.cast())) }
}

/// 8 numbers kept as `bf16`.
#[inline(always)]
unsafe fn bf16_8(from: *const u16) -> __m256 {
    // SAFETY: the caller gives the address of 8 numbers, within `run` of a set that has these instructions.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())))) }
}

/// 8 numbers kept as `f16`.
#[inline(always)]
unsafe fn f16_8(from: *const u16) -> __m256 {
    // SAFETY: as `bf16_8`.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
}

/// Defines an instruction set whose values are made by [`Set::detect`] alone, and the parts that differ in nothing but their vectors.
macro_rules! set {
    (
        $(#[$about:meta])* $name:ident, $features:literal, [$($feature:tt),+], rows $rows:literal, lanes $lanes:literal, per cell $per_cell:literal,
        $sums:ty, $zero:ident, $load:ident, $store:ident, $bf16:ident, $f16:ident;
        $($parts:tt)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(());

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

            #[inline(always)]
            unsafe fn from_bf16(from: *const u16) -> $sums {
                // SAFETY: the caller gives the address of as many numbers.
                unsafe { $bf16(from) }
            }

            #[inline(always)]
            unsafe fn from_f16(from: *const u16) -> $sums {
                // SAFETY: the caller gives the address of as many numbers.
                unsafe { $f16(from) }
            }

            $($parts)*
        }
    };
}

set! {
    /// `bf16` in 512-bit vectors.
    Bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16", ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16"], rows 12, lanes 16, per cell 2,
    __m512, _mm512_setzero_ps, load_16, _mm512_storeu_ps, bf16_16, f16_16;

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

/// Defines a set of `f32`, a number in a cell.
macro_rules! set_f32 {
    ($(#[$about:meta])* $name:ident, $features:literal, [$($feature:tt),+], rows $rows:literal, lanes $lanes:literal, $sums:ty, $spread:ident, $fma:ident, $($parts:ident),+) => {
        set! {
            $(#[$about])*
            $name, $features, [$($feature),+], rows $rows, lanes $lanes, per cell 1,
            $sums, $($parts),+;

            #[inline(always)]
            unsafe fn spread(from: *const u32) -> $sums {
                // SAFETY: the caller gives the address of a cell.
                unsafe { $spread(_mm_load_ss(from.cast())) }
            }

            #[inline(always)]
            unsafe fn step(sums: $sums, row: $sums, columns: $sums) -> $sums {
                // SAFETY: within `run`.
                unsafe { $fma(row, columns, sums) }
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
    };
}

set_f32! {
    /// `f32` in 512-bit vectors.
    Avx512, "avx512f,avx512bw,avx512dq,avx512vl", ["avx512f", "avx512bw", "avx512dq", "avx512vl"], rows 12, lanes 16,
    __m512, _mm512_broadcastss_ps, _mm512_fmadd_ps, _mm512_setzero_ps, load_16, _mm512_storeu_ps, bf16_16, f16_16
}

set_f32! {
    /// As [`Avx512`], with products of bytes (`avx512_vnni`).
    Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"], rows 12, lanes 16,
    __m512, _mm512_broadcastss_ps, _mm512_fmadd_ps, _mm512_setzero_ps, load_16, _mm512_storeu_ps, bf16_16, f16_16
}

set_f32! {
    /// `f32` in 256-bit vectors.
    Avx2, "avx2,fma,f16c", ["avx2", "fma", "f16c"], rows 6, lanes 8,
    __m256, _mm256_broadcastss_ps, _mm256_fmadd_ps, _mm256_setzero_ps, load_8, _mm256_storeu_ps, bf16_8, f16_8
}

impl Integers for Vnni {
    const HEIGHT: usize = 12;
    type Dots = __m512i;
    type Quads = __m512i;
    type Columns = __m512;

    fn run_integers<W: IntegerWork>(self, work: W) -> W::Done {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn compiled<W: IntegerWork>(set: Vnni, work: W) -> W::Done {
            work.work(set)
        }
        // SAFETY: this value was made by `detect`, so the processor has these instructions.
        unsafe { compiled(self, work) }
    }

    #[inline(always)]
    unsafe fn no_dots() -> __m512i {
        // SAFETY: called within `run` only; so are all below.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn nibbles<const UPPER: bool>(from: *const u8) -> __m512i {
        // SAFETY: the caller gives the address of 64 bytes.
        unsafe {
            let both = bits_512(from);
            _mm512_and_si512(if UPPER { _mm512_srli_epi16::<4>(both) } else { both }, _mm512_set1_epi8(15))
        }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        // SAFETY: the caller gives the address of 64 bytes.
        unsafe { bits_512(from) }
    }

    #[inline(always)]
    unsafe fn dot<const BYTES: bool>(dots: __m512i, row: *const u32, columns: __m512i) -> __m512i {
        // SAFETY: the caller gives the address of a cell; its bits are passed on, whatever number they would be.
        unsafe { _mm512_dpbusd_epi32(dots, columns, _mm512_castps_si512(_mm512_broadcastss_ps(_mm_load_ss(row.cast())))) }
    }

    #[inline(always)]
    unsafe fn no_columns() -> __m512 {
        // SAFETY: within `run`.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn columns(from: *const u16) -> __m512 {
        // SAFETY: the caller gives the address of 16 numbers.
        unsafe { f16_16(from) }
    }

    #[inline(always)]
    unsafe fn settle(sums: __m512, dots: __m512i, scales: __m512, least: __m512, scale: f32, sum: f32) -> __m512 {
        // SAFETY: within `run`.
        unsafe {
            let sums = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(scales, _mm512_set1_ps(scale)), sums);
            _mm512_fmadd_ps(least, _mm512_set1_ps(sum), sums)
        }
    }

    #[inline(always)]
    unsafe fn put(to: *mut f32, columns: __m512) {
        // SAFETY: the caller gives the address of room for 16 numbers.
        unsafe { _mm512_storeu_ps(to, columns) }
    }
}

impl Integers for Avx2 {
    const HEIGHT: usize = 2;
    type Dots = [__m256i; 2];
    type Quads = [__m256i; 2];
    type Columns = [__m256; 2];

    fn run_integers<W: IntegerWork>(self, work: W) -> W::Done {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<W: IntegerWork>(set: Avx2, work: W) -> W::Done {
            work.work(set)
        }
        // SAFETY: this value was made by `detect`, so the processor has these instructions.
        unsafe { compiled(self, work) }
    }

    #[inline(always)]
    unsafe fn no_dots() -> [__m256i; 2] {
        // SAFETY: called within `run` only; so are all below.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn nibbles<const UPPER: bool>(from: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller gives the address of 64 bytes.
        unsafe { Self::bytes(from).map(|both| _mm256_and_si256(if UPPER { _mm256_srli_epi16::<4>(both) } else { both }, _mm256_set1_epi8(15))) }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller gives the address of 64 bytes.
        unsafe { [bits_256(from), bits_256(from.wrapping_add(32))] }
    }

    #[inline(always)]
    unsafe fn dot<const BYTES: bool>(dots: [__m256i; 2], row: *const u32, columns: [__m256i; 2]) -> [__m256i; 2] {
        /// Products of four bytes. Two of them are added in 16 bits, where those of whole bytes would not fit: `columns` are at most 15.
        #[inline(always)]
        unsafe fn quads(columns: __m256i, row: __m256i, times: i16) -> __m256i {
            // SAFETY: within `run`.
            unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(columns, row), _mm256_set1_epi16(times)) }
        }
        // SAFETY: the caller gives the address of a cell.
        unsafe {
            let row = _mm256_castps_si256(_mm256_broadcastss_ps(_mm_load_ss(row.cast())));
            let add = |dots: __m256i, columns: __m256i| {
                if BYTES {
                    let low = _mm256_and_si256(columns, _mm256_set1_epi8(15));
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(columns), _mm256_set1_epi8(15));
                    _mm256_add_epi32(dots, _mm256_add_epi32(quads(low, row, 1), quads(high, row, 16)))
                } else {
                    _mm256_add_epi32(dots, quads(columns, row, 1))
                }
            };
            [add(dots[0], columns[0]), add(dots[1], columns[1])]
        }
    }

    #[inline(always)]
    unsafe fn no_columns() -> [__m256; 2] {
        // SAFETY: within `run`.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn columns(from: *const u16) -> [__m256; 2] {
        // SAFETY: the caller gives the address of 16 numbers.
        unsafe { [f16_8(from), f16_8(from.wrapping_add(8))] }
    }

    #[inline(always)]
    unsafe fn settle(sums: [__m256; 2], dots: [__m256i; 2], scales: [__m256; 2], least: [__m256; 2], scale: f32, sum: f32) -> [__m256; 2] {
        // SAFETY: within `run`.
        unsafe {
            let (scale, sum) = (_mm256_set1_ps(scale), _mm256_set1_ps(sum));
            let half = |at: usize| {
                let sums = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[at]), _mm256_mul_ps(scales[at], scale), sums[at]);
                _mm256_fmadd_ps(least[at], sum, sums)
            };
            [half(0), half(1)]
        }
    }

    #[inline(always)]
    unsafe fn put(to: *mut f32, columns: [__m256; 2]) {
        // SAFETY: the caller gives the address of room for 16 numbers.
        unsafe {
            _mm256_storeu_ps(to, columns[0]);
            _mm256_storeu_ps(to.wrapping_add(8), columns[1]);
        }
    }
}
