//! Several backends as one: the first that can answers, the others stand by.
//!
//! Holds always: a backend that fails before its first word is not noticed, the next one is asked; after the first word the answer
//! ends with an error and is never begun again by another model; a request that is itself wrong is not tried elsewhere; a backend
//! that is down costs a caller nothing while its breaker is open. Who answered is said ([`Started::model`]) and counted.
//! Not promised: that the backends say the same. Embeddings are stricter: see [`EmbedderChain`].
//! After a crash: every backend is looked at anew.

mod breaker;
mod embed;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;

pub use breaker::{BreakerConfig, BreakerState};
use breaker::{Breaker, Pass};
pub use embed::{EmbedderChain, EmbedderLink};

use crate::clock::Clock;
use crate::port::{
    ChatMessage, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity, Started,
};

/// Looks whether a backend could answer, without giving it work.
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// Returns if it lives and has the model.
    ///
    /// # Errors
    /// What is wrong.
    async fn probe(&self) -> Result<(), InferenceError>;
}

/// When to give up on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainConfig {
    /// Breakers.
    pub breaker: BreakerConfig,
    /// Longest wait for a backend's first word before the next is asked. Default 60 s.
    pub first_word: Duration,
    /// How often backends whose breaker is not closed are looked at in the background. Default 5 s.
    pub check_every: Duration,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self { breaker: BreakerConfig::default(), first_word: Duration::from_secs(60), check_every: Duration::from_secs(5) }
    }
}

/// One backend of a [`GeneratorChain`].
#[derive(Clone)]
pub struct GeneratorLink {
    /// What metrics and logs call it: `vllm`, `ollama`, `candle`.
    pub name: String,
    /// It.
    pub generator: Arc<dyn Generator>,
    /// How to look at it; none for a model in this process, which is there.
    pub probe: Option<Arc<dyn Probe>>,
}

struct Link {
    name: String,
    generator: Arc<dyn Generator>,
    probe: Option<Arc<dyn Probe>>,
    breaker: Breaker,
}

/// Chat models, the best first.
pub struct GeneratorChain {
    links: Vec<Arc<Link>>,
    config: ChainConfig,
    clock: Arc<dyn Clock>,
}

impl GeneratorChain {
    /// Puts them in order.
    ///
    /// # Panics
    /// Without links.
    #[must_use]
    pub fn new(links: Vec<GeneratorLink>, config: ChainConfig, clock: Arc<dyn Clock>) -> Self {
        assert!(!links.is_empty(), "a chain has a link");
        let links = links
            .into_iter()
            .map(|link| {
                let breaker = Breaker::new(config.breaker, Arc::clone(&clock), link.probe.is_none());
                Arc::new(Link { name: link.name, generator: link.generator, probe: link.probe, breaker })
            })
            .collect();
        Self { links, config, clock }
    }

    /// Each backend's name and the state of its breaker.
    #[must_use]
    pub fn states(&self) -> Vec<(String, BreakerState)> {
        self.links.iter().map(|link| (link.name.clone(), link.breaker.state())).collect()
    }

    /// Looks once at every backend that is due, so that its return costs no caller a try.
    pub async fn check(&self) {
        for link in &self.links {
            if link.breaker.state() != BreakerState::Closed
                && let Some(pass) = link.breaker.admit()
            {
                match look(&link.name, link.probe.as_deref()).await {
                    Ok(()) => pass.succeeded(),
                    Err(error) => pass.failed(&error),
                }
            }
            show(&link.name, "chat", link.breaker.state());
        }
    }

    /// Looks at the backends for ever.
    pub async fn watch(&self) {
        loop {
            self.check().await;
            self.clock.sleep_until(self.clock.now() + self.config.check_every).await;
        }
    }

    /// Asks one backend up to its first word.
    async fn ask(&self, link: &Arc<Link>, request: GenerateRequest) -> Result<Started, InferenceError> {
        let limit = self.config.first_word;
        let late = || InferenceError::Timeout { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) };
        let begun = async {
            let mut started = link.generator.start(request).await?;
            match started.events.next().await {
                Some(Ok(first)) => Ok((first, started)),
                Some(Err(error)) => Err(error),
                None => Err(InferenceError::BrokenOff { reason: format!("{} said nothing", link.name) }),
            }
        };
        let (first, started) = tokio::select! {
            biased;
            begun = begun => begun?,
            () = self.clock.sleep_until(self.clock.now() + limit) => return Err(late()),
        };
        Ok(Started { model: started.model, events: go_on(Arc::clone(link), first, started.events) })
    }

    fn unable(&self, request: &GenerateRequest, failures: &[(String, InferenceError)]) -> InferenceError {
        if let [(_, only)] = failures
            && self.links.len() == 1
        {
            return only.clone();
        }
        if failures.is_empty() && request.sampling.schema.is_some() && !self.structured() {
            return InferenceError::Input { reason: "no backend can hold an answer to a JSON schema; configure vLLM or Ollama".to_owned() };
        }
        InferenceError::Backend { reason: tell(&self.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), failures) }
    }
}

/// Says what became of each.
fn tell(names: &[&str], failures: &[(String, InferenceError)]) -> String {
    let parts: Vec<String> = names
        .iter()
        .map(|name| match failures.iter().find(|(failed, _)| failed == name) {
            Some((_, error)) => format!("{name}: {error}"),
            None => format!("{name}: it failed a moment ago and is not asked again yet"),
        })
        .collect();
    format!("no backend answers; {}", parts.join("; "))
}

async fn look(name: &str, probe: Option<&dyn Probe>) -> Result<(), InferenceError> {
    let Some(probe) = probe else { return Ok(()) };
    let looked = probe.probe().await;
    if let Err(error) = &looked {
        tracing::debug!(backend.name = name, %error, "a backend is not there");
    }
    looked
}

fn show(name: &str, task: &'static str, state: BreakerState) {
    let value = match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    };
    metrics::gauge!("inference_breaker_state", "backend" => name.to_owned(), "task" => task).set(value);
}

fn count(name: &str, task: &'static str) {
    metrics::counter!("inference_answered_total", "backend" => name.to_owned(), "task" => task).increment(1);
}

fn moved_on(name: &str, task: &'static str, error: &InferenceError) {
    metrics::counter!("inference_failover_total", "backend" => name.to_owned(), "task" => task, "reason" => error.kind()).increment(1);
    tracing::warn!(backend.name = name, task, %error, "a backend did not answer; the next one is asked");
}

/// The rest of an answer; if it breaks, that is its end, and counts against the backend.
fn go_on(link: Arc<Link>, first: GenerateEvent, rest: GenerateStream) -> GenerateStream {
    let ended = matches!(first, GenerateEvent::Done { .. });
    let begun = futures::stream::iter([Ok(first)]);
    let rest = futures::stream::unfold((link, rest, ended), |(link, mut rest, ended)| async move {
        if ended {
            return None;
        }
        let event = match rest.next().await {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(error),
            None => Err(InferenceError::BrokenOff { reason: format!("{} stopped in the middle", link.name) }),
        };
        let event = event.map_err(|error| {
            link.breaker.failed(&error);
            tracing::warn!(backend.name = link.name, %error, "an answer broke off");
            metrics::counter!("inference_broken_off_total", "backend" => link.name.clone(), "reason" => error.kind()).increment(1);
            match error {
                broken @ InferenceError::BrokenOff { .. } => broken,
                error => InferenceError::BrokenOff { reason: error.to_string() },
            }
        });
        let ended = !matches!(event, Ok(GenerateEvent::Text(_)));
        Some((event, (link, rest, ended)))
    });
    begun.chain(rest).boxed()
}

#[async_trait]
impl Generator for GeneratorChain {
    /// The one that would be asked first.
    fn model(&self) -> &ModelIdentity {
        let ready = self.links.iter().find(|link| link.breaker.state() == BreakerState::Closed);
        ready.unwrap_or(&self.links[0]).generator.model()
    }

    /// The smallest: a prompt that fits it fits whoever answers.
    fn context_tokens(&self) -> usize {
        self.links.iter().map(|link| link.generator.context_tokens()).min().unwrap_or(0)
    }

    /// As the first backend that can say counts.
    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        let mut failures = Vec::new();
        for link in self.links.iter().filter(|link| link.breaker.state() == BreakerState::Closed) {
            match link.generator.count_tokens(messages).await {
                Err(error) if error.another_may_answer() => {
                    link.breaker.failed(&error);
                    failures.push((link.name.clone(), error));
                }
                counted => return counted,
            }
        }
        // Nobody is known to be there yet: good enough to go on with.
        Ok(messages.iter().map(|message| message.content.len() / 3 + 8).sum::<usize>() + 8)
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        self.start(request).await.map(|started| started.events)
    }

    async fn start(&self, request: GenerateRequest) -> Result<Started, InferenceError> {
        let mut failures = Vec::new();
        for link in &self.links {
            if request.sampling.schema.is_some() && !link.generator.structured() {
                continue;
            }
            let Some(pass) = link.breaker.admit() else { continue };
            match self.try_link(link, &pass, &request).await {
                Ok(started) => {
                    pass.succeeded();
                    count(&link.name, "chat");
                    return Ok(started);
                }
                Err(error) if error.another_may_answer() => {
                    pass.failed(&error);
                    moved_on(&link.name, "chat", &error);
                    failures.push((link.name.clone(), error));
                }
                Err(error) => {
                    // It is there: it said what is wrong with the request.
                    pass.succeeded();
                    return Err(error);
                }
            }
        }
        Err(self.unable(&request, &failures))
    }

    fn structured(&self) -> bool {
        self.links.iter().any(|link| link.generator.structured())
    }
}

impl GeneratorChain {
    async fn try_link(&self, link: &Arc<Link>, pass: &Pass<'_>, request: &GenerateRequest) -> Result<Started, InferenceError> {
        if pass.trial() {
            look(&link.name, link.probe.as_deref()).await?;
        }
        self.ask(link, request.clone()).await
    }
}
