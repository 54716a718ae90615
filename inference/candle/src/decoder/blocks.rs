//! The forms in which GGUF files keep numbers, read into groups with a scale and a least value.
//!
//! Layouts: ggml's `ggml-quants.c` (`dequantize_row_*`), from which the names of the fields come. All numbers are little-endian.

use candle_core::quantized::GgmlDType;
use half::f16;

use crate::kernels::quantised::Form;

/// A form that is kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// Numbers of a group: equal scale and least value.
pub(super) struct Group<'a> {
    /// Which of the row's groups.
    pub(super) at: usize,
    pub(super) scale: f32,
    pub(super) least: f32,
    /// From 0 up.
    pub(super) numbers: &'a [u8],
}

impl Kind {
    pub(super) fn of(dtype: GgmlDType) -> Option<Self> {
        Some(match dtype {
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4_1 => Self::Q4_1,
            GgmlDType::Q5_0 => Self::Q5_0,
            GgmlDType::Q5_1 => Self::Q5_1,
            GgmlDType::Q8_0 => Self::Q8_0,
            GgmlDType::Q4K => Self::Q4K,
            GgmlDType::Q5K => Self::Q5K,
            GgmlDType::Q6K => Self::Q6K,
            _ => return None,
        })
    }

    pub(super) fn form(self) -> Form {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => Form { bytes: false, fine: false },
            Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Q5K => Form { bytes: true, fine: false },
            Self::Q6K => Form { bytes: true, fine: true },
        }
    }

    /// Numbers and bytes of a block in the file.
    pub(super) fn block(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Gives a row's groups in order. `row` is whole blocks.
    pub(super) fn groups(self, row: &[u8], mut take: impl FnMut(Group<'_>)) {
        let (_, size) = self.block();
        for (number, block) in row.chunks_exact(size).enumerate() {
            match self {
                Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => take(self.small(number, block, &mut [0; 32])),
                Self::Q4K | Self::Q5K => self.large(number, block, &mut take),
                Self::Q6K => six(number, block, &mut take),
            }
        }
    }

    /// A block of 32.
    fn small<'a>(self, at: usize, block: &[u8], numbers: &'a mut [u8; 32]) -> Group<'a> {
        let scale = half(block, 0);
        if self == Self::Q8_0 {
            for (number, byte) in numbers.iter_mut().zip(&block[2..]) {
                // A signed byte, moved to where it is not negative.
                *number = byte.wrapping_add(128);
            }
            return Group { at, scale, least: -128.0 * scale, numbers };
        }
        let has_least = matches!(self, Self::Q4_1 | Self::Q5_1);
        let fifth = matches!(self, Self::Q5_0 | Self::Q5_1);
        let rest = &block[if has_least { 4 } else { 2 }..];
        let (high, halves) = if fifth { (u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]), &rest[4..]) } else { (0, rest) };
        for (place, byte) in halves.iter().enumerate() {
            let bit = |at: usize| u8::from(high >> at & 1 == 1) << 4;
            numbers[place] = (byte & 15) | bit(place);
            numbers[place + 16] = (byte >> 4) | bit(place + 16);
        }
        let least = if has_least { half(block, 2) } else { -scale * if fifth { 16.0 } else { 8.0 } };
        Group { at, scale, least, numbers }
    }

    /// A block of 256 in eight groups, each with six bits of scale and of least value.
    fn large(self, number: usize, block: &[u8], take: &mut impl FnMut(Group<'_>)) {
        let (scale, least) = (half(block, 0), half(block, 2));
        let packed = &block[4..16];
        let (high, halves) = if self == Self::Q5K { (&block[16..48], &block[48..]) } else { (&block[..0], &block[16..]) };
        for group in 0..8 {
            let (factor, lowest) = if group < 4 {
                (packed[group] & 63, packed[group + 4] & 63)
            } else {
                ((packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4, (packed[group + 4] >> 4) | (packed[group] >> 6) << 4)
            };
            let mut numbers = [0; 32];
            for (place, (target, byte)) in numbers.iter_mut().zip(&halves[group / 2 * 32..]).enumerate() {
                let low = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
                *target = low | high.get(place).map_or(0, |bits| (bits >> group & 1) << 4);
            }
            take(Group { at: number * 8 + group, scale: scale * f32::from(factor), least: -least * f32::from(lowest), numbers: &numbers });
        }
    }
}

/// A block of 256 in sixteen groups, each with a signed byte of scale.
fn six(number: usize, block: &[u8], take: &mut impl FnMut(Group<'_>)) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(block, 208);
    for (group, factor) in scales.iter().enumerate() {
        let mut numbers = [0; 16];
        for (place, target) in numbers.iter_mut().enumerate() {
            // Halves of 128 numbers; in each, quarters of 32 that share their bytes.
            let (side, quarter, at) = (group / 8, group % 8 / 2, group % 2 * 16 + place);
            let byte = low[side * 64 + quarter % 2 * 32 + at];
            let bits = high[side * 32 + at] >> (2 * quarter) & 3;
            *target = (if quarter < 2 { byte & 15 } else { byte >> 4 }) | bits << 4;
        }
        let scale = scale * f32::from(factor.cast_signed());
        take(Group { at: number * 16 + group, scale, least: -32.0 * scale, numbers: &numbers });
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
