//! Facts in a query: `facts(text, said_at)` by the rules, `grounded_facts(answer, text, said_at, prompt, model)` from a model's answer.
//!
//! Both give a list of structs for `unnest`, and the same list for the same arguments for ever: the version of the rules is part of the
//! hash of a plan that uses them.

use std::fmt::Write as _;
use std::sync::Arc;

use ajatus_facts::{Fact, RULES_VERSION, ground, read};
use arrow::array::builder::{Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::array::cast::AsArray as _;
use arrow::array::types::TimestampMicrosecondType;
use arrow::array::{Array as _, ArrayRef, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::pipeline::sql_type;

/// Who found the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Finder {
    Rules,
    Model,
}

/// The function of a finder.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct FactsFunction {
    finder: Finder,
    signature: Signature,
}

/// Both functions.
pub(crate) fn udfs() -> [ScalarUDF; 2] {
    [Finder::Rules, Finder::Model].map(|finder| {
        let signature = Signature::any(finder.arguments().len(), Volatility::Immutable);
        ScalarUDF::new_from_impl(FactsFunction { finder, signature })
    })
}

/// What a plan's hash must hold beside a statement's text, if the statement reads facts.
pub(crate) fn version(statement: &str) -> Option<&'static str> {
    statement.to_lowercase().contains("facts").then_some(RULES_VERSION)
}

impl Finder {
    fn name(self) -> &'static str {
        match self {
            Self::Rules => "facts",
            Self::Model => "grounded_facts",
        }
    }

    fn arguments(self) -> &'static [(&'static str, DataType)] {
        const SAID: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
        match self {
            Self::Rules => &[("text", DataType::Utf8), ("said_at", SAID)],
            Self::Model => &[("answer", DataType::Utf8), ("text", DataType::Utf8), ("said_at", SAID), ("prompt", DataType::Utf8), ("model", DataType::Utf8)],
        }
    }

    fn call(self) -> String {
        let arguments: Vec<&str> = self.arguments().iter().map(|(name, _)| *name).collect();
        format!("{}({})", self.name(), arguments.join(", "))
    }

    fn does(self) -> &'static str {
        match self {
            Self::Rules => "what the text says of its speaker and of people close to them, by the built-in rules, English and Finnish; days such as `tomorrow` are counted from `said_at`",
            Self::Model => "the same from a model's answer of the schema `facts.v1`, held against the text: what does not stand there is left out; `prompt` and `model` become `rule` and `version`",
        }
    }
}

fn fields() -> Fields {
    let instant = || DataType::Timestamp(TimeUnit::Microsecond, None);
    vec![
        Field::new("attribute", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
        Field::new("about", DataType::Utf8, false),
        Field::new("polarity", DataType::Utf8, false),
        Field::new("confidence", DataType::Int64, false),
        Field::new("valid_from", instant(), true),
        Field::new("valid_to", instant(), true),
        Field::new("span_start", DataType::Int64, false),
        Field::new("span_end", DataType::Int64, false),
        Field::new("rule", DataType::Utf8, false),
        Field::new("version", DataType::Utf8, false),
    ]
    .into()
}

/// The reference of these functions as markdown, for the docs.
#[must_use]
pub fn function_reference() -> String {
    let list = |columns: &mut dyn Iterator<Item = (&str, DataType)>| columns.map(|(name, data_type)| format!("`{name} {}`", sql_type(&data_type))).collect::<Vec<_>>().join(", ");
    let mut out = String::from("### Functions that give a list to unnest\n\n| function | it is given | fields of what it gives |\n|---|---|---|\n");
    for finder in [Finder::Rules, Finder::Model] {
        let given = list(&mut finder.arguments().iter().map(|(name, data_type)| (*name, data_type.clone())));
        let all = fields();
        let gives = list(&mut all.iter().map(|field| (field.name().as_str(), field.data_type().clone())));
        // Writing to a string cannot fail.
        writeln!(out, "| `{}`: {} | {given} | {gives} |", finder.call(), finder.does()).ok();
    }
    out
}

fn fits(given: &DataType, wanted: &DataType) -> bool {
    match wanted {
        DataType::Utf8 => matches!(given, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null),
        _ => matches!(given, DataType::Timestamp(..) | DataType::Null),
    }
}

impl ScalarUDFImpl for FactsFunction {
    fn name(&self) -> &str {
        self.finder.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        for ((name, wanted), given) in self.finder.arguments().iter().zip(given) {
            if !fits(given, wanted) {
                return plan_err!("{}() expects {name} to be {}, not {given}; cast it", self.name(), sql_type(wanted));
            }
        }
        Ok(DataType::List(Arc::new(Field::new("item", DataType::Struct(fields()), true))))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let count = arguments.number_rows;
        let mut columns = Vec::new();
        for ((_, wanted), given) in self.finder.arguments().iter().zip(&arguments.args) {
            columns.push(arrow::compute::cast(&given.clone().into_array(count)?, wanted)?);
        }
        let texts: Vec<&StringArray> = columns.iter().filter_map(|column| column.as_string_opt::<i32>()).collect();
        let times = columns.iter().find_map(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(times) = times else { return exec_err!("{}() has no time", self.name()) };
        let mut rows = Rows::default();
        for at in 0..count {
            // A null gives an empty list: nothing was said.
            let known = times.is_valid(at) && texts.iter().all(|text| text.is_valid(at));
            let facts = match (self.finder, texts.as_slice()) {
                (Finder::Rules, [text]) if known => read(text.value(at), times.value(at)),
                (Finder::Model, [answer, text, prompt, model]) if known => {
                    match ground(answer.value(at), text.value(at), times.value(at), prompt.value(at), model.value(at)) {
                        Ok(facts) => facts,
                        Err(error) => return exec_err!("{error}"),
                    }
                }
                _ => Vec::new(),
            };
            rows.add(&facts);
        }
        Ok(ColumnarValue::Array(rows.finish()?))
    }
}

/// The lists of several rows.
#[derive(Default)]
struct Rows {
    lengths: Vec<usize>,
    texts: [StringBuilder; 6],
    numbers: [Int64Builder; 3],
    times: [TimestampMicrosecondBuilder; 2],
}

impl Rows {
    fn add(&mut self, facts: &[Fact]) {
        self.lengths.push(facts.len());
        for fact in facts {
            let texts = [fact.attribute.as_str(), &fact.value, &fact.about, fact.polarity.as_str(), &fact.rule, &fact.version];
            self.texts.iter_mut().zip(texts).for_each(|(column, text)| column.append_value(text));
            // A text of a row is far from the end of a number.
            let numbers = [i64::from(fact.confidence), fact.start as i64, fact.end as i64];
            self.numbers.iter_mut().zip(numbers).for_each(|(column, number)| column.append_value(number));
            self.times.iter_mut().zip([fact.valid_from_us, fact.valid_to_us]).for_each(|(column, time)| column.append_option(time));
        }
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let [attribute, value, about, polarity, rule, version] = self.texts.each_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let [confidence, start, end] = self.numbers.each_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let [from, to] = self.times.each_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let facts = StructArray::try_new(fields(), vec![attribute, value, about, polarity, confidence, from, to, start, end, rule, version], None)?;
        let item = Field::new("item", facts.data_type().clone(), true);
        Ok(Arc::new(ListArray::try_new(Arc::new(item), OffsetBuffer::from_lengths(self.lengths), Arc::new(facts), None)?))
    }
}
