//! What the comparisons share: tables, random histories, the incremental run, and DataFusion's own answer.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ajatus_operators::row::Row;
use ajatus_operators::{Resume, Told, Vault, split};
use ajatus_sql::codec::{Decoder, encode, kinds_of};
use ajatus_sql::plan::{Input, Planner, Problem};
use ajatus_sql::render::{Feed, NoModels, Render};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use differential_dataflow::input::InputSession;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use timely::dataflow::ProbeHandle;

/// Rows with how often each is there.
pub(crate) type Bag = BTreeMap<Row, isize>;
/// Changes of one epoch: table, row, how often more.
pub(crate) type Epoch = Vec<(usize, Row, isize)>;

/// The tables that every query may read.
pub(crate) fn tables() -> Vec<(&'static str, SchemaRef)> {
    let schema = |fields: Vec<Field>| Arc::new(Schema::new(fields));
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    vec![
        ("t", schema(vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Int64, true), Field::new("s", DataType::Utf8, true)])),
        ("u", schema(vec![Field::new("id", DataType::Int64, false), Field::new("score", DataType::Int64, true), Field::new("name", DataType::Utf8, true)])),
        (
            "e",
            schema(vec![
                Field::new("k", DataType::Utf8, false),
                Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
                Field::new("amount", DataType::Decimal128(12, 2), true),
                Field::new("ok", DataType::Boolean, true),
                Field::new("tags", list, true),
                Field::new("x", DataType::Float64, true),
                Field::new("n", DataType::Int32, true),
                Field::new("d", DataType::Date32, true),
                Field::new("doc", DataType::Utf8, true),
            ]),
        ),
    ]
}

/// A planner that knows them.
pub(crate) fn planner() -> Planner {
    let mut planner = Planner::new(BTreeMap::new());
    for (name, schema) in tables() {
        planner.table(name, schema, (name == "e").then(|| "at".to_owned())).expect("a fresh name");
    }
    planner
}

fn text(random: &mut SmallRng) -> Option<&'static str> {
    const TEXTS: [&str; 7] = ["a", "b", "abc", "", "a text of more than thirty-two bytes, so blocks", "ääkköset ovat kaksi tavua", "Ab c"];
    random.random_bool(0.85).then(|| TEXTS[random.random_range(0..TEXTS.len())])
}

/// A random row of a table.
fn random_row(table: usize, random: &mut SmallRng) -> Row {
    use arrow::array::*;
    use arrow::datatypes::Int64Type;
    let maybe = |random: &mut SmallRng| random.random_bool(0.85);
    let columns: Vec<ArrayRef> = match table {
        0 | 1 => vec![
            Arc::new(Int64Array::from(vec![random.random_range(0..7_i64)])),
            Arc::new(Int64Array::from(vec![maybe(random).then(|| random.random_range(-4..5_i64))])),
            Arc::new(StringArray::from(vec![text(random)])),
        ],
        _ => {
            const DOCS: [&str; 5] = [r#"{"n":1,"s":"x","l":[1,2]}"#, r#"{"n":2.5}"#, r#"{"s":null}"#, "[]", "not json"];
            let tags = maybe(random).then(|| (0..random.random_range(0..4)).map(|_| maybe(random).then(|| random.random_range(0..4_i64))).collect::<Vec<_>>());
            vec![
                Arc::new(StringArray::from(vec![["p", "q", "r"][random.random_range(0..3)]])),
                Arc::new(TimestampMicrosecondArray::from(vec![maybe(random).then(|| random.random_range(-3..40_i64) * 20_000_000)])),
                Arc::new(
                    Decimal128Array::from(vec![maybe(random).then(|| i128::from(random.random_range(-500..1000_i32)))])
                        .with_precision_and_scale(12, 2)
                        .expect("a decimal"),
                ),
                Arc::new(BooleanArray::from(vec![maybe(random).then(|| random.random_bool(0.5))])),
                Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![tags])),
                Arc::new(Float64Array::from(vec![maybe(random).then(|| f64::from(random.random_range(-4..5_i32)) * 0.5)])),
                Arc::new(Int32Array::from(vec![maybe(random).then(|| random.random_range(-3..4))])),
                Arc::new(Date32Array::from(vec![maybe(random).then(|| random.random_range(18_900..19_000))])),
                Arc::new(StringArray::from(vec![maybe(random).then(|| DOCS[random.random_range(0..DOCS.len())])])),
            ]
        }
    };
    encode(&columns, 1).expect("a row").remove(0)
}

/// A seeded history: epochs of insertions, withdrawals of live rows and updates; the last one withdraws all that is left.
pub(crate) fn history(seed: u64, epochs: usize) -> Vec<Epoch> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut live: [Vec<Row>; 3] = Default::default();
    let mut all = Vec::with_capacity(epochs);
    for epoch in 0..epochs {
        let mut changes = Epoch::new();
        if epoch + 1 == epochs {
            for (table, rows) in live.iter_mut().enumerate() {
                changes.extend(rows.drain(..).map(|row| (table, row, -1)));
            }
        } else {
            for _ in 0..random.random_range(0..12) {
                let table = random.random_range(0..3);
                let old = !live[table].is_empty() && random.random_bool(0.4);
                if old {
                    let at = random.random_range(0..live[table].len());
                    changes.push((table, live[table].swap_remove(at), -1));
                }
                if !old || random.random_bool(0.4) {
                    // Some rows are there twice.
                    let again = !live[table].is_empty() && random.random_bool(0.15);
                    let row = if again { live[table][random.random_range(0..live[table].len())].clone() } else { random_row(table, &mut random) };
                    live[table].push(row.clone());
                    changes.push((table, row, 1));
                }
            }
        }
        all.push(changes);
    }
    all
}

/// What a dataflow gave: whether rows or faults, what, when, how often more.
type Given = Vec<(bool, Row, u64, isize)>;
/// What operators know, by operator.
type Parts = HashMap<String, Vec<u8>>;

/// Keeps a query up to date over a history, fed at the times 1, 2, …, and returns the rows and the faults that hold after each epoch.
pub(crate) fn incremental(node: &Input, history: &[Epoch], workers: usize) -> Vec<(Bag, Bag)> {
    states(fed(node, history, 0, workers, None, None).0, history.len())
}

/// As [`incremental`], but thrown away after `cut` epochs and gone on with from what its operators knew, on another number of workers.
pub(crate) fn resumed(node: &Input, history: &[Epoch], cut: usize, workers: (usize, usize)) -> Vec<(Bag, Bag)> {
    let base = cut as u64;
    let (mut given, parts) = fed(node, &history[..cut], 0, workers.0, Some(base), None);
    let (more, _) = fed(node, &history[cut..], base, workers.1, None, Some(parts));
    given.retain(|update| update.2 <= base);
    // Rows that are always there are said again, at the beginning of time: whoever resumes has them.
    given.extend(more.into_iter().filter(|update| update.2 > base));
    states(given, history.len())
}

fn fed(node: &Input, epochs: &[Epoch], after: u64, workers: usize, due: Option<u64>, resume: Option<Parts>) -> (Given, Parts) {
    let (node, owned) = (Arc::clone(node), epochs.to_vec());
    let parts: Arc<Mutex<Parts>> = Arc::default();
    let told = Arc::clone(&parts);
    let shares = Mutex::new(resume.map(|parts| {
        let mut shares: Vec<Resume> = (0..workers).map(|_| Resume { base: after, show: false, entries: HashMap::new() }).collect();
        for (operator, bytes) in parts {
            let mut split_up = vec![Vec::new(); workers];
            assert!(split(&bytes, &mut split_up), "whole entries");
            shares.iter_mut().zip(split_up).for_each(|(share, bytes)| drop(share.entries.insert(operator.clone(), bytes)));
        }
        shares.into_iter().map(Some).collect::<Vec<_>>()
    }));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut inputs: Vec<InputSession<u64, Row, isize>> = (0..3).map(|_| InputSession::new()).collect();
        let seen: Rc<RefCell<Given>> = Rc::default();
        let probe = ProbeHandle::new();
        let share = shares.lock().expect("the shares").as_mut().and_then(|shares| shares[worker.index()].take());
        let told = Arc::clone(&told);
        let whole = Rc::new(std::cell::Cell::new(due.is_none()));
        let all = Rc::clone(&whole);
        let vault = Vault::new(
            share,
            Box::new(move |news| match news {
                Told::Part { operator, bytes, .. } => told.lock().expect("the parts").entry(operator).or_default().extend(bytes),
                Told::All { .. } => all.set(true),
            }),
        );
        worker.dataflow(|scope| {
            let mut render = Render::new(scope, &NoModels).keeping(vault.clone());
            for (input, (name, schema)) in inputs.iter_mut().zip(tables()) {
                let kinds = kinds_of(schema.fields().iter().map(|field| field.data_type())).expect("types with rows");
                render.feed(name, Feed { rows: input.to_collection(scope), columns: (0..kinds.len()).collect(), kinds });
            }
            let rows = render.node(&node);
            for (good, collection) in [(true, Some(rows)), (false, render.faults())] {
                let sink = Rc::clone(&seen);
                if let Some(collection) = collection {
                    collection.inspect(move |(row, time, diff)| sink.borrow_mut().push((good, row.clone(), *time, *diff))).probe_with(&probe);
                }
            }
        });
        for (time, changes) in (after + 1..).zip(&owned) {
            inputs.iter_mut().for_each(|input| input.advance_to(time));
            for (_, (table, row, diff)) in changes.iter().enumerate().filter(|(at, _)| at % worker.peers() == worker.index()) {
                inputs[*table].update(row.clone(), *diff);
            }
            if due == Some(time) {
                vault.due(time);
            }
            for input in &mut inputs {
                input.advance_to(time + 1);
                input.flush();
            }
            worker.step_while(|| probe.less_than(&(time + 1)));
        }
        // One whose inputs have ended moves no frontier when it gives its part.
        worker.step_while(|| !whole.get());
        drop(inputs);
        worker.step_while(|| !probe.done());
        seen.take()
    });
    let given = guards.expect("workers").join().into_iter().flat_map(|answer| answer.expect("a worker's answer")).collect();
    let parts = std::mem::take(&mut *parts.lock().expect("the parts"));
    (given, parts)
}

/// What holds after each epoch; what is always there is there from the first.
fn states(given: Given, epochs: usize) -> Vec<(Bag, Bag)> {
    let mut by_time: HashMap<u64, Vec<(bool, Row, isize)>> = HashMap::new();
    for (good, row, time, diff) in given {
        by_time.entry(time.max(1)).or_default().push((good, row, diff));
    }
    let (mut rows, mut faults) = (Bag::new(), Bag::new());
    (1..=epochs as u64)
        .map(|time| {
            for (good, row, diff) in by_time.remove(&time).unwrap_or_default() {
                *if good { &mut rows } else { &mut faults }.entry(row).or_default() += diff;
            }
            rows.retain(|_, count| *count != 0);
            faults.retain(|_, count| *count != 0);
            (rows.clone(), faults.clone())
        })
        .collect()
}

/// DataFusion's own batch execution of a query over the rows that live.
pub(crate) struct Reference {
    context: SessionContext,
    logical: LogicalPlan,
    plan: Arc<dyn ExecutionPlan>,
    live: Vec<Arc<Live>>,
    state: [Bag; 3],
    runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
struct Live {
    schema: SchemaRef,
    batch: Mutex<RecordBatch>,
}

impl PartitionStream for Live {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.batch.lock().expect("a lock").clone();
        Box::pin(MemoryStream::try_new(vec![batch], Arc::clone(&self.schema), None).expect("a stream"))
    }
}

impl Reference {
    /// For one query, with DataFusion's own settings.
    pub(crate) fn new(sql: &str, planner: &Planner) -> Result<Self, Problem> {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        planner.register_functions(&context);
        // DataFusion's own settings but for a rule that gives wrong answers; see `Planner::new`.
        context.remove_optimizer_rule("eliminate_duplicated_expr");
        if sql.contains("recursive") {
            // It takes unread columns out of a recursion: of `union` rows become equal that are not, and some plans then fail (54.1).
            context.remove_optimizer_rule("optimize_projections");
        }
        let mut live = Vec::new();
        for (name, schema) in tables() {
            let rows = Arc::new(Live { batch: Mutex::new(RecordBatch::new_empty(Arc::clone(&schema))), schema: Arc::clone(&schema) });
            let table = StreamingTable::try_new(schema, vec![Arc::clone(&rows) as Arc<dyn PartitionStream>])?;
            context.register_table(name, Arc::new(table))?;
            live.push(rows);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let statement = planner.rewritten(sql)?;
        let state = context.state();
        let (logical, plan) = runtime.block_on(async {
            let logical = state.statement_to_plan(statement).await?;
            let plan = state.create_physical_plan(&logical).await?;
            Ok::<_, datafusion::error::DataFusionError>((logical, plan))
        })?;
        Ok(Self { context, logical, plan, live, state: Default::default(), runtime })
    }

    /// The rows that live, for people.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        for (bag, (name, schema)) in self.state.iter().zip(tables()) {
            let kinds = kinds_of(schema.fields().iter().map(|field| field.data_type())).expect("types with rows");
            for (row, count) in bag {
                out.push_str(&format!("{name}: {count} x {:?}\n", row.cells(&kinds)));
            }
        }
        out
    }

    /// Applies an epoch and answers.
    pub(crate) fn after(&mut self, epoch: &Epoch) -> Bag {
        for (table, row, diff) in epoch {
            *self.state[*table].entry(row.clone()).or_default() += diff;
        }
        for (table, (_, schema)) in tables().into_iter().enumerate() {
            self.state[table].retain(|_, count| *count != 0);
            let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
            let rows: Vec<&Row> = self.state[table].iter().flat_map(|(row, count)| (0..*count).map(move |_| row)).collect();
            let count = rows.len();
            let columns = Decoder::all(&types).decode(rows.into_iter()).expect("arrays");
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            *self.live[table].batch.lock().expect("a lock") = RecordBatch::try_new_with_options(schema, columns, &options).expect("a batch");
        }
        let plan = reset_plan_states(Arc::clone(&self.plan)).expect("a plan");
        self.execute(plan)
    }

    /// The answer of a plan made for this moment. One plan is executed after every epoch, which is quick, but a node may keep what an
    /// earlier execution learnt: where answers differ, a fresh plan decides.
    pub(crate) fn afresh(&mut self) -> Bag {
        let state = self.context.state();
        self.plan = self.runtime.block_on(state.create_physical_plan(&self.logical)).expect("a plan");
        self.execute(Arc::clone(&self.plan))
    }

    fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Bag {
        let batches = self.runtime.block_on(collect(plan, self.context.task_ctx())).expect("DataFusion's own answer");
        let mut bag = Bag::new();
        for batch in batches {
            for row in encode(batch.columns(), batch.num_rows()).expect("rows") {
                *bag.entry(row).or_default() += 1;
            }
        }
        bag
    }
}

/// One query of the corpus.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// `file.sql:line`.
    pub(crate) place: String,
    /// What it says.
    pub(crate) sql: String,
    /// The `-- …` lines above it.
    pub(crate) comment: String,
}

/// The queries of a folder of the corpus, in order; `;` ends one.
pub(crate) fn corpus(folder: &str) -> Vec<Query> {
    let folder = PathBuf::from("../tests/sql").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder's entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    let mut queries = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a query file");
        let (mut sql, mut comment, mut line_of) = (String::new(), String::new(), 0);
        for (line, content) in text.lines().enumerate() {
            if let Some(words) = content.strip_prefix("--") {
                comment.push_str(words.trim());
                comment.push('\n');
                continue;
            }
            if sql.trim().is_empty() {
                line_of = line + 1;
            }
            sql.push_str(content);
            sql.push('\n');
            if content.trim_end().ends_with(';') {
                let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let body = sql.trim().trim_end_matches(';').to_owned();
                queries.push(Query { place: format!("{name}:{line_of}"), sql: body, comment: std::mem::take(&mut comment) });
                sql.clear();
            }
        }
        assert!(sql.trim().is_empty(), "{}: the last query has no `;`", file.display());
    }
    queries
}
