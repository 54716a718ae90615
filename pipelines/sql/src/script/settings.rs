//! The `with (…)` of a statement: read, checked against the declared options, completed with their defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Name};
use super::options::{CONNECTORS, Fallback, Kind, OPTIONS, Scope, Spec};
use super::table::Direction;
use super::value::{Checked, Written, check};
use crate::diagnostic::{Code, Diagnostic, Span, closest, shorten};

/// One `name = value` as written.
pub(super) struct Given {
    name: Name,
    value: Written,
    span: Span,
}

/// Checked options. A getter gives an empty value for an option that was refused; the refusal is already reported.
pub(super) struct Settings {
    values: BTreeMap<&'static str, (Checked, Option<Span>)>,
    /// What the table is used for; none for models, or if it could not be told.
    pub(super) direction: Option<Direction>,
}

/// A text with each `${NAME}` replaced by its value, and each `${NAME:-default}` by its value or the default; the name that has neither
/// otherwise.
pub(crate) fn filled(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((named, after)) = after.split_once('}') else { break };
        let (name, otherwise) = named.split_once(":-").map_or((named, None), |(name, otherwise)| (name, Some(otherwise)));
        out.push_str(before);
        out.push_str(values.get(name).map(String::as_str).or(otherwise).ok_or_else(|| name.to_owned())?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Puts values in the place of `${NAME}` in what was given; a name without a value is an error.
pub(super) fn fill(given: &mut [Given], values: &BTreeMap<String, String>, errors: &mut Vec<Diagnostic>) {
    for given in given {
        let Written::Text(text) = &mut given.value else { continue };
        match filled(text, values) {
            Ok(value) => *text = value,
            Err(name) => {
                let message = format!("\"{}\" names ${{{name}}}, which has no value", given.name.text);
                let hint = format!("give it one with --set {name}=…, or a default: ${{{name}:-…}}");
                errors.push(Diagnostic::new(Code::BadOptionValue, message).at(given.span).hint(hint));
            }
        }
    }
}

/// Reads `(name = value, …)`.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Vec<Given>, Diagnostic> {
    cursor.expect_token(&Token::LParen)?;
    let mut given = Vec::new();
    if cursor.accept_token(&Token::RParen) {
        return Ok(given);
    }
    loop {
        let name = option_name(cursor)?;
        cursor.expect_token(&Token::Eq)?;
        let (value, span) = option_value(cursor)?;
        given.push(Given { name, value, span });
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    if cursor.accept_token(&Token::RParen) { Ok(given) } else { Err(cursor.unexpected("`,` or `)`")) }
}

/// Reads a name, also one with dots or in single quotes, as Arroyo and Flink write them.
fn option_name(cursor: &mut Cursor<'_>) -> Result<Name, Diagnostic> {
    let span = cursor.here();
    if let Token::SingleQuotedString(text) = cursor.peek(0) {
        let text = text.to_ascii_lowercase();
        cursor.skip(1);
        return Ok(Name { text, span });
    }
    let mut text = String::new();
    loop {
        match cursor.peek(0) {
            Token::Word(word) => text.push_str(&word.value.to_ascii_lowercase()),
            _ => return Err(cursor.unexpected("an option's name")),
        }
        cursor.skip(1);
        if !cursor.accept_token(&Token::Period) {
            return Ok(Name { text, span: span.to(cursor.last()) });
        }
        text.push('.');
    }
}

fn option_value(cursor: &mut Cursor<'_>) -> Result<(Written, Span), Diagnostic> {
    let span = cursor.here();
    let minus = cursor.accept_token(&Token::Minus);
    let value = match cursor.peek(0) {
        Token::Number(number, _) => Written::Number(if minus { format!("-{number}") } else { number.clone() }),
        _ if minus => return Err(cursor.unexpected("a number")),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Written::Text(text.clone()),
        Token::DollarQuotedString(text) => Written::Text(text.value.clone()),
        Token::Word(word) if word.value.eq_ignore_ascii_case("true") => Written::Flag(true),
        Token::Word(word) if word.value.eq_ignore_ascii_case("false") => Written::Flag(false),
        Token::Word(word) => {
            let hint = format!("write '{}'", word.value);
            return Err(cursor.unexpected("a string, a number, true or false").hint(hint));
        }
        _ => return Err(cursor.unexpected("a string, a number, true or false")),
    };
    cursor.skip(1);
    Ok((value, span.to(cursor.last())))
}

/// Checks what was given and adds defaults; `owner` is the name of the table or model.
pub(super) fn settle(scope: Scope, given: Vec<Given>, owner: &Name, errors: &mut Vec<Diagnostic>) -> Settings {
    let mut settings = Settings { values: BTreeMap::new(), direction: None };
    let mut seen: Vec<(&'static str, Span)> = Vec::new();
    let mut known = Vec::new();
    let mut strange = Vec::new();
    for given in given {
        let Some(name) = OPTIONS.iter().find(|spec| spec.answers_to(scope, &given.name.text)).map(|spec| spec.name) else {
            strange.push(given);
            continue;
        };
        if seen.iter().any(|(other, _)| *other == name) {
            let message = format!("option \"{name}\" is given twice");
            errors.push(Diagnostic::new(Code::DuplicateOption, message).at(given.name.span).hint("leave one of them out"));
        } else {
            seen.push((name, given.name.span));
            known.push((name, given));
        }
    }
    let deciding: [&str; 2] = if scope == Scope::Table { ["connector", "type"] } else { ["task", "provider"] };
    let tags = settings.decide(scope, deciding, &known, owner, errors);
    let mut meant = Vec::new();
    for given in strange {
        let names = names(scope, tags.as_deref(), settings.direction);
        meant.extend(closest(&given.name.text, names.iter().copied()));
        errors.push(unknown(&given, tags.as_deref(), settings.direction, names));
    }
    let Some(tags) = tags else { return settings };
    for (name, given) in known.iter().filter(|(name, _)| !deciding.contains(name)) {
        match applying(scope, &tags, settings.direction).find(|spec| spec.name == *name) {
            Some(spec) => settings.set(spec, given, errors),
            None => errors.push(not_here(scope, name, given, &place(&tags, settings.direction))),
        }
    }
    let missing = applying(scope, &tags, settings.direction).filter(|spec| !seen.iter().any(|(name, _)| *name == spec.name));
    for spec in missing.collect::<Vec<_>>() {
        match spec.fallback {
            Fallback::Value(value) => {
                let value = check(spec.kind, value).expect("a declared default keeps its own bounds");
                settings.values.insert(spec.name, (value, None));
            }
            Fallback::Required if !deciding.contains(&spec.name) && !meant.contains(&spec.name) => {
                let message = format!("{} needs the option \"{}\"", place(&tags, settings.direction), spec.name);
                let hint = format!("add {} = …: {}", spec.name, spec.doc);
                errors.push(Diagnostic::new(Code::MissingOption, message).at(owner.span).hint(hint));
            }
            Fallback::Required | Fallback::Derived(_) => {}
        }
    }
    settings
}

impl Settings {
    /// Settles the two options on which all others depend; gives their words, or nothing if they are wrong.
    fn decide(
        &mut self,
        scope: Scope,
        deciding: [&'static str; 2],
        known: &[(&'static str, Given)],
        owner: &Name,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Vec<&'static str>> {
        let before = errors.len();
        for name in deciding {
            let spec = OPTIONS.iter().find(|spec| spec.answers_to(scope, name)).expect("the deciding options are declared");
            match known.iter().find(|(given, _)| *given == name) {
                Some((_, given)) => self.set(spec, given, errors),
                None if matches!(spec.fallback, Fallback::Required) => {
                    let message = format!("\"{}\" needs the option \"{name}\"", owner.text);
                    let hint = format!("add with ({name} = …), one of {}", spec.kind.describe());
                    errors.push(Diagnostic::new(Code::MissingOption, message).at(owner.span).hint(hint));
                }
                None => {}
            }
        }
        if errors.len() > before {
            return None;
        }
        let [first, second] = deciding.map(|name| self.choice(name));
        if scope == Scope::Model {
            return Some(vec![first, second]);
        }
        self.direction = direction(first, second, self.span("type"), owner, errors);
        self.direction.map(|_| vec![first])
    }

    fn set(&mut self, spec: &Spec, given: &Given, errors: &mut Vec<Diagnostic>) {
        match given.value.check(spec.kind) {
            Ok(value) => {
                self.values.insert(spec.name, (value, Some(given.span)));
            }
            Err(near) => {
                let value = shorten(given.value.text());
                let (code, message) = if spec.name == "connector" {
                    (Code::UnknownConnector, format!("unknown connector \"{value}\""))
                } else {
                    let message = format!("\"{}\" cannot be \"{value}\"", spec.name);
                    (Code::BadOptionValue, message)
                };
                let hint = match near {
                    Some(near) => format!("did you mean '{near}'?"),
                    None if matches!(spec.kind, Kind::Choice(_)) => format!("one of {}", spec.kind.describe()),
                    None => format!("it is {}", spec.kind.describe()),
                };
                errors.push(Diagnostic::new(code, message).at(given.span).hint(hint));
            }
        }
    }

    /// Gives where an option's value stands, if it was given.
    pub(super) fn span(&self, name: &str) -> Option<Span> {
        self.values.get(name).and_then(|(_, span)| *span)
    }

    /// Gives a text, if it was given.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name) {
            Some((Checked::Text(text), _)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Gives a word of a choice.
    pub(super) fn choice(&self, name: &str) -> &'static str {
        match self.values.get(name) {
            Some((Checked::Choice(word), _)) => word,
            _ => "",
        }
    }

    /// Gives a whole number.
    pub(super) fn count(&self, name: &str) -> usize {
        match self.values.get(name) {
            Some((Checked::Count(count), _)) => usize::try_from(*count).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// Gives a number.
    pub(super) fn number(&self, name: &str) -> f64 {
        match self.values.get(name) {
            Some((Checked::Number(number), _)) => *number,
            _ => 0.0,
        }
    }

    /// Gives a time.
    pub(super) fn time(&self, name: &str) -> Duration {
        match self.values.get(name) {
            Some((Checked::Time(time), _)) => *time,
            _ => Duration::ZERO,
        }
    }

    /// Gives a flag.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some((Checked::Flag(true), _)))
    }

    /// Gives an ASCII character.
    pub(super) fn letter(&self, name: &str) -> u8 {
        match self.values.get(name) {
            Some((Checked::Letter(letter), _)) => *letter,
            _ => b',',
        }
    }
}

fn applying<'t>(scope: Scope, tags: &'t [&'static str], side: Option<Direction>) -> impl Iterator<Item = &'static Spec> + 't {
    OPTIONS.iter().filter(move |spec| spec.scope == scope && spec.applies(tags, side))
}

fn direction(
    connector: &'static str,
    given: &'static str,
    span: Option<Span>,
    owner: &Name,
    errors: &mut Vec<Diagnostic>,
) -> Option<Direction> {
    let readable = CONNECTORS.iter().any(|(name, readable, _)| *name == connector && *readable);
    match (given, readable) {
        ("sink", _) | ("", false) => Some(Direction::Sink),
        ("source", true) => Some(Direction::Source),
        ("source", false) => {
            let message = format!("connector \"{connector}\" cannot be read");
            let found = Diagnostic::new(Code::WrongDirection, message).at(span);
            errors.push(found.hint("it can only be written: type = 'sink'"));
            None
        }
        _ => {
            let message = format!("\"{}\" needs the option \"type\"", owner.text);
            let found = Diagnostic::new(Code::MissingOption, message).at(owner.span);
            errors.push(found.hint("add type = 'source' to read from it, or type = 'sink' to write to it"));
            None
        }
    }
}

/// Gives the options that can be meant.
fn names(scope: Scope, tags: Option<&[&'static str]>, side: Option<Direction>) -> Vec<&'static str> {
    match tags {
        Some(tags) => applying(scope, tags, side).map(|spec| spec.name).collect(),
        None => OPTIONS.iter().filter(|spec| spec.scope == scope).map(|spec| spec.name).collect(),
    }
}

fn unknown(given: &Given, tags: Option<&[&'static str]>, side: Option<Direction>, names: Vec<&str>) -> Diagnostic {
    let message = format!("unknown option \"{}\"", shorten(&given.name.text));
    let found = Diagnostic::new(Code::UnknownOption, message).at(given.name.span);
    let listed = match tags {
        Some(tags) => found.hint(format!("options of {} are {}", place(tags, side), names.join(", "))),
        None => found,
    };
    listed.suggest(&given.name.text, names)
}

fn not_here(scope: Scope, name: &str, given: &Given, place: &str) -> Diagnostic {
    let readers: Vec<String> = OPTIONS.iter().filter(|spec| spec.answers_to(scope, name)).map(Spec::readers).collect();
    let message = format!("option \"{name}\" is not read by {place}");
    let readers = readers.join(" and ");
    Diagnostic::new(Code::OptionNotHere, message).at(given.name.span).hint(format!("it is read by {readers}"))
}

/// Names what the options belong to: "a kafka source", "a model for embedding by candle".
fn place(tags: &[&'static str], side: Option<Direction>) -> String {
    match side {
        Some(side) => format!("a {} {side}", tags.join(" ")),
        None => format!("a model for {}", tags.join(" by ")),
    }
}
