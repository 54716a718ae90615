//! How many texts a second does the encoder in this process embed, beside candle's own, ONNX Runtime and sentence-transformers?
//!
//! The same 2,000 texts for all (5 to 240 tokens, 47 in the mean, from a seed), two threads, each contender a process of its own, one after
//! the other in rounds; the least of the runs counts. Ours and sentence-transformers are charged for tokenising, the others are not. Vectors are compared: a figure is
//! printed only beside a cosine of at least 0.9999 with our own f32.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ajatus_candle::{CandleEmbedder, Device, EmbedderConfig, Engine, Kernel, Precision};
use ajatus_inference::Embedder as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::error::BenchError;
use crate::process::{machine, own_cpu_seconds};

const DIMENSION: usize = 384;
const THREADS: usize = 2;
/// Texts of a small batch.
const FEW: usize = 16;

const WORDS: &str = "hey thanks please can you the a of to in and for is it that this was with on are be not have from my your we they at as but or what how why \
    when where who then so because while after before about home work garden kitchen music train ferry doctor school sister brother daughter coffee tea \
    bread weather rain snow winter summer spring morning evening tomorrow yesterday monday friday holiday birthday present book film song guitar piano \
    running swimming hiking photograph camera letter meeting project deadline colleague neighbour grandmother allergy medicine appointment recipe dinner \
    breakfast journey airport ticket hotel museum library language finnish unbelievable misunderstanding responsibility internationalisation";

/// Who computes.
#[derive(Clone, Copy)]
enum By {
    /// This program, with a kernel.
    Ours(&'static str),
    /// A script, in an environment of its own.
    Onnx,
    SentenceTransformers,
}

/// A contender.
struct Contender {
    name: &'static str,
    by: By,
    way: &'static str,
    /// The slow ones run once.
    once: bool,
}

const CONTENDERS: [Contender; 8] = [
    Contender { name: "ours, bf16", by: By::Ours("bf16"), way: "all", once: false },
    Contender { name: "ours, bf16, 16 at a time", by: By::Ours("bf16"), way: "few", once: false },
    Contender { name: "ours, f32", by: By::Ours("f32"), way: "all", once: false },
    Contender { name: "ours, f32, 16 at a time", by: By::Ours("f32"), way: "few", once: false },
    Contender { name: "ONNX Runtime f32, sorted, by tokens", by: By::Onnx, way: "sorted", once: false },
    Contender { name: "ONNX Runtime f32, rows of 32 as they come", by: By::Onnx, way: "client", once: true },
    Contender { name: "sentence-transformers f32, its own batches", by: By::SentenceTransformers, way: "sorted", once: false },
    Contender { name: "candle f32, sorted, by tokens", by: By::Ours("candle"), way: "all", once: true },
];

pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let model = PathBuf::from(arguments.text("model").unwrap_or_else(|| ".cache/models/all-MiniLM-L6-v2".to_owned()));
    if arguments.word_if_any().as_deref() == Some("ours") {
        let kernel = arguments.text("kernel").unwrap_or_default();
        let few = arguments.text("way").as_deref() == Some("few");
        let (texts, out) = (arguments.text("texts").unwrap_or_default(), arguments.text("out").unwrap_or_default());
        arguments.finish()?;
        return ours(&model, &kernel, few, Path::new(&texts), Path::new(&out));
    }
    let python = arguments.text("python").unwrap_or_else(|| ".cache/peers-inference/bin/python".to_owned());
    let torch = arguments.text("torch").unwrap_or_else(|| ".cache/peers-torch/bin/python".to_owned());
    let benches = PathBuf::from(arguments.text("benches").unwrap_or_else(|| "benches".to_owned()));
    let count: usize = arguments.number("texts", 2_000)?;
    let runs: usize = arguments.number("runs", 3)?;
    let seed: u64 = arguments.number("seed", 7)?;
    let json = arguments.switch("json");
    arguments.finish()?;
    if count == 0 || runs == 0 {
        return Err(BenchError::Usage("--texts and --runs must be at least 1".to_owned()));
    }
    let folder = tempfile::tempdir().map_err(BenchError::file(Path::new("a temporary folder")))?;
    let texts = texts(count, seed);
    let file = folder.path().join("texts.json");
    std::fs::write(&file, serde_json::to_vec(&texts).unwrap_or_default()).map_err(BenchError::file(&file))?;
    let work = work(&model, &texts)?;
    let this = std::env::current_exe().map_err(BenchError::file(Path::new("this program")))?;
    let mut best: Vec<Result<(f64, f64), String>> = CONTENDERS.iter().map(|_| Err("not run".to_owned())).collect();
    for round in 0..runs {
        for (at, contender) in CONTENDERS.iter().enumerate().filter(|(_, contender)| round == 0 || !contender.once) {
            let out = folder.path().join(format!("{at}.f32"));
            let mut command = match contender.by {
                By::Ours(kernel) => {
                    let mut command = Command::new(&this);
                    command.args(["inference", "ours", "--kernel", kernel, "--way", contender.way]);
                    command
                }
                By::Onnx => {
                    let mut command = Command::new(&python);
                    command.arg(benches.join("peers/inference/on_onnxruntime.py")).args(["--way", contender.way]);
                    command
                }
                By::SentenceTransformers => {
                    let mut command = Command::new(&torch);
                    command.arg(benches.join("peers/inference/on_sentence_transformers.py"));
                    command
                }
            };
            eprintln!("round {} of {runs}: {}", round + 1, contender.name);
            let found = run(command.arg("--model").arg(&model).arg("--texts").arg(&file).arg("--out").arg(&out));
            best[at] = match (&best[at], found) {
                (Ok((wall, cpu)), Ok(found)) => Ok((wall.min(found.0), cpu.min(found.1))),
                (_, found) => found,
            };
        }
    }
    let vectors: Vec<Option<Vec<f32>>> = (0..CONTENDERS.len()).map(|at| vectors(&folder.path().join(format!("{at}.f32")))).collect();
    let reference = vectors[2].clone().ok_or_else(|| BenchError::Usage("our own f32 did not run, and nothing can be compared".to_owned()))?;
    let alike: Vec<Option<f64>> = vectors.iter().map(|found| found.as_ref().map(|found| least_cosine(&reference, found))).collect();
    let peak = ajatus_candle::peak_gflops(Device::Cpu, THREADS).map_err(|error| BenchError::Usage(error.to_string()))?;
    show(&best, &alike, count, work, peak, json);
    match alike.iter().zip(&CONTENDERS).find(|(cosine, _)| cosine.is_some_and(|cosine| cosine < 0.9999)) {
        Some((cosine, contender)) => Err(BenchError::Usage(format!("{} gives other vectors: least cosine {}", contender.name, cosine.unwrap_or_default()))),
        None => Ok(()),
    }
}

/// Tokens, and GFLOP that the products of the encoder and of attention need for them without padding.
fn work(model: &Path, texts: &[String]) -> Result<(usize, f64), BenchError> {
    let embedder = load(model, "f32")?;
    let counted = embedder.measure(texts).ok_or_else(|| BenchError::Usage("the model does not count tokens".to_owned()))?;
    let lengths: Vec<usize> = counted.into_iter().map(|tokens| tokens.read).collect();
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let flop = lengths.iter().map(|tokens| 6.0 * (2.0 * *tokens as f64 * (4.0 * 384.0 * 384.0 + 2.0 * 384.0 * 1536.0) + 4.0 * (*tokens as f64).powi(2) * 384.0)).sum::<f64>();
    Ok((lengths.iter().sum(), flop / 1e9))
}

fn show(best: &[Result<(f64, f64), String>], alike: &[Option<f64>], texts: usize, (tokens, gflop): (usize, f64), peak: f64, json: bool) {

    let peer = best[4].as_ref().ok();
    let rows = CONTENDERS.iter().zip(best).zip(alike);
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let each = |seconds: f64| texts as f64 / seconds;
    if json {
        let rows: Vec<Value> = rows
            .map(|((contender, found), cosine)| match found {
                Ok((wall, cpu)) => json!({"contender": contender.name, "texts_per_second": each(*wall), "cpu_seconds": cpu, "gflops": gflop / wall, "share_of_peak": gflop / wall / peak, "times_onnxruntime_wall": peer.map(|peer| peer.0 / wall), "times_onnxruntime_cpu": peer.map(|peer| peer.1 / cpu), "least_cosine": cosine}),
                Err(reason) => json!({"contender": contender.name, "not_run": reason}),
            })
            .collect();
        println!("{}", json!({"machine": machine(), "texts": texts, "tokens": tokens, "gflop": gflop, "threads": THREADS, "peak_gflops": peak, "rows": rows}));
        return;
    }
    println!("{texts} texts, {tokens} tokens, {gflop:.0} GFLOP of useful work, {THREADS} threads, whose f32 matrix peak is {peak:.0} GFLOP/s; {}", machine());
    println!("{:<42} {:>8} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}", "", "texts/s", "cpu s", "GFLOP/s", "of peak", "x ORT", "x ORT cpu", "cosine");
    for ((contender, found), cosine) in rows {
        match found {
            Ok((wall, cpu)) => {
                let times = |of: fn(&(f64, f64)) -> f64, mine: f64| peer.map_or_else(|| "-".to_owned(), |peer| format!("{:.2}", of(peer) / mine));
                let cosine = cosine.map_or_else(|| "-".to_owned(), |cosine| format!("{cosine:.6}"));
                let share = format!("{:.0} %", 100.0 * gflop / wall / peak);
                println!("{:<42} {:>8.0} {cpu:>7.2} {:>7.0} {share:>7} {:>9} {:>9} {cosine:>9}", contender.name, each(*wall), gflop / wall, times(|peer| peer.0, *wall), times(|peer| peer.1, *cpu));
            }
            Err(reason) => println!("{:<42} not run: {reason}", contender.name),
        }
    }
}

/// Wall and processor seconds that a contender says of itself.
fn run(command: &mut Command) -> Result<(f64, f64), String> {
    let output = command.output().map_err(|error| format!("{error}; benches/peers/inference/setup (with --torch for sentence-transformers) makes its environment"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let figure = |name: &str| found.as_ref().and_then(|found| found[name].as_f64());
    match (output.status.success(), figure("wall"), figure("cpu")) {
        (true, Some(wall), Some(cpu)) => Ok((wall, cpu)),
        _ => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it said nothing").to_owned()),
    }
}

fn load(model: &Path, kernel: &str) -> Result<CandleEmbedder, BenchError> {
    let (engine, precision) = match kernel {
        "bf16" => (Engine::Packed, Precision::Bf16),
        "f32" => (Engine::Packed, Precision::F32),
        "candle" => (Engine::Candle, Precision::F32),
        "portable" => (Engine::By(Kernel::Portable), Precision::F32),
        other => return Err(BenchError::Usage(format!("there is no kernel {other:?}"))),
    };
    let config = EmbedderConfig { path: model.to_owned(), name: "all-MiniLM-L6-v2".to_owned(), threads: Some(THREADS), engine, precision, batch_tokens: 2_048, ..EmbedderConfig::default() };
    CandleEmbedder::load(config).map_err(|error| BenchError::Usage(error.to_string()))
}

/// One contender of ours: embeds the texts, writes the vectors, prints what it cost.
fn ours(model: &Path, kernel: &str, few: bool, texts: &Path, out: &Path) -> Result<(), BenchError> {
    let read = std::fs::read(texts).map_err(BenchError::file(texts))?;
    let texts: Vec<String> = serde_json::from_slice(&read).map_err(|error| BenchError::Usage(format!("the texts are no JSON array: {error}")))?;
    let embedder = load(model, kernel)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::file(Path::new("a runtime")))?;
    let embed = |texts: &[String]| -> Result<Vec<f32>, BenchError> {
        let found = runtime.block_on(embedder.embed(texts.to_vec())).map_err(|error| BenchError::Usage(error.to_string()))?;
        let each = found.into_iter().map(|vector| vector.map_err(|error| BenchError::Usage(error.to_string())));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    };
    embed(&texts[..texts.len().min(8)])?;
    let (clock, before) = (Instant::now(), own_cpu_seconds()?);
    let mut vectors = Vec::with_capacity(texts.len() * DIMENSION);
    for batch in texts.chunks(if few { FEW } else { texts.len().max(1) }) {
        vectors.extend(embed(batch)?);
    }
    let (wall, cpu) = (clock.elapsed().as_secs_f64(), own_cpu_seconds()? - before);
    let bytes: Vec<u8> = vectors.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(out, bytes).map_err(BenchError::file(out))?;
    println!("{}", json!({"wall": wall, "cpu": cpu}));
    Ok(())
}

fn vectors(path: &Path) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).ok()?;
    Some(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn least_cosine(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return -1.0;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    a.chunks(DIMENSION).zip(b.chunks(DIMENSION)).map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(1.0, f64::min)
}

/// Texts as people write them: mostly short, some long.
fn texts(count: usize, seed: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let text = |_| {
        // Box and Muller's normal deviate, for a length that is log-normal.
        let (u, v): (f64, f64) = (random.random_range(f64::MIN_POSITIVE..1.0), random.random());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 3 and 198")]
        let length = normal.mul_add(0.9, 3.3).exp().clamp(3.0, 198.0) as usize;
        (0..length).map(|_| words[random.random_range(0..words.len())]).collect::<Vec<_>>().join(" ")
    };
    (0..count).map(text).collect()
}
