//! The planner: tables, views and models by name; queries to steps.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::functions::{ModelFunction, ModelShape, ModelTask, WindowFunction};
use super::lower::Lowering;
use super::operator::{Operators, take_operators};
use super::problem::Problem;
use super::pure::{refuse_changed_subqueries, refuse_distinct_means, refuse_impure};
use super::recursion::Recursions;
use super::rewrite::rewrite;
use super::{Input, Node};
use crate::codec::kind_of;

/// Plans the queries of one pipeline.
pub struct Planner {
    context: SessionContext,
    models: Arc<BTreeMap<String, ModelShape>>,
    event_times: BTreeMap<String, String>,
    tables: BTreeMap<String, SchemaRef>,
    operators: RefCell<Operators>,
    rounds: u64,
    next: Cell<usize>,
}

/// Rounds of a recursion unless the file says otherwise, as SQL Server has it.
pub const MAX_ROUNDS: u64 = 100;

/// A planned query.
#[derive(Debug)]
pub struct Planned {
    /// Its steps.
    pub node: Input,
    /// DataFusion's optimised plan, for people.
    pub logical: String,
}

impl Planner {
    /// A planner that knows these models.
    #[must_use]
    pub fn new(models: BTreeMap<String, ModelShape>) -> Self {
        let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.map_string_types_to_utf8view = false;
        options.sql_parser.collect_spans = true;
        // Off, an uncorrelated scalar subquery becomes a join, which can be kept up to date.
        options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
        let planner = Self {
            context: SessionContext::new_with_config(config),
            models: Arc::new(models),
            event_times: BTreeMap::new(),
            tables: BTreeMap::new(),
            operators: RefCell::default(),
            rounds: MAX_ROUNDS,
            next: Cell::new(0),
        };
        planner.register_functions(&planner.context);
        // It drops the second key of `order by n desc, a` where a query below groups by `a` and shows `count(*) as n` first: it takes the
        // count for what determines the group (54.1). `tests/incremental.rs` found it.
        planner.context.remove_optimizer_rule("eliminate_duplicated_expr");
        planner
    }

    /// The same, with recursions that end after so many rounds.
    #[must_use]
    pub fn with_rounds(self, rounds: u64) -> Self {
        Self { rounds, ..self }
    }

    /// Makes the functions that the engine adds known to a session.
    pub fn register_functions(&self, context: &SessionContext) {
        for task in ModelTask::ALL {
            context.register_udf(ModelFunction::udf(task, Arc::clone(&self.models)));
        }
        context.register_udf(WindowFunction::udf(false));
        context.register_udf(WindowFunction::udf(true));
        super::facts::udfs().into_iter().for_each(|function| context.register_udf(function));
        // It wants the session by unique reference, though sessions share what they register.
        datafusion_functions_json::register_all(&mut context.clone()).expect("functions with fresh names");
    }

    /// A query as DataFusion sees it.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn rewritten(&self, sql: &str) -> Result<Statement, Problem> {
        let mut query = parse_query(sql)?;
        rewrite(&mut query, &self.event_times)?;
        Ok(Statement::Statement(Box::new(ast::Statement::Query(Box::new(query)))))
    }

    /// Makes a table or a view known. `event_time` is the column that `tumble(width)` and `hop(slide, width)` mean.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn table(&mut self, name: &str, schema: SchemaRef, event_time: Option<String>) -> Result<(), Problem> {
        let table = MemTable::try_new(Arc::clone(&schema), vec![vec![]])?;
        self.tables.insert(name.to_owned(), schema);
        let name_reference = datafusion::common::TableReference::bare(name);
        if self.context.register_table(name_reference, Arc::new(table))?.is_some() {
            return Err(DataFusionError::Plan(format!("there are two tables named {name:?}")).into());
        }
        if let Some(column) = event_time {
            self.event_times.insert(name.to_owned(), column);
        }
        Ok(())
    }

    /// The models it knows.
    #[must_use]
    pub fn models(&self) -> &BTreeMap<String, ModelShape> {
        &self.models
    }

    /// DataFusion's plan of a query before it is optimised; refused if it is not a function of the log.
    fn raw(&self, query: &ast::Query) -> Result<LogicalPlan, Problem> {
        let mut query = query.clone();
        self.take_operators(&mut query)?;
        rewrite(&mut query, &self.event_times)?;
        let state = self.context.state();
        let statement = Statement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
        // It is only asynchronous for catalogs that are; ours is a map.
        let plan = futures::executor::block_on(state.statement_to_plan(statement))?;
        refuse_impure(&plan)?;
        refuse_changed_subqueries(&plan)?;
        refuse_distinct_means(&plan)?;
        Ok(plan)
    }

    /// Puts a table of its own in the place of each operator.
    fn take_operators(&self, query: &mut ast::Query) -> Result<(), Problem> {
        for (name, schema) in take_operators(query, &self.tables, &mut self.operators.borrow_mut())? {
            self.context.register_table(datafusion::common::TableReference::bare(name), Arc::new(MemTable::try_new(schema, vec![vec![]])?))?;
        }
        Ok(())
    }

    /// The steps of a query.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn query(&self, query: &ast::Query) -> Result<Planned, Problem> {
        self.lowered(&self.raw(query)?)
    }

    /// Names and types of a query's columns.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn columns(&self, query: &ast::Query) -> Result<Vec<(String, DataType)>, Problem> {
        let plan = self.raw(query)?;
        Ok(plan.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect())
    }

    /// The steps of a query whose columns are put into places: per column wanted, which of the query's it is (`None`: null), its
    /// name and its type.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn output(&self, query: &ast::Query, wanted: &[(Option<usize>, String, DataType)]) -> Result<Planned, Problem> {
        let plan = self.raw(query)?;
        let columns = plan.schema().columns();
        let mut exprs = Vec::with_capacity(wanted.len());
        for (place, name, data_type) in wanted {
            let expr = match place {
                Some(place) => {
                    let column = Expr::Column(columns[*place].clone());
                    if plan.schema().field(*place).data_type() == data_type { column } else { cast(column, data_type.clone()) }
                }
                None => lit(datafusion::common::ScalarValue::try_new_null(data_type)?),
            };
            exprs.push(expr.alias(name));
        }
        let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        self.lowered(&plan)
    }

    fn lowered(&self, plan: &LogicalPlan) -> Result<Planned, Problem> {
        let state = self.context.state();
        let chosen = plan.exists(|node| Ok(matches!(node, LogicalPlan::Distinct(Distinct::On(_)))))?;
        let (recursions, plan) = Recursions::take_out(plan.clone(), &self.tables)?;
        let recursions = recursions.optimised(&state)?;
        let plan = state.optimize(&plan)?;
        let lowering = Lowering {
            state: &state,
            models: &self.models,
            next: &self.next,
            chosen,
            recursions: &recursions,
            rounds: self.rounds,
            repeated: RefCell::default(),
            open: RefCell::default(),
            tables: &self.tables,
            operators: &self.operators.borrow(),
        };
        let node = lowering.node(&plan)?;
        Ok(Planned { node, logical: plan.display_indent().to_string() + &recursions.text() })
    }

    /// The steps of a query given as text.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn sql(&self, sql: &str) -> Result<Planned, Problem> {
        self.query(&parse_query(sql)?)
    }
}

/// Parses one query.
///
/// # Errors
/// A syntax error, or a statement that is no query.
pub(super) fn parse_query(sql: &str) -> Result<ast::Query, Problem> {
    let syntax = |error: datafusion::sql::sqlparser::parser::ParserError| DataFusionError::SQL(Box::new(error), None);
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(syntax)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(ast::Statement::Query(query)), true) => Ok(*query),
        _ => Err(DataFusionError::Plan("one query is expected".to_owned()).into()),
    }
}

impl Node {
    /// Its columns as a schema.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields = self.names.iter().zip(&self.types).zip(&self.nullable);
        Arc::new(Schema::new(fields.map(|((name, data_type), nullable)| Field::new(name, data_type.clone(), *nullable)).collect::<Vec<_>>()))
    }

    /// Whether every column has rows.
    pub(crate) fn writable(&self) -> Result<(), Problem> {
        for (name, data_type) in self.names.iter().zip(&self.types) {
            if kind_of(data_type).is_none() {
                return super::problem::refuse(
                    super::problem::Why::Type,
                    format!("column {name:?} of type {data_type}"),
                    "cast it to a type with an exact order, for example a number of microseconds",
                );
            }
        }
        Ok(())
    }
}
