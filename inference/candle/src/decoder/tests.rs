//! The decoder against candle's networks, on weights from a seed and on SmolLM2, by every instruction set that this processor has.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::quantized_llama::ModelWeights;
use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::input::{Input, Reads};
use super::*;
use crate::kernels::product::COLUMNS;
use crate::load::{folder, gguf};
use crate::kernels::set::IntegerWork;

const LAYERS: usize = 2;
const WORDS: usize = 70;

/// Weights from a seed, in a form.
struct Seeded {
    tensors: HashMap<String, Tensor>,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    F32,
    F16,
    Bf16,
    Blocks(GgmlDType),
}

fn shape(head: usize, window: Option<usize>, scaling: Scaling) -> Shape {
    let rope = Rope { base: 500.0, dimensions: head, paired: false, scaling };
    Shape { layers: LAYERS, width: 64, inner: 96, heads: 4, kv_heads: 2, head, vocabulary: WORDS, epsilon: 1e-5, window, context: 256, rope, rounded: false }
}

impl Seeded {
    fn new(shape: &Shape, form: Form) -> Self {
        let mut dice = StdRng::seed_from_u64(11);
        let mut tensors = HashMap::new();
        let mut put = |name: Name, dimensions: &[usize]| {
            let values: Vec<f32> = if let [count] = dimensions { (0..*count).map(|_| dice.random_range(0.5..1.5)).collect() } else { (0..dimensions.iter().product()).map(|_| dice.random_range(-0.3..0.3)).collect() };
            let tensor = Tensor::from_vec(values, dimensions, &Device::Cpu).expect("a tensor");
            // As the form holds them, so that candle computes with the same numbers.
            let held = |dtype: DType| tensor.to_dtype(dtype).and_then(|tensor| tensor.to_dtype(DType::F32)).expect("rounded");
            let tensor = match form {
                _ if dimensions.len() == 1 => tensor,
                Form::F32 => tensor,
                Form::F16 => held(DType::F16),
                Form::Bf16 => held(DType::BF16),
                Form::Blocks(dtype) => QTensor::quantize(&tensor, dtype).and_then(|tensor| tensor.dequantize(&Device::Cpu)).expect("rounded"),
            };
            tensors.insert(folder::name(name), tensor);
        };
        let (width, queries, keys) = (shape.width, shape.heads * shape.head, shape.kv_heads * shape.head);
        put(Name::Words, &[shape.vocabulary, width]);
        put(Name::Scores, &[shape.vocabulary, width]);
        put(Name::Norm, &[width]);
        for at in 0..shape.layers {
            put(Name::AttentionNorm(at), &[width]);
            put(Name::Query(at), &[queries, width]);
            put(Name::Key(at), &[keys, width]);
            put(Name::Value(at), &[keys, width]);
            put(Name::Output(at), &[width, queries]);
            put(Name::InnerNorm(at), &[width]);
            put(Name::Gate(at), &[shape.inner, width]);
            put(Name::Up(at), &[shape.inner, width]);
            put(Name::Down(at), &[width, shape.inner]);
        }
        Self { tensors, form }
    }

    fn variables(&self, dtype: DType) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.tensors.clone(), dtype, &Device::Cpu)
    }
}

impl Origin for Seeded {
    fn has(&self, name: Name) -> bool {
        self.tensors.contains_key(&folder::name(name))
    }

    fn matrix(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Matrix, String> {
        let tensor = self.tensors[&folder::name(name)].clone();
        assert_eq!(tensor.dims(), [outputs, inputs]);
        let flat = tensor.flatten_all().expect("flat");
        match self.form {
            Form::F32 => Matrix::from_f32(&flat.to_vec1::<f32>().expect("numbers"), outputs, inputs),
            Form::F16 => Matrix::from_f16(&flat.to_dtype(DType::F16).and_then(|flat| flat.to_vec1::<f16>()).expect("numbers"), outputs, inputs),
            Form::Bf16 => Matrix::from_bf16(&flat.to_dtype(DType::BF16).and_then(|flat| flat.to_vec1::<bf16>()).expect("numbers"), outputs, inputs),
            Form::Blocks(dtype) => {
                let blocks = QTensor::quantize(&tensor, dtype).expect("quantised");
                Matrix::from_blocks(dtype, &blocks.data().expect("bytes"), outputs, inputs).expect("a form that is kept")
            }
        }
    }

    fn row(&mut self, name: Name, count: usize) -> Result<Vec<f32>, String> {
        let row = self.tensors[&folder::name(name)].to_vec1::<f32>().expect("numbers");
        assert_eq!(row.len(), count);
        Ok(row)
    }
}

fn decoder(shape: &Shape, form: Form) -> Decoder {
    Decoder::load(shape.clone(), 256, &mut Seeded::new(shape, form)).expect("loaded")
}

/// The scores after each of a sequence's tokens, in passes of so many.
fn scores(decoder: &Decoder, tokens: &[u32], cut: usize) -> Vec<Vec<f32>> {
    let mut cache = Cache::new(decoder.shape(), tokens.len());
    let mut scratch = Scratch::default();
    let passes = tokens.chunks(cut).flat_map(|tokens| decoder.pass(&mut [Part { tokens, cache: &mut cache, wanted: Wanted::All }], &mut scratch).expect("a pass"));
    passes.collect()
}

fn words(count: usize, seed: u64) -> Vec<u32> {
    let mut dice = StdRng::seed_from_u64(seed);
    (0..count).map(|_| dice.random_range(0..u32::try_from(WORDS).expect("few"))).collect()
}

fn furthest(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The scores by one of candle's networks, which this crate runs on GPUs.
fn by_candle(network: Network, shape: &Shape, tokens: &[u32], cut: usize) -> Vec<Vec<f32>> {
    scores(&Decoder::by_candle(network, Device::Cpu, shape.clone()), tokens, cut)
}

#[test]
fn scores_equal_those_of_candles_llama_in_every_form_that_it_computes() {
    let tokens = words(100, 1);
    let scaled = Scaling::Llama3 { factor: 4.0, low: 1.0, high: 4.0, original: 64.0 };
    for (form, scaling) in [(Form::F32, Scaling::None), (Form::F16, Scaling::None), (Form::Bf16, Scaling::None), (Form::F32, scaled)] {
        let shape = shape(16, None, scaling);
        let network = Network::llama(&shape, false, Seeded::new(&shape, form).variables(DType::F32)).expect("candle's");
        let off = furthest(&by_candle(network, &shape, &tokens, 50), &scores(&decoder(&shape, form), &tokens, 33));
        assert!(off < 2e-5, "{form:?}: off by {off}");
    }
    // Not scaled would be another thing altogether.
    let (plain, scaled) = (shape(16, None, Scaling::None), shape(16, None, Scaling::Llama3 { factor: 4.0, low: 1.0, high: 4.0, original: 64.0 }));
    assert!(furthest(&scores(&decoder(&plain, Form::F32), &tokens, 33), &scores(&decoder(&scaled, Form::F32), &tokens, 33)) > 0.1);
}

#[test]
fn a_window_and_heads_of_any_width_are_those_of_candles_mistral() {
    let tokens = words(90, 2);
    for (head, window) in [(24, None), (40, Some(7)), (32, Some(33))] {
        let shape = shape(head, window, Scaling::None);
        let seeded = Seeded::new(&shape, Form::F32);
        // All of it at once for each length: by single tokens candle does not look at the window.
        let wanted: Vec<Vec<f32>> = (1..=tokens.len())
            .map(|length| {
                let network = Network::mistral(&shape, false, seeded.variables(DType::F32)).expect("candle's");
                let decoder = Decoder::by_candle(network, Device::Cpu, shape.clone());
                let part = Part { tokens: &tokens[..length], cache: &mut Cache::new(&shape, length), wanted: Wanted::Last };
                decoder.pass(&mut [part], &mut Scratch::default()).expect("a pass").remove(0)
            })
            .collect();
        let off = furthest(&wanted, &scores(&decoder(&shape, Form::F32), &tokens, 20));
        assert!(off < 2e-5, "heads of {head}, window {window:?}: off by {off}");
    }
}

/// As a GPU computes: in bf16, one sequence after the other, cut anywhere.
#[test]
fn candles_networks_in_bf16_are_near_and_what_they_would_leave_out_is_refused() {
    let (plain, tokens) = (shape(16, None, Scaling::None), words(40, 3));
    let wanted = scores(&decoder(&plain, Form::Bf16), &tokens, 40);
    let spread = wanted.iter().flatten().fold(0.0_f32, |most, score| most.max(score.abs()));
    let variables = || Seeded::new(&plain, Form::Bf16).variables(DType::BF16);
    for network in [Network::llama(&plain, false, variables()), Network::mistral(&plain, false, variables())] {
        let off = furthest(&wanted, &by_candle(network.expect("candle's"), &plain, &tokens, 7));
        assert!(off < 0.05 * spread, "off by {off} of {spread}");
    }
    let linear = shape(16, None, Scaling::Linear(2.0));
    assert!(Network::llama(&linear, false, variables()).is_err() && Network::mistral(&linear, false, variables()).is_err());
    assert!(Network::llama(&shape(16, Some(8), Scaling::None), false, variables()).is_err());
    assert_eq!(Network::quantised_lacks(&linear), Some("scaled positions"));
    assert_eq!(Network::quantised_lacks(&shape(16, Some(8), Scaling::None)), Some("a window of attention"));
    assert_eq!(Network::quantised_lacks(&shape(24, None, Scaling::None)), Some("heads of another width"));
    assert_eq!(Network::quantised_lacks(&plain), None);
}

const BLOCKS: [GgmlDType; 8] = [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1, GgmlDType::Q8_0, GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K];

#[test]
fn blocks_are_read_as_candle_reads_them_and_multiplied_as_they_are() {
    let mut dice = StdRng::seed_from_u64(3);
    let (outputs, inputs, rows) = (50, 512, 5);
    let weights: Vec<f32> = (0..outputs * inputs).map(|_| dice.random_range(-1.0..1.0)).collect();
    let left: Vec<f32> = (0..rows * inputs).map(|_| dice.random_range(-1.0..1.0)).collect();
    let tensor = Tensor::from_vec(weights, (outputs, inputs), &Device::Cpu).expect("a tensor");
    for dtype in BLOCKS {
        let blocks = QTensor::quantize(&tensor, dtype).expect("quantised");
        let wanted = blocks.dequantize(&Device::Cpu).and_then(|tensor| tensor.to_vec2::<f32>()).expect("numbers");
        let matrix = Matrix::from_blocks(dtype, &blocks.data().expect("bytes"), outputs, inputs).expect("kept").expect("read");
        let mut row = vec![0.0; inputs];
        // Scales that are products are rounded to 11 bits; those that stand in the file are kept.
        let within = if matches!(dtype, GgmlDType::Q4K | GgmlDType::Q5K | GgmlDType::Q6K) { 2e-3 } else { 0.0 };
        for (at, wanted) in wanted.iter().enumerate() {
            matrix.output(at, &mut row);
            let off = row.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max);
            assert!(off <= within, "{dtype:?}, row {at}: off by {off}");
        }
        let products = product(Portable, &matrix, &left, rows);
        for (row, found) in products.iter().enumerate() {
            let left = &left[row * inputs..][..inputs];
            for (column, wanted) in wanted.iter().enumerate() {
                let exact: f64 = left.iter().zip(wanted).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let off = (f64::from(found[column]) - exact).abs();
                // The rows are rounded to bytes: 512 roundings of at most 1 / 254, which fall either way.
                assert!(off < 0.12, "{dtype:?}: {} and not {exact}", found[column]);
            }
        }
    }
}

/// Products of rows with a matrix, by a set.
fn product<S: Integers>(set: S, matrix: &Matrix, left: &[f32], rows: usize) -> Vec<Vec<f32>> {
    struct Whole<'a> {
        matrix: &'a Matrix,
        input: &'a mut Input,
        left: &'a [f32],
        rows: usize,
        out: &'a mut [f32],
    }
    impl IntegerWork for Whole<'_> {
        type Done = ();

        #[inline(always)]
        fn work<S: Integers>(self, set: S) {
            let width = self.matrix.inputs;
            for input in &mut self.input.shares(self.rows, width, self.rows, Reads { cells: true, rounded: true }) {
                for (at, row) in self.left.chunks_exact(width).enumerate() {
                    input.put(at, row);
                }
            }
            self.matrix.multiply(set, self.input, self.rows, 0..self.matrix.panels(), self.out);
        }
    }
    let mut out = vec![f32::NAN; matrix.panels() * rows * COLUMNS];
    set.run_integers(Whole { matrix, input: &mut Input::default(), left, rows, out: &mut out });
    let found = panels::Panelled { values: &out, rows };
    let read = |row| {
        let mut values = vec![0.0; matrix.outputs];
        found.row(row, 0, &mut values);
        values
    };
    (0..rows).map(read).collect()
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn a_product_has_the_same_bits_by_every_set_and_alone() {
    fn matrix(dice: &mut StdRng, form: Form, outputs: usize, inputs: usize) -> Matrix {
        let values: Vec<f32> = (0..outputs * inputs).map(|_| dice.random_range(-1.0..1.0)).collect();
        let tensor = Tensor::from_vec(values.clone(), (outputs, inputs), &Device::Cpu).expect("a tensor");
        match form {
            Form::F32 => Matrix::from_f32(&values, outputs, inputs),
            Form::F16 => Matrix::from_f16(&values.iter().map(|value| f16::from_f32(*value)).collect::<Vec<_>>(), outputs, inputs),
            Form::Bf16 => Matrix::from_bf16(&values.iter().map(|value| bf16::from_f32(*value)).collect::<Vec<_>>(), outputs, inputs),
            Form::Blocks(dtype) => Matrix::from_blocks(dtype, &QTensor::quantize(&tensor, dtype).expect("quantised").data().expect("bytes"), outputs, inputs).expect("kept"),
        }
        .expect("a matrix")
    }
    let mut dice = StdRng::seed_from_u64(4);
    for form in BLOCKS.map(Form::Blocks).into_iter().chain([Form::F32, Form::F16, Form::Bf16]) {
        for rows in [1, 2, 3, 5, 11, 12, 13, 30] {
            let (outputs, inputs) = (*[16, 33, 64, 100].choose(&mut dice).expect("some"), *[256, 512].choose(&mut dice).expect("some"));
            let matrix = matrix(&mut dice, form, outputs, inputs);
            let scale = 10.0_f32.powi(dice.random_range(-3..3));
            let left: Vec<f32> = (0..rows * inputs).map(|_| if dice.random_ratio(1, 50) { 0.0 } else { scale * dice.random_range(-1.0..1.0_f32) }).collect();
            let wanted = product(Portable, &matrix, &left, rows);
            for (row, wanted) in wanted.iter().enumerate() {
                let alone = product(Portable, &matrix, &left[row * inputs..][..inputs], 1);
                assert_eq!(bits(&alone), bits(std::slice::from_ref(wanted)), "{form:?}: row {row} of {rows} alone");
            }
            #[cfg(target_arch = "x86_64")]
            {
                if let Some(set) = Avx2::detect() {
                    assert_eq!(bits(&product(set, &matrix, &left, rows)), bits(&wanted), "{form:?}, {rows} rows by AVX2");
                }
                if let Some(set) = Vnni::detect() {
                    assert_eq!(bits(&product(set, &matrix, &left, rows)), bits(&wanted), "{form:?}, {rows} rows by VNNI");
                }
            }
        }
    }
}

/// A row that is nothing, and one with what is no number: neither may look like an answer.
#[test]
fn nothing_gives_nothing_and_no_number_gives_none() {
    let values: Vec<f32> = (0..32 * 64_u16).map(|at| f32::from(at % 255) / 255.0).collect();
    let tensor = Tensor::from_vec(values, (32, 64), &Device::Cpu).expect("a tensor");
    let blocks = QTensor::quantize(&tensor, GgmlDType::Q4_1).expect("quantised");
    let matrix = Matrix::from_blocks(GgmlDType::Q4_1, &blocks.data().expect("bytes"), 32, 64).expect("kept").expect("read");
    let mut left = vec![0.0; 64];
    assert!(product(Portable, &matrix, &left, 1)[0].iter().all(|value| *value == 0.0));
    left[3] = f32::INFINITY;
    assert!(product(Portable, &matrix, &left, 1)[0].iter().all(|value| !value.is_finite()));
    assert!(Matrix::from_f32(&[1.0, f32::NAN], 1, 2).is_err());
    assert!(Matrix::from_blocks(GgmlDType::Q4_1, &[0xff; 20], 1, 32).expect("kept").is_err(), "a scale that is no number");
    assert!(Matrix::from_blocks(GgmlDType::Q4_1, &[0; 19], 1, 32).expect("kept").is_err(), "too few bytes");
}

#[test]
fn a_sequence_has_the_same_bits_in_any_company_cut_anywhere_with_any_number_of_threads_by_every_set() {
    let shape = shape(32, Some(50), Scaling::None);
    for form in [Form::F32, Form::Blocks(GgmlDType::Q4_1), Form::Blocks(GgmlDType::Q8_0)] {
        let shape = Shape { rounded: form != Form::F32, ..shape.clone() };
        let decoder = decoder(&shape, form);
        let prompts: Vec<Vec<u32>> = (0..5).map(|at| words(20 + 17 * at, at as u64)).collect();
        let alone: Vec<Vec<Vec<f32>>> = prompts.iter().map(|prompt| scores(&decoder, prompt, 1_000)).collect();
        #[cfg(target_arch = "x86_64")]
        for (at, prompt) in prompts.iter().enumerate() {
            let weights = || Weights::load(shape.clone(), 256, &mut Seeded::new(&shape, form)).expect("loaded");
            let portable = Decoder { network: Box::new(On { set: Portable, weights: weights() }), shape: shape.clone() };
            assert_eq!(bits(&scores(&portable, prompt, 1_000)), bits(&alone[at]), "{form:?}: by the portable set");
            if let Some(set) = Avx2::detect() {
                let two = Decoder { network: Box::new(On { set, weights: weights() }), shape: shape.clone() };
                assert_eq!(bits(&scores(&two, prompt, 1_000)), bits(&alone[at]), "{form:?}: by AVX2");
            }
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut dice = StdRng::seed_from_u64(threads as u64);
            let mut found: Vec<Vec<Vec<f32>>> = vec![Vec::new(); prompts.len()];
            let mut caches: Vec<Cache> = prompts.iter().map(|prompt| Cache::new(&shape, prompt.len())).collect();
            let mut scratch = Scratch::default();
            while found.iter().zip(&prompts).any(|(found, prompt)| found.len() < prompt.len()) {
                let counts: Vec<usize> = found.iter().zip(&prompts).map(|(found, prompt)| dice.random_range(0..30).min(prompt.len() - found.len())).collect();
                let mut parts: Vec<Part<'_>> = Vec::new();
                for ((cache, prompt), (found, count)) in caches.iter_mut().zip(&prompts).zip(found.iter().zip(&counts)) {
                    parts.push(Part { tokens: &prompt[found.len()..found.len() + count], cache, wanted: Wanted::All });
                }
                let mut rows = pool.install(|| decoder.pass(&mut parts, &mut scratch)).expect("a pass").into_iter();
                for (found, count) in found.iter_mut().zip(counts) {
                    found.extend(rows.by_ref().take(count));
                }
            }
            for (at, (found, alone)) in found.iter().zip(&alone).enumerate() {
                assert_eq!(bits(found), bits(alone), "{form:?}, {threads} threads: prompt {at}");
            }
        }
    }
}

#[test]
fn a_pass_that_is_refused_has_changed_nothing() {
    let shape = shape(32, None, Scaling::None);
    let decoder = decoder(&shape, Form::F32);
    let tokens = words(40, 8);
    let wanted = scores(&decoder, &tokens, 10);
    let (mut cache, mut scratch) = (Cache::new(&shape, 40), Scratch::default());
    let mut pass = |cache: &mut Cache, tokens: &[u32]| decoder.pass(&mut [Part { tokens, cache, wanted: Wanted::Last }], &mut scratch);
    pass(&mut cache, &tokens[..20]).expect("a pass");
    let reason = pass(&mut cache, &[1, 70]).expect_err("no such token");
    assert!(reason.contains("token 70"), "{reason}");
    let reason = pass(&mut cache, &words(60, 1)).expect_err("no room");
    assert!(reason.contains("room"), "{reason}");
    let rest = pass(&mut cache, &tokens[20..]).expect("a pass");
    assert_eq!(bits(&rest), bits(&wanted[39..]));
    assert!(pass(&mut cache, &[]).expect("nothing to do").is_empty());
}

#[test]
fn impossible_sizes_are_refused() {
    let good = shape(32, None, Scaling::None);
    good.check().expect("it is one");
    let rope = |dimensions, base| Rope { dimensions, base, ..good.rope.clone() };
    for bad in [
        Shape { layers: 0, ..good.clone() },
        Shape { vocabulary: usize::MAX, ..good.clone() },
        Shape { kv_heads: 3, ..good.clone() },
        Shape { window: Some(0), ..good.clone() },
        Shape { epsilon: f32::NAN, ..good.clone() },
        Shape { rope: rope(31, 500.0), ..good.clone() },
        Shape { rope: rope(64, 500.0), ..good.clone() },
        Shape { rope: rope(32, 0.0), ..good.clone() },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}

/// A file's weights as plain numbers.
struct Plain<'a>(&'a Content, std::fs::File);

impl Origin for Plain<'_> {
    fn has(&self, name: Name) -> bool {
        self.0.tensor_infos.contains_key(&gguf::name(name))
    }

    fn matrix(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Matrix, String> {
        let count = outputs * inputs;
        Matrix::from_f32(&self.row(name, count)?, outputs, inputs)
    }

    fn row(&mut self, name: Name, count: usize) -> Result<Vec<f32>, String> {
        let tensor = self.0.tensor(&mut self.1, &gguf::name(name), &Device::Cpu).and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()).expect("numbers");
        assert_eq!(tensor.len(), count);
        Ok(tensor)
    }
}

/// SmolLM2 as it is in the file, with rows rounded to bytes, beside the same with no rounding at all. candle rounds the same rows, and their scales too.
#[test]
fn smollm2s_scores_are_as_near_to_those_without_rounding_as_candles() {
    let path = std::path::Path::new("../../.cache/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
    let open = || std::fs::File::open(path).expect("the model is there (run `tools/setup`)");
    let content = Content::read(&mut open()).expect("GGUF");
    let loaded = crate::load::load(&[path.to_owned()], None, crate::load::Wish::default()).expect("ours");
    let plain = Decoder::load(Shape { rounded: false, ..loaded.decoder.shape().clone() }, 256, &mut Plain(&content, open())).expect("ours, plain");
    let model = ModelWeights::from_gguf(content, &mut open(), &Device::Cpu).expect("candle's");
    let text = "<|im_start|>user\nWhere do otters sleep, and why do they hold hands?<|im_end|>\n<|im_start|>assistant\nOtters sleep in the water, floating on their backs,";
    let tokens = loaded.tokenizer.encode(text, false).expect("tokens").get_ids().to_vec();
    assert!(tokens.len() > 30);
    let truth = scores(&plain, &tokens, 64);
    let theirs = by_candle(Network::Quantised(Box::new(model)), plain.shape(), &tokens, 16);
    let ours = scores(&loaded.decoder, &tokens, 16);
    let off = |found: &[Vec<f32>]| {
        let all = truth.iter().flatten().zip(found.iter().flatten());
        all.map(|(truth, found)| f64::from((truth - found).abs())).sum::<f64>() / (truth.len() * truth[0].len()) as f64
    };
    let (theirs, ours, spread) = (off(&theirs), off(&ours), off(&vec![vec![0.0; truth[0].len()]; truth.len()]));
    assert!(ours < 1.2 * theirs, "ours are off by {ours}, candle's by {theirs}");
    assert!(ours < 0.05 * spread, "off by {ours} in the mean, of {spread}");
}
