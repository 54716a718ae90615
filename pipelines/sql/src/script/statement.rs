//! One statement: which kind it is, and its query if it has one.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::Cursor;
use super::model::{self, Model};
use super::table::{self, Table};
use crate::diagnostic::{Code, Diagnostic, Source, Span, closest};

/// One statement of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `create table`.
    Table(Table),
    /// `create model`.
    Model(Model),
    /// `create view`.
    View(View),
    /// `insert into`.
    Insert(Insert),
    /// `set`.
    Set(Set),
}

/// What holds for the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What is set; so far `max_rounds` alone.
    pub name: String,
    /// The whole statement.
    pub span: Span,
    /// The name in the statement.
    pub name_span: Span,
    /// To what.
    pub value: u64,
}

/// A named query that later queries read.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The whole statement.
    pub span: Span,
    /// The name in the statement.
    pub name_span: Span,
    /// What it is computed by.
    pub query: Box<Query>,
    /// The query in the statement.
    pub query_span: Span,
}

/// A query whose rows a sink keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The sink's name.
    pub table: String,
    /// The whole statement.
    pub span: Span,
    /// The sink's name in the statement.
    pub table_span: Span,
    /// The sink's columns that are written, in the order of the query's; empty if all.
    pub columns: Vec<String>,
    /// Where those columns are named.
    pub column_spans: Vec<Span>,
    /// What gives the rows.
    pub query: Box<Query>,
    /// The query in the statement.
    pub query_span: Span,
}

impl Statement {
    /// Gives the name that it defines, or writes into.
    pub fn name(&self) -> &str {
        match self {
            Self::Table(table) => &table.name,
            Self::Model(model) => &model.name,
            Self::View(view) => &view.name,
            Self::Insert(insert) => &insert.table,
            Self::Set(set) => &set.name,
        }
    }

    /// Gives where that name stands.
    pub fn name_span(&self) -> Span {
        match self {
            Self::Table(table) => table.name_span,
            Self::Model(model) => model.name_span,
            Self::View(view) => view.name_span,
            Self::Insert(insert) => insert.table_span,
            Self::Set(set) => set.name_span,
        }
    }

    /// Gives where the whole statement stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Table(table) => table.span,
            Self::Model(model) => model.span,
            Self::View(view) => view.span,
            Self::Insert(insert) => insert.span,
            Self::Set(set) => set.span,
        }
    }
}

/// A name that a statement was meant to define.
pub(super) type Meant = Option<String>;

/// Reads one statement. If it is wrong, errors are added and the name it was meant to define is given, so that the
/// statements that use the name need not be refused too.
pub(super) fn parse(source: &Source, words: Vec<TokenWithSpan>, errors: &mut Vec<Diagnostic>) -> Result<Statement, Meant> {
    let mut cursor = match Cursor::new(source, words) {
        Ok(cursor) => cursor,
        Err(refused) => {
            errors.push(refused);
            return Err(None);
        }
    };
    if cursor.accept(&["insert"]) {
        return insert(&mut cursor).map(Statement::Insert).map_err(|refused| {
            errors.push(refused);
            None
        });
    }
    if cursor.accept(&["set"]) {
        return set(&mut cursor).map(Statement::Set).map_err(|refused| {
            errors.push(refused);
            None
        });
    }
    if !cursor.accept(&["create"]) {
        errors.push(refuse(&cursor));
        return Err(None);
    }
    let begun = created(&mut cursor).and_then(|kind| not_if_exists(&cursor).map(|()| kind));
    let meant = cursor.peek_name();
    let made = begun.and_then(|kind| match kind {
        Created::Table => Ok(table::parse(&mut cursor, errors)?.map(Statement::Table)),
        Created::Model => Ok(model::parse(&mut cursor, errors)?.map(Statement::Model)),
        Created::View => view(&mut cursor).map(Statement::View).map(Some),
    });
    made.unwrap_or_else(|refused| {
        errors.push(refused);
        None
    })
    .ok_or(meant)
}

enum Created {
    Table,
    Model,
    View,
}

/// Reads which kind of thing is created.
fn created(cursor: &mut Cursor<'_>) -> Result<Created, Diagnostic> {
    cursor.accept(&["or", "replace"]);
    if cursor.accept(&["table"]) {
        return Ok(Created::Table);
    }
    if cursor.accept(&["model"]) {
        return Ok(Created::Model);
    }
    if cursor.accept(&["view"]) || cursor.accept(&["materialized", "view"]) {
        return Ok(Created::View);
    }
    let Token::Word(word) = cursor.peek(0) else {
        return Err(cursor.unexpected("`table`, `model` or `view`"));
    };
    let word = word.value.to_lowercase();
    let hint = match word.as_str() {
        "temporary" | "temp" | "external" | "foreign" | "unlogged" => "write `create table` or `create view` alone".to_owned(),
        "source" | "sink" => "write `create table … with (type = 'source')` or 'sink'".to_owned(),
        "function" | "aggregate" | "macro" => {
            "functions are those of the platform; give a query a name with `create view`".to_owned()
        }
        "index" | "unique" => "rows are kept by the keys of the queries that need them".to_owned(),
        _ => match closest(&word, ["table", "model", "view", "materialized"]) {
            Some(near) => format!("did you mean `create {near}`?"),
            None => "a file creates tables, models and views".to_owned(),
        },
    };
    let message = format!("`create {word}` does not belong in a pipeline");
    Err(Diagnostic::new(Code::UnsupportedStatement, message).at(cursor.here()).hint(hint))
}

fn not_if_exists(cursor: &Cursor<'_>) -> Result<(), Diagnostic> {
    if cursor.peek_word(0, "if") && cursor.peek_word(1, "not") {
        let found = Diagnostic::new(Code::UnsupportedClause, "`if not exists` is not supported").at(cursor.here());
        return Err(found.hint("leave it out: the file is the whole definition, nothing exists before it"));
    }
    Ok(())
}

fn view(cursor: &mut Cursor<'_>) -> Result<View, Diagnostic> {
    let name = cursor.name("a view's name")?;
    if cursor.peek(0) == &Token::LParen {
        let found = Diagnostic::new(Code::UnsupportedClause, "a view's columns are not listed").at(cursor.here());
        return Err(found.hint("name them in the query with `as`"));
    }
    if cursor.peek_word(0, "with") {
        let found = Diagnostic::new(Code::UnsupportedClause, "a view has no options").at(cursor.here());
        return Err(found.hint("options belong to `create table` and `create model`"));
    }
    cursor.expect("as")?;
    let (query, query_span) = cursor.sql(|parser| parser.parse_query())?;
    cursor.finish()?;
    Ok(View { name: name.text, span: cursor.whole(), name_span: name.span, query, query_span })
}

fn insert(cursor: &mut Cursor<'_>) -> Result<Insert, Diagnostic> {
    if cursor.peek_word(0, "overwrite") {
        let found = Diagnostic::new(Code::UnsupportedClause, "`insert overwrite` is not supported").at(cursor.here());
        return Err(found.hint("write `insert into`: a sink is kept equal to its query"));
    }
    cursor.expect("into")?;
    let table = cursor.name("a sink's name")?;
    let opens_query = ["select", "with", "values", "from", "table"].iter().any(|word| cursor.peek_word(1, word));
    let listed = cursor.peek(0) == &Token::LParen && cursor.peek(1) != &Token::LParen && !opens_query;
    let columns = if listed { cursor.names("a column's name")? } else { Vec::new() };
    let (query, query_span) = cursor.sql(|parser| parser.parse_query())?;
    if cursor.peek_word(0, "on") || cursor.peek_word(0, "returning") {
        let found = Diagnostic::new(Code::UnsupportedClause, "this clause of `insert` is not supported").at(cursor.here());
        return Err(found.hint("a sink with a primary key replaces rows by it anyway"));
    }
    cursor.finish()?;
    let (columns, column_spans) = columns.into_iter().map(|name| (name.text, name.span)).unzip();
    let (table, table_span) = (table.text, table.span);
    Ok(Insert { table, span: cursor.whole(), table_span, columns, column_spans, query, query_span })
}

/// Bounds of `max_rounds`.
pub(super) const ROUNDS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// Reads `set max_rounds = 100`.
fn set(cursor: &mut Cursor<'_>) -> Result<Set, Diagnostic> {
    let name = cursor.name("a setting's name")?;
    if name.text != "max_rounds" {
        let found = Diagnostic::new(Code::UnknownOption, format!("there is no setting {:?}", name.text)).at(name.span);
        let hint = "`set max_rounds = 100` bounds recursive queries; other settings are options of a table or a model, or of the command that runs the file";
        return Err(found.suggest(&name.text, ["max_rounds"]).hint(hint));
    }
    if !cursor.accept_token(&Token::Eq) {
        cursor.expect("to")?;
    }
    let at = cursor.here();
    let value = match cursor.peek(0) {
        Token::Number(number, _) => number.parse().ok().filter(|rounds| ROUNDS.contains(rounds)),
        _ => None,
    };
    let Some(value) = value else {
        let message = format!("\"max_rounds\" is a whole number from {} to {}", ROUNDS.start(), ROUNDS.end());
        return Err(Diagnostic::new(Code::BadOptionValue, message).at(at).hint("write `set max_rounds = 100`, which also holds without it"));
    };
    cursor.skip(1);
    cursor.finish()?;
    Ok(Set { name: name.text, span: cursor.whole(), name_span: name.span, value })
}

/// Refuses a statement by its first word.
fn refuse(cursor: &Cursor<'_>) -> Diagnostic {
    let Token::Word(word) = cursor.peek(0) else {
        if cursor.peek(0) == &Token::LParen {
            return lone_query(cursor);
        }
        return cursor
            .unexpected("a statement")
            .hint("a file holds `create table`, `create model`, `create view`, `insert into` and `set`");
    };
    let word = word.value.to_lowercase();
    let hint = match word.as_str() {
        "select" | "with" | "values" | "from" => return lone_query(cursor),
        "update" | "delete" | "merge" | "truncate" | "replace" | "copy" => {
            "rows change by what a source says: see the option \"changelog\" of `create table`"
        }
        "drop" | "alter" | "rename" | "comment" => {
            "the file is the whole definition: edit or remove the statement that creates it"
        }
        "reset" | "use" => "settings are options of a table or a model, or of the command that runs the file",
        "explain" | "describe" | "desc" | "show" | "analyze" => "ask with `ajatus pipeline explain FILE`",
        "begin" | "commit" | "rollback" | "start" => "a file is applied as a whole, and its results epoch by epoch",
        _ => {
            if word.starts_with('\u{feff}') {
                let found = Diagnostic::new(Code::BadToken, "the file begins with a byte order mark").at(cursor.here());
                return found.hint("save it as UTF-8 without a byte order mark");
            }
            let found = cursor.unexpected("a statement");
            return match closest(&word, ["create", "insert"]) {
                Some(near) => found.hint(format!("did you mean `{near}`?")),
                None => found.hint("a file holds `create table`, `create model`, `create view`, `insert into` and `set`"),
            };
        }
    };
    let message = format!("`{word}` does not belong in a pipeline");
    Diagnostic::new(Code::UnsupportedStatement, message).at(cursor.here()).hint(hint)
}

fn lone_query(cursor: &Cursor<'_>) -> Diagnostic {
    let hint = "name it with `create view NAME as …`, or write its rows with `insert into SINK …`";
    Diagnostic::new(Code::UnsupportedStatement, "nobody reads the rows of this query").at(cursor.whole()).hint(hint)
}
