//! `ajatus pipeline deploy` against a small server that speaks the routes of an Arroyo cluster strictly: a route, a method, a field or
//! a type that it does not know fails the test. It is not a cluster: that a real one takes what is sent is not shown here.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{Ajatus, stderr, stdout};

const SQL: &str = "-- Orders per minute.
create table orders (id bigint not null, customer text, at timestamp)
  with (connector = 'kafka', type = 'source', topic = 'orders', bootstrap_servers = 'broker:9092', event_time = 'at', bad_data = 'fail');
create table minutes (start timestamp, n bigint)
  with (connector = 'kafka', type = 'sink', topic = 'minutes', bootstrap_servers = 'broker:9092');
create view per_minute as
  select tumble(interval '1 minute') as w, count(*) as n
  from orders where customer is not null group by w;
insert into minutes select per_minute.w.start, n from per_minute;
";

/// A pipeline of the server.
#[derive(Clone, Default)]
struct Held {
    id: String,
    name: String,
    tags: BTreeMap<String, String>,
    state_url: Option<String>,
    query: String,
    created_at: u64,
    /// What its job will be, one state a question; the last one stays.
    states: VecDeque<&'static str>,
    failure: Option<&'static str>,
    /// Questions about checkpoints so far.
    asked: u64,
}

/// How the server behaves.
#[derive(Clone, Default)]
struct Manner {
    /// States of a new pipeline.
    states: Vec<&'static str>,
    failure: Option<&'static str>,
    /// Answers with this text, whatever is asked.
    garbage: Option<(&'static str, u16, &'static str)>,
    /// A word that the query may not hold.
    refuses: Option<&'static str>,
    token: Option<&'static str>,
}

#[derive(Default)]
struct World {
    manner: Manner,
    held: Vec<Held>,
    asked: Vec<String>,
    /// What no cluster would have understood.
    wrong: Vec<String>,
    over: bool,
}

/// A server on loopback, ended when dropped.
struct Server {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let world = Arc::new(Mutex::new(World { manner, ..World::default() }));
        let shared = Arc::clone(&world);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut world = shared.lock().expect("nobody panicked");
                if world.over {
                    break;
                }
                answer(&mut world, stream.expect("a connection"));
            }
        });
        Self { address, world, thread: Some(thread) }
    }

    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().expect("nobody panicked"))
    }

    /// What was asked since the last time, without questions about states.
    fn acts(&self) -> Vec<String> {
        let asked = self.with(|world| std::mem::take(&mut world.asked));
        asked.into_iter().filter(|asked| !asked.starts_with("GET ")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let wrong = self.with(|world| {
            world.over = true;
            std::mem::take(&mut world.wrong)
        });
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        if !std::thread::panicking() {
            assert!(wrong.is_empty(), "no cluster would understand: {wrong:#?}");
        }
    }
}

fn answer(world: &mut World, stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let (mut length, mut authorization, mut kind) = (0, None, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a length"),
            "authorization" => authorization = Some(value.trim().to_owned()),
            "content-type" => kind = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    world.asked.push(format!("{method} {target}"));
    let (status, text) = match world.manner.garbage {
        Some((route, status, text)) if target.contains(route) => (status, text.to_owned()),
        _ => {
            let wanted = world.manner.token.map(|token| format!("Bearer {token}"));
            if authorization == wanted {
                let body = (!body.is_empty()).then(|| serde_json::from_slice::<Value>(&body).expect("JSON"));
                assert!(body.is_none() || kind.as_deref() == Some("application/json"), "{kind:?}");
                let (status, document) = route(world, &method, &target, body.as_ref());
                (status, document.to_string())
            } else {
                (401, json!({ "error": "not authenticated" }).to_string())
            }
        }
    };
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len()).expect("an answer");
}

/// The routes, and nothing else.
fn route(world: &mut World, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
    let result = match (method, parts.as_slice(), body) {
        ("GET", ["ping"], None) => Ok(json!("Pong")),
        ("POST", ["pipelines", "validate_query"], Some(body)) => validate(world, body),
        ("GET", ["pipelines"], None) => page(world, query),
        ("POST", ["pipelines"], Some(body)) => create(world, body),
        ("PATCH", ["pipelines", id], Some(body)) => patch(world, id, body),
        ("GET", ["pipelines", id, "jobs"], None) => jobs(world, id),
        ("GET", ["pipelines", id, "jobs", job, "checkpoints"], None) => checkpoints(world, id, job),
        _ => Err(format!("no such route: {method} {target} {body:?}")),
    };
    result.map_or_else(
        |wrong| {
            world.wrong.push(wrong.clone());
            (400, json!({ "error": wrong }))
        },
        |document| if document["error"].is_string() { (400, document) } else { (200, document) },
    )
}

/// The fields of a body; each must be known and of its type.
fn fields(body: &Value, known: &[(&str, fn(&Value) -> bool, bool)]) -> Result<(), String> {
    let object = body.as_object().ok_or("the body is no object")?;
    if let Some(strange) = object.keys().find(|key| !known.iter().any(|(name, _, _)| name == key)) {
        return Err(format!("unknown field {strange:?} in {body}"));
    }
    for (name, fits, required) in known {
        match object.get(*name) {
            Some(value) if !fits(value) => return Err(format!("field {name:?} is {value}")),
            None if *required => return Err(format!("field {name:?} is missing")),
            _ => {}
        }
    }
    Ok(())
}

fn validate(world: &World, body: &Value) -> Result<Value, String> {
    fields(body, &[("query", Value::is_string, true), ("udfs", Value::is_array, false)])?;
    let query = body["query"].as_str().unwrap_or_default();
    let Some(word) = world.manner.refuses else { return Ok(json!({ "graph": { "nodes": [], "edges": [] }, "errors": [] })) };
    let at = query.find(word).ok_or_else(|| format!("{word:?} is not in {query}"))?;
    let place = |at: usize| {
        let before = query.get(..at).unwrap_or_default();
        json!({ "line": before.matches('\n').count() + 1, "column": before.rsplit('\n').next().unwrap_or_default().chars().count() + 1 })
    };
    let placed = json!({ "message": format!("no field named {word}"), "span": { "start": place(at), "end": place(at + word.len()) } });
    Ok(json!({ "graph": null, "errors": [placed, { "message": "and something without a place", "span": null }] }))
}

fn shown(held: &Held) -> Value {
    json!({
        "id": held.id, "name": held.name, "query": held.query, "udfs": [], "checkpoint_interval_micros": 10_000_000, "stop": "none",
        "created_at": held.created_at, "action": null, "action_text": "", "action_in_progress": false,
        "graph": { "nodes": [], "edges": [] }, "preview": false, "tags": held.tags, "state_url": held.state_url,
    })
}

/// Two pipelines a page, so that a second page is asked for.
fn page(world: &World, query: &str) -> Result<Value, String> {
    let mut from = 0;
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("limit", limit)) if limit.parse::<u32>().is_ok_and(|limit| limit > 0) => {}
            Some(("starting_after", id)) => from = world.held.iter().position(|held| held.id == id).ok_or("no such pipeline to start after")? + 1,
            _ => return Err(format!("unknown option {option:?}")),
        }
    }
    let data: Vec<Value> = world.held.iter().skip(from).take(2).map(shown).collect();
    Ok(json!({ "has_more": world.held.len() > from + 2, "data": data }))
}

fn create(world: &mut World, body: &Value) -> Result<Value, String> {
    let texts = |value: &Value| value.as_object().is_some_and(|tags| tags.values().all(Value::is_string));
    fields(
        body,
        &[
            ("name", Value::is_string, true),
            ("query", Value::is_string, true),
            ("udfs", Value::is_array, false),
            ("parallelism", Value::is_u64, true),
            ("checkpoint_interval_micros", Value::is_u64, false),
            ("state_url", Value::is_string, false),
            ("tags", texts, false),
        ],
    )?;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let number = world.held.len() as u64 + 1;
    let tags = serde_json::from_value(body["tags"].clone()).unwrap_or_default();
    let held = Held {
        id: format!("pl_{number}"),
        name: text("name"),
        tags,
        state_url: body["state_url"].as_str().map(str::to_owned),
        query: text("query"),
        created_at: 1_000 + number,
        states: world.manner.states.iter().copied().collect(),
        failure: world.manner.failure,
        asked: 0,
    };
    world.held.push(held);
    Ok(shown(&world.held[world.held.len() - 1]))
}

fn patch(world: &mut World, id: &str, body: &Value) -> Result<Value, String> {
    fields(body, &[("stop", Value::is_string, true)])?;
    let how = body["stop"].as_str().unwrap_or_default().to_owned();
    world.asked.push(format!("stop {id} {how}"));
    let held = world.held.iter_mut().find(|held| held.id == id).ok_or("no such pipeline")?;
    held.states = match how.as_str() {
        "checkpoint" => VecDeque::from(["Running", "CheckpointStopping", "Stopped"]),
        "none" => VecDeque::from(["Stopped", "Scheduling", "Running"]),
        other => return Err(format!("unexpected stop {other:?}")),
    };
    Ok(shown(held))
}

fn jobs(world: &mut World, id: &str) -> Result<Value, String> {
    let held = world.held.iter_mut().find(|held| held.id == id).ok_or("no such pipeline")?;
    let state = held.states.front().copied().unwrap_or("Created");
    if held.states.len() > 1 {
        held.states.pop_front();
    }
    let job = json!({
        "id": format!("job_{id}"), "running_desired": true, "state": state, "run_id": 1, "start_time": 5, "finish_time": null, "tasks": 4,
        "failure_reason": if state == "Failed" { json!(held.failure) } else { Value::Null }, "created_at": held.created_at,
    });
    Ok(json!({ "data": [job] }))
}

/// None, then one on its way, then one that is done.
fn checkpoints(world: &mut World, id: &str, job: &str) -> Result<Value, String> {
    let held = world.held.iter_mut().find(|held| held.id == id && job == format!("job_{id}")).ok_or("no such job")?;
    held.asked += 1;
    let checkpoint = |finish: Value| json!({ "epoch": 1, "backend": "parquet", "checkpoint_type": "scheduled", "start_time": 7, "finish_time": finish, "events": [] });
    let data = match held.asked {
        1 => vec![],
        2 => vec![checkpoint(Value::Null)],
        _ => vec![checkpoint(json!(9))],
    };
    Ok(json!({ "data": data }))
}

/// A folder with the file, and a configuration that asks often.
fn shop(ajatus: &Ajatus, sql: &str) -> (PathBuf, String) {
    let config = ajatus.file("ajatus.toml", b"[arroyo]\npoll_ms = 1\ndeadline_s = 1\n");
    (ajatus.file("minutes.sql", sql.as_bytes()), config.display().to_string())
}

fn deploy(ajatus: &Ajatus, server: &Server, sql: &str, more: &[&str]) -> Output {
    let (file, config) = shop(ajatus, sql);
    let url = format!("http://{}/", server.address);
    let file = file.display().to_string();
    ajatus.run(&[&["pipeline", "deploy", &file, "--arroyo", &url, "--config", &config, "--json"], more].concat())
}

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}{}", stdout(output), stderr(output));
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

fn running() -> Manner {
    Manner { states: vec!["Created", "Compiling", "Scheduling", "Running"], ..Manner::default() }
}

#[test]
fn a_first_deployment_is_checked_made_and_followed_to_its_first_checkpoint() {
    let (ajatus, server) = (Ajatus::new(), Server::start(running()));
    let output = deploy(&ajatus, &server, SQL, &["--parallelism", "3", "--checkpoint-interval", "20", "--state-url", "file:///tmp/states"]);
    let done = document(&output);
    assert_eq!((&done["action"], &done["pipeline"], &done["job"], &done["state"], &done["checkpoint"]), (&json!("created"), &json!("pl_1"), &json!("job_pl_1"), &json!("Running"), &json!(1)));
    assert_eq!(done["notes"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(server.acts(), ["POST /api/v1/pipelines/validate_query", "POST /api/v1/pipelines"]);
    let held = server.with(|world| world.held[0].clone());
    assert_eq!((held.name.as_str(), held.state_url.as_deref()), ("minutes", Some("file:///tmp/states")));
    assert_eq!((held.tags["managed-by"].as_str(), held.tags["ajatus-pipeline"].as_str(), held.tags["ajatus-plan"].as_str()), ("ajatus", "minutes", done["plan"].as_str().expect("a plan")));
    // What is sent is what a dry run prints.
    let (file, _) = shop(&ajatus, SQL);
    let dry = ajatus.run(&["pipeline", "deploy", &file.display().to_string(), "--dry-run"]);
    assert_eq!(stdout(&dry), held.query);
    assert!(stderr(&dry).contains("after their window has closed"), "{}", stderr(&dry));
    for state in ["created", "compiling", "scheduling", "running"] {
        assert!(stderr(&output).contains(&format!("pl_1 is {state}")), "{}", stderr(&output));
    }
}

#[test]
fn the_same_file_again_is_nothing_to_do() {
    let (ajatus, server) = (Ajatus::new(), Server::start(running()));
    document(&deploy(&ajatus, &server, SQL, &[]));
    server.acts();
    let again = document(&deploy(&ajatus, &server, SQL, &[]));
    assert_eq!((&again["action"], &again["pipeline"]), (&json!("unchanged"), &json!("pl_1")));
    assert_eq!(server.acts(), ["POST /api/v1/pipelines/validate_query"]);
    assert_eq!(server.with(|world| world.held.len()), 1);
}

#[test]
fn a_changed_file_stops_the_old_pipeline_with_a_checkpoint_and_replaces_it() {
    let (ajatus, server) = (Ajatus::new(), Server::start(running()));
    for other in ["x", "y"] {
        // Of other hands, and enough of them for a second page.
        document(&deploy(&ajatus, &server, SQL, &["--name", other]));
    }
    let first = document(&deploy(&ajatus, &server, SQL, &[]));
    server.acts();
    let changed = SQL.replace("is not null", "<> 'nobody'");
    let second = document(&deploy(&ajatus, &server, &changed, &["--state-url", "s3://states/minutes"]));
    assert_eq!((&second["action"], &second["pipeline"], &second["state"]), (&json!("replaced"), &json!("pl_4"), &json!("Running")));
    assert_ne!(first["plan"], second["plan"]);
    assert_eq!(server.acts(), ["POST /api/v1/pipelines/validate_query", "PATCH /api/v1/pipelines/pl_3", "stop pl_3 checkpoint", "POST /api/v1/pipelines"]);
    let (old, new) = server.with(|world| (world.held[2].clone(), world.held[3].clone()));
    assert_eq!(old.states, ["Stopped"], "the new one is made when the old one has stopped");
    assert_eq!(new.state_url.as_deref(), Some("s3://states/minutes"));
    // And back: the newest one counts, not the old one that has the same plan.
    let third = document(&deploy(&ajatus, &server, SQL, &[]));
    assert_eq!((&third["action"], &third["pipeline"], &third["plan"]), (&json!("replaced"), &json!("pl_5"), &first["plan"]));
}

#[test]
fn what_somebody_stopped_goes_on_and_what_is_on_its_way_is_waited_for() {
    let (ajatus, server) = (Ajatus::new(), Server::start(running()));
    document(&deploy(&ajatus, &server, SQL, &[]));
    server.with(|world| world.held[0].states = VecDeque::from(["Stopped"]));
    server.acts();
    let done = document(&deploy(&ajatus, &server, SQL, &[]));
    assert_eq!((&done["action"], &done["state"]), (&json!("resumed"), &json!("Running")));
    assert_eq!(server.acts(), ["POST /api/v1/pipelines/validate_query", "PATCH /api/v1/pipelines/pl_1", "stop pl_1 none"]);
    server.with(|world| world.held[0].states = VecDeque::from(["Scheduling", "Scheduling", "Running"]));
    let done = document(&deploy(&ajatus, &server, SQL, &[]));
    assert_eq!((&done["action"], &done["state"], &done["checkpoint"]), (&json!("unchanged"), &json!("Running"), &json!(1)));
}

#[test]
fn a_finding_of_the_cluster_is_shown_at_its_place_in_the_file() {
    let server = Server::start(Manner { refuses: Some("customer is"), ..running() });
    let ajatus = Ajatus::new();
    let output = deploy(&ajatus, &server, SQL, &[]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let error = &found["errors"][0];
    assert_eq!((&error["code"], &error["line"], &error["column"], &error["text"]), (&json!("P0809"), &json!(8), &json!(21), &json!("customer is")), "{found}");
    assert_eq!((&found["errors"][1]["code"], &found["errors"][1]["line"]), (&json!("P0809"), &Value::Null));
    assert_eq!(server.acts(), ["POST /api/v1/pipelines/validate_query"], "nothing was made");
}

#[test]
fn a_job_that_fails_ends_with_its_reason() {
    let server = Server::start(Manner { states: vec!["Created", "Failed"], failure: Some("topic orders is not there"), ..Manner::default() });
    let ajatus = Ajatus::new();
    let output = deploy(&ajatus, &server, SQL, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("pl_1 failed: topic orders is not there"), "{}", stderr(&output));
    // It is there now, and has failed: the same file is not taken for done.
    let again = deploy(&ajatus, &server, SQL, &[]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    // After it has run, too.
    server.with(|world| world.held[0].states = VecDeque::from(["Scheduling", "Running", "Failed"]));
    let late = deploy(&ajatus, &server, SQL, &[]);
    assert_eq!(late.status.code(), Some(1), "{}", stderr(&late));
}

#[test]
fn answers_of_another_form_are_errors_that_show_them() {
    for (route, status, text, said) in [
        ("ping", 200, "<html>hello</html>", "<html>hello</html>"),
        ("ping", 200, "\"Hello\"", "it says \\\"Hello\\\""),
        ("validate_query", 200, "{}", "neither a graph nor errors"),
        ("pipelines?", 200, "{\"data\": [{\"id\": 7}], \"has_more\": false}", "invalid type"),
        ("pipelines?", 200, "{\"data\": [{\"id\": \"pl_1\", \"name\": \"other\", \"created_at\": 1}], \"has_more\": true}", "its pages repeat themselves"),
        ("pipelines?", 500, "{\"error\": \"Something went wrong\"}", "500 Something went wrong"),
        ("pipelines?", 502, "bad gateway", "502 bad gateway"),
        ("ping", 302, "", "302 (nothing)"),
    ] {
        let server = Server::start(Manner { garbage: Some((route, status, text)), ..running() });
        let ajatus = Ajatus::new();
        let output = deploy(&ajatus, &server, SQL, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{said}: {}", stderr(&output));
        assert!(server.with(|world| world.held.is_empty()), "nothing was made");
    }
}

#[test]
fn nobody_there_is_said_and_so_is_a_wrong_address() {
    let ajatus = Ajatus::new();
    let (file, config) = shop(&ajatus, SQL);
    let file = file.display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    for (url, code, said) in [
        (address.as_str(), 4, "cannot be reached"),
        ("https://cluster:5115", 2, "plain http"),
        ("cluster:5115", 2, "http://host:port"),
        ("http://me:secret@cluster", 2, "holds a password"),
    ] {
        let output = ajatus.run(&["pipeline", "deploy", &file, "--arroyo", url, "--config", &config]);
        assert_eq!(output.status.code(), Some(code), "{url}: {}", stderr(&output));
        assert!(stderr(&output).contains(said) && !stderr(&output).contains("secret"), "{url}: {}", stderr(&output));
    }
}

#[test]
fn the_token_comes_from_the_environment_and_its_lack_is_said() {
    let server = Server::start(Manner { token: Some("t0ken"), ..running() });
    let with = Ajatus::new().with("AJATUS_ARROYO_TOKEN", "t0ken");
    assert_eq!(document(&deploy(&with, &server, SQL, &[]))["action"], "created");
    let without = Ajatus::new();
    let output = deploy(&without, &server, SQL, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("401 not authenticated; set arroyo.token"), "{}", stderr(&output));
}

#[test]
fn a_pipeline_of_another_hand_is_not_touched() {
    let (ajatus, server) = (Ajatus::new(), Server::start(running()));
    server.with(|world| world.held.push(Held { id: "pl_1".to_owned(), name: "minutes".to_owned(), created_at: 1, ..Held::default() }));
    let output = deploy(&ajatus, &server, SQL, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("was not deployed by ajatus"), "{}", stderr(&output));
    assert_eq!(server.acts(), ["POST /api/v1/pipelines/validate_query"]);
}

#[test]
fn a_pipeline_that_never_runs_is_given_up_after_the_deadline() {
    let (ajatus, server) = (Ajatus::new(), Server::start(Manner { states: vec!["Scheduling"], ..Manner::default() }));
    let output = deploy(&ajatus, &server, SQL, &[]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("pl_1 did not run within 1 s"), "{}", stderr(&output));
}

#[test]
fn what_is_not_portable_is_refused_with_its_place_before_anybody_is_asked() {
    let (ajatus, server) = (Ajatus::new(), Server::start(running()));
    let output = deploy(&ajatus, &server, &SQL.replace("customer text", "customer text, born date"), &[]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&found["errors"][0]["code"], &found["errors"][0]["line"], &found["errors"][0]["column"]), (&json!("P0804"), &json!(2), &json!(57)), "{found}");
    assert!(server.with(|world| world.asked.is_empty()));
}
