//! Servers for tests, each on a port of its own: strict fakes of vLLM and Ollama, which refuse what the real ones would not take,
//! and a server that sends just the bytes it is told to.
#![allow(unreachable_pub, dead_code, reason = "a module shared by test binaries, each of which uses its part")]

pub mod ollama;
pub mod raw;
pub mod vllm;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ajatus_inference::backend::{Patience, Server};
use ajatus_inference::clock::{Clock, SystemClock};
use axum::Router;
use axum::body::Body;

/// A server that runs until it is stopped or dropped, on a runtime of its own, so that its end cuts every connection.
pub struct Running {
    pub url: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Running {
    pub async fn start(router: Router) -> Self {
        Self::on("127.0.0.1:0", router).await
    }

    /// On an address where one ran before.
    pub async fn on(address: &str, router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let (address, (told, url)) = (address.to_owned(), tokio::sync::oneshot::channel());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
            told.send(format!("http://{}", listener.local_addr().expect("an address"))).expect("the test waits");
            axum::serve(listener, router).await.expect("served");
        });
        Self { url: url.await.expect("it listens"), runtime: Some(runtime) }
    }

    /// Stops it; gives the address, for another one there.
    pub async fn stop(mut self) -> String {
        let runtime = self.runtime.take();
        // Waits until the last task is gone, which is nothing to do on the test's own threads.
        tokio::task::spawn_blocking(move || drop(runtime)).await.expect("stopped");
        self.url.trim_start_matches("http://").to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A server to ask.
pub fn server(url: &str, key: Option<&str>) -> Server {
    with_clock(url, key, Arc::new(SystemClock::start()))
}

pub fn with_clock(url: &str, key: Option<&str>, clock: Arc<dyn Clock>) -> Server {
    Server::new(url, key.map(str::to_owned), Patience::default(), clock).expect("an address")
}

/// Generations that are going on.
#[derive(Clone, Default)]
pub struct Live(Arc<AtomicUsize>);

impl Live {
    pub fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn begin(&self) -> Going {
        self.0.fetch_add(1, Ordering::SeqCst);
        Going(self.clone())
    }
}

/// One of them.
pub struct Going(Live);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends frames in pieces of a few bytes, so that characters, lines and frames are cut anywhere; ends the generation with it. A
/// question that says so is answered halfway and no further.
pub fn in_pieces(question: &str, mut frames: Vec<String>, going: Going) -> Body {
    let halfway = question.starts_with("Halfway");
    if halfway {
        frames.truncate(frames.len() / 2);
    }
    let pieces: Vec<Vec<u8>> = frames.into_iter().flat_map(|frame| frame.into_bytes().chunks(5).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect();
    let stream = futures::stream::unfold((pieces.into_iter(), going), move |(mut pieces, going)| async move {
        // As a model takes its time: the caller's leaving is noticed between two pieces.
        tokio::task::yield_now().await;
        let piece = match pieces.next() {
            None if halfway => std::future::pending().await,
            piece => piece?,
        };
        Some((Ok::<_, Infallible>(piece), (pieces, going)))
    });
    Body::from_stream(stream)
}

/// What both fakes' model says: tokens of a few characters.
pub fn says(question: &str, max_tokens: usize, stop: &[String]) -> (Vec<String>, &'static str) {
    let words = question.split_whitespace().count();
    let text = if question.starts_with("Long") {
        "päivä paistaa ja 🦀 kulkee, ".repeat(20_000)
    } else {
        format!("You asked {words} words: «{question}». Hyvää päivää 🦀, ja näkemiin!")
    };
    let end = stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
    let kept: String = text.chars().take(end.map_or(usize::MAX, |end| text.get(..end).expect("a boundary").chars().count())).collect();
    let characters: Vec<char> = kept.chars().collect();
    let mut tokens: Vec<String> = characters.chunks(4).map(|chunk| chunk.iter().collect()).collect();
    if tokens.len() > max_tokens {
        tokens.truncate(max_tokens);
        return (tokens, "length");
    }
    (tokens, "stop")
}

/// A vector of a text: nothing but its own.
pub fn vector(text: &str) -> Vec<f32> {
    let hash = blake3::hash(text.as_bytes());
    let unscaled: Vec<f32> = hash.as_bytes()[..8].iter().map(|byte| f32::from(*byte) - 127.5).collect();
    let length = unscaled.iter().map(|value| value * value).sum::<f32>().sqrt();
    unscaled.into_iter().map(|value| value / length).collect()
}
