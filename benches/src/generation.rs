//! How many tokens a second does the chat model in this process read and write, beside llama.cpp?
//!
//! The same file for both, the same requests, two threads, greedy, each contender a process of its own, one after the other in rounds; the least of the runs
//! counts. Answers are compared: a figure is printed beside how many of the words that both begin with are the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ajatus_candle::{CandleGenerator, GeneratorConfig};
use ajatus_inference::{ChatMessage, GenerateEvent, GenerateRequest, Generator as _, Sampling};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::error::BenchError;
use crate::process::{machine, own_cpu_seconds};

const THREADS: usize = 2;

/// What is asked, and what the figure of it is.
struct Load {
    name: &'static str,
    together: usize,
    /// Whether tokens of prompts count, and not of answers.
    prompts: bool,
}

const LOADS: [Load; 4] = [
    Load { name: "prompts of 400 tokens, one after the other", together: 1, prompts: true },
    Load { name: "prompts of 400 tokens, 8 together", together: 8, prompts: true },
    Load { name: "answers of 128 tokens, one after the other", together: 1, prompts: false },
    Load { name: "answers of 128 tokens, 8 together", together: 8, prompts: false },
];

#[derive(Serialize, Deserialize)]
struct Asked {
    messages: Vec<ChatMessage>,
    max_tokens: usize,
}

/// What a contender says of a run.
#[derive(Clone, Deserialize)]
struct Cost {
    wall: f64,
    cpu: f64,
    prompt_tokens: usize,
    completion_tokens: usize,
    said: Vec<String>,
}

impl Load {
    fn requests(&self) -> Vec<Asked> {
        let ask = |content: String, max_tokens: usize| Asked { messages: vec![ChatMessage { role: ajatus_inference::ChatRole::User, content }], max_tokens };
        let animals = ["dog", "cat", "cow", "pig", "hen", "owl", "fox", "bee"];
        if self.prompts {
            let about = |animal: &str| format!("Summarise: {}", format!("the {animal} saw a gift and the stream lagged while chat complained about audio quality. ").repeat(24));
            return animals.iter().map(|animal| ask(about(animal), 1)).collect();
        }
        let some = if self.together == 1 { &animals[..3] } else { &animals[..] };
        some.iter().map(|animal| ask(format!("Tell a long story about a {animal}."), 128)).collect()
    }

    fn rate(&self, cost: &Cost) -> f64 {
        let tokens = if self.prompts { cost.prompt_tokens } else { cost.completion_tokens };
        #[expect(clippy::cast_precision_loss, reason = "a figure")]
        let tokens = tokens as f64;
        tokens / cost.wall
    }
}

pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let model = PathBuf::from(arguments.text("model").unwrap_or_else(|| ".cache/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf".to_owned()));
    let threads: usize = arguments.number("threads", THREADS)?;
    if arguments.word_if_any().as_deref() == Some("ours") {
        let (requests, together) = (arguments.text("requests").unwrap_or_default(), arguments.number("together", 1)?);
        arguments.finish()?;
        return ours(&model, Path::new(&requests), threads, together);
    }
    let python = arguments.text("python").unwrap_or_else(|| ".cache/peers-inference/bin/python".to_owned());
    let benches = PathBuf::from(arguments.text("benches").unwrap_or_else(|| "benches".to_owned()));
    let runs: usize = arguments.number("runs", 3)?;
    let json = arguments.switch("json");
    arguments.finish()?;
    if runs == 0 || threads == 0 {
        return Err(BenchError::Usage("--runs and --threads must be at least 1".to_owned()));
    }
    let folder = tempfile::tempdir().map_err(BenchError::file(Path::new("a temporary folder")))?;
    let this = std::env::current_exe().map_err(BenchError::file(Path::new("this program")))?;
    let mut best: Vec<[Result<Cost, String>; 2]> = LOADS.iter().map(|_| [Err("not run".to_owned()), Err("not run".to_owned())]).collect();
    for round in 0..runs {
        for (load, best) in LOADS.iter().zip(&mut best) {
            let file = folder.path().join("requests.json");
            std::fs::write(&file, serde_json::to_vec(&load.requests()).unwrap_or_default()).map_err(BenchError::file(&file))?;
            for (best, name) in best.iter_mut().zip(["ours", "llama.cpp"]) {
                eprintln!("round {} of {runs}: {}, {name}", round + 1, load.name);
                let mut command = if name == "ours" { Command::new(&this) } else { Command::new(&python) };
                if name == "ours" { command.args(["generation", "ours"]) } else { command.arg(benches.join("peers/inference/on_llamacpp.py")) };
                let found = run(command.arg("--model").arg(&model).arg("--requests").arg(&file).args(["--threads", &threads.to_string(), "--together", &load.together.to_string()]));
                *best = match (std::mem::replace(best, Err(String::new())), found) {
                    (Ok(before), Ok(found)) => Ok(if before.wall <= found.wall { Cost { cpu: before.cpu.min(found.cpu), ..before } } else { Cost { cpu: before.cpu.min(found.cpu), ..found } }),
                    (Ok(before), Err(reason)) => {
                        eprintln!("{name} failed this time: {reason}");
                        Ok(before)
                    }
                    (Err(_), found) => found,
                };
            }
        }
    }
    show(&best, threads, json);
    match best.iter().find_map(|[ours, _]| ours.as_ref().err()) {
        Some(reason) => Err(BenchError::Usage(format!("ours did not run: {reason}"))),
        None => Ok(()),
    }
}

/// Words that two answers begin with alike, and words of the shorter.
fn alike(a: &[String], b: &[String]) -> (usize, usize) {
    let words = a.iter().zip(b).map(|(a, b)| {
        let same = a.split_whitespace().zip(b.split_whitespace()).take_while(|(a, b)| a == b).count();
        (same, a.split_whitespace().count().min(b.split_whitespace().count()))
    });
    words.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
}

fn show(best: &[[Result<Cost, String>; 2]], threads: usize, json: bool) {
    let mut rows: Vec<Value> = Vec::new();
    if !json {
        println!("SmolLM2-135M, {threads} threads; {}", machine());
        println!("{:<44} {:>10} {:>10} {:>8} {:>9} {:>12}", "tokens a second", "ours", "llama.cpp", "x", "x by cpu", "same words");
    }
    for (load, [ours, theirs]) in LOADS.iter().zip(best) {
        let Ok(ours) = ours else { continue };
        let theirs = theirs.as_ref();
        let (wall, cpu) = (theirs.map(|theirs| load.rate(ours) / load.rate(theirs)), theirs.map(|theirs| load.rate(ours) * ours.wall / ours.cpu / (load.rate(theirs) * theirs.wall / theirs.cpu)));
        let same = theirs.map(|theirs| alike(&ours.said, &theirs.said));
        if json {
            rows.push(json!({"load": load.name, "ours_per_second": load.rate(ours), "ours_cpu_seconds": ours.cpu, "llamacpp_per_second": theirs.ok().map(|theirs| load.rate(theirs)), "times_llamacpp_wall": wall.ok(),
                "times_llamacpp_cpu": cpu.ok(), "same_words": same.ok(), "not_run": theirs.err()}));
            continue;
        }
        let figure = |value: Result<f64, &String>, digits: usize| value.map_or_else(|_| "-".to_owned(), |value| format!("{value:.digits$}"));
        let same = same.map_or_else(|_| "-".to_owned(), |(same, all)| format!("{same} of {all}"));
        println!("{:<44} {:>10.0} {:>10} {:>8} {:>9} {:>12}", load.name, load.rate(ours), figure(theirs.map(|theirs| load.rate(theirs)), 0), figure(wall, 2), figure(cpu, 2), same);
        if let Err(reason) = theirs {
            println!("{:<44} llama.cpp was not run: {reason}", "");
        }
    }
    if json {
        println!("{}", json!({"machine": machine(), "threads": threads, "rows": rows}));
    }
}

fn run(command: &mut Command) -> Result<Cost, String> {
    let output = command.output().map_err(|error| format!("{error}; benches/peers/inference/setup makes its environment"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.lines().last().and_then(|line| serde_json::from_str::<Cost>(line).ok());
    match (output.status.success(), found) {
        (true, Some(cost)) => Ok(cost),
        _ => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it said nothing").to_owned()),
    }
}

/// Our own run: asks, and prints what it cost.
fn ours(model: &Path, requests: &Path, threads: usize, together: usize) -> Result<(), BenchError> {
    let read = std::fs::read(requests).map_err(BenchError::file(requests))?;
    let requests: Vec<Asked> = serde_json::from_slice(&read).map_err(|error| BenchError::Usage(format!("the requests are no JSON array: {error}")))?;
    let failed = |error: ajatus_inference::InferenceError| BenchError::Usage(error.to_string());
    let config = GeneratorConfig { path: model.to_owned(), name: "model".to_owned(), threads: Some(threads), sequences: Some(together), ..GeneratorConfig::default() };
    let generator = CandleGenerator::load(config).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::file(Path::new("a runtime")))?;
    let one = async |asked: &Asked, most: usize| {
        let sampling = Sampling { temperature: 0.0, repetition_penalty: 1.0, ..Sampling::default() };
        let mut stream = generator.generate(GenerateRequest { messages: asked.messages.clone(), max_tokens: most, stop: Vec::new(), sampling }).await?;
        let mut said = String::new();
        while let Some(event) = stream.next().await {
            match event? {
                GenerateEvent::Text(text) => said.push_str(&text),
                GenerateEvent::Done { prompt_tokens, completion_tokens, .. } => return Ok((prompt_tokens, completion_tokens, said)),
            }
        }
        Err(ajatus_inference::InferenceError::BrokenOff { reason: "it has no end".to_owned() })
    };
    runtime.block_on(async {
        if let Some(first) = requests.first() {
            one(first, 2).await.map_err(failed)?;
        }
        let (clock, before) = (Instant::now(), own_cpu_seconds()?);
        let found: Vec<_> = futures::stream::iter(&requests).map(|asked| one(asked, asked.max_tokens)).buffered(together).collect().await;
        let (wall, cpu) = (clock.elapsed().as_secs_f64(), own_cpu_seconds()? - before);
        let found = found.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let sum = |of: fn(&(usize, usize, String)) -> usize| found.iter().map(of).sum::<usize>();
        let said: Vec<&String> = found.iter().map(|found| &found.2).collect();
        println!("{}", json!({"wall": wall, "cpu": cpu, "prompt_tokens": sum(|found| found.0), "completion_tokens": sum(|found| found.1), "said": said}));
        Ok(())
    })
}
