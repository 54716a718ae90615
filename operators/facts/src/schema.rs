//! JSON schemas of extractions: the part of the language that answers are held to.
//!
//! Known: `type` (a word or a list of words), `properties`, `required`, `additionalProperties` (true or false), `items` (one schema),
//! `enum`, `const`, `minLength`, `maxLength` (in characters), `minimum`, `maximum`, `minItems`, `maxItems`; and, read by people and models
//! only, `$schema`, `$id`, `title`, `description`, `default`, `examples`. Any other word is refused when the file is checked: a rule that
//! nobody would hold an answer to must not look as if somebody did.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Words that say something about a document, but forbid none.
const WORDS: [&str; 6] = ["$schema", "$id", "title", "description", "default", "examples"];
/// Words that forbid documents.
const RULES: [&str; 13] = [
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems",
];
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
/// Levels of a schema at most.
const DEPTH: usize = 32;

/// Refuses a schema that says more than is held, naming the place.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn check(schema: &Value) -> Result<(), String> {
    checked(schema, "the schema", DEPTH)
}

fn checked(schema: &Value, place: &str, depth: usize) -> Result<(), String> {
    let Value::Object(rules) = schema else { return Err(format!("{place} is not an object")) };
    let Some(depth) = depth.checked_sub(1) else { return Err(format!("the schema has more than {DEPTH} levels")) };
    for (word, value) in rules {
        let wrong = |must: &str| Err(format!("{word:?} of {place} must be {must}"));
        match word.as_str() {
            "type" => {
                let words = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
                if words.is_empty() || !words.iter().all(|word| word.as_str().is_some_and(|word| TYPES.contains(&word))) {
                    return wrong(&format!("one of {}, or a list of them", TYPES.join(", ")));
                }
            }
            "properties" => {
                let Value::Object(fields) = value else { return wrong("an object of schemas") };
                for (name, field) in fields {
                    checked(field, &format!("{name:?}"), depth)?;
                }
            }
            "required" => {
                let Some(names) = value.as_array() else { return wrong("a list of names") };
                let known = rules.get("properties").and_then(Value::as_object);
                for name in names {
                    let Some(name) = name.as_str() else { return wrong("a list of names") };
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        return Err(format!("{place} requires {name:?}, which is not among its properties"));
                    }
                }
            }
            "additionalProperties" if !value.is_boolean() => return wrong("true or false"),
            "items" => checked(value, &format!("the items of {place}"), depth)?,
            "enum" if value.as_array().is_none_or(Vec::is_empty) => return wrong("a list of values"),
            "minLength" | "maxLength" | "minItems" | "maxItems" if value.as_u64().is_none() => return wrong("a whole number from 0"),
            "minimum" | "maximum" if value.as_f64().is_none() => return wrong("a number"),
            known if RULES.contains(&known) || WORDS.contains(&known) => {}
            other => return Err(format!("{place} says {other:?}, which answers are not held to; known are {}", RULES.join(", "))),
        }
    }
    Ok(())
}

/// Says in what a document does not fit a schema that [`check`] lets pass; `None` if it fits.
#[must_use]
pub fn misfit(schema: &Value, document: &Value) -> Option<String> {
    at(schema, document, &mut "the answer".to_owned())
}

fn at(schema: &Value, value: &Value, place: &mut String) -> Option<String> {
    let rules = schema.as_object()?;
    if let Some(wanted) = rules.get("type") {
        let words: Vec<&str> = wanted.as_array().map_or_else(|| vec![wanted], |list| list.iter().collect()).into_iter().filter_map(Value::as_str).collect();
        if !words.iter().any(|word| is(value, word)) {
            return Some(format!("{place} must be {}, not {}", words.join(" or "), kind(value)));
        }
    }
    if let Some(wanted) = rules.get("const").filter(|wanted| !same(wanted, value)) {
        return Some(format!("{place} must be {wanted}"));
    }
    if let Some(Value::Array(wanted)) = rules.get("enum")
        && !wanted.iter().any(|wanted| same(wanted, value))
    {
        let list: Vec<String> = wanted.iter().map(Value::to_string).collect();
        return Some(format!("{place} must be one of {}", list.join(", ")));
    }
    let bound = |word: &str| rules.get(word).and_then(Value::as_u64);
    match value {
        Value::Object(fields) => object(rules, fields, place),
        Value::Array(items) => {
            if let Some(misfit) = amount(items.len(), bound("minItems"), bound("maxItems"), "items", place) {
                return Some(misfit);
            }
            let schema = rules.get("items")?;
            items.iter().enumerate().find_map(|(number, item)| within(place, &format!("[{number}]"), |place| at(schema, item, place)))
        }
        Value::String(text) => amount(text.chars().count(), bound("minLength"), bound("maxLength"), "characters", place),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let least = rules.get("minimum").filter(|least| least.as_f64().is_some_and(|least| number < least));
            let most = rules.get("maximum").filter(|most| most.as_f64().is_some_and(|most| number > most));
            least.map(|least| format!("{place} must be {least} or more")).or_else(|| most.map(|most| format!("{place} must be {most} or less")))
        }
        _ => None,
    }
}

fn object(rules: &Map<String, Value>, fields: &Map<String, Value>, place: &mut String) -> Option<String> {
    let required = rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required {
        if !fields.contains_key(name) {
            return Some(format!("{place} lacks {name:?}"));
        }
    }
    let known = rules.get("properties").and_then(Value::as_object);
    for (name, field) in fields {
        match known.and_then(|known| known.get(name)) {
            Some(schema) => {
                if let Some(misfit) = within(place, &format!(".{name}"), |place| at(schema, field, place)) {
                    return Some(misfit);
                }
            }
            None if rules.get("additionalProperties") == Some(&Value::Bool(false)) => return Some(format!("{place} must not have {name:?}")),
            None => {}
        }
    }
    None
}

fn within(place: &mut String, step: &str, look: impl FnOnce(&mut String) -> Option<String>) -> Option<String> {
    let before = place.len();
    // Writing to a string cannot fail.
    write!(place, "{step}").ok();
    let found = look(place);
    place.truncate(before);
    found
}

fn amount(count: usize, least: Option<u64>, most: Option<u64>, of: &str, place: &str) -> Option<String> {
    let count = count as u64;
    let few = least.filter(|least| count < *least).map(|least| format!("{place} must have at least {least} {of}, not {count}"));
    few.or_else(|| most.filter(|most| count > *most).map(|most| format!("{place} must have at most {most} {of}, not {count}")))
}

fn is(value: &Value, word: &str) -> bool {
    match word {
        // 2.0 is a whole number too.
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        other => kind(value) == other,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether two values are one: 1 and 1.0 are.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64() && !(one.is_i64() && other.is_i64()),
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mood() -> Value {
        json!({
            "type": "object",
            "properties": {
                "mood": { "type": "string", "enum": ["good", "bad"], "description": "how it sounds" },
                "score": { "type": "integer", "minimum": 0, "maximum": 10 },
                "tags": { "type": "array", "items": { "type": "string", "minLength": 1, "maxLength": 4 }, "maxItems": 2 },
                "note": { "type": ["string", "null"] },
                "version": { "const": 1 }
            },
            "required": ["mood"],
            "additionalProperties": false
        })
    }

    #[test]
    fn documents_that_fit_pass() {
        check(&mood()).expect("a schema of the known part");
        for document in [
            json!({ "mood": "good" }),
            json!({ "mood": "bad", "score": 10, "tags": ["a", "yöyö"], "note": null, "version": 1.0 }),
            json!({ "mood": "bad", "score": 2.0, "tags": [], "note": "" }),
        ] {
            assert_eq!(misfit(&mood(), &document), None, "{document}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        for (document, said) in [
            (json!([]), "the answer must be object, not array"),
            (json!({}), "the answer lacks \"mood\""),
            (json!({ "mood": "fine" }), "the answer.mood must be one of \"good\", \"bad\""),
            (json!({ "mood": "good", "score": 11 }), "the answer.score must be 10 or less"),
            (json!({ "mood": "good", "score": -1 }), "the answer.score must be 0 or more"),
            (json!({ "mood": "good", "score": 1.5 }), "the answer.score must be integer, not number"),
            (json!({ "mood": "good", "tags": ["a", ""] }), "the answer.tags[1] must have at least 1 characters, not 0"),
            (json!({ "mood": "good", "tags": ["a", "b", "c"] }), "the answer.tags must have at most 2 items, not 3"),
            (json!({ "mood": "good", "note": 1 }), "the answer.note must be string or null, not number"),
            (json!({ "mood": "good", "version": 2 }), "the answer.version must be 1"),
            (json!({ "mood": "good", "other": 1 }), "the answer must not have \"other\""),
        ] {
            assert_eq!(misfit(&mood(), &document).as_deref(), Some(said), "{document}");
        }
    }

    #[test]
    fn a_schema_that_says_more_than_is_held_is_refused() {
        for (schema, said) in [
            (json!({ "type": "object", "pattern": "a" }), "\"pattern\""),
            (json!({ "properties": { "a": { "oneOf": [] } } }), "\"a\" says \"oneOf\""),
            (json!({ "items": { "$ref": "#" } }), "the items of the schema says \"$ref\""),
            (json!({ "type": "text" }), "must be one of object"),
            (json!({ "required": ["a"] }), "not among its properties"),
            (json!({ "properties": {}, "additionalProperties": {} }), "true or false"),
            (json!({ "minLength": -1 }), "a whole number"),
            (json!({ "enum": [] }), "a list of values"),
            (json!({ "properties": { "a": true } }), "not an object"),
        ] {
            let found = check(&schema).expect_err("refused");
            assert!(found.contains(said), "{found}");
        }
        let deep = (0..40).fold(json!({}), |inner, _| json!({ "items": inner }));
        assert!(check(&deep).expect_err("refused").contains("levels"));
    }
}
