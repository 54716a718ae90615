//! A generation as it comes in: bytes to lines to events of the port, the same for every server.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Response;

use super::http::Server;
use super::lines::Lines;
use crate::port::{FinishReason, GenerateEvent, GenerateStream, InferenceError};

/// What a server's line says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// More text.
    pub(super) text: String,
    /// Why it ended.
    pub(super) reason: Option<FinishReason>,
    /// Tokens of prompt and answer.
    pub(super) usage: Option<(usize, usize)>,
    /// Nothing comes after this.
    pub(super) last: bool,
}

/// Reads a server's lines.
pub(super) trait Read: Send + 'static {
    /// Takes a line; nothing if it says nothing yet.
    fn line(&mut self, line: &str, server: &Server) -> Result<Option<Said>, InferenceError>;

    /// Whether text after the last line end is a line.
    fn takes_rest(&self) -> bool;
}

struct Talk<R> {
    server: Server,
    response: Response,
    lines: Lines,
    read: R,
    ready: VecDeque<String>,
    /// Pieces of text so far, the best guess at tokens of a server that does not count.
    pieces: usize,
    reason: Option<FinishReason>,
    usage: Option<(usize, usize)>,
    /// Whether anything was understood yet.
    spoken: bool,
    ended: bool,
}

/// The events of an answer that has begun.
pub(super) fn events<R: Read>(server: Server, response: Response, read: R) -> GenerateStream {
    let talk = Talk {
        server,
        response,
        lines: Lines::default(),
        read,
        ready: VecDeque::new(),
        pieces: 0,
        reason: None,
        usage: None,
        spoken: false,
        ended: false,
    };
    futures::stream::unfold(talk, |mut talk| async move {
        let event = talk.next().await?;
        Some((event, talk))
    })
    .boxed()
}

impl<R: Read> Talk<R> {
    async fn next(&mut self) -> Option<Result<GenerateEvent, InferenceError>> {
        if self.ended {
            return None;
        }
        let event = self.try_next().await;
        self.ended = !matches!(event, Ok(GenerateEvent::Text(_)));
        Some(event)
    }

    async fn try_next(&mut self) -> Result<GenerateEvent, InferenceError> {
        loop {
            while let Some(line) = self.ready.pop_front() {
                let Some(said) = self.read.line(&line, &self.server)? else { continue };
                self.spoken = true;
                self.reason = said.reason.or(self.reason);
                self.usage = said.usage.or(self.usage);
                if said.last {
                    return self.end("it said that it was through without saying why");
                }
                if !said.text.is_empty() {
                    self.pieces += 1;
                    return Ok(GenerateEvent::Text(said.text));
                }
            }
            if !self.fill().await? {
                return self.end("the stream ended in its middle");
            }
        }
    }

    /// Reads on until there is a line; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, InferenceError> {
        while self.ready.is_empty() {
            let limit = self.limit();
            match self.server.chunk(&mut self.response, limit).await {
                Ok(Some(bytes)) => self.lines.push(&bytes),
                // It had said all there is, so how the connection ends is nobody's concern.
                Err(InferenceError::BrokenOff { .. }) if self.reason.is_some() => return Ok(false),
                Ok(None) => {
                    if self.read.takes_rest()
                        && let Some(rest) = self.lines.rest()
                    {
                        self.ready.push_back(rest.map_err(|error| self.server.garbled(error.reason()))?);
                        return Ok(true);
                    }
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            while let Some(line) = self.lines.next() {
                self.ready.push_back(line.map_err(|error| self.server.garbled(error.reason()))?);
            }
        }
        Ok(true)
    }

    fn limit(&self) -> Duration {
        if self.pieces == 0 { self.server.patience.answer } else { self.server.patience.between }
    }

    fn end(&self, otherwise: &str) -> Result<GenerateEvent, InferenceError> {
        if !self.spoken {
            return Err(self.server.garbled("its stream ended without saying anything"));
        }
        let Some(reason) = self.reason else {
            return Err(InferenceError::BrokenOff { reason: format!("{otherwise} ({})", self.server.address()) });
        };
        let (prompt_tokens, completion_tokens) = self.usage.unwrap_or((0, self.pieces));
        Ok(GenerateEvent::Done { reason, prompt_tokens, completion_tokens })
    }
}
