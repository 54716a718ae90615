//! The model's thread: several sequences in each pass, new ones taken in and finished ones let go between passes (continuous batching: Yu et al. 2022, "Orca").
//!
//! Holds always: a pass has the next token of every sequence that is answering, and of prompts a bounded number of tokens, so that nobody who reads waits
//! for another's long prompt; a caller who left is noticed between two passes; what one sequence says does not depend on the others; one that fails, fails alone.
//! A panic in a pass is told to those in it, and the next are answered.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};

use ajatus_inference::{FinishReason, GenerateEvent, GenerateRequest, InferenceError};
use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, IntoParallelRefMutIterator as _, ParallelIterator as _};
use tokio::sync::{mpsc, oneshot};

use crate::decoder::{Cache, Decoder, Part, Scratch, Wanted};
use crate::files::broken;
use crate::guide::Guide;
use crate::sample::Sampler;
use crate::stream::{Grown, TextStream};
use crate::words::Words;

/// Tokens of prompts in a pass, where nobody waits for the next token of an answer.
const PROMPT_ALONE: usize = 256;
/// And where somebody does.
const PROMPT_BESIDE: usize = 64;

pub(crate) type Event = Result<GenerateEvent, InferenceError>;
type Scores = Result<Vec<Vec<f32>>, InferenceError>;

/// What the model's thread is asked for.
pub(crate) enum Asked {
    Answer {
        tokens: Vec<u32>,
        request: GenerateRequest,
        guide: Option<Box<Guide>>,
        /// Has room for every event of an answer: a reader who is slow holds nobody up, and an answer is no longer than the context.
        events: mpsc::UnboundedSender<Event>,
    },
    /// Scores after each of these tokens.
    Scores { tokens: Vec<u32>, told: oneshot::Sender<Scores> },
}

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) sequences: usize,
    /// Bytes of keys and values; one sequence is taken in whatever it needs.
    pub(crate) bytes: usize,
}

/// What is asked of a sequence, and what has come of it.
enum Work<'a> {
    Answer {
        sampler: Box<Sampler>,
        guide: Option<Box<Guide>>,
        text: Option<TextStream<'a>>,
        /// Tokens to say at most.
        most: usize,
        events: mpsc::UnboundedSender<Event>,
    },
    Scores { found: Vec<Vec<f32>>, told: Option<oneshot::Sender<Scores>> },
}

struct Sequence<'a> {
    /// The prompt, and of an answer its last token.
    tokens: Vec<u32>,
    /// How many of them the cache has.
    fed: usize,
    prompt: usize,
    cache: Cache,
    bytes: usize,
    work: Work<'a>,
    since: std::time::Instant,
}

impl Sequence<'_> {
    fn left(&self) -> bool {
        match &self.work {
            Work::Answer { events, .. } => events.is_closed(),
            Work::Scores { told, .. } => told.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }

    fn answering(&self) -> bool {
        self.fed >= self.prompt
    }

    /// Takes the scores of its last token, or of a part of what is to be scored; whether it is done.
    fn take(&mut self, scores: Vec<Vec<f32>>, words: &Words) -> bool {
        if scores.iter().any(|row| !row.iter().sum::<f32>().is_finite()) {
            self.fail(broken("its scores are no numbers; are the weights damaged, or made for another configuration?"));
            return true;
        }
        match &mut self.work {
            Work::Scores { found, told } => {
                found.extend(scores);
                if self.fed < self.tokens.len() {
                    return false;
                }
                // One who left hears nothing.
                told.take().map(|told| told.send(Ok(std::mem::take(found))));
                true
            }
            Work::Answer { sampler, guide, text, most, events } => {
                let Some(mut row) = scores.into_iter().next_back() else { return false };
                match answer(&mut row, sampler, guide.as_deref_mut(), text, *most, events, words) {
                    Ok(Step::More(token)) => {
                        self.tokens.push(token);
                        false
                    }
                    Ok(Step::Left) => true,
                    Ok(Step::Done(reason)) => {
                        self.finish(reason);
                        true
                    }
                    Err(error) => {
                        self.fail(error);
                        true
                    }
                }
            }
        }
    }

    fn finish(&mut self, reason: FinishReason) {
        let Work::Answer { text, events, .. } = &mut self.work else { return };
        let Some(text) = text.take() else { return };
        let completion_tokens = text.tokens().len();
        metrics::counter!("inference_prompt_tokens_total").increment(self.prompt as u64);
        metrics::counter!("inference_completion_tokens_total").increment(completion_tokens as u64);
        metrics::histogram!("inference_generate_seconds").record(self.since.elapsed().as_secs_f64());
        let rest = text.finish();
        // One who left hears nothing.
        if !rest.is_empty() {
            events.send(Ok(GenerateEvent::Text(rest))).ok();
        }
        events.send(Ok(GenerateEvent::Done { reason, prompt_tokens: self.prompt, completion_tokens })).ok();
    }

    fn fail(&mut self, error: InferenceError) {
        match &mut self.work {
            Work::Answer { events, .. } => {
                events.send(Err(error)).ok();
            }
            Work::Scores { told, .. } => {
                told.take().map(|told| told.send(Err(error)));
            }
        }
    }
}

enum Step {
    More(u32),
    Left,
    Done(FinishReason),
}

/// Chooses a token, and passes on the text that it brings.
fn answer(
    row: &mut [f32],
    sampler: &mut Sampler,
    guide: Option<&mut Guide>,
    text: &mut Option<TextStream<'_>>,
    most: usize,
    events: &mpsc::UnboundedSender<Event>,
    words: &Words,
) -> Result<Step, InferenceError> {
    let text = text.as_mut().ok_or_else(|| broken("an answer went on after its end"))?;
    if text.tokens().len() >= most {
        return Ok(Step::Done(FinishReason::Length));
    }
    let mut guide = guide;
    if let Some(guide) = guide.as_deref_mut() {
        guide.mask(row)?;
    }
    let token = sampler.next(row, text.tokens()).ok_or_else(|| broken("no token of the vocabulary can follow within the schema"))?;
    if words.ends.contains(&token) {
        return Ok(Step::Done(FinishReason::Stop));
    }
    let whole = guide.map_or(Ok(false), |guide| guide.take(token))?;
    let (grown, stopped) = match text.push(token).map_err(broken)? {
        Grown::Text(grown) => (grown, false),
        Grown::Stopped(grown) => (grown, true),
    };
    if !grown.is_empty() && events.send(Ok(GenerateEvent::Text(grown))).is_err() {
        return Ok(Step::Left);
    }
    if stopped || whole {
        return Ok(Step::Done(FinishReason::Stop));
    }
    Ok(if text.tokens().len() >= most { Step::Done(FinishReason::Length) } else { Step::More(token) })
}

/// Answers what is asked, until nobody can ask any more.
pub(crate) fn run(decoder: &Decoder, words: &Words, limits: Limits, inbox: &Receiver<Asked>) {
    let mut running: Vec<Sequence<'_>> = Vec::new();
    let mut waiting: VecDeque<Sequence<'_>> = VecDeque::new();
    let mut scratch = Scratch::default();
    loop {
        // At most one waits here; the others wait where their callers see that the queue is full.
        while waiting.is_empty() {
            let asked = if running.is_empty() { inbox.recv().map_err(|_| TryRecvError::Disconnected) } else { inbox.try_recv() };
            match asked {
                Ok(asked) => waiting.extend(begin(decoder, words, asked)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if running.is_empty() => return,
                Err(TryRecvError::Disconnected) => break,
            }
            admit(&mut running, &mut waiting, limits);
        }
        running.retain(|sequence| !sequence.left());
        waiting.retain(|sequence| !sequence.left());
        admit(&mut running, &mut waiting, limits);
        if !running.is_empty() {
            // What a broken pass has left behind is thrown away: nothing goes on from it.
            let passed = catch_unwind(AssertUnwindSafe(|| step(decoder, words, &mut running, &mut scratch)));
            if passed.is_err() {
                running.drain(..).for_each(|mut sequence| sequence.fail(broken("the model panicked; the log says where")));
                scratch = Scratch::default();
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a few sequences")]
        metrics::gauge!("inference_sequences_running").set(running.len() as f64);
    }
}

fn admit<'a>(running: &mut Vec<Sequence<'a>>, waiting: &mut VecDeque<Sequence<'a>>, limits: Limits) {
    while let Some(next) = waiting.front() {
        let bytes: usize = running.iter().map(|sequence| sequence.bytes).sum();
        if !running.is_empty() && (running.len() >= limits.sequences || bytes + next.bytes > limits.bytes) {
            return;
        }
        running.extend(waiting.pop_front());
    }
}

/// A sequence for what is asked, or none if nobody waits for it.
fn begin<'a>(decoder: &Decoder, words: &'a Words, asked: Asked) -> Option<Sequence<'a>> {
    let (tokens, most, work) = match asked {
        Asked::Answer { tokens, request, guide, events } => {
            let most = request.max_tokens.min(words.context - tokens.len());
            let text = TextStream::new(&words.tokenizer, request.stop);
            (tokens, most, Work::Answer { sampler: Box::new(Sampler::new(&request.sampling)), guide, text: Some(text), most, events })
        }
        Asked::Scores { tokens, told } => (tokens, 0, Work::Scores { found: Vec::new(), told: Some(told) }),
    };
    // The last token that is said is never read.
    let room = tokens.len() + most.saturating_sub(1);
    let mut sequence = Sequence {
        prompt: tokens.len(),
        tokens,
        fed: 0,
        cache: Cache::new(decoder.shape(), 0),
        bytes: Cache::size(decoder.shape(), room),
        work,
        since: std::time::Instant::now(),
    };
    if sequence.left() {
        return None;
    }
    if let Some(token) = sequence.tokens.iter().find(|token| **token as usize >= decoder.shape().vocabulary) {
        sequence.fail(InferenceError::Input { reason: format!("token {token} is not one of this model's {}; does the tokenizer belong to it?", decoder.shape().vocabulary) });
        return None;
    }
    if most == 0 && matches!(sequence.work, Work::Answer { .. }) {
        sequence.finish(FinishReason::Length);
        return None;
    }
    sequence.cache = Cache::new(decoder.shape(), room);
    Some(sequence)
}

/// One pass, and what comes of it.
fn step(decoder: &Decoder, words: &Words, running: &mut Vec<Sequence<'_>>, scratch: &mut Scratch) {
    let mut budget = if running.iter().any(Sequence::answering) { PROMPT_BESIDE } else { PROMPT_ALONE };
    let mut counts = Vec::with_capacity(running.len());
    let mut parts = Vec::with_capacity(running.len());
    for sequence in running.iter_mut() {
        let rest = sequence.tokens.len() - sequence.fed;
        let count = if sequence.answering() { rest } else { rest.min(budget) };
        if !sequence.answering() {
            budget -= count;
        }
        let wanted = match sequence.work {
            Work::Scores { .. } => Wanted::All,
            Work::Answer { .. } if count == rest => Wanted::Last,
            Work::Answer { .. } => Wanted::None,
        };
        let wants = match wanted {
            Wanted::None => 0,
            Wanted::Last => count.min(1),
            Wanted::All => count,
        };
        counts.push((count, wants));
        parts.push(Part { tokens: &sequence.tokens[sequence.fed..][..count], cache: &mut sequence.cache, wanted });
    }
    let found = decoder.pass(&mut parts, scratch);
    drop(parts);
    let mut found = match found {
        Ok(found) => found.into_iter(),
        Err(reason) => {
            // What a pass refuses was looked at before; so this is our bug, and nobody's answer goes on from it.
            running.iter_mut().for_each(|sequence| sequence.fail(broken(&reason)));
            running.clear();
            return;
        }
    };
    let scores: Vec<Vec<Vec<f32>>> = counts.iter().map(|(_, wants)| found.by_ref().take(*wants).collect()).collect();
    let done: Vec<bool> = running
        .par_iter_mut()
        .zip(counts.into_par_iter().zip(scores))
        .map(|(sequence, ((count, wants), scores))| {
            sequence.fed += count;
            wants > 0 && sequence.take(scores, words)
        })
        .collect();
    let mut done = done.into_iter();
    running.retain(|_| !done.next().unwrap_or(false));
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::OnceLock;
    use std::sync::mpsc::sync_channel;

    use ajatus_inference::{ChatMessage, ChatRole, Sampling};

    use super::*;
    use crate::load::{Loaded, Wish, load};

    /// A sequence's events to their end.
    fn all(mut events: mpsc::UnboundedReceiver<Event>) -> Vec<Event> {
        std::iter::from_fn(|| events.blocking_recv()).collect()
    }

    #[test]
    fn a_pass_that_panics_is_told_to_those_in_it_and_the_next_are_answered() {
        let path = Path::new("../../.cache/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
        let Loaded { decoder, tokenizer, template, ends, adds_special, .. } = load(&[path.to_owned()], None, Wish { context: Some(256), ..Wish::default() }).expect("the model is there (run `tools/setup`)");
        let decoder = decoder.that_panics_at(1);
        let words = Words { tokenizer, template, ends, adds_special, context: 256, vocabulary: decoder.shape().vocabulary, grammar: OnceLock::new() };
        let (ask, inbox) = sync_channel(8);
        let asked = |most: usize| {
            let messages = vec![ChatMessage { role: ChatRole::User, content: "What is the capital of Finland?".to_owned() }];
            let request = GenerateRequest { messages: messages.clone(), max_tokens: most, stop: Vec::new(), sampling: Sampling { temperature: 0.0, repetition_penalty: 1.0, ..Sampling::default() } };
            let (events, heard) = mpsc::unbounded_channel();
            ask.send(Asked::Answer { tokens: words.prompt(&messages).expect("tokens"), request, guide: None, events }).expect("there is room");
            heard
        };
        // Two are in the first pass, and in the second, which panics; the third comes when they are gone.
        let heard = [asked(20), asked(30), asked(20)];
        drop(ask);
        run(&decoder, &words, Limits { sequences: 2, bytes: usize::MAX }, &inbox);
        let [first, second, third] = heard.map(all);
        for events in [first, second] {
            assert!(matches!(events.last(), Some(Err(InferenceError::Backend { reason })) if reason.contains("panicked")), "{events:?}");
        }
        let said: String = third.iter().filter_map(|event| if let Ok(GenerateEvent::Text(text)) = event { Some(text.as_str()) } else { None }).collect();
        assert_eq!(said, "The capital of Finland is Helsinki.");
        assert!(matches!(third.last(), Some(Ok(GenerateEvent::Done { reason: FinishReason::Stop, .. }))), "{third:?}");
    }
}
