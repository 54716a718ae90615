//! A client of the few routes of an Arroyo cluster's REST API that a deployment needs.
//!
//! Holds always: every request has a deadline, every answer a bound, and an answer of another form is an error that says what was
//! answered. The types are our own: fields that nobody reads are not named. The token is sent, never shown.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of an answer at most.
const LONGEST: usize = 16 << 20;
/// Pipelines of one page.
const PAGE: u32 = 100;

/// Why the cluster could not be asked, or would not.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArroyoError {
    /// The address is no address, or of a kind that this build does not speak.
    #[error("--arroyo {url:?} cannot be used: {reason}")]
    Address {
        /// As given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// Nobody answers.
    #[error("the cluster at {url} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        url: String,
        /// What the client said.
        reason: String,
    },
    /// It answered with an error.
    #[error("the cluster refuses {route}: {status} {message}")]
    Refused {
        /// What was asked.
        route: String,
        /// Its status.
        status: u16,
        /// Its message.
        message: String,
    },
    /// It answered with something else than it should.
    #[error("the cluster's answer to {route} is not understood: {reason}; is it an Arroyo API?")]
    Garbage {
        /// What was asked.
        route: String,
        /// What is wrong.
        reason: String,
    },
}

/// A connection to one cluster.
pub(super) struct Arroyo {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What a pipeline is made from.
#[derive(Debug, Serialize)]
pub(super) struct NewPipeline<'a> {
    pub(super) name: &'a str,
    pub(super) query: &'a str,
    pub(super) parallelism: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) checkpoint_interval_micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_url: Option<&'a str>,
    pub(super) tags: BTreeMap<&'a str, &'a str>,
}

/// A pipeline that is there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pipeline {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
    pub(super) created_at: u64,
}

impl Pipeline {
    /// What it was labelled with.
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.as_ref()?.get(name).map(String::as_str)
    }
}

/// A run of a pipeline.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) state: String,
    #[serde(default)]
    created_at: u64,
    /// Why it failed; the name differs between versions.
    #[serde(default, alias = "failure_message")]
    pub(super) failure_reason: Option<String>,
}

/// A checkpoint of a job.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) epoch: u64,
    #[serde(default)]
    pub(super) finish_time: Option<u64>,
}

/// What is wrong with a query; older versions give a text alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Finding {
    /// Its message.
    Text(String),
    /// Its message, and where.
    Placed {
        /// Its message.
        message: String,
        /// Where.
        #[serde(default)]
        span: Option<Range>,
    },
}

/// From where to where.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Range {
    pub(super) start: Place,
    pub(super) end: Place,
}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

#[derive(Deserialize)]
struct Validation {
    #[serde(default)]
    errors: Option<Vec<Finding>>,
    #[serde(default)]
    graph: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Pipeline>,
    has_more: bool,
}

#[derive(Deserialize)]
struct All<T> {
    data: Vec<T>,
}

impl Arroyo {
    /// A client for the API at `url`; asks nothing yet.
    pub(super) fn new(url: &str, token: Option<&str>, patience: Duration) -> Result<Self, ArroyoError> {
        let refuse = |reason: &str| ArroyoError::Address { url: url.to_owned(), reason: reason.to_owned() };
        let parsed = reqwest::Url::parse(url).map_err(|error| refuse(&error.to_string()))?;
        match parsed.scheme() {
            "http" if parsed.has_host() => {}
            "https" => return Err(refuse("this build speaks plain http; put a tunnel or a proxy on this machine before it")),
            _ => return Err(refuse("write http://host:port")),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            // Not repeated in the message: it holds what nobody should read.
            let reason = "it holds a password; give a token by arroyo.token or AJATUS_ARROYO_TOKEN".to_owned();
            return Err(ArroyoError::Address { url: "http://…".to_owned(), reason });
        }
        // The environment's proxies are not asked: the address is the whole truth.
        let client = reqwest::Client::builder().no_proxy().timeout(patience).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| refuse(&error.to_string()))?;
        Ok(Self { client, base: format!("{}/api/v1", url.trim_end_matches('/')), token: token.map(str::to_owned) })
    }

    /// Whether it is there.
    pub(super) async fn ping(&self) -> Result<(), ArroyoError> {
        let answer: String = self.ask(Method::GET, "ping", None::<&()>).await?;
        if answer == "Pong" { Ok(()) } else { Err(garbage("GET ping", format!("it says {answer:?}"))) }
    }

    /// What is wrong with a query.
    pub(super) async fn validate(&self, query: &str) -> Result<Vec<Finding>, ArroyoError> {
        let body = serde_json::json!({ "query": query });
        let found: Validation = self.ask(Method::POST, "pipelines/validate_query", Some(&body)).await?;
        let errors = found.errors.unwrap_or_default();
        if errors.is_empty() && found.graph.is_none() {
            return Err(garbage("POST pipelines/validate_query", "it holds neither a graph nor errors"));
        }
        Ok(errors)
    }

    /// Every pipeline.
    pub(super) async fn pipelines(&self) -> Result<Vec<Pipeline>, ArroyoError> {
        let mut all: Vec<Pipeline> = Vec::new();
        loop {
            let after = all.last().map_or_else(String::new, |last| format!("&starting_after={}", last.id));
            let page: Page = self.ask(Method::GET, &format!("pipelines?limit={PAGE}{after}"), None::<&()>).await?;
            let more = page.has_more && !page.data.is_empty();
            if page.data.iter().any(|new| all.iter().any(|known| known.id == new.id)) {
                return Err(garbage("GET pipelines", "its pages repeat themselves"));
            }
            all.extend(page.data);
            if !more {
                return Ok(all);
            }
        }
    }

    /// Makes one and starts it.
    pub(super) async fn create(&self, new: &NewPipeline<'_>) -> Result<Pipeline, ArroyoError> {
        self.ask(Method::POST, "pipelines", Some(new)).await
    }

    /// Stops a pipeline with a checkpoint (`checkpoint`), or lets it go on (`none`).
    pub(super) async fn stop(&self, pipeline: &str, how: &str) -> Result<(), ArroyoError> {
        let _patched: Pipeline = self.ask(Method::PATCH, &format!("pipelines/{pipeline}"), Some(&serde_json::json!({ "stop": how }))).await?;
        Ok(())
    }

    /// The newest job of a pipeline.
    pub(super) async fn job(&self, pipeline: &str) -> Result<Option<Job>, ArroyoError> {
        let jobs: All<Job> = self.ask(Method::GET, &format!("pipelines/{pipeline}/jobs"), None::<&()>).await?;
        Ok(jobs.data.into_iter().max_by_key(|job| job.created_at))
    }

    /// A job's checkpoints.
    pub(super) async fn checkpoints(&self, pipeline: &str, job: &str) -> Result<Vec<Checkpoint>, ArroyoError> {
        let all: All<Checkpoint> = self.ask(Method::GET, &format!("pipelines/{pipeline}/jobs/{job}/checkpoints"), None::<&()>).await?;
        Ok(all.data)
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<T, ArroyoError> {
        let route = format!("{method} {path}");
        let mut request = self.client.request(method, format!("{}/{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| ArroyoError::Unreachable { url: self.base.clone(), reason: causes(&error) };
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST {
                return Err(garbage(&route, format!("it is longer than {LONGEST} bytes")));
            }
        }
        if status != StatusCode::OK {
            return Err(ArroyoError::Refused { route, status: status.as_u16(), message: message(&bytes) });
        }
        serde_json::from_slice(&bytes).map_err(|error| garbage(&route, format!("{error}: {}", excerpt(&bytes))))
    }
}

fn garbage(route: &str, reason: impl Into<String>) -> ArroyoError {
    ArroyoError::Garbage { route: route.to_owned(), reason: reason.into() }
}

/// The message of an error's body: `{"error": …}`, or what is there.
fn message(bytes: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let text = document.as_ref().and_then(|document| document["error"].as_str());
    text.map_or_else(|| excerpt(bytes), str::to_owned)
}

/// The beginning of a body, in one line.
fn excerpt(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.is_empty() { "(nothing)".to_owned() } else { text }
}

/// An error with its causes in one line; the client's own text is only "error sending request".
fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "no connection".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
