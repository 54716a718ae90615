//! A setting as others take it: a line of an SQL file, keys of the configuration.

use std::fmt::Write as _;

/// Doubles the quotes of a text, as SQL wants it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name that SQL takes without quotes: small letters, digits, underscores, a letter first.
fn identifier(name: &str) -> String {
    let mut out: String = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' }).collect();
    if !out.starts_with(|first: char| first.is_ascii_lowercase()) {
        out.insert_str(0, "m_");
    }
    out
}

/// How an embedding model is batched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Batching {
    pub(super) batch_tokens: u32,
    pub(super) batch_rows: u32,
    pub(super) delay_ms: u64,
    pub(super) in_flight: u16,
    /// Threads of the model, if they were chosen.
    pub(super) threads: Option<u16>,
}

/// The `create model` line of an embedding model.
pub(super) fn embedding_sql(name: &str, provider: &str, dimensions: usize, of: &Batching) -> String {
    format!(
        "create model {} with (task = 'embedding', provider = '{provider}', name = {}, dimensions = {dimensions}, max_batch_tokens = {}, max_batch_rows = {}, max_delay = '{} ms', max_in_flight = {});\n",
        identifier(name),
        quoted(name),
        of.batch_tokens,
        of.batch_rows,
        of.delay_ms,
        of.in_flight
    )
}

/// The keys of `ajatus.toml`.
pub(super) fn embedding_toml(of: &Batching) -> String {
    let mut out = format!(
        "[batch]\nmax_batch_tokens = {}\nmax_batch_rows = {}\nmax_delay_ms = {}\nmax_in_flight = {}\n",
        of.batch_tokens, of.batch_rows, of.delay_ms, of.in_flight
    );
    if let Some(threads) = of.threads {
        // Writing to a string cannot fail.
        write!(out, "\n# Beside the other keys of the model:\n# [models.embedding]\n# threads = {threads}\n").ok();
    }
    out
}

/// Answers of one batch that a pipeline lets a model write at once.
const AT_ONCE: u16 = 4;

/// The `create model` line of a chat model that writes so many answers at once.
pub(super) fn generation_sql(name: &str, provider: &str, max_tokens: u32, at_once: u16) -> String {
    let (rows, in_flight) = (at_once.min(AT_ONCE), at_once.div_ceil(AT_ONCE));
    format!(
        "create model {} with (task = 'generation', provider = '{provider}', name = {}, max_tokens = {max_tokens}, max_batch_rows = {rows}, max_in_flight = {in_flight});\n",
        identifier(name),
        quoted(name)
    )
}

/// The keys of `ajatus.toml`.
pub(super) fn generation_toml(max_tokens: u32, threads: Option<u16>) -> String {
    let mut out = format!("[chat]\nreply_tokens = {}\n", max_tokens.min(8192));
    if let Some(threads) = threads {
        write!(out, "\n# Beside the other keys of the model:\n# [models.chat]\n# threads = {threads}\n").ok();
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ajatus_sql::diagnostic::Source;
    use ajatus_sql::script::{Statement, Task, parse};

    use super::*;
    use crate::config::Config;

    const BATCHING: Batching = Batching { batch_tokens: 2048, batch_rows: 128, delay_ms: 5, in_flight: 2, threads: Some(2) };

    fn model(sql: &str) -> ajatus_sql::script::Model {
        let script = parse(&Source::new("best.sql", sql.to_owned())).unwrap_or_else(|errors| panic!("{errors:?}"));
        match script.statements.into_iter().next() {
            Some(Statement::Model(model)) => model,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_line_is_one_that_a_pipeline_file_takes_and_means_the_setting() {
        for name in ["all-MiniLM-L6-v2", "7 o'clock"] {
            let read = model(&embedding_sql(name, "candle", 384, &BATCHING));
            assert_eq!((read.checkpoint.as_str(), read.max_batch_tokens, read.max_batch_rows), (name, 2048, 128));
            assert_eq!((read.max_delay, read.max_in_flight), (Duration::from_millis(5), 2));
        }
        let read = model(&generation_sql("SmolLM2-135M-Instruct", "candle", 64, 4));
        assert!(matches!(read.task, Task::Generation(writing) if writing.max_tokens == 64));
        assert_eq!((read.max_batch_rows, read.max_in_flight), (4, 1));
        let read = model(&generation_sql("m", "vllm", 64, 10));
        assert_eq!((read.max_batch_rows, read.max_in_flight), (4, 3));
    }

    #[test]
    fn the_keys_are_ones_that_the_configuration_takes_and_mean_the_setting() {
        let config: Config = toml::from_str(&embedding_toml(&BATCHING)).expect("keys that are known");
        let batch = config.batch;
        assert_eq!((batch.max_batch_tokens, batch.max_batch_rows, batch.max_delay_ms, batch.max_in_flight), (2048, 128, 5, 2));
        let config: Config = toml::from_str(&generation_toml(64, None)).expect("keys that are known");
        assert_eq!(config.chat.reply_tokens, 64);
    }
}
