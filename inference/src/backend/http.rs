//! One server: its address, its key, how long we wait for it, and what its refusals mean.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clock::Clock;
use crate::port::InferenceError;

/// Header of every request of ours: an instance of ours that gets it answers by itself, so that two that stand in for each other
/// do not ask in circles.
pub const PASSED_ON: &str = "x-ajatus-passed-on";
/// Bytes of an answer that is no stream, at most.
const LARGEST: usize = 256 << 20;
/// Characters of a server's message that we pass on.
const MESSAGE: usize = 400;

/// How long we wait for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection. Default 2 s.
    pub connect: Duration,
    /// For an answer, or a stream's first token. Default 60 s.
    pub answer: Duration,
    /// Between two tokens of a stream. Default 30 s.
    pub between: Duration,
    /// For a probe: whether it lives, what models it has. Default 5 s.
    pub probe: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(2), answer: seconds(60), between: seconds(30), probe: seconds(5) }
    }
}

/// A server that answers over HTTP. Clones share its connections.
#[derive(Clone)]
pub struct Server {
    client: Client,
    base: String,
    key: Option<String>,
    pub(super) patience: Patience,
    clock: Arc<dyn Clock>,
}

impl Server {
    /// Takes an address like `http://127.0.0.1:8000`; nothing is sent yet. A path `/v1` at its end is dropped.
    ///
    /// # Errors
    /// [`InferenceError::Refused`] if it is no such address.
    pub fn new(url: &str, key: Option<String>, patience: Patience, clock: Arc<dyn Clock>) -> Result<Self, InferenceError> {
        let refused = |reason: &str| InferenceError::Refused { address: url.to_owned(), reason: reason.to_owned() };
        let parsed = Url::parse(url).map_err(|error| refused(&format!("{error}; an address looks like http://127.0.0.1:8000")))?;
        match parsed.scheme() {
            "http" => {}
            "https" => return Err(refused("https is not spoken; let a proxy on this machine do it, and name the proxy's http address")),
            other => return Err(refused(&format!("{other:?} is no scheme of a model's server; an address looks like http://127.0.0.1:8000"))),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(refused("a name or password in the address would end up in logs; give a key instead"));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(refused("the address must end before any ? or #"));
        }
        let base = parsed.as_str().trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/').to_owned();
        let client = Client::builder()
            .connect_timeout(patience.connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| refused(&error.to_string()))?;
        Ok(Self { client, base, key, patience, clock })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Gets a page and throws it away.
    pub(super) async fn ping(&self, path: &str) -> Result<(), InferenceError> {
        let limit = self.patience.probe;
        self.within(limit, self.send(self.client.get(self.url(path)))).await.map(drop)
    }

    /// Gets JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, InferenceError> {
        self.within(self.patience.probe, async { self.json(self.send(self.client.get(self.url(path))).await?).await }).await
    }

    /// Posts JSON and reads JSON.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, limit: Duration) -> Result<T, InferenceError> {
        self.within(limit, async { self.json(self.send(self.client.post(self.url(path)).json(body)).await?).await }).await
    }

    /// Posts JSON; the answer is a stream, read by the caller.
    pub(super) async fn stream(&self, path: &str, body: &impl Serialize) -> Result<Response, InferenceError> {
        self.within(self.patience.answer, self.send(self.client.post(self.url(path)).json(body))).await
    }

    /// The next bytes of a stream; none at its end.
    pub(super) async fn chunk(&self, response: &mut Response, limit: Duration) -> Result<Option<bytes::Bytes>, InferenceError> {
        self.within(limit, async {
            response.chunk().await.map_err(|error| InferenceError::BrokenOff { reason: format!("the connection to {} was lost ({})", self.base, cause(&error)) })
        })
        .await
    }

    pub(super) fn garbled(&self, reason: impl Into<String>) -> InferenceError {
        InferenceError::Garbled { address: self.base.clone(), reason: reason.into() }
    }

    pub(super) fn refused(&self, reason: impl Into<String>) -> InferenceError {
        InferenceError::Refused { address: self.base.clone(), reason: reason.into() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = Result<T, InferenceError>>) -> Result<T, InferenceError> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.clock.sleep_until(self.clock.now() + limit) => {
                Err(InferenceError::Timeout { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) })
            }
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, InferenceError> {
        let request = request.header(PASSED_ON, "1");
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| {
            if error.is_builder() {
                return self.refused(cause(&error));
            }
            InferenceError::Unreachable { address: self.base.clone(), reason: cause(&error) }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.body(response, 64 << 10).await.unwrap_or_default();
        Err(self.refusal(status, &headers, &body))
    }

    /// Reads a body, up to a bound; what is above it is left.
    async fn body(&self, mut response: Response, most: usize) -> Result<Vec<u8>, InferenceError> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let lost = |error: reqwest::Error| InferenceError::BrokenOff { reason: format!("the connection to {} was lost ({})", self.base, cause(&error)) };
            match chunk.map_err(lost)? {
                Some(bytes) if body.len() + bytes.len() <= most => body.extend_from_slice(&bytes),
                Some(_) => return Ok(body),
                None => return Ok(body),
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, InferenceError> {
        let body = self.body(response, LARGEST).await?;
        serde_json::from_slice(&body).map_err(|error| self.garbled(format!("{error}, in {:?}", shorten(&String::from_utf8_lossy(&body), 80))))
    }

    /// What a status other than success means for a caller.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> InferenceError {
        let said = message(body);
        let address = self.base.clone();
        match status.as_u16() {
            401 | 403 => self.refused(format!("{said} ({status}); set the server's key, or mend it")),
            404 | 405 => self.refused(format!("{said} ({status}); does it serve that model, and is it the right kind of server?")),
            429 | 503 => InferenceError::Throttled { address, retry_after: retry_after(headers) },
            400 | 413 | 422 => InferenceError::Input { reason: format!("the server at {address} says: {said}") },
            500..=599 | 408 => InferenceError::Backend { reason: format!("{address} says: {said} ({status})") },
            _ => self.garbled(format!("status {status}: {said}")),
        }
    }
}

/// Seconds, as servers of models send it; a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(3_600.0)))
}

/// The message in an error's body, in any of the envelopes that servers of models use.
pub(super) fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let found = serde_json::from_str::<Value>(&text).ok().and_then(|value| in_envelope(&value));
    let said = found.unwrap_or_else(|| text.trim().to_owned());
    if said.is_empty() { "nothing more".to_owned() } else { shorten(&said, MESSAGE) }
}

/// `error` as a text or with a `message`; a `message`; a `detail`.
pub(super) fn in_envelope(value: &Value) -> Option<String> {
    let error = value.get("error");
    let places = [error, error.and_then(|error| error.get("message")), value.get("message"), value.get("detail")];
    places.into_iter().flatten().find_map(|place| place.as_str().map(str::to_owned))
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The innermost reason of a failed request, which says most.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn server(url: &str) -> Result<Server, InferenceError> {
        Server::new(url, None, Patience::default(), Arc::new(SystemClock::start()))
    }

    #[test]
    fn takes_addresses_as_people_write_them_and_says_what_is_wrong_with_others() {
        for url in ["http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/"] {
            assert_eq!(server(url).expect("an address").address(), "http://127.0.0.1:8000");
        }
        assert_eq!(server("http://host/models/a").expect("an address").address(), "http://host/models/a");
        for (url, reason) in [
            ("127.0.0.1:8000", "looks like"),
            ("https://host", "proxy"),
            ("ftp://host", "scheme"),
            ("http://me:secret@host", "key"),
            ("http://host/?a=b", "?"),
            ("", "looks like"),
        ] {
            let said = server(url).err().expect("refused").to_string();
            assert!(said.contains(reason), "{url}: {said}");
        }
    }

    #[test]
    fn finds_the_message_in_every_envelope() {
        for body in [r#"{"error": {"message": "no", "type": "x"}}"#, r#"{"error": "no"}"#, r#"{"object": "error", "message": "no"}"#, r#"{"detail": "no"}"#, " no\n"] {
            assert_eq!(message(body.as_bytes()), "no", "{body}");
        }
        assert_eq!(message(b""), "nothing more");
        assert_eq!(message(&[0xff; 3]), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(message("ä".repeat(1_000).as_bytes()).chars().count(), MESSAGE + 1);
    }

    #[test]
    fn statuses_become_what_a_caller_does() {
        let server = server("http://host").expect("an address");
        let kind = |status: u16| server.refusal(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), b"").kind();
        let expected = [(301, "garbled"), (400, "input"), (401, "refused"), (404, "refused"), (422, "input"), (429, "throttled"), (500, "backend"), (502, "backend"), (503, "throttled")];
        for (status, expected) in expected {
            assert_eq!(kind(status), expected, "{status}");
        }
        let wait = |value: &'static str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("a header"))]));
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!((wait("-1"), wait("inf"), wait("Wed, 21 Oct 2015 07:28:00 GMT")), (None, None, None));
    }
}
