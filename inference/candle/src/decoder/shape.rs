//! What the network looks like, and where its tokens stand.

use crate::kernels::product::COLUMNS;

/// Sizes of a network of the Llama family (Mistral among them).
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    /// Numbers of a token's row.
    pub(crate) width: usize,
    /// Numbers within the feed-forward part.
    pub(crate) inner: usize,
    pub(crate) heads: usize,
    /// Heads of keys and values: each serves `heads / kv_heads` of the queries'.
    pub(crate) kv_heads: usize,
    /// Numbers of a head.
    pub(crate) head: usize,
    pub(crate) vocabulary: usize,
    /// Of root mean square normalisation.
    pub(crate) epsilon: f32,
    /// Tokens back that attention sees, itself included. Default: all.
    pub(crate) window: Option<usize>,
    /// Tokens that the network was made for.
    pub(crate) context: usize,
    pub(crate) rope: Rope,
    /// Whether keys and values are kept in 16 bits.
    pub(crate) rounded: bool,
}

impl Shape {
    /// Numbers of a head, up to whole panels.
    pub(super) fn wide(&self) -> usize {
        self.head.next_multiple_of(COLUMNS)
    }

    /// Refuses what cannot be; whoever reads a shape from a file asks.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes = [self.layers, self.width, self.inner, self.heads, self.kv_heads, self.head, self.vocabulary, self.context];
        // Far above any model that there is, and small enough for products of two to be numbers.
        const MOST: usize = 1 << 24;
        if sizes.iter().any(|size| *size == 0 || *size > MOST) {
            return Err(format!("its sizes cannot be: {self:?}"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} of keys and values", self.heads, self.kv_heads));
        }
        if !self.rope.dimensions.is_multiple_of(2) || self.rope.dimensions > self.head {
            return Err(format!("{} of the {} numbers of a head cannot be turned in pairs", self.rope.dimensions, self.head));
        }
        if !self.epsilon.is_finite() || !self.rope.base.is_finite() || self.rope.base <= 0.0 || self.window == Some(0) {
            return Err("its settings are no numbers".to_owned());
        }
        Ok(())
    }
}

/// Rotary position embedding: Su et al. (2021), "RoFormer", section 3.2.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    pub(crate) base: f32,
    /// Numbers of a head that are turned; the rest stays.
    pub(crate) dimensions: usize,
    /// Whether the two numbers of a pair stand side by side (GGUF), and not half a head apart.
    pub(crate) paired: bool,
    pub(crate) scaling: Scaling,
}

/// How frequencies are changed for contexts longer than those of the training.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scaling {
    #[default]
    None,
    /// All of them divided.
    Linear(f32),
    /// Low ones divided, high ones kept, with a passage between: Llama 3.1's.
    Llama3 { factor: f32, low: f32, high: f32, original: f32 },
    /// Each divided by its own number, as GGUF's `rope_freqs.weight` has it.
    Each(Vec<f32>),
}

/// Cosine and sine of each pair at each position.
pub(super) struct Turns {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    pairs: usize,
    paired: bool,
}

impl Turns {
    pub(super) fn new(rope: &Rope, positions: usize) -> Self {
        let pairs = rope.dimensions / 2;
        let frequencies: Vec<f32> = (0..pairs).map(|pair| rope.frequency(pair)).collect();
        let (mut cosines, mut sines) = (Vec::with_capacity(pairs * positions), Vec::with_capacity(pairs * positions));
        for position in 0..positions {
            for frequency in &frequencies {
                // The angle in f32, as in training; its functions by f64, so that they are the same on every machine to the last bit but in rare cases.
                #[expect(clippy::cast_precision_loss, reason = "a position is far below 2^24")]
                let angle = f64::from(position as f32 * frequency);
                #[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
                {
                    cosines.push(angle.cos() as f32);
                    sines.push(angle.sin() as f32);
                }
            }
        }
        Self { cosines, sines, pairs, paired: rope.paired }
    }

    /// Turns a head at a position.
    #[inline(always)]
    pub(super) fn turn(&self, head: &mut [f32], position: usize) {
        let cosines = &self.cosines[position * self.pairs..][..self.pairs];
        let sines = &self.sines[position * self.pairs..][..self.pairs];
        if self.paired {
            for ((pair, cosine), sine) in head.as_chunks_mut::<2>().0.iter_mut().zip(cosines).zip(sines) {
                let [first, second] = *pair;
                *pair = [first * cosine - second * sine, first * sine + second * cosine];
            }
        } else {
            let (firsts, seconds) = head[..2 * self.pairs].split_at_mut(self.pairs);
            for (((first, second), cosine), sine) in firsts.iter_mut().zip(seconds).zip(cosines).zip(sines) {
                let (one, two) = (*first, *second);
                *first = one * cosine - two * sine;
                *second = one * sine + two * cosine;
            }
        }
    }
}

impl Rope {
    /// Radians a position, of a pair.
    fn frequency(&self, pair: usize) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a head's width")]
        let exponent = (2 * pair) as f32 / self.dimensions as f32;
        let plain = 1.0 / self.base.powf(exponent);
        match &self.scaling {
            Scaling::None => plain,
            Scaling::Linear(factor) => plain / factor,
            Scaling::Each(factors) => plain / factors.get(pair).copied().unwrap_or(1.0),
            Scaling::Llama3 { factor, low, high, original } => {
                let length = 2.0 * std::f32::consts::PI / plain;
                if length < original / high {
                    plain
                } else if length > original / low {
                    plain / factor
                } else {
                    let smooth = (original / length - low) / (high - low);
                    (1.0 - smooth) * plain / factor + smooth * plain
                }
            }
        }
    }
}
