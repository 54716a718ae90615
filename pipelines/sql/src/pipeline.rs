//! A whole pipeline: a file's statements, resolved against one another and lowered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Diagnostic as Noted;
use datafusion::error::DataFusionError;

use crate::diagnostic::{Code, Diagnostic, Source, Span};
use crate::plan::{Input, ModelShape, ModelTask, Operator, Planned, Planner, Problem, Step, Why};
use crate::script::{Connector, Direction, Insert, Script, Statement, Table, Task, filled, parse};

/// A file that can be run.
#[derive(Debug)]
pub struct Pipeline {
    /// The file.
    pub source: Source,
    /// Its statements and tests.
    pub script: Script,
    /// Its views, in order; each may read those before it.
    pub views: Vec<PlannedView>,
    /// What its sinks are given, in order.
    pub outputs: Vec<Output>,
    /// Changes when the file says something else; state of another plan is not used.
    pub hash: String,
}

/// A view and its steps.
#[derive(Debug)]
pub struct PlannedView {
    /// Its name.
    pub name: String,
    /// Its steps.
    pub planned: Planned,
}

/// What an `insert` gives to a sink: the sink's columns, in the sink's order and types.
#[derive(Debug)]
pub struct Output {
    /// The sink.
    pub table: Table,
    /// Its steps.
    pub planned: Planned,
}

impl Table {
    /// Its columns as a schema.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable)).collect::<Vec<_>>(),
        ))
    }
}

impl Pipeline {
    /// Reads, resolves and lowers a file. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(source: Source) -> Result<Self, Vec<Diagnostic>> {
        let script = parse(&source)?;
        let mut errors = Vec::new();
        let mut planner = Planner::new(models(&script)).with_rounds(script.max_rounds());
        for table in script.tables().filter(|table| table.direction == Direction::Source) {
            let event_time = table.event_time.map(|column| table.columns[column].name.clone());
            if let Err(problem) = planner.table(&table.name, table.schema(), event_time) {
                errors.push(explain(&problem, &source, table.span));
            }
        }
        let (mut views, mut outputs) = (Vec::new(), Vec::new());
        for statement in &script.statements {
            match statement {
                Statement::View(view) => match planner.query(&view.query) {
                    Ok(planned) => {
                        if let Err(problem) = planner.table(&view.name, planned.node.schema(), None) {
                            errors.push(explain(&problem, &source, view.name_span));
                        }
                        views.push(PlannedView { name: view.name.clone(), planned });
                    }
                    Err(problem) => {
                        errors.push(explain(&problem, &source, view.query_span));
                        // Later queries that read it are not wrong because of that.
                        break;
                    }
                },
                Statement::Insert(insert) => match output(&planner, &script, insert, &source) {
                    Ok(output) => outputs.push(output),
                    Err(error) => errors.push(error),
                },
                Statement::Table(_) | Statement::Model(_) | Statement::Set(_) => {}
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut hash = blake3::Hasher::new();
        hash.update(format!("ajatus-sql {} rows {}", env!("CARGO_PKG_VERSION"), ajatus_operators::row::ENCODING).as_bytes());
        for operator in views.iter().map(|view: &PlannedView| &view.planned).chain(outputs.iter().map(|output: &Output| &output.planned)).flat_map(operators) {
            hash.update(format!("{} {};", operator.name(), operator.version()).as_bytes());
        }
        for statement in &script.statements {
            let text = source.slice(statement.span());
            hash.update(text.as_bytes());
            hash.update(b";");
            // Other rules, other facts.
            if let Some(version) = crate::plan::facts_version(text) {
                hash.update(version.as_bytes());
            }
            // What a setting decides about types and answers is part of the plan; where a file lies is not.
            if text.contains("${") {
                hash.update(decided(statement).as_bytes());
            }
        }
        let hash = hash.finalize().to_hex().chars().take(16).collect();
        Ok(Self { source, script, views, outputs, hash })
    }

    /// Puts values in the place of `${NAME}` in paths, topics and addresses, and makes paths relative to `folder`.
    ///
    /// # Errors
    /// A name without a value; the pipeline can still be looked at, but not run.
    pub fn settle(&mut self, folder: &std::path::Path, values: &BTreeMap<String, String>) -> Result<(), String> {
        let outputs = self.outputs.iter_mut().map(|output| &mut output.table);
        let statements = self.script.statements.iter_mut().filter_map(|statement| if let Statement::Table(table) = statement { Some(table) } else { None });
        for table in statements.chain(outputs) {
            let settle = |text: &mut String| -> Result<(), String> {
                *text = filled(text, values).map_err(|name| format!("table {:?} names ${{{name}}}, which has no value; give --set {name}=…", table.name))?;
                Ok(())
            };
            match &mut table.connector {
                Connector::File { path, .. } | Connector::Lance { path, .. } => {
                    settle(path)?;
                    *path = folder.join(&*path).display().to_string();
                }
                Connector::Kafka { topic, bootstrap_servers, .. } => {
                    settle(topic)?;
                    bootstrap_servers.as_mut().map(settle).transpose()?;
                }
                Connector::Postgres { table, url } => {
                    settle(table)?;
                    url.as_mut().map(settle).transpose()?;
                }
                Connector::Stdout { .. } | Connector::Blackhole | Connector::Memory => {}
            }
        }
        Ok(())
    }

    /// The source of a name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.script.tables().find(|table| table.name == name)
    }

    /// Columns that each source must deliver, for everything that is kept.
    #[must_use]
    pub fn required(&self) -> BTreeMap<String, Vec<usize>> {
        let mut all: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for node in self.nodes() {
            for (table, columns) in node.required() {
                all.entry(table).or_default().extend(columns);
            }
        }
        all.into_iter()
            .filter(|(name, _)| self.views.iter().all(|view| view.name != *name))
            .map(|(name, columns)| (name, columns.into_iter().collect()))
            .collect()
    }

    /// The last step of every view and output.
    pub fn nodes(&self) -> impl Iterator<Item = &Input> {
        self.views.iter().map(|view| &view.planned.node).chain(self.outputs.iter().map(|output| &output.planned.node))
    }
}

impl Script {
    /// Its tables, in order.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.statements.iter().filter_map(|statement| if let Statement::Table(table) = statement { Some(table) } else { None })
    }
}

/// The platform's operators that a query uses.
fn operators(planned: &Planned) -> BTreeSet<Operator> {
    let mut all = BTreeSet::new();
    planned.node.walk(&mut BTreeSet::new(), &mut |node| {
        if let Step::Operator { operator, .. } = &node.step {
            all.insert(*operator);
        }
    });
    all
}

/// What settings can decide about a statement's meaning.
fn decided(statement: &Statement) -> String {
    match statement {
        Statement::Model(model) => format!("{:?} {} {:?} {:?}", model.task, model.checkpoint, model.path, model.url),
        Statement::Table(table) => table.columns.iter().map(|column| column.data_type.to_string()).collect::<Vec<_>>().join(","),
        Statement::View(_) | Statement::Insert(_) | Statement::Set(_) => String::new(),
    }
}

fn models(script: &Script) -> BTreeMap<String, ModelShape> {
    let shape = |task: &Task| match task {
        Task::Embedding { dimensions } => ModelShape { task: ModelTask::Embedding, dimensions: *dimensions },
        Task::Generation(_) => ModelShape { task: ModelTask::Generation, dimensions: 0 },
        Task::Extraction { .. } => ModelShape { task: ModelTask::Extraction, dimensions: 0 },
    };
    let models = script.statements.iter().filter_map(|statement| if let Statement::Model(model) = statement { Some(model) } else { None });
    models.map(|model| (model.name.clone(), shape(&model.task))).collect()
}

/// The steps of an `insert`, with the sink's columns.
fn output(planner: &Planner, script: &Script, insert: &Insert, source: &Source) -> Result<Output, Diagnostic> {
    let table = script.tables().find(|table| table.name == insert.table).cloned().ok_or_else(|| {
        Diagnostic::new(Code::UnknownTable, format!("there is no sink \"{}\"", insert.table)).at(insert.table_span)
    })?;
    let names: Vec<&str> = if insert.columns.is_empty() {
        table.columns.iter().map(|column| column.name.as_str()).collect()
    } else {
        insert.columns.iter().map(String::as_str).collect()
    };
    let given = planner.columns(&insert.query).map_err(|problem| explain(&problem, source, insert.query_span))?;
    if given.len() != names.len() {
        let message = format!("the query gives {} columns, but {} of \"{}\" are written", given.len(), names.len(), table.name);
        return Err(Diagnostic::new(Code::ColumnsDoNotFit, message)
            .at(insert.query_span)
            .hint(format!("give them in this order: {}", names.join(", "))));
    }
    let mut wanted = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        let place = names.iter().position(|name| *name == column.name);
        match place {
            Some(place) => {
                let (name, data_type) = &given[place];
                if !fits(data_type, &column.data_type) {
                    let message = format!(
                        "column \"{name}\" is {}, but \"{}\" of \"{}\" is {}",
                        sql_type(data_type),
                        column.name,
                        table.name,
                        sql_type(&column.data_type)
                    );
                    return Err(Diagnostic::new(Code::TypeDoesNotFit, message)
                        .at(insert.query_span)
                        .hint("cast it in the query, so that the file says what may be lost"));
                }
            }
            None if !column.nullable => {
                let message = format!("column \"{}\" of \"{}\" is not null, but the insert leaves it out", column.name, table.name);
                return Err(Diagnostic::new(Code::NullMayReach, message).at(insert.table_span).hint("write it too, or let it be null"));
            }
            None => {}
        }
        wanted.push((place, column.name.clone(), column.data_type.clone()));
    }
    let planned = planner.output(&insert.query, &wanted).map_err(|problem| explain(&problem, source, insert.query_span))?;
    Ok(Output { table, planned })
}

/// A type as a table declares it.
#[must_use]
pub fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::UInt8 => "tinyint unsigned".to_owned(),
        DataType::UInt16 => "smallint unsigned".to_owned(),
        DataType::UInt32 => "int unsigned".to_owned(),
        DataType::UInt64 => "bigint unsigned".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::FixedSizeList(_, size) => format!("vector({size})"),
        DataType::List(item) | DataType::LargeList(item) => format!("{}[]", sql_type(item.data_type())),
        other => other.to_string(),
    }
}

/// Whether every value of one type is one of the other.
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Null, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    let digits = |data_type: &DataType| match data_type {
        Int8 | UInt8 => Some(3),
        Int16 | UInt16 => Some(5),
        Int32 | UInt32 => Some(10),
        Int64 => Some(19),
        UInt64 => Some(20),
        _ => None,
    };
    match (from, to) {
        _ if from == to => true,
        (Null, _) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Int8 | UInt8, Int16 | Int32 | Int64) | (Int16 | UInt16, Int32 | Int64) | (Int32 | UInt32, Int64) => true,
        // Counts and row numbers: no result of ours comes near the sign.
        (UInt64, Int64) => true,
        (UInt8, UInt16 | UInt32 | UInt64) | (UInt16, UInt32 | UInt64) | (UInt32, UInt64) => true,
        (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 | Float32, Float64) | (Int8 | Int16 | UInt8 | UInt16, Float32) => true,
        (Decimal128(from_digits, from_scale), Decimal128(to_digits, to_scale)) => {
            to_scale >= from_scale && i16::from(*to_digits) - i16::from(*to_scale) >= i16::from(*from_digits) - i16::from(*from_scale)
        }
        (whole, Decimal128(to_digits, to_scale)) => digits(whole).is_some_and(|digits| i16::from(*to_digits) - i16::from(*to_scale) >= digits),
        (Timestamp(..), Timestamp(..)) | (Date32, Timestamp(..)) => true,
        (DataType::List(from) | DataType::LargeList(from), DataType::List(to)) => fits(from.data_type(), to.data_type()),
        _ => false,
    }
}

/// A problem of the planner as a finding; `otherwise` is where, if it does not say.
fn explain(problem: &Problem, source: &Source, otherwise: Span) -> Diagnostic {
    match problem {
        Problem::Refused { why, what, hint, span } => {
            // Of a recursive query, its name where it is defined.
            let defined = || (*why == Why::Recursion).then(|| what.split('"').nth(1).and_then(|name| first_place(source, otherwise, name))).flatten();
            let place = span.and_then(|span| source.span_of(span)).or_else(defined).unwrap_or(otherwise);
            Diagnostic::new(code(*why, what), why.sentence(what)).at(place).hint(hint)
        }
        Problem::Planner(error) => planner_error(error, source, otherwise),
    }
}

fn code(why: Why, what: &str) -> Code {
    match why {
        Why::Impure if what.starts_with("now") || what.starts_with("current") => Code::CurrentTime,
        Why::Impure => Code::NonDeterministicFunction,
        Why::Unordered if what.contains("limit without") || what.contains("computed") => Code::LimitWithoutOrder,
        Why::Unordered => Code::OrderWithoutLimit,
        Why::FloatSum => Code::FloatSum,
        Why::GroupingSets => Code::GroupingSets,
        Why::WindowFunction => Code::WindowFunction,
        Why::Aggregate => Code::UnsupportedAggregate,
        Why::Plan if what.contains("hop") || what.contains("tumble") => Code::BadWindow,
        Why::Plan => Code::UnsupportedPlan,
        Why::Type => Code::UnsupportedValue,
        Why::CrossJoin => Code::UnboundedCross,
        Why::Recursion => Code::Recursion,
        Why::Subquery => Code::UnsupportedSubquery,
        Why::Model => Code::BadModelCall,
        Why::Function => Code::UnknownFunction,
        Why::Operator => Code::OperatorInput,
    }
}

/// Where a word stands in a part of the file.
fn places<'s>(source: &'s Source, part: Span, word: &'s str) -> impl Iterator<Item = Span> + 's {
    let text = source.slice(part);
    let letter = |found: Option<char>| found.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let found = text.match_indices(word).filter(move |(at, _)| {
        let before = text.get(..*at).and_then(|before| before.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
        !word.is_empty() && !letter(before) && !letter(after)
    });
    found.map(move |(at, _)| Span::new(part.start + at, part.start + at + word.len()))
}

/// Where a word stands in a part of the file for the first time.
fn first_place(source: &Source, part: Span, word: &str) -> Option<Span> {
    places(source, part, word).next()
}

/// Where a word stands in a part of the file, if it stands there once.
fn only_place(source: &Source, part: Span, word: &str) -> Option<Span> {
    let mut places = places(source, part, word);
    places.next().filter(|_| places.next().is_none())
}

fn planner_error(error: &DataFusionError, source: &Source, otherwise: Span) -> Diagnostic {
    let noted: Option<&Noted> = error.diagnostic();
    let place = noted.and_then(|noted| noted.span).and_then(|span| {
        let location = |at: datafusion::common::Location| datafusion::sql::sqlparser::tokenizer::Location { line: at.line, column: at.column };
        source.span_of(datafusion::sql::sqlparser::tokenizer::Span::new(location(span.start), location(span.end)))
    });
    let message = error.find_root().strip_backtrace();
    let lower = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let code = if has(&["there is no model"]) {
        Code::UnknownModel
    } else if has(&["does not do what"]) {
        Code::WrongTask
    } else if has(&["embed()", "generate()", "extract()"]) {
        Code::BadModelCall
    } else if has(&["table '", "table not found", "no table"]) && has(&["not found"]) {
        Code::UnknownTable
    } else if has(&["ambiguous"]) {
        Code::AmbiguousColumn
    } else if has(&["no field named", "column '"]) && !has(&["group by"]) {
        Code::UnknownColumn
    } else if has(&["invalid function"]) {
        Code::UnknownFunction
    } else if has(&["no function matches", "expects", "coercion", "cannot coerce", "cannot infer common", "arguments"]) {
        Code::TypeMismatch
    } else {
        Code::InvalidQuery
    };
    // "No field named wrd. Valid fields are words.word, …": the second half is a better hint than a message.
    let (message, valid) = match message.split_once(". Valid fields are ") {
        Some((first, valid)) => (first.to_owned(), Some(valid.trim_end_matches('.').to_owned())),
        None => (message, None),
    };
    let mut lines = message.lines();
    let first = lines.next().unwrap_or("the query has no meaning").trim_start_matches("Error during planning: ").trim_start_matches("Schema error: ");
    let named = first.rsplit(' ').next().unwrap_or_default().trim_matches(['"', '\'']);
    // The planner does not always say where; a name that stands there once says it.
    let place = place.or_else(|| (code == Code::UnknownColumn).then(|| only_place(source, otherwise, named)).flatten());
    let mut found = Diagnostic::new(code, first).at(place.unwrap_or(otherwise));
    let helps: Vec<&str> = noted.map(|noted| noted.helps.iter().map(|help| help.message.as_str()).collect()).unwrap_or_default();
    let rest: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(valid) = &valid {
        let wanted = first.rsplit(' ').next().unwrap_or_default().trim_matches('"');
        let wanted = wanted.rsplit('.').next().unwrap_or_default();
        found = found.hint(format!("the columns here are {valid}")).suggest(wanted, valid.split(", ").map(|name| name.rsplit('.').next().unwrap_or_default()));
    } else if !helps.is_empty() {
        found = found.hint(helps.join("; "));
    } else if !rest.is_empty() {
        found = found.hint(rest.join("; "));
    } else {
        found = found.hint(code.explain());
    }
    found
}
