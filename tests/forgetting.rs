//! Forgetting, to the last byte: by every scope, through kills, twice; nobody else is touched, and the search can fail.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Ajatus, stderr};

/// `count` turns of a conversation, a day apart from the first of a month of 2026 on.
fn turns(user: &str, conversation: &str, month: u32, count: usize, words: &str) -> String {
    (0..count)
        .map(|turn| {
            let line = json!({
                "conversation": conversation, "turn": format!("{conversation}-{turn}"), "role": "user",
                "occurred_at": format!("2026-{month:02}-{:02}T12:00:00Z", turn % 28 + 1),
                "text": format!("{words}, jar {turn} of {user} in the {conversation}."),
            });
            format!("{line}\n")
        })
        .collect()
}

fn import(ajatus: &Ajatus, user: &str, text: &str) {
    let file = ajatus.file(&format!("{user}.jsonl"), text.as_bytes());
    let report = ajatus.json(&["import", file.to_str().expect("a path"), "--user", user, "--format", "jsonl"]);
    assert_eq!(report["added"], text.lines().count(), "{report}");
}

/// Every text that a search can find, and its turn.
fn remembered(ajatus: &Ajatus, user: &str) -> Vec<(String, String)> {
    let found = ajatus.json(&["memory", "search", "jar", "--user", user, "--limit", "200"]);
    let text = |hit: &Value, name: &str| hit[name].as_str().expect("text").to_owned();
    let mut all: Vec<_> = found["hits"].as_array().expect("hits").iter().map(|hit| (text(hit, "text"), text(hit, "id"))).collect();
    all.sort();
    all
}

fn texts(ajatus: &Ajatus, user: &str) -> BTreeSet<String> {
    remembered(ajatus, user).into_iter().map(|(text, _)| text).collect()
}

/// The data folder as it is, beside it, with the owners of its files.
fn copy(ajatus: &Ajatus, name: &str) -> PathBuf {
    let to = ajatus.data().with_extension(name);
    let done = Command::new("cp").arg("-a").arg(ajatus.data()).arg(&to).status().expect("cp runs");
    assert!(done.success());
    to
}

/// Forgets, and gives the receipt and its file.
fn forget(ajatus: &Ajatus, name: &str, args: &[&str]) -> (Value, String) {
    let path = ajatus.file(&format!("{name}.receipt"), b"").display().to_string();
    let receipt = ajatus.json(&[&["forget"], args, &["--receipt", &path]].concat());
    assert_eq!(receipt, serde_json::from_str::<Value>(&std::fs::read_to_string(&path).expect("a receipt")).expect("JSON"));
    (receipt, path)
}

/// Searches a folder for what a receipt says is gone, and for texts.
fn prove(ajatus: &Ajatus, folder: &Path, receipts: &[&str], canaries: &[&str]) -> (Option<i32>, Value) {
    let folder = folder.display().to_string();
    let mut args = vec!["forget", "prove", "--folder", &folder, "--json"];
    receipts.iter().for_each(|receipt| args.extend(["--receipt", *receipt]));
    canaries.iter().for_each(|canary| args.extend(["--canary", *canary]));
    let output = ajatus.run(&args);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    (output.status.code(), report)
}

/// Nothing of it is left here, and all of it was there before: a search that finds nothing shows something only then.
fn proven(ajatus: &Ajatus, before: &Path, receipt: &str, canaries: &[&str]) -> Value {
    let (code, now) = prove(ajatus, &ajatus.data(), &[receipt], canaries);
    assert_eq!((code, &now["matches"], &now["unread"]), (Some(0), &json!(0), &json!([])), "{now:#}");
    assert!(now["bytes"].as_u64().is_some_and(|bytes| bytes > 30 << 20), "{now:#}");
    let (code, then) = prove(ajatus, before, &[receipt], canaries);
    assert_eq!(code, Some(1), "{then:#}");
    assert!(then["matches"].as_u64() >= then["witnesses"].as_u64() && then["witnesses"].as_u64() > Some(0), "{then:#}");
    now
}

#[test]
fn a_turn_and_a_conversation_leave_every_file_and_nothing_else_does() {
    let ajatus = Ajatus::new();
    import(&ajatus, "aino", &(turns("aino", "kitchen", 1, 5, "Plum jam") + &turns("aino", "garden", 2, 4, "Currants")));
    import(&ajatus, "eino", &turns("eino", "cellar", 3, 4, "Cucumbers"));
    let (all, others) = (remembered(&ajatus, "aino"), texts(&ajatus, "eino"));
    assert_eq!((all.len(), others.len()), (9, 4));
    let before = copy(&ajatus, "before");

    let (text, id) = all.iter().find(|(text, _)| text.contains("jar 3 of aino in the kitchen")).expect("a turn").clone();
    let (receipt, path) = forget(&ajatus, "turn", &["turn", &id, "--user", "aino"]);
    let statement = &receipt["statement"];
    assert_eq!((&statement["turns"], &statement["scope"]["id"], &statement["counts"]["postgres/memories"]), (&json!(1), &json!(id), &json!(1)), "{statement:#}");
    // Its record, its vector's record, its answer; the record of a body on two topics has one nonce.
    assert!(statement["witnesses"].as_u64().is_some_and(|count| count >= 3), "{statement:#}");
    assert_eq!((&statement["counts"]["log/model-answers"], &statement["files"]["database"]["wal"]), (&json!(1), &json!(true)), "{statement:#}");
    proven(&ajatus, &before, &path, &[&text]);
    let left: BTreeSet<String> = all.iter().map(|(text, _)| text.clone()).filter(|one| *one != text).collect();
    assert_eq!(texts(&ajatus, "aino"), left);

    let (receipt, path) = forget(&ajatus, "garden", &["conversation", "garden", "--user", "aino"]);
    assert_eq!((&receipt["statement"]["turns"], &receipt["statement"]["counts"]["postgres/conversations"]), (&json!(4), &json!(1)), "{receipt:#}");
    proven(&ajatus, &before, &path, &[]);
    assert!(texts(&ajatus, "aino").iter().all(|text| text.contains("kitchen")));
    let again = ajatus.run(&["forget", "conversation", "garden", "--user", "aino"]);
    assert_eq!(again.status.code(), Some(2), "its name is gone too: {}", stderr(&again));

    // The other's turns are where they were: found by words, and, by what their own forgetting names, in the files as they are now.
    assert_eq!(texts(&ajatus, "eino"), others);
    let now = copy(&ajatus, "now");
    let (_, path) = forget(&ajatus, "cellar", &["conversation", "cellar", "--user", "eino"]);
    proven(&ajatus, &now, &path, &[]);
}

#[test]
fn a_time_and_a_topic_are_shown_first_and_go_as_shown_and_twice_is_once() {
    let ajatus = Ajatus::new();
    let lines = turns("aino", "kitchen", 1, 6, "Plum jam") + &turns("aino", "garden", 2, 4, "My sister's weddings") + &turns("aino", "attic", 3, 3, "The sister called");
    import(&ajatus, "aino", &lines);
    let before = copy(&ajatus, "before");
    let range = ["range", "--from", "2026-01-03", "--to", "2026-01-05T12:00:00Z", "--user", "aino"];
    let dry = ajatus.json(&[&["forget"], &range[..], &["--dry-run"]].concat());
    assert_eq!((&dry["would_forget"]["turns"], dry["would_forget"]["items"].as_array().map(Vec::len)), (&json!(2), Some(2)), "{dry:#}");
    assert_eq!(remembered(&ajatus, "aino").len(), 13, "shown, not done");
    let (receipt, path) = forget(&ajatus, "range", &range);
    assert_eq!((&receipt["statement"]["turns"], &receipt["statement"]["ids_hash"]), (&json!(2), &dry["would_forget"]["hash"]), "from, to before");
    proven(&ajatus, &before, &path, &[]);
    let (again, _) = forget(&ajatus, "again", &range);
    assert_eq!((&again["statement"]["turns"], &again["statement"]["witnesses"]), (&json!(0), &json!(0)), "{again:#}");

    let topic = ["forget", "topic", "sister", "wedding", "--user", "aino"];
    let shown = ajatus.run(&topic);
    assert_eq!(shown.status.code(), Some(2), "{}", stderr(&shown));
    let (out, told) = (support::stdout(&shown), stderr(&shown));
    assert!(out.contains("would forget 4 turns") && out.contains("My sister's weddings") && told.contains("nothing was forgotten"), "{out}{told}");
    let (receipt, path) = forget(&ajatus, "topic", &[&topic[1..], &["--yes"]].concat());
    assert_eq!(receipt["statement"]["scope"], json!({ "kind": "topic", "words": 2 }), "a receipt does not say what was forgotten");
    proven(&ajatus, &before, &path, &["My sister's weddings, jar 2"]);
    assert_eq!(texts(&ajatus, "aino").iter().filter(|text| text.contains("sister")).count(), 3, "both words were asked for");
    for (wrong, word) in [
        (["range", "--from", "2026-02-01", "--to", "2026-01-01", "--user", "aino"].as_slice(), "not after"),
        (&["range", "--from", "soon", "--to", "2026-01-01", "--user", "aino"], "RFC 3339"),
        (&["topic", "?!", "--user", "aino", "--yes"], "no word"),
        (&["conversation", "nowhere", "--user", "aino"], "kitchen"),
        (&["account", "--user", "nobody", "--yes"], "no user"),
    ] {
        let refused = ajatus.run(&[&["forget"], wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(word), "{wrong:?}: {}", stderr(&refused));
    }
}

#[test]
fn a_receipt_that_was_changed_is_refused_and_a_planted_canary_is_found() {
    let ajatus = Ajatus::new();
    import(&ajatus, "aino", &turns("aino", "kitchen", 1, 3, "Plum jam"));
    let (_, path) = forget(&ajatus, "range", &["range", "--from", "2026-01-01", "--to", "2026-01-02", "--user", "aino"]);
    let valid = ajatus.json(&["forget", "verify", &path]);
    assert_eq!((&valid["valid"], &valid["by_this_installation"]), (&json!(true), &json!(true)), "{valid:#}");
    let text = std::fs::read_to_string(&path).expect("a receipt");
    for (what, changed) in [("turns", text.replace("\"turns\": 1", "\"turns\": 2")), ("witness", text.replacen("    \"", "    \"0", 1).replacen("0\",\n", "\",\n", 1))] {
        assert_ne!(changed, text, "{what}");
        let changed = ajatus.file("changed", changed.as_bytes());
        let refused = ajatus.run(&["forget", "verify", changed.to_str().expect("a path")]);
        assert!(!refused.status.success(), "{what}: {}", support::stdout(&refused));
        assert!(stderr(&refused).contains("receipt"), "{what}: {}", stderr(&refused));
    }
    let stranger = Ajatus::new();
    stranger.json(&["user", "add", "nobody"]);
    let refused = stranger.run(&["forget", "verify", &path]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("another one"), "{}", stderr(&refused));

    let canary = "Mustikka sleeps in the sauna";
    assert_eq!(prove(&ajatus, &ajatus.data(), &[&path], &[canary]).0, Some(0));
    let wide: Vec<u8> = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(ajatus.data().join("log/notes"), [vec![b'.'; (1 << 20) - 30], wide].concat()).expect("planted");
    let (code, found) = prove(&ajatus, &ajatus.data(), &[&path], &[canary]);
    assert_eq!((code, &found["matches"], &found["tiers"]["log tables"]["found"][0]["what"]), (Some(1), &json!(1), &json!("canary 1 (UTF-16)")), "{found:#}");
    assert_eq!(ajatus.run(&["memory", "prove-forgotten", "--canary", canary]).status.code(), Some(1));
    assert_eq!(ajatus.run(&["forget", "prove"]).status.code(), Some(2), "nothing to look for");
    assert_eq!(ajatus.run(&["forget", "prove", "--canary", "short"]).status.code(), Some(2), "too short to prove anything");
}

#[test]
fn an_account_goes_with_its_key_its_login_and_every_byte_and_its_name_is_free() {
    let ajatus = Ajatus::new();
    import(&ajatus, "aino", &turns("aino", "kitchen", 1, 4, "Plum jam"));
    import(&ajatus, "eino", &turns("eino", "cellar", 3, 3, "Cucumbers"));
    // A line that cannot be read is kept, sealed, and goes with its owner.
    let bad = ajatus.file("bad.jsonl", b"{\"conversation\": \"kitchen\", my secret}\n");
    for user in ["aino", "eino"] {
        assert_eq!(ajatus.run(&["import", bad.to_str().expect("a path"), "--user", user, "--format", "jsonl"]).status.code(), Some(3));
    }
    let before = copy(&ajatus, "before");
    let asked = ajatus.run(&["forget", "account", "--user", "aino"]);
    assert_eq!(asked.status.code(), Some(2), "{}", stderr(&asked));
    assert_eq!(remembered(&ajatus, "aino").len(), 4);
    let (receipt, path) = forget(&ajatus, "account", &["account", "--user", "aino", "--yes"]);
    let counts = &receipt["statement"]["counts"];
    for (place, count) in [("memories", 4), ("accounts", 1), ("user_keys", 1), ("conversations", 1), ("activity", 1)] {
        assert_eq!(counts[format!("postgres/{place}")], count, "{place}: {counts:#}");
    }
    assert_eq!(counts["log/dead-letters"], 1, "{counts:#}");
    proven(&ajatus, &before, &path, &[]);
    let doctor = ajatus.json(&["doctor"]);
    let log = doctor["checks"].as_array().expect("checks").iter().find(|check| check["part"] == "log").expect("log");
    assert!(log["found"].as_str().is_some_and(|found| found.contains("1 dead letter")), "the other's stays: {log}");
    let gone = ajatus.run(&["memory", "search", "jar", "--user", "aino"]);
    assert_eq!(gone.status.code(), Some(2), "{}", stderr(&gone));
    assert_eq!(remembered(&ajatus, "eino").len(), 3);
    import(&ajatus, "aino", &turns("aino", "kitchen", 1, 2, "Another Aino"));
    assert_eq!(remembered(&ajatus, "aino").len(), 2);
}

/// Kills the program when it has said so many words of progress, and asks again. What another folder's whole forgetting names must be gone.
#[test]
fn a_forgetting_that_is_killed_anywhere_is_finished_by_asking_again() {
    let ajatus = Ajatus::new();
    import(&ajatus, "aino", &(turns("aino", "kitchen", 1, 150, "Plum jam") + &turns("aino", "garden", 2, 3, "Currants")));
    let before = copy(&ajatus, "before");
    let path = ajatus.file("whole.receipt", b"").display().to_string();
    let whole = copy(&ajatus, "whole");
    let args = ["forget", "conversation", "kitchen", "--user", "aino", "--json"];
    let output = ajatus.command_on(&whole, &[&args[..], &["--receipt", &path]].concat()).output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let steps = stderr(&output).lines().filter(|line| line.contains("\"progress\"")).count();
    assert!(steps >= 5, "{}", stderr(&output));

    let mut killed = 0;
    for words in 1..=steps {
        let mut child = ajatus.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let said = lines.by_ref().map_while(Result::ok).filter(|line| line.contains("\"progress\"")).take(words).count();
        if said == words {
            child.kill().expect("SIGKILL");
            killed += 1;
        }
        child.wait().expect("it ended");
        if said < words {
            break;
        }
    }
    assert!(killed >= 2, "{killed} of {steps} were killed");
    // Its name may have gone before a kill; whatever is left of it goes with this.
    ajatus.run(&args);
    let (_, _) = forget(&ajatus, "rest", &["replaced", "--user", "aino"]);
    proven(&ajatus, &before, &path, &[]);
    let left = texts(&ajatus, "aino");
    assert!(left.len() == 3 && left.iter().all(|text| text.contains("garden")), "{left:?}");
}

#[test]
fn an_edited_turn_is_found_by_its_new_words_and_the_old_ones_leave_the_disk() {
    let ajatus = Ajatus::new();
    let up = ajatus.up();
    let (old, new) = ("My secret recipe is cloudberry vinegar.", "I like pancakes on Thursdays.");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (receipt, path) = runtime.block_on(async {
        let http = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", up.address);
        let call = async |request: reqwest::RequestBuilder, status: u16| -> Value {
            let answer = request.send().await.expect("an answer");
            let (got, text) = (answer.status(), answer.text().await.expect("a body"));
            assert_eq!(got, status, "{text}");
            serde_json::from_str(&text).unwrap_or(Value::Null)
        };
        let person = json!({ "login": "aino", "password": "correct horse battery", "transport": "body" });
        call(http.post(url("/v1/accounts")).json(&json!({ "login": "aino", "password": "correct horse battery" })), 201).await;
        let token = call(http.post(url("/v1/sessions")).json(&person), 201).await["access_token"].as_str().expect("a token").to_owned();
        let conversation = call(http.post(url("/v1/conversations")).bearer_auth(&token).json(&json!({})), 201).await["id"].as_str().expect("an id").to_owned();
        let messages = url(&format!("/v1/conversations/{conversation}/messages"));
        let reply = call(http.post(&messages).bearer_auth(&token).header("accept", "application/json").json(&json!({ "text": old })), 201).await;
        let search = async |after: &str, words: &str| {
            let asked = http.get(url("/v1/memories/search")).bearer_auth(&token).query(&[("q", words), ("after", after), ("limit", "50")]);
            let found = call(asked, 200).await;
            found["items"].as_array().expect("items").iter().map(|item| (item["text"].clone(), item["id"].clone(), item["role"].clone())).collect::<Vec<_>>()
        };
        let found = search(reply["receipt"].as_str().expect("a receipt"), "recipe").await;
        let (_, id, _) = found.iter().find(|(text, ..)| *text == old).expect("said").clone();
        let edited = call(http.put(format!("{messages}/{}", id.as_str().expect("an id"))).bearer_auth(&token).json(&json!({ "text": new })), 202).await;
        let found = search(edited["receipt"].as_str().expect("a receipt"), "pancakes").await;
        assert!(found.iter().any(|(text, same, role)| *text == new && *same == id && *role == "user"), "{found:?}");
        assert!(found.iter().all(|(text, ..)| *text != old), "{found:?}");

        // The write-ahead log of the running server, as it is before.
        let wal = ajatus.data().with_extension("wal").join("postgres/cluster");
        std::fs::create_dir_all(&wal).expect("made");
        assert!(Command::new("cp").arg("-a").arg(ajatus.data().join("postgres/cluster/pg_wal")).arg(&wal).status().expect("cp runs").success());
        let receipt = call(http.post(url("/v1/forgettings")).bearer_auth(&token).json(&json!({ "scope": { "kind": "replaced" } })), 201).await;
        assert_eq!((&receipt["statement"]["turns"], receipt["witnesses"].as_array().is_some_and(|all| all.len() >= 3)), (&json!(0), true), "{receipt:#}");
        let path = ajatus.file("edit.receipt", receipt.to_string().as_bytes()).display().to_string();
        assert!(search(edited["receipt"].as_str().expect("a receipt"), "pancakes").await.iter().any(|(text, ..)| *text == new), "the new words stay");
        // While it runs, and the account goes after a wrong password.
        call(http.delete(url("/v1/me")).bearer_auth(&token).json(&json!({ "password": "guessed wrong" })), 403).await;
        call(http.delete(url("/v1/me")).bearer_auth(&token).json(&json!({ "password": "correct horse battery" })), 200).await;
        call(http.get(url("/v1/me")).bearer_auth(&token), 401).await;
        call(http.post(url("/v1/sessions")).json(&person), 401).await;
        (receipt, path)
    });
    assert!(receipt["signature"].is_string());
    let (code, found) = prove(&ajatus, &ajatus.data().with_extension("wal"), &[&path], &[]);
    assert_eq!(code, Some(1), "nothing of it was in the write-ahead log: {found:#}");
    assert!(found["tiers"]["postgres wal"]["matches"].as_u64() > Some(0), "{found:#}");
    let (code, found) = prove(&ajatus, &ajatus.data(), &[&path], &[old]);
    assert_eq!((code, &found["matches"]), (Some(0), &json!(0)), "{found:#}");
    assert!(up.stop().success());
    let (code, found) = prove(&ajatus, &ajatus.data(), &[&path], &[old, new]);
    assert_eq!((code, &found["matches"]), (Some(0), &json!(0)), "{found:#}");
}
