//! A matrix of weights as products read it: kept in the form in which the file has it, its columns in panels.

use candle_core::quantized::GgmlDType;
use half::{bf16, f16};
use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use super::blocks::Kind;
use super::input::{Input, Reads};
use crate::kernels::product::{Brain, COLUMNS, Half, Kept, Out, Panels, Product, Rows};
use crate::kernels::quantised::{BLOCK, Blocks, Form, QuantisedProduct};
use crate::kernels::set::{ABREAST, IntegerWork, Integers, Work as _};

/// Bytes that begin at the edge of a processor's cache line.
struct Aligned {
    bytes: Vec<u8>,
    from: usize,
    count: usize,
}

impl Aligned {
    const EDGE: usize = 64;

    fn zeros(count: usize) -> Self {
        let bytes = vec![0; count + Self::EDGE];
        // The bytes never move: nobody adds any.
        let from = bytes.as_ptr().align_offset(Self::EDGE).min(Self::EDGE);
        Self { bytes, from, count }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.from..][..self.count]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..][..self.count]
    }
}

/// How a matrix's numbers are kept.
enum Packed {
    Full(Vec<u32>),
    Brain(Vec<Brain>),
    Half(Vec<Half>),
    Quantised(Form, Aligned),
}

/// `[outputs, inputs]` weights.
pub(crate) struct Matrix {
    packed: Packed,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

/// Rows of `inputs` numbers as panels of their transpose, with zeros where the last panel has no column.
fn transpose<T: Copy + Sync, K: Copy + Send + Sync>(rows: &[T], outputs: usize, inputs: usize, none: K, keep: impl Fn(T) -> K + Sync) -> Vec<K> {
    let mut panels = vec![none; outputs.div_ceil(COLUMNS) * inputs * COLUMNS];
    panels.par_chunks_exact_mut(inputs * COLUMNS).enumerate().for_each(|(panel, cells)| {
        for (column, row) in rows.chunks_exact(inputs).skip(panel * COLUMNS).take(COLUMNS).enumerate() {
            for (line, value) in cells.chunks_exact_mut(COLUMNS).zip(row) {
                line[column] = keep(*value);
            }
        }
    });
    panels
}

/// Why a matrix is refused: a number that is none.
const NO_NUMBER: &str = "it holds what is no number: a damaged file";

impl Matrix {
    pub(crate) fn from_f32(values: &[f32], outputs: usize, inputs: usize) -> Result<Self, String> {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(NO_NUMBER.to_owned());
        }
        Ok(Self { packed: Packed::Full(transpose(values, outputs, inputs, 0, f32::to_bits)), outputs, inputs })
    }

    pub(crate) fn from_bf16(values: &[bf16], outputs: usize, inputs: usize) -> Result<Self, String> {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(NO_NUMBER.to_owned());
        }
        Ok(Self { packed: Packed::Brain(transpose(values, outputs, inputs, Brain(0), |value: bf16| Brain(value.to_bits()))), outputs, inputs })
    }

    pub(crate) fn from_f16(values: &[f16], outputs: usize, inputs: usize) -> Result<Self, String> {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(NO_NUMBER.to_owned());
        }
        Ok(Self { packed: Packed::Half(transpose(values, outputs, inputs, 0, f16::to_bits)), outputs, inputs })
    }

    /// From the bytes of a GGUF tensor. `None` if this form is not kept as it is.
    pub(crate) fn from_blocks(dtype: GgmlDType, bytes: &[u8], outputs: usize, inputs: usize) -> Option<Result<Self, String>> {
        Kind::of(dtype).map(|kind| Self::quantised(kind, bytes, outputs, inputs))
    }

    fn quantised(kind: Kind, bytes: &[u8], outputs: usize, inputs: usize) -> Result<Self, String> {
        let form = kind.form();
        let (numbers, size) = kind.block();
        if !inputs.is_multiple_of(numbers) {
            return Err(format!("its rows of {inputs} are not whole blocks of {numbers}"));
        }
        let row = inputs / numbers * size;
        if bytes.len() < outputs * row {
            return Err(format!("it has {} bytes, not {}", bytes.len(), outputs * row));
        }
        let (blocks, stride, group) = (inputs / BLOCK, form.stride(), form.group());
        let mut packed = Aligned::zeros(outputs.div_ceil(COLUMNS) * 2 * blocks * stride);
        let bad = std::sync::atomic::AtomicBool::new(false);
        packed.get_mut().par_chunks_exact_mut(2 * blocks * stride).enumerate().for_each(|(panel, space)| {
            for (column, row) in bytes.chunks_exact(row).take(outputs).skip(panel * COLUMNS).take(COLUMNS).enumerate() {
                let side = &mut space[column / ABREAST * blocks * stride..][..blocks * stride];
                let column = column % ABREAST;
                kind.groups(row, |given| {
                    if !given.scale.is_finite() || !given.least.is_finite() {
                        bad.store(true, std::sync::atomic::Ordering::Relaxed);
                    }
                    let (block, part) = (given.at * group / BLOCK, given.at * group % BLOCK);
                    let block = &mut side[block * stride..][..stride];
                    form.write_scale(block, part / group, column, given.scale, given.least);
                    for (at, number) in given.numbers.iter().enumerate() {
                        form.write(block, part + at, column, *number);
                    }
                });
            }
        });
        if bad.into_inner() {
            return Err(NO_NUMBER.to_owned());
        }
        Ok(Self { packed: Packed::Quantised(form, packed), outputs, inputs })
    }

    pub(super) fn reads(&self) -> Reads {
        let rounded = matches!(self.packed, Packed::Quantised(..));
        Reads { rounded, cells: !rounded }
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(COLUMNS)
    }

    /// The weights of one output, `[inputs]`: an embedding, where the matrix is a vocabulary's.
    pub(crate) fn output(&self, at: usize, to: &mut [f32]) {
        let (panel, column) = (at / COLUMNS, at % COLUMNS);
        let from = panel * self.inputs * COLUMNS + column;
        match &self.packed {
            Packed::Full(cells) => to.iter_mut().enumerate().for_each(|(line, value)| *value = f32::from_bits(cells[from + line * COLUMNS])),
            Packed::Brain(cells) => to.iter_mut().enumerate().for_each(|(line, value)| *value = bf16::from_bits(cells[from + line * COLUMNS].0).to_f32()),
            Packed::Half(cells) => to.iter_mut().enumerate().for_each(|(line, value)| *value = f16::from_bits(cells[from + line * COLUMNS]).to_f32()),
            Packed::Quantised(form, bytes) => {
                let (blocks, stride) = (self.inputs / BLOCK, form.stride());
                let side = &bytes.get()[(panel * 2 + column / ABREAST) * blocks * stride..][..blocks * stride];
                for (block, values) in side.chunks_exact(stride).zip(to.chunks_exact_mut(BLOCK)) {
                    for (at, value) in values.iter_mut().enumerate() {
                        *value = form.read(block, at, column % ABREAST);
                    }
                }
            }
        }
    }

    /// Products of `rows` rows with some of the panels, a panel after the other: `[panels, rows, COLUMNS]`. Called within a set's `run_integers`.
    #[inline(always)]
    pub(super) fn multiply<S: Integers>(&self, set: S, input: &Input, rows: usize, panels: std::ops::Range<usize>, out: &mut [f32]) {
        match &self.packed {
            Packed::Full(cells) => self.floats(set, cells, input, rows, panels, out),
            Packed::Brain(cells) => self.floats(set, cells, input, rows, panels, out),
            Packed::Half(cells) => self.floats(set, cells, input, rows, panels, out),
            Packed::Quantised(form, bytes) => {
                let size = 2 * self.inputs / BLOCK * form.stride();
                let bytes = &bytes.get()[panels.start * size..panels.end * size];
                let right = Blocks { form: *form, bytes, inputs: self.inputs, panels: panels.len() };
                QuantisedProduct { left: &input.rounded, rows, right, out }.work(set);
            }
        }
    }

    #[inline(always)]
    fn floats<S: Integers, K: Kept>(&self, set: S, cells: &[K], input: &Input, rows: usize, panels: std::ops::Range<usize>, out: &mut [f32]) {
        let size = self.inputs * COLUMNS;
        let left = Rows { cells: &input.cells, stride: self.inputs, count: rows };
        for (panel, out) in panels.zip(out.chunks_exact_mut(rows * COLUMNS)) {
            let right = Panels { cells: &cells[panel * size..][..size], depth: self.inputs, count: 1 };
            Product { left, right, bias: None, out: Out::Sums { to: out, stride: COLUMNS } }.work(set);
        }
    }
}
