//! A whole server on a loopback port: embedded log, throw-away database, countable models, an injected clock.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ajatus_events::{ChangeRecord, Frontier, Interaction, InteractionKey, MemoryChange, MemoryOp, topic};
use ajatus_inference::{
    ChatMessage, Embedder, Embedding, FinishReason, GenerateEvent, GenerateRequest, GenerateStream, Generator, InferenceError, ModelIdentity,
};
use ajatus_kafka::{EmbeddedLog, Log, Record, Topics, wire};
use ajatus_memory::index::{Index, IndexConfig, PIPELINE, vector_to_bytes};
use ajatus_memory::keys::Purpose;
use ajatus_memory::postgres::{EpochDelta, MemoryRow};
use ajatus_memory::testing::TestDatabase;
use ajatus_serving::follow::Follower;
use ajatus_serving::forget::{ForgetParts, Forgetter, Keeper, NotSettled};
use ajatus_serving::recall::Recall;
use ajatus_serving::reply::{Replier, ReplyConfig, ReplyParts};
use ajatus_serving::{Clock, Parts, Running, ServeConfig, serve};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that stands until it is moved.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(self.0.load(Ordering::SeqCst))
    }
}

struct OneVector(ModelIdentity);

#[async_trait]
impl Embedder for OneVector {
    fn model(&self) -> &ModelIdentity {
        &self.0
    }
    fn dimension(&self) -> usize {
        2
    }
    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        Ok(texts.iter().map(|_| Ok(vec![1.0, 0.0])).collect())
    }
}

/// Says "word0 word1 …", a word per permit; counts the words it made.
pub(crate) struct Words {
    model: ModelIdentity,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) made: Arc<AtomicUsize>,
    pub(crate) asked: Mutex<Vec<Vec<ChatMessage>>>,
    pub(crate) length: AtomicUsize,
}

#[async_trait]
impl Generator for Words {
    fn model(&self) -> &ModelIdentity {
        &self.model
    }
    fn context_tokens(&self) -> usize {
        4096
    }
    async fn count_tokens(&self, messages: &[ChatMessage]) -> Result<usize, InferenceError> {
        Ok(messages.iter().map(|message| message.content.split_whitespace().count()).sum())
    }
    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, InferenceError> {
        self.asked.lock().expect("no panic").push(request.messages.clone());
        if request.messages.last().is_some_and(|message| message.content.contains("break the model")) {
            return Err(InferenceError::Backend { reason: "broken".into() });
        }
        let (permits, made, length) = (Arc::clone(&self.permits), Arc::clone(&self.made), self.length.load(Ordering::SeqCst));
        let stream = futures::stream::unfold(0, move |at| {
            let (permits, made) = (Arc::clone(&permits), Arc::clone(&made));
            async move {
                if at > length {
                    return None;
                }
                if at == length {
                    return Some((Ok(GenerateEvent::Done { reason: FinishReason::Stop, prompt_tokens: 5, completion_tokens: length }), at + 1));
                }
                permits.acquire().await.expect("open").forget();
                made.fetch_add(1, Ordering::SeqCst);
                Some((Ok(GenerateEvent::Text(format!("word{at} "))), at + 1))
            }
        });
        Ok(stream.boxed())
    }
}

/// Lets the index say when the views are there: [`World::remember`] is the pipeline.
struct NoKeeper;

#[async_trait]
impl Keeper for NoKeeper {
    async fn settle(&self, _partition: u32, _below: u64, _limit: Duration) -> Result<(), NotSettled> {
        Ok(())
    }
    fn places(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The server and everything behind it but the pipeline, whose part [`World::remember`] plays.
pub(crate) struct World {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) test: TestDatabase,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) words: Arc<Words>,
    pub(crate) config: ServeConfig,
    pub(crate) parts: Parts,
    generation: i64,
    read: Mutex<(u64, [u64; 4])>,
    running: Option<Running>,
    follower: Option<Follower>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open(&PathBuf::from(folder.path()), Topics::built_in()).expect("a log");
        let test = TestDatabase::start().await;
        let clock = Arc::new(TestClock(AtomicI64::new(0)));
        let words = Arc::new(Words {
            model: ModelIdentity { name: "words".into(), weights: "0".into() },
            permits: Arc::new(Semaphore::new(1_000)),
            made: Arc::default(),
            asked: Mutex::default(),
            length: AtomicUsize::new(3),
        });
        let generation = test.db.open_pipeline(PIPELINE, "plan").await.expect("opened").generation;
        let port: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        let index = Index::new(test.db.clone(), test.keys.clone(), IndexConfig::default());
        let follower = Follower::start(Arc::clone(&port), test.db.clone(), Arc::clone(&index)).await.expect("following");
        let embedder: Arc<dyn Embedder> = Arc::new(OneVector(ModelIdentity { name: "one".into(), weights: "0".into() }));
        let recall = Recall::new(Arc::clone(&index), embedder);
        let time: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let generator: Arc<dyn Generator> = Arc::clone(&words) as Arc<dyn Generator>;
        let reply_parts = ReplyParts {
            log: Arc::clone(&port),
            db: test.db.clone(),
            keys: test.keys.clone(),
            recall: recall.clone(),
            generator,
            clock: Arc::clone(&time),
        };
        let replier = Replier::new(reply_parts, ReplyConfig::default());
        let forgetter = Forgetter::new(ForgetParts {
            log: Arc::clone(&port),
            db: test.db.clone(),
            keys: test.keys.clone(),
            index,
            keeper: Arc::new(NoKeeper),
            replier: Some(replier.clone()),
            clock: Arc::clone(&time),
            patience: PATIENCE,
        });
        let parts = Parts {
            log: port,
            db: test.db.clone(),
            keys: test.keys.clone(),
            recall,
            replier,
            forgetter,
            clock: time,
            probe: Arc::new(|| vec![("pipeline", Ok(()))]),
            metrics: Arc::new(|| "requests_total 1\n".to_owned()),
        };
        let config = ServeConfig { listen: ([127, 0, 0, 1], 0).into(), after_wait: Duration::from_millis(50), secure_cookies: false };
        let running = serve(config.clone(), parts.clone()).await.expect("serving");
        let base = format!("http://{}", running.address());
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Self {
            http,
            base,
            log,
            test,
            clock,
            words,
            config,
            parts,
            generation,
            read: Mutex::default(),
            running: Some(running),
            follower: Some(follower),
            _folder: folder,
        }
    }

    pub(crate) async fn stop(self) {
        let log = Arc::clone(&self.log);
        self.stop_serving().await;
        log.close().await;
    }

    /// Stops the server and the follower; the log stays open.
    pub(crate) async fn stop_serving(mut self) {
        self.running.take().expect("running").stop().await;
        self.follower.take().expect("following").stop().await;
    }

    /// What another replier over the same parts needs.
    pub(crate) fn reply_parts(&self) -> ReplyParts {
        ReplyParts {
            log: Arc::clone(&self.parts.log),
            db: self.test.db.clone(),
            keys: self.test.keys.clone(),
            recall: self.parts.recall.clone(),
            generator: Arc::clone(&self.words) as Arc<dyn Generator>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        }
    }

    pub(crate) async fn user_id(&self, login: &str) -> ajatus_events::UserId {
        self.test.db.account_by_login(&self.test.keys, login).await.expect("read").expect("an account").id
    }

    /// A request; status and body (null if it is not JSON).
    pub(crate) async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("accept", "application/json").json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    /// Signs up and in; the access token.
    pub(crate) async fn user(&self, login: &str) -> String {
        let body = json!({ "login": login, "password": "a long password" });
        let (status, _) = self.call(Method::POST, "/v1/accounts", None, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED);
        self.sign_in(login).await["access_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) async fn sign_in(&self, login: &str) -> Value {
        let body = json!({ "login": login, "password": "a long password", "transport": "body" });
        let (status, tokens) = self.call(Method::POST, "/v1/sessions", None, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{tokens}");
        tokens
    }

    pub(crate) async fn conversation(&self, token: &str) -> String {
        let (status, made) = self.call(Method::POST, "/v1/conversations", Some(token), Some(json!({ "title": "talk" }))).await;
        assert_eq!(status, StatusCode::CREATED);
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Brings everything on the log into the views, as the pipeline does: one epoch.
    pub(crate) async fn remember(&self) {
        let (last, mut next) = *self.read.lock().expect("no panic");
        let mut delta = EpochDelta {
            pipeline: PIPELINE.into(),
            plan_hash: "plan".into(),
            generation: self.generation,
            previous: last,
            epoch: last + 1,
            ..EpochDelta::default()
        };
        let mut changes: Vec<(u32, Record)> = Vec::new();
        for (partition, from) in (0..4_u32).zip(next.iter_mut()) {
            let chunk = self.log.read(topic::INTERACTIONS, partition, *from, 1_000).await.expect("read");
            *from = chunk.next;
            for entry in chunk.entries {
                let key: InteractionKey = String::from_utf8(entry.key.clone()).expect("text").parse().expect("a key");
                let op = match entry.value {
                    None => {
                        delta.deletes.push(key);
                        MemoryOp::Delete {}
                    }
                    Some(value) => {
                        let turn: Interaction = wire::decode(&value).expect("a turn");
                        let user = self.test.keys.user(key.user_id).await.expect("a key");
                        delta.upserts.push(MemoryRow {
                            key,
                            conversation_id: turn.conversation_id,
                            session: turn.session,
                            position: turn.position,
                            role: turn.role,
                            occurred_at: turn.occurred_at,
                            body: turn.body.clone(),
                            fingerprint: String::new(),
                            vector: vec![1.0, 0.0],
                            model: "one@0".into(),
                        });
                        MemoryOp::Upsert {
                            conversation_id: turn.conversation_id,
                            session: turn.session,
                            position: turn.position,
                            role: turn.role,
                            occurred_at: turn.occurred_at,
                            body: turn.body,
                            vector: user.seal(Purpose::Vectors, &MemoryChange::vector_aad(key.user_id, key.id), &vector_to_bytes(&[1.0, 0.0])),
                            model: "one@0".into(),
                        }
                    }
                };
                let change = ChangeRecord::Memory(MemoryChange { user_id: key.user_id, id: key.id, epoch: delta.epoch, op });
                changes.push((partition, Record { key: entry.key, value: Some(wire::encode(&change).expect("JSON")) }));
            }
            delta.positions.push((partition, *from));
            let frontier = ChangeRecord::Frontier(Frontier { epoch: delta.epoch, partition, next_offset: *from });
            changes.push((partition, Record { key: b"frontier".to_vec(), value: Some(wire::encode(&frontier).expect("JSON")) }));
        }
        self.test.db.apply_epoch(&delta).await.expect("applied");
        for (partition, record) in changes {
            self.log.append(topic::MEMORY_CHANGES, partition, vec![record]).await.expect("appended");
        }
        *self.read.lock().expect("no panic") = (delta.epoch, next);
    }
}

/// Frames of a server-sent event stream.
pub(crate) fn frames(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| serde_json::from_str(data.trim()).expect("a frame")).collect()
}
