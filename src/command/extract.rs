//! `ajatus extract`: the facts of a text, by the rules and by the chat model, with where each stands and what found it.

use std::path::PathBuf;
use std::sync::Arc;

use ajatus_facts::{Fact, RULES_VERSION, SELF, read};
use ajatus_inference::Generator;
use ajatus_inference::facts::FactsPrompt;
use ajatus_inference::structured::MissError;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};

use crate::cli::ExtractArgs;
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::{Needs, Stack};

/// Texts longer than this are not put to a model: they fit no context. The rules read them all.
const MODEL_READS_BYTES: usize = 16_384;

/// Reads facts; the model is opened for it, and nothing else.
pub(crate) async fn run(config: &Config, args: &ExtractArgs, out: &Out) -> anyhow::Result<Exit> {
    let text = text(args).await?;
    let said_at = match &args.said_at {
        None => Utc::now(),
        Some(given) => parsed(given)?,
    };
    let rules = read(&text, said_at.timestamp_micros());
    if args.rules_only {
        return show(&text, &rules, &[], None, said_at, out).await;
    }
    let (model, missed) = if text.len() > MODEL_READS_BYTES {
        (Vec::new(), Some(format!("the text has {} bytes, the model is asked about {MODEL_READS_BYTES} at most; give it in parts", text.len())))
    } else {
        let stack = Arc::new(Stack::open(config.clone(), Needs::generator(), out).await?);
        let asked = tokio::select! {
            asked = ask(stack.chat_generator(), &text, said_at) => Some(asked),
            _ = tokio::signal::ctrl_c() => None,
        };
        Stack::close(stack).await?;
        match asked {
            None => return Ok(Exit::Interrupted),
            Some(Ok(facts)) => (facts, None),
            Some(Err(miss @ MissError::Misfit { .. })) => (Vec::new(), Some(format!("the model's answer cannot be used: {miss}; a larger model may do better"))),
            Some(Err(error)) => return Err(Ended::new(Exit::Unavailable, format!("the model does not answer: {error}; --rules-only needs none"))),
        }
    };
    show(&text, &rules, &model, missed, said_at, out).await
}

async fn ask(model: Arc<dyn Generator>, text: &str, said_at: DateTime<Utc>) -> Result<Vec<Fact>, MissError> {
    FactsPrompt::built_in().read(model.as_ref(), text, said_at.timestamp_micros()).await
}

async fn text(args: &ExtractArgs) -> anyhow::Result<String> {
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => from_file(file).await?,
        (None, None) => return Err(Ended::new(Exit::Usage, "give a text, or --file FILE")),
    };
    if text.trim().is_empty() {
        return Err(Ended::new(Exit::Usage, "the text is empty"));
    }
    Ok(text)
}

async fn from_file(file: &PathBuf) -> anyhow::Result<String> {
    let unusable = |reason: String| Ended::new(Exit::Unusable, format!("{} cannot be read: {reason}", file.display()));
    let bytes = tokio::fs::read(file).await.map_err(|error| unusable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unusable(format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())))
}

/// An instant of RFC 3339, or a day, which is its noon.
fn parsed(given: &str) -> anyhow::Result<DateTime<Utc>> {
    // Days are counted where the speaker is: the offset stays in.
    let instant = DateTime::parse_from_rfc3339(given).ok().map(|at| at.naive_local().and_utc());
    let day = || given.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(12, 0, 0)).map(|noon| noon.and_utc());
    instant.or_else(day).ok_or_else(|| Ended::new(Exit::Usage, format!("--said-at {given:?} is neither a day such as 2026-03-04 nor a time such as 2026-03-04T12:00:00Z")))
}

async fn show(text: &str, rules: &[Fact], model: &[Fact], missed: Option<String>, said_at: DateTime<Utc>, out: &Out) -> anyhow::Result<Exit> {
    let exit = if missed.is_some() { Exit::Partly } else { Exit::Done };
    let all = || rules.iter().map(|fact| ("rules", fact)).chain(model.iter().map(|fact| ("model", fact)));
    if out.json() {
        let facts: Vec<Value> = all().map(|(source, fact)| document(source, fact, text)).collect();
        out.document(&json!({ "said_at": said_at, "rules": RULES_VERSION, "facts": facts, "model_error": missed })).await?;
        return Ok(exit);
    }
    for (source, fact) in all() {
        out.line(line(source, fact, text)).await;
    }
    if rules.is_empty() && model.is_empty() {
        out.line("no facts").await;
    }
    if let Some(missed) = missed {
        out.note(missed).await;
    }
    Ok(exit)
}

fn time(at_us: Option<i64>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at_us?)
}

fn document(source: &str, fact: &Fact, text: &str) -> Value {
    json!({
        "source": source, "attribute": fact.attribute, "value": fact.value, "about": fact.about, "polarity": fact.polarity, "confidence": fact.confidence,
        "valid_from": time(fact.valid_from_us), "valid_to": time(fact.valid_to_us),
        "span": { "start": fact.start, "end": fact.end, "text": text.get(fact.start..fact.end) }, "rule": fact.rule, "version": fact.version,
    })
}

/// `home = Helsinki  95 %  from 2019-01-01  by en.home.live, rules.1  0..18 "I live in Helsinki"`.
fn line(source: &str, fact: &Fact, text: &str) -> String {
    let about = if fact.about == SELF { String::new() } else { format!("{}: ", fact.about) };
    let polarity = if fact.polarity.as_str() == "holds" { String::new() } else { format!(" ({})", fact.polarity.as_str()) };
    let day = |word: &str, at_us| time(at_us).map(|at| format!("  {word} {}", at.date_naive())).unwrap_or_default();
    let (from, to) = (day("from", fact.valid_from_us), day("until", fact.valid_to_us));
    let span = text.get(fact.start..fact.end).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "{about}{} = {}{polarity}  {} %{from}{to}  by {source} {}, {}  {}..{} {span:?}",
        fact.attribute, fact.value, fact.confidence, fact.rule, fact.version, fact.start, fact.end
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_or_an_instant_where_it_was_said() {
        let at = |given: &str| parsed(given).expect("a time").to_rfc3339();
        assert_eq!(at("2026-03-04"), "2026-03-04T12:00:00+00:00");
        assert_eq!(at("2026-03-04T23:30:00+02:00"), "2026-03-04T23:30:00+00:00");
        assert!(parsed("yesterday").expect_err("no time").to_string().contains("2026-03-04"));
    }

    #[test]
    fn a_line_names_the_value_the_rule_and_the_place() {
        let text = "I moved to Oulu in 2019.";
        let facts = read(text, parsed("2026-03-04").expect("a time").timestamp_micros());
        assert_eq!(line("rules", &facts[0], text), "home = Oulu  92 %  from 2019-01-01  by rules en.home.moved, rules.1  0..23 \"I moved to Oulu in 2019\"");
    }
}
