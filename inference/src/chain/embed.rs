//! Embedding backends that stand in for each other, which they may only if nobody can tell them apart.
//!
//! Vectors of two models, or of one model cut, pooled or normalised in another way, cannot be compared, and a memory that mixed
//! them would be quietly wrong for ever. So a backend is believed only after it has embedded a few fixed texts (short, long, past
//! the model's length, Finnish, empty) and its vectors equal the reference's: cosine at least 0.9999, no component off by more
//! than 0.002 (what f32 and bf16 of the same weights differ by). That is checked at its first use and after every outage, when
//! another model may have been started there.
//!
//! Holds always: every answer is of the one model the chain names. Not promised: bitwise equal vectors from two backends.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{BreakerState, ChainConfig, Probe, count, look, moved_on, show, tell};
use super::breaker::{Breaker, Pass};
use crate::clock::Clock;
use crate::port::{Embedder, Embedding, InferenceError, ModelIdentity, TextTokens};

/// Least cosine between a backend's vector and the reference's.
const COSINE: f64 = 0.9999;
/// Most that a component may be off.
const COMPONENT: f32 = 2e-3;

/// One backend of an [`EmbedderChain`].
#[derive(Clone)]
pub struct EmbedderLink {
    /// What metrics and logs call it: `vllm`, `ollama`, `candle`.
    pub name: String,
    /// It.
    pub embedder: Arc<dyn Embedder>,
    /// How to look at it; none for a model in this process, which is there.
    pub probe: Option<Arc<dyn Probe>>,
}

struct Link {
    name: String,
    embedder: Arc<dyn Embedder>,
    probe: Option<Arc<dyn Probe>>,
    breaker: Breaker,
}

/// Embedding backends of one model, the best first.
pub struct EmbedderChain {
    links: Vec<Link>,
    config: ChainConfig,
    clock: Arc<dyn Clock>,
    identity: ModelIdentity,
    dimension: usize,
    max_tokens: usize,
    /// The link that the others are held to.
    reference: usize,
    expected: OnceCell<Vec<Embedding>>,
}

fn texts() -> Vec<String> {
    let long: Vec<String> = (0..600).map(|at| format!("word{} of a long letter", at % 97)).collect();
    [
        "The cat sat on the windowsill and watched the rain.",
        "What did I say about my sister's wedding in June?",
        "Asun nykyään Tampereella ja käyn avannossa joka lauantai.",
        "{\"a\": [1, 2.5, null]} — naïve café, 東京 🦀",
        "no",
        "",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([long.join(" ")])
    .collect()
}

impl EmbedderChain {
    /// Puts them in order. `reference` names the link whose vectors are right: the model in this process, whose weights are known.
    ///
    /// # Errors
    /// [`InferenceError::Model`] if there is no such link, or one has another dimension.
    pub fn new(links: Vec<EmbedderLink>, reference: &str, config: ChainConfig, clock: Arc<dyn Clock>) -> Result<Self, InferenceError> {
        let refused = |reason: String| InferenceError::Model { path: "models.embedding".to_owned(), reason };
        let at = links.iter().position(|link| link.name == reference);
        let at = at.ok_or_else(|| refused(format!("the others are held to {reference:?}, which is not among them")))?;
        let (identity, dimension, max_tokens) = {
            let right = &links[at].embedder;
            (right.model().clone(), right.dimension(), right.max_tokens())
        };
        if let Some(other) = links.iter().find(|link| link.embedder.dimension() != dimension) {
            let found = other.embedder.dimension();
            return Err(refused(format!("{} has {found} components, but {} has {dimension}: only the same model may stand in for another", other.name, identity.id())));
        }
        let links = links
            .into_iter()
            .map(|link| {
                let breaker = Breaker::new(config.breaker, Arc::clone(&clock), link.probe.is_none());
                Link { name: link.name, embedder: link.embedder, probe: link.probe, breaker }
            })
            .collect();
        Ok(Self { links, config, clock, identity, dimension, max_tokens, reference: at, expected: OnceCell::new() })
    }

    /// Each backend's name and the state of its breaker.
    #[must_use]
    pub fn states(&self) -> Vec<(String, BreakerState)> {
        self.links.iter().map(|link| (link.name.clone(), link.breaker.state())).collect()
    }

    /// Looks once at every backend that is due, so that its return costs no caller a try.
    pub async fn check(&self) {
        for (at, link) in self.links.iter().enumerate() {
            if link.breaker.state() != BreakerState::Closed
                && let Some(pass) = link.breaker.admit()
            {
                match self.look(at).await {
                    Ok(()) => pass.succeeded(),
                    Err(error) => pass.failed(&error),
                }
            }
            show(&link.name, "embedding", link.breaker.state());
        }
    }

    /// Looks at the backends for ever.
    pub async fn watch(&self) {
        loop {
            self.check().await;
            self.clock.sleep_until(self.clock.now() + self.config.check_every).await;
        }
    }

    /// Whether a backend lives and is the same model.
    async fn look(&self, at: usize) -> Result<(), InferenceError> {
        let link = &self.links[at];
        look(&link.name, link.probe.as_deref()).await?;
        if at == self.reference {
            return Ok(());
        }
        let expected = self.expected.get_or_try_init(|| async { vectors(&*self.links[self.reference].embedder).await }).await?;
        let found = vectors(&*link.embedder).await?;
        for (text, (expected, found)) in texts().iter().zip(expected.iter().zip(&found)) {
            if let Some(reason) = differs(expected, found) {
                let shown: String = text.chars().take(40).collect();
                let reason = format!("its vector of {shown:?} is not that of {} ({reason}); only the same model, cut at the same length, may stand in for another", self.identity.id());
                tracing::warn!(backend.name = link.name, reason, "an embedding backend is not used");
                return Err(InferenceError::Refused { address: link.name.clone(), reason });
            }
        }
        tracing::info!(backend.name = link.name, model = self.identity.id(), "an embedding backend answers as the reference does");
        Ok(())
    }

    async fn try_link(&self, at: usize, pass: &Pass<'_>, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        if pass.trial() {
            self.look(at).await?;
        }
        let wanted = texts.len();
        let answers = self.links[at].embedder.embed(texts).await?;
        if answers.len() != wanted {
            return Err(InferenceError::Backend { reason: format!("{} vectors for {wanted} texts", answers.len()) });
        }
        Ok(answers)
    }
}

async fn vectors(embedder: &dyn Embedder) -> Result<Vec<Embedding>, InferenceError> {
    embedder.embed(texts()).await?.into_iter().collect()
}

/// How two vectors of a text differ by more than rounding.
fn differs(expected: &[f32], found: &[f32]) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!("{} components instead of {}", found.len(), expected.len()));
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(expected, found) / (dot(expected, expected) * dot(found, found)).sqrt();
    let worst = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
    // Written so that a NaN counts as a difference.
    (!(cosine >= COSINE && worst <= COMPONENT)).then(|| format!("cosine {cosine:.5}, a component off by {worst:.5}"))
}

#[async_trait]
impl Embedder for EmbedderChain {
    fn model(&self) -> &ModelIdentity {
        &self.identity
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    fn measure(&self, texts: &[String]) -> Option<Vec<TextTokens>> {
        self.links[self.reference].embedder.measure(texts)
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        let mut failures = Vec::new();
        for (at, link) in self.links.iter().enumerate() {
            let Some(pass) = link.breaker.admit() else { continue };
            match self.try_link(at, &pass, texts.clone()).await {
                Ok(answers) => {
                    pass.succeeded();
                    count(&link.name, "embedding");
                    return Ok(answers);
                }
                Err(error) if error.another_may_answer() => {
                    pass.failed(&error);
                    moved_on(&link.name, "embedding", &error);
                    failures.push((link.name.clone(), error));
                }
                Err(error) => {
                    pass.succeeded();
                    return Err(error);
                }
            }
        }
        let names: Vec<&str> = self.links.iter().map(|link| link.name.as_str()).collect();
        Err(InferenceError::Backend { reason: tell(&names, &failures) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_no_difference_and_another_model_is() {
        let right: Vec<f32> = (0..384_u16).map(|at| (f32::from(at) * 0.37).sin() / 14.0).collect();
        let rounded: Vec<f32> = right.iter().map(|value| f32::from_bits(value.to_bits() & 0xffff_8000)).collect();
        assert_eq!(differs(&right, &right), None);
        assert_eq!(differs(&right, &rounded), None);
        let mut other = right.clone();
        other.rotate_left(1);
        assert!(differs(&right, &other).is_some());
        assert!(differs(&right, &right[1..]).is_some());
        assert!(differs(&right, &vec![f32::NAN; 384]).is_some());
        assert!(differs(&right, &vec![0.0; 384]).is_some());
    }
}
