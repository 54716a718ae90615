//! `ajatus profile show|why|why-not|correct|pin|mute|forget|edits|undo`.

use std::time::Duration;

use ajatus_events::{InteractionId, ProfileEdit, ProfileOp, Receipt, UserId};
use ajatus_memory::profile::{self, AsOf, Cause, HeldFact, NotAPoint, Profile, View};
use ajatus_serving::edits::{append_edit, take_back};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cli::{FactArgs, ProfileCommand, ProfileShowArgs};
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::Stack;

/// Longest wait for a change to be in the views.
const WAIT: Duration = Duration::from_secs(30);
/// Interests, and used memories, shown to people.
const SHOWN: usize = 12;

/// Runs the command.
pub(crate) async fn run(stack: &Stack, command: &ProfileCommand, out: &Out) -> anyhow::Result<Exit> {
    match command {
        ProfileCommand::Show(args) => show(stack, args, out).await,
        ProfileCommand::Why { whose, id } => why(stack, &whose.user, id, out).await,
        ProfileCommand::WhyNot { whose, value, attribute } => why_not(stack, &whose.user, value, attribute.as_deref(), out).await,
        ProfileCommand::Correct { fact, instead } => change(stack, ProfileOp::Correct, fact, instead.clone(), out).await,
        ProfileCommand::Pin(fact) => change(stack, ProfileOp::Pin, fact, None, out).await,
        ProfileCommand::Mute(fact) => change(stack, ProfileOp::Mute, fact, None, out).await,
        ProfileCommand::Forget(fact) => change(stack, ProfileOp::Forget, fact, None, out).await,
        ProfileCommand::Edits(whose) => edits(stack, &whose.user, out).await,
        ProfileCommand::Undo { whose, id } => {
            let user = stack.account(&whose.user).await?;
            let held = stack.database().profile_edits(stack.keys(), user).await?;
            if !held.iter().any(|edit| edit.id.0 == *id) {
                return Err(Ended::new(Exit::Usage, format!("{} has no change {id}; `ajatus profile edits --user {}` lists them", whose.user, whose.user)));
            }
            let receipt = take_back(&stack.log(), stack.keys(), user, InteractionId(*id)).await.map_err(problem)?;
            settled(stack, &receipt).await?;
            if out.json() { out.document(&json!({ "id": id, "receipt": receipt })).await? } else { out.line(format!("taken back: {id}")).await }
            Ok(Exit::Done)
        }
    }
}

async fn show(stack: &Stack, args: &ProfileShowArgs, out: &Out) -> anyhow::Result<Exit> {
    let user = stack.account(&args.whose.user).await?;
    if !(args.half_life > 0.0 && args.half_life.is_finite()) {
        return Err(Ended::new(Exit::Usage, format!("--half-life is {}, but it must be above 0 days", args.half_life)));
    }
    if let Some(after) = &args.after {
        let receipt: Receipt = after.parse().map_err(|error| Ended::new(Exit::Usage, format!("--after: {error}")))?;
        settled(stack, &receipt).await?;
    }
    let view = View { half_life_days: args.half_life, ..View::at(Utc::now()) };
    let (database, keys) = (stack.database(), stack.keys());
    let held = match args.as_of.as_deref().map(as_of).transpose()? {
        Some(past) => past.profile(database, keys, user, view).await?,
        None => profile::read(database, keys, user, view).await?,
    };
    if out.json() {
        out.document(&document(&held, args.history)).await?;
        return Ok(Exit::Done);
    }
    if held.facts.is_empty() && held.habits.is_none() {
        out.line(format!("nothing is known of {} yet", args.whose.user)).await;
        return Ok(Exit::Done);
    }
    let mut person = String::new();
    for fact in held.facts.iter().filter(|fact| args.history || fact.shown()) {
        if person != fact.entry.about {
            person.clone_from(&fact.entry.about);
            let title = if person == "self" { args.whose.user.clone() } else { person.clone() };
            out.line(title).await;
        }
        out.line(format!("  {}", line(fact))).await;
    }
    if held.interests.iter().any(|interest| interest.weight >= 0.05) {
        let words: Vec<String> = held.interests.iter().filter(|interest| interest.weight >= 0.05).take(SHOWN).map(|interest| format!("{} {:.1}", interest.topic, interest.weight)).collect();
        out.line(format!("interests (mentions, halved every {} days): {}", args.half_life, words.join(", "))).await;
    }
    if let Some(habits) = &held.habits {
        #[expect(clippy::cast_precision_loss, reason = "turns of one user")]
        let words = habits.words as f64 / habits.turns.max(1) as f64;
        let most = |counts: &[u64]| counts.iter().enumerate().max_by_key(|(at, count)| (**count, std::cmp::Reverse(*at))).map_or(0, |(at, _)| at);
        let day = ["Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays"][most(&habits.weekdays)];
        out.line(format!(
            "writes {words:.0} words at a time, mostly on {day} and around {}:00 UTC; {} turns, {} Finnish, {} English, {} with a question",
            most(&habits.hours), habits.turns, habits.finnish, habits.english, habits.questions
        ))
        .await;
    }
    if let Some(most) = held.uses.first() {
        out.line(format!("{} memories were used in answers, turn {} most often ({} times)", held.uses.len(), most.turn, most.times)).await;
    }
    Ok(Exit::Done)
}

/// One fact on a line.
fn line(fact: &HeldFact) -> String {
    let entry = &fact.entry;
    let day = |us: i64| DateTime::from_timestamp_micros(us).unwrap_or_default().format("%Y-%m-%d").to_string();
    let mut line = format!("{}  {} = {}", fact.id.chars().take(8).collect::<String>(), entry.attribute, entry.value);
    line += &format!("  {} %", entry.confidence);
    if let Some(from) = entry.from_us {
        line += &format!("  from {}", day(from));
    }
    if let Some(to) = entry.to_us {
        line += &format!("  until {}", day(to));
    }
    if fact.state != profile::State::Current {
        line += &format!("  ({})", fact.state.as_str());
    }
    if let Some(cause) = &entry.stale {
        line += &format!("  {} changed on {}", cause.why, day(cause.at_us));
    }
    if let Some(Cause { why, value, .. }) = &entry.ended_by {
        line += &format!("  {why}{}", value.as_ref().map(|value| format!(" by {value}")).unwrap_or_default());
    }
    for (set, word) in [(entry.flags.pinned, "pinned"), (entry.flags.muted, "muted")] {
        if set {
            line += &format!("  {word}");
        }
    }
    line += &format!("  [{} {}]", entry.sources.len(), if entry.sources.len() == 1 { "source" } else { "sources" });
    line
}

async fn why(stack: &Stack, name: &str, id: &str, out: &Out) -> anyhow::Result<Exit> {
    let user = stack.account(name).await?;
    let held = profile::read(stack.database(), stack.keys(), user, View::at(Utc::now())).await?;
    let found: Vec<&HeldFact> = held.facts.iter().filter(|fact| !id.is_empty() && fact.id.starts_with(id)).collect();
    let fact = match found.as_slice() {
        [fact] => *fact,
        [] => return Err(Ended::new(Exit::Usage, format!("{name} has no fact {id}; `ajatus profile show --history --user {name}` lists them"))),
        many => return Err(Ended::new(Exit::Usage, format!("{} facts begin with {id}; write more of it", many.len()))),
    };
    let said = profile::why(stack.database(), stack.keys(), user, fact).await?;
    if out.json() {
        let sources: Vec<Value> = said
            .iter()
            .map(|said| json!({ "turn": said.source.turn, "said_at": said.occurred_at, "confidence": said.source.confidence, "rule": said.source.rule, "version": said.source.version, "words": said.words, "text": said.text }))
            .collect();
        let mut document = fact_document(fact);
        document["sources"] = json!(sources);
        out.document(&document).await?;
        return Ok(Exit::Done);
    }
    out.line(line(fact)).await;
    for said in said {
        let words = said.words.map_or_else(|| "your own change".to_owned(), |words| format!("\"{words}\""));
        let source = &said.source;
        out.line(format!("  {}  {words}  (turn {}, {} {}, {} %)", said.occurred_at.format("%Y-%m-%d"), source.turn, source.rule, source.version, source.confidence)).await;
    }
    Ok(Exit::Done)
}

async fn why_not(stack: &Stack, name: &str, value: &str, attribute: Option<&str>, out: &Out) -> anyhow::Result<Exit> {
    let user = stack.account(name).await?;
    let held = profile::read(stack.database(), stack.keys(), user, View::at(Utc::now())).await?;
    let found = profile::why_not(stack.database(), stack.keys(), user, &held, value, attribute).await?;
    if out.json() {
        let facts = |facts: &[HeldFact]| facts.iter().map(fact_document).collect::<Vec<_>>();
        let unread: Vec<Value> = found.unread.iter().map(|(turn, at, text)| json!({ "turn": turn, "said_at": at, "text": text })).collect();
        out.document(&json!({ "current": facts(&found.current), "dropped": facts(&found.dropped), "unread": unread })).await?;
        return Ok(Exit::Done);
    }
    for fact in &found.current {
        out.line(format!("it is there: {}", line(fact))).await;
    }
    for fact in &found.dropped {
        let by = fact.entry.ended_by.as_ref().map(|cause| format!(", by turn {}", cause.turn)).unwrap_or_default();
        out.line(format!("dropped: {}{by}", line(fact))).await;
    }
    for (turn, at, text) in &found.unread {
        out.line(format!("no rule reads it in turn {turn} of {}: {}", at.format("%Y-%m-%d"), text.replace('\n', " "))).await;
    }
    if found == profile::WhyNot::default() {
        out.line(format!("{name} never said {value:?}, as far as is remembered")).await;
    }
    Ok(Exit::Done)
}

async fn change(stack: &Stack, op: ProfileOp, fact: &FactArgs, instead: Option<String>, out: &Out) -> anyhow::Result<Exit> {
    let user = stack.account(&fact.whose.user).await?;
    let edit = ProfileEdit { op, attribute: fact.attribute.clone(), about: fact.about.clone(), value: fact.value.clone(), instead };
    let (id, receipt) = append_edit(&stack.log(), stack.keys(), user, edit, Utc::now()).await.map_err(problem)?;
    settled(stack, &receipt).await?;
    if out.json() {
        out.document(&json!({ "id": id, "receipt": receipt })).await?;
    } else {
        out.line(format!("done; `ajatus profile undo --user {} {id}` takes it back", fact.whose.user)).await;
    }
    Ok(Exit::Done)
}

async fn edits(stack: &Stack, name: &str, out: &Out) -> anyhow::Result<Exit> {
    let user: UserId = stack.account(name).await?;
    let held = stack.database().profile_edits(stack.keys(), user).await?;
    if out.json() {
        let items: Vec<Value> = held.iter().map(|held| json!({ "id": held.id, "made_at": held.occurred_at, "edit": held.edit })).collect();
        out.document(&json!({ "items": items })).await?;
        return Ok(Exit::Done);
    }
    if held.is_empty() {
        out.line(format!("{name} changed nothing")).await;
    }
    for held in held {
        let edit = &held.edit;
        let op = json!(edit.op);
        let value = edit.value.as_deref().unwrap_or("(any)");
        let instead = edit.instead.as_ref().map(|instead| format!(", right is {instead}")).unwrap_or_default();
        out.line(format!("{}  {}  {} {} {} = {value}{instead}", held.id, held.occurred_at.format("%Y-%m-%d"), op.as_str().unwrap_or_default(), edit.about, edit.attribute)).await;
    }
    Ok(Exit::Done)
}

pub(super) fn as_of(text: &str) -> anyhow::Result<AsOf> {
    text.parse().map_err(|error: NotAPoint| Ended::new(Exit::Usage, format!("--as-of: {error}")))
}

async fn settled(stack: &Stack, receipt: &Receipt) -> anyhow::Result<()> {
    let waited = stack.index().wait_for(receipt, WAIT).await;
    waited.map_err(|behind| Ended::new(Exit::Unavailable, format!("{behind}; the change is on the log and will come")))?;
    Ok(())
}

fn problem(problem: ajatus_serving::Problem) -> anyhow::Error {
    let exit = if problem.status < 500 { Exit::Usage } else { Exit::Unavailable };
    Ended::new(exit, problem.detail)
}

fn fact_document(fact: &HeldFact) -> Value {
    let mut document = json!(fact.entry);
    document["id"] = json!(fact.id);
    document["state"] = json!(fact.state);
    document["epoch"] = json!(fact.epoch);
    document
}

fn document(held: &Profile, history: bool) -> Value {
    json!({
        "epoch": held.epoch,
        "facts": held.facts.iter().filter(|fact| history || fact.shown()).map(fact_document).collect::<Vec<_>>(),
        "interests": held.interests.iter().map(|held| json!({ "topic": held.topic, "weight": held.weight, "mentions": held.mentions, "days": held.days, "last": held.last })).collect::<Vec<_>>(),
        "habits": held.habits,
        "most_used": held.uses.iter().map(|held| json!({ "turn": held.turn, "times": held.times, "last": held.last })).collect::<Vec<_>>(),
    })
}
