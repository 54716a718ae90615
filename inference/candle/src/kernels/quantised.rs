//! Products with matrices of 4 or 8 bits a number: integers, with a scale and a least value for every block of a column.
//!
//! A column's number is `scale * n + least`, with `n` from 0 to 15 or to 255, and both numbers (kept as `f16`) of its block of 16 or 32: so the forms of
//! GGUF that people use (`Q4_0` to `Q8_0`, `Q4_K` to `Q6_K`) are kept as they come. A row of the left-hand side is rounded to signed bytes with a scale of
//! its own for every 32 numbers, as llama.cpp and candle do it (`Q8_1`).
//!
//! Holds always: a component has the same bits by every instruction set, and whatever other rows there are; it is the exact product of what was
//! kept and what was rounded, within f32's own rounding.

use half::f16;

use super::product::{COLUMNS, each_row};
use super::set::{ABREAST, IntegerWork, Integers};

/// Numbers of a row with one scale.
pub(crate) const BLOCK: usize = 32;
/// Rows of the highest tile.
const HIGHEST: usize = 12;
/// Bytes of a number for each of [`ABREAST`] columns, twice: scales and least values.
const MARGIN: usize = 2 * 2 * ABREAST;

/// How many bits a number has, and how many numbers have one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Whether a number is a whole byte, and not half of one.
    pub(crate) bytes: bool,
    /// Whether 16 numbers have a scale, and not 32.
    pub(crate) fine: bool,
}

impl Form {
    /// Numbers with one scale.
    pub(crate) fn group(self) -> usize {
        if self.fine { BLOCK / 2 } else { BLOCK }
    }

    /// Bytes of the scales and least values of a block, for [`ABREAST`] columns.
    fn margin(self) -> usize {
        if self.fine { 2 * MARGIN } else { MARGIN }
    }

    /// Bytes of a block of [`ABREAST`] columns.
    pub(crate) fn stride(self) -> usize {
        self.margin() + if self.bytes { BLOCK * ABREAST } else { BLOCK * ABREAST / 2 }
    }

    /// Where the number `at` of a block's column stands: the byte, and whether in its upper half.
    fn place(self, at: usize, column: usize) -> (usize, bool) {
        let (quad, rest) = (at / 4, at % 4);
        let line = if self.bytes { quad } else { quad % 4 };
        (self.margin() + line * 4 * ABREAST + column * 4 + rest, !self.bytes && quad >= 4)
    }

    /// Writes a number of a block that is zero still.
    pub(crate) fn write(self, block: &mut [u8], at: usize, column: usize, number: u8) {
        let (byte, upper) = self.place(at, column);
        block[byte] |= if upper { number << 4 } else { number };
    }

    /// Writes the scale and the least value of a group, rounded to `f16`.
    pub(crate) fn write_scale(self, block: &mut [u8], group: usize, column: usize, scale: f32, least: f32) {
        let at = group * MARGIN + 2 * column;
        block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        block[at + MARGIN / 2..at + MARGIN / 2 + 2].copy_from_slice(&f16::from_f32(least).to_le_bytes());
    }

    /// The number that stands for one of a block's column.
    pub(crate) fn read(self, block: &[u8], at: usize, column: usize) -> f32 {
        let (byte, upper) = self.place(at, column);
        let number = if self.bytes { block[byte] } else if upper { block[byte] >> 4 } else { block[byte] & 15 };
        let margin = at / self.group() * MARGIN + 2 * column;
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        half(margin) * f32::from(number) + half(margin + MARGIN / 2)
    }
}

/// The left-hand side: rows of signed bytes.
#[derive(Default)]
pub(crate) struct Rounded {
    /// Four numbers in a cell.
    cells: Vec<u32>,
    /// A block's.
    scales: Vec<f32>,
    /// A block's scale times the sum of its integers: of each half, and of the whole.
    halves: Vec<f32>,
    wholes: Vec<f32>,
    width: usize,
}

/// Parts of [`Rounded`] for some of the rows.
pub(crate) struct RoundedRows<'a> {
    cells: &'a mut [u32],
    scales: &'a mut [f32],
    halves: &'a mut [f32],
    wholes: &'a mut [f32],
    width: usize,
}

impl Rounded {
    /// Room for `rows` of `width` numbers, a multiple of [`BLOCK`].
    pub(crate) fn reserve(&mut self, rows: usize, width: usize) {
        let blocks = rows * width / BLOCK;
        self.width = width;
        super::room(&mut self.cells, rows * width / 4);
        super::room(&mut self.scales, blocks);
        super::room(&mut self.halves, 2 * blocks);
        super::room(&mut self.wholes, blocks);
    }

    /// The rows in shares of `rows` each.
    pub(crate) fn shares(&mut self, rows: usize) -> impl Iterator<Item = RoundedRows<'_>> {
        let (width, blocks) = (self.width, rows * self.width / BLOCK);
        let cells = self.cells.chunks_mut(rows * width / 4);
        let rest = self.scales.chunks_mut(blocks).zip(self.halves.chunks_mut(2 * blocks)).zip(self.wholes.chunks_mut(blocks));
        cells.zip(rest).map(move |(cells, ((scales, halves), wholes))| RoundedRows { cells, scales, halves, wholes, width })
    }
}

impl RoundedRows<'_> {
    /// Rounds a row of numbers into row `at`. Called within [`Set::run`].
    #[inline(always)]
    pub(crate) fn put(&mut self, at: usize, row: &[f32]) {
        let blocks = self.width / BLOCK;
        let cells = self.cells[at * self.width / 4..][..self.width / 4].chunks_exact_mut(BLOCK / 4);
        let scales = &mut self.scales[at * blocks..][..blocks];
        let halves = self.halves[2 * at * blocks..][..2 * blocks].chunks_exact_mut(2);
        let wholes = &mut self.wholes[at * blocks..][..blocks];
        for ((((values, cells), scale), halves), whole) in row.as_chunks::<BLOCK>().0.iter().zip(cells).zip(scales).zip(halves).zip(wholes) {
            let most = values.iter().fold(0.0_f32, |most, value| if value.abs() > most { value.abs() } else { most });
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            *scale = most / 127.0;
            let mut integers = [0_i32; BLOCK];
            for (integer, value) in integers.iter_mut().zip(values) {
                *integer = nearest(value * inverse);
            }
            for (cell, quad) in cells.iter_mut().zip(integers.as_chunks::<4>().0) {
                // The lower eight bits of a number in two's complement are the signed byte.
                *cell = quad.iter().rev().fold(0, |cell, integer| (cell << 8) | (integer.cast_unsigned() & 0xff));
            }
            let sums: [i32; 2] = std::array::from_fn(|half| integers[half * BLOCK / 2..][..BLOCK / 2].iter().sum());
            #[expect(clippy::cast_precision_loss, reason = "sums of 32 bytes")]
            {
                halves[0] = *scale * sums[0] as f32;
                halves[1] = *scale * sums[1] as f32;
                *whole = *scale * (sums[0] + sums[1]) as f32;
            }
        }
    }
}

/// The nearest integer to a number from -127 to 127, of two equally near the even one. What is no number becomes one: the scale, which is none either, spoils the sum.
#[inline(always)]
fn nearest(value: f32) -> i32 {
    /// As in `math::exp`: the lowest bits of such a number are the whole number that was added.
    const WHOLE: f32 = 12_582_912.0;
    (value.clamp(-127.0, 127.0) + WHOLE).to_bits().cast_signed().wrapping_sub(WHOLE.to_bits().cast_signed())
}

/// Some panels of the right-hand side.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    pub(crate) form: Form,
    /// Panels of [`COLUMNS`] columns, each twice [`ABREAST`], each the blocks from the first to the last.
    pub(crate) bytes: &'a [u8],
    pub(crate) inputs: usize,
    pub(crate) panels: usize,
}

/// `left[rows, inputs] * right[inputs, panels * COLUMNS]`, a panel after the other: `[panels, rows, COLUMNS]`.
pub(crate) struct QuantisedProduct<'a> {
    pub(crate) left: &'a Rounded,
    pub(crate) rows: usize,
    pub(crate) right: Blocks<'a>,
    pub(crate) out: &'a mut [f32],
}

/// Addresses of a tile's parts.
#[derive(Clone, Copy)]
struct Places {
    blocks: usize,
    cells: *const u32,
    scales: *const f32,
    sums: *const f32,
    right: *const u8,
    out: *mut f32,
}

impl IntegerWork for QuantisedProduct<'_> {
    type Done = ();

    /// # Panics
    /// If a slice is too short: that is our bug.
    #[inline(always)]
    fn work<S: Integers>(self, _: S) {
        match self.right.form {
            Form { bytes: false, fine: false } => self.form::<S, false, false>(),
            Form { bytes: false, fine: true } => self.form::<S, false, true>(),
            Form { bytes: true, fine: false } => self.form::<S, true, false>(),
            Form { bytes: true, fine: true } => self.form::<S, true, true>(),
        }
    }
}

impl QuantisedProduct<'_> {
    #[inline(always)]
    fn form<S: Integers, const BYTES: bool, const FINE: bool>(self) {
        let Self { left, rows, right, out } = self;
        let blocks = right.inputs / BLOCK;
        let half = blocks * right.form.stride();
        if rows == 0 || blocks == 0 {
            return;
        }
        assert!(left.width == right.inputs && left.cells.len() >= rows * blocks * BLOCK / 4, "the left side holds its rows");
        assert!(left.scales.len() >= rows * blocks && left.wholes.len() >= rows * blocks && left.halves.len() >= 2 * rows * blocks, "and their scales");
        assert!(right.bytes.len() >= right.panels * 2 * half, "the right side holds its panels");
        assert!(out.len() >= right.panels * rows * COLUMNS, "the result has room");
        let sums = if FINE { &left.halves } else { &left.wholes };
        for (panel, out) in out.chunks_exact_mut(rows * COLUMNS).enumerate().take(right.panels) {
            for side in 0..2 {
                let columns = &right.bytes[(panel * 2 + side) * half..][..half];
                for row in (0..rows).step_by(S::HEIGHT) {
                    let places = Places {
                        blocks,
                        cells: left.cells[row * blocks * (BLOCK / 4)..].as_ptr(),
                        scales: left.scales[row * blocks..].as_ptr(),
                        sums: sums[row * blocks * if FINE { 2 } else { 1 }..].as_ptr(),
                        right: columns.as_ptr(),
                        out: out[row * COLUMNS + side * ABREAST..].as_mut_ptr(),
                    };
                    multiply::<S, BYTES, FINE>(S::HEIGHT.min(rows - row), places);
                }
            }
        }
    }
}

/// One tile, `rows` rows high.
#[inline(always)]
fn multiply<S: Integers, const BYTES: bool, const FINE: bool>(rows: usize, at: Places) {
    match rows.min(S::HEIGHT) {
        1 => tile::<S, BYTES, FINE, 1>(at),
        2 => tile::<S, BYTES, FINE, 2>(at),
        3 => tile::<S, BYTES, FINE, 3>(at),
        4 => tile::<S, BYTES, FINE, 4>(at),
        5 => tile::<S, BYTES, FINE, 5>(at),
        6 => tile::<S, BYTES, FINE, 6>(at),
        7 => tile::<S, BYTES, FINE, 7>(at),
        8 => tile::<S, BYTES, FINE, 8>(at),
        9 => tile::<S, BYTES, FINE, 9>(at),
        10 => tile::<S, BYTES, FINE, 10>(at),
        11 => tile::<S, BYTES, FINE, 11>(at),
        _ => tile::<S, BYTES, FINE, HIGHEST>(at),
    }
}

#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions take addresses; the product checks every slice's length before")]
fn tile<S: Integers, const BYTES: bool, const FINE: bool, const R: usize>(at: Places) {
    let form = Form { bytes: BYTES, fine: FINE };
    let (stride, margin) = (form.stride(), form.margin());
    // SAFETY: called within `Set::run`, by `QuantisedProduct` alone. It has checked that there are R rows of `blocks` blocks at `cells`, as many scales, as many sums
    // (twice as many with `FINE`), `blocks` times `stride` bytes at `right`, and room for R rows of ABREAST numbers, COLUMNS apart, at `out`.
    unsafe {
        let mut totals = [S::no_columns(); R];
        let mut right = at.right;
        let end = right.wrapping_add(at.blocks * stride);
        let mut cells: [*const u32; R] = std::array::from_fn(|row| at.cells.wrapping_add(row * at.blocks * (BLOCK / 4)));
        let mut scales: [*const f32; R] = std::array::from_fn(|row| at.scales.wrapping_add(row * at.blocks));
        let mut sums: [*const f32; R] = std::array::from_fn(|row| at.sums.wrapping_add(row * at.blocks * if FINE { 2 } else { 1 }));
        while right != end {
            let lines = right.wrapping_add(margin);
            let mut dots = [S::no_dots(); R];
            // Written out, because a build that checks arithmetic does not unroll loops over numbers.
            macro_rules! quads {
                ($($line:literal)+; $at:expr, $read:expr) => {
                    $({
                        let columns = ($read)(lines.wrapping_add(64 * $line));
                        each_row!(R, row, {
                            dots[row] = S::dot::<BYTES>(dots[row], cells[row].wrapping_add($at + $line), columns);
                        });
                    })+
                };
            }
            macro_rules! settle {
                ($number:literal) => {
                    let factors = S::columns(right.wrapping_add($number * MARGIN).cast());
                    let least = S::columns(right.wrapping_add($number * MARGIN + MARGIN / 2).cast());
                    each_row!(R, row, {
                        totals[row] = S::settle(totals[row], dots[row], factors, least, *scales[row], *sums[row].wrapping_add($number));
                    });
                };
            }
            if BYTES {
                quads!(0 1 2 3; 0, |line| S::bytes(line));
            } else {
                quads!(0 1 2 3; 0, |line| S::nibbles::<false>(line));
            }
            if FINE {
                settle!(0);
                dots = [S::no_dots(); R];
            }
            if BYTES {
                quads!(4 5 6 7; 0, |line| S::bytes(line));
            } else {
                quads!(0 1 2 3; 4, |line| S::nibbles::<true>(line));
            }
            if FINE {
                settle!(1);
            } else {
                settle!(0);
            }
            each_row!(R, row, {
                cells[row] = cells[row].wrapping_add(BLOCK / 4);
                scales[row] = scales[row].wrapping_add(1);
                sums[row] = sums[row].wrapping_add(if FINE { 2 } else { 1 });
            });
            right = right.wrapping_add(stride);
        }
        each_row!(R, row, {
            S::put(at.out.wrapping_add(row * COLUMNS), totals[row]);
        });
    }
}
