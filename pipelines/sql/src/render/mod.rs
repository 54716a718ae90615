//! From steps to operators.
//!
//! Holds always: a step that several read is built once; what fails on a row goes to the faults with the row's weight, and its
//! neighbours go on.

mod evaluate;
mod operator;
mod profile;
mod recursion;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ajatus_operators::relational::{JoinEmit, Rows, after, distinct, group, infer_rows, join, map_batches, rearrange, remembered, top, unnest};
use ajatus_operators::row::{Kind, Row, Weave, Writer};
use ajatus_operators::{Answer, Calls, Job, Keep as Place, Vault};
use differential_dataflow::input::Input as _;
use timely::dataflow::Scope;

use crate::plan::{Call, Input, Keep, Match, Node, Step};

/// Sends a batch to a model.
pub type Dispatch = Box<dyn FnMut(Job<Row, Row>)>;
/// Hears which requests have no live row left.
pub type Release = Box<dyn FnMut(u64, Vec<(Row, Answer<Row>)>)>;

/// Who answers model calls.
pub trait Models {
    /// How the model of a step is called.
    fn calls(&self, step: &Node, call: &Call) -> Calls<Dispatch, Release>;
}

/// For pipelines without model calls.
#[derive(Clone, Copy, Debug)]
pub struct NoModels;

impl Models for NoModels {
    fn calls(&self, step: &Node, call: &Call) -> Calls<Dispatch, Release> {
        let reason = format!("step {} calls model {:?}, but none is connected", step.label(), call.model);
        Calls {
            max_batch: 256,
            max_in_flight: 1,
            dispatch: Box::new(move |job: Job<Row, Row>| {
                let answers = job.requests.iter().map(|_| Err(reason.clone())).collect();
                job.answer(answers);
            }),
            release: Box::new(|_, _| {}),
        }
    }
}

/// A table's or a view's rows, of which only some columns are there.
#[derive(Clone)]
pub struct Feed<'scope> {
    /// The rows.
    pub rows: Rows<'scope>,
    /// Which columns of the table, ascending.
    pub columns: Vec<usize>,
    /// How those are written.
    pub kinds: Vec<Kind>,
}

/// Builds the operators of steps.
pub struct Render<'scope, 'a> {
    scope: Scope<'scope, u64>,
    feeds: HashMap<String, Feed<'scope>>,
    models: &'a dyn Models,
    vault: Vault,
    built: HashMap<usize, Rows<'scope>>,
    faults: Vec<Rows<'scope>>,
    held: Option<&'a Holds>,
}

/// Gives the number that counts the rows which a step holds, by the step's label; the same one for the same label.
pub type Holds = dyn Fn(&str) -> Arc<AtomicI64>;

impl<'scope, 'a> Render<'scope, 'a> {
    /// In a scope.
    #[must_use]
    pub fn new(scope: Scope<'scope, u64>, models: &'a dyn Models) -> Self {
        Self { scope, feeds: HashMap::new(), models, vault: Vault::unused(), built: HashMap::new(), faults: Vec::new(), held: None }
    }

    /// The operators put what they know into a vault, and take it up from there.
    #[must_use]
    pub fn keeping(self, vault: Vault) -> Self {
        Self { vault, ..self }
    }

    /// Has the rows counted that steps hold: groups, sides of joins, rows in an order, distinct rows.
    #[must_use]
    pub fn counting(mut self, held: &'a Holds) -> Self {
        self.held = Some(held);
        self
    }

    /// The same rows; what there is of them is counted for a step.
    #[must_use]
    pub fn counted(&self, rows: Rows<'scope>, label: &str) -> Rows<'scope> {
        let Some(held) = self.held else { return rows };
        let count = held(label);
        rows.inspect_batch(move |_, updates| {
            let more: isize = updates.iter().map(|(_, _, diff)| diff).sum();
            count.fetch_add(more as i64, Ordering::Relaxed);
        })
    }

    /// Counts what a step's operator, at this place of the vault, has taken up from an earlier run.
    pub fn held_before(&self, label: &str, place: &str) {
        if let Some(held) = self.held {
            held(label).fetch_add(self.vault.taken(place), Ordering::Relaxed);
        }
    }

    fn place_name(node: &Node) -> String {
        format!("step {}", node.id)
    }

    /// Keeps what goes into operators whose state cannot be written down: a run that resumes gives it to them again, and they make their
    /// state of it. What they give is then passed on by [`after`] alone.
    fn cut(&self, rows: Rows<'scope>, place: &str) -> Rows<'scope> {
        if self.vault.used() { remembered(rows, self.vault.place(place)) } else { rows }
    }

    /// The place of a step's operator: steps are numbered alike in every run of a plan.
    fn place(&self, node: &Node) -> Place {
        self.vault.place(&Self::place_name(node))
    }

    /// Makes a table's or a view's rows known.
    pub fn feed(&mut self, name: &str, feed: Feed<'scope>) {
        self.feeds.insert(name.to_owned(), feed);
    }

    /// What failed, of everything built.
    #[must_use]
    pub fn faults(self) -> Option<Rows<'scope>> {
        let mut all = self.faults.into_iter();
        let first = all.next()?;
        Some(first.concatenate(all))
    }

    /// The rows of a step.
    ///
    /// # Panics
    /// On a table that was not fed, which is a bug of the caller.
    pub fn node(&mut self, node: &Input) -> Rows<'scope> {
        if let Some(rows) = self.built.get(&node.id) {
            return rows.clone();
        }
        let rows = self.build(node);
        self.built.insert(node.id, rows.clone());
        rows
    }

    fn build(&mut self, node: &Input) -> Rows<'scope> {
        match &node.step {
            Step::Source { table, columns } => {
                let feed = self.feeds.get(table).unwrap_or_else(|| panic!("table {table:?} is not fed"));
                let place = |column: &usize| feed.columns.iter().position(|held| held == column).expect("a required column");
                let columns: Vec<usize> = columns.iter().map(place).collect();
                rearrange(feed.rows.clone(), Weave::pick(&feed.kinds, &columns))
            }
            Step::Values { rows } => self.constant(rows.clone()),
            Step::Map { input, program } => {
                let rows = self.node(input);
                if let Some(columns) = &program.moves {
                    return rearrange(rows, Weave::pick(&input.kinds(), columns));
                }
                let program = Arc::clone(program);
                let mut evaluator = evaluate::Evaluator::new(program, node.label(), input);
                let (rows, faults) = map_batches(rows, &node.label(), move |updates, good, bad| evaluator.run(updates, good, bad));
                self.faults.push(faults);
                rows
            }
            Step::Unnest { input, column, output, outer } => {
                let kinds = input.kinds();
                unnest(self.node(input), kinds, *column, output.clone(), *outer)
            }
            Step::Group { input, grouping, nothing } => {
                let rows = self.node(input);
                let (rows, faults) = group(rows, &node.label(), grouping.clone(), self.place(node));
                self.faults.push(faults);
                let rows = self.counted(rows, &node.label());
                self.held_before(&node.label(), &Self::place_name(node));
                match nothing {
                    None => rows,
                    Some(nothing) => {
                        // There is one row even over nothing: it stands as long as no other does.
                        let taken = nothing.clone();
                        self.constant(vec![nothing.clone()]).concat(rows.clone().map(move |_| taken.clone()).negate()).concat(rows)
                    }
                }
            }
            Step::Distinct { input } => {
                let rows = distinct(self.node(input), self.place(node));
                self.held_before(&node.label(), &Self::place_name(node));
                self.counted(rows, &node.label())
            }
            Step::Join(matching) => {
                let rows = self.join(matching, &node.label(), self.place(node));
                self.held_before(&node.label(), &Self::place_name(node));
                rows
            }
            Step::Union { inputs } => {
                let mut all = inputs.iter().map(|input| self.node(input)).collect::<Vec<_>>().into_iter();
                let first = all.next().expect("a union has branches");
                first.concatenate(all)
            }
            Step::Top { input, shape } => {
                let rows = self.node(input);
                let rows = top(self.counted(rows, &node.label()), shape.clone(), self.place(node));
                self.held_before(&node.label(), &Self::place_name(node));
                rows
            }
            Step::Recursion { name, of, base, step, recursion } => self.recursion(node, name, *of, base, step, *recursion),
            Step::Round { .. } => unreachable!("it is read inside of its recursion only"),
            Step::Operator { operator, inputs } => {
                // Its state is differential's own: it is made again of what came in.
                let cut = |(at, input)| {
                    let rows = self.node(input);
                    self.cut(rows, &format!("step {} input {at}", node.id))
                };
                let rows = inputs.iter().enumerate().map(cut).collect();
                let (rows, faults) = operator::operator(node, *operator, inputs, rows);
                self.faults.extend(faults.into_iter().map(|faults| after(faults, &self.vault)));
                let rows = after(rows, &self.vault);
                rows
            }
            Step::Infer { input, call } => {
                let kinds = input.kinds();
                let rows = self.node(input);
                let (rows, faults) = infer_rows(rows, &node.label(), &kinds, &call.asked, self.models.calls(node, call), self.place(node));
                self.faults.push(faults);
                rows
            }
        }
    }

    /// Rows that are always there: one worker says them.
    fn constant(&self, rows: Vec<Row>) -> Rows<'scope> {
        let rows = if self.scope.index() == 0 { rows } else { Vec::new() };
        let (_, collection) = self.scope.new_collection_from(rows);
        collection
    }

    fn join(&mut self, matching: &Match, label: &str, place: Place) -> Rows<'scope> {
        let left = self.node(&matching.left);
        let right = self.node(&matching.right);
        let (left, left_nulls) = known(left, &matching.left, &matching.left_keys, matching.nulls_match);
        let (right, right_nulls) = known(right, &matching.right, &matching.right_keys, matching.nulls_match);
        let weave = |wanted: Keep| matching.keep.iter().find(|(keep, _)| *keep == wanted).map(|(_, weave)| weave.clone());
        let emit = JoinEmit {
            pairs: weave(Keep::Pairs),
            left_alone: weave(Keep::LeftAlone),
            left_matched: weave(Keep::LeftMatched),
            right_alone: weave(Keep::RightAlone),
        };
        let mut rows = join(
            rearrange(self.counted(left, label), matching.left_weave.clone()),
            rearrange(self.counted(right, label), matching.right_weave.clone()),
            &matching.shape,
            emit,
            place,
        );
        // A row whose key has a null has no partner.
        let keys = matching.shape.key.len();
        if let (Some(nulls), Some(weave)) = (left_nulls, weave(Keep::LeftAlone)) {
            rows = rows.concat(alone(nulls, &matching.left_weave, weave, keys, [&matching.shape.key, &matching.shape.left], |key, rest, other, none| [key, rest, other, none], matching.shape.right.len()));
        }
        if let (Some(nulls), Some(weave)) = (right_nulls, weave(Keep::RightAlone)) {
            rows = rows.concat(alone(nulls, &matching.right_weave, weave, keys, [&matching.shape.key, &matching.shape.right], |key, rest, other, none| [key, other, rest, none], matching.shape.left.len()));
        }
        rows
    }
}

/// Rows whose key is known, and the others where there can be any.
fn known<'scope>(rows: Rows<'scope>, node: &Node, keys: &[usize], nulls_match: bool) -> (Rows<'scope>, Option<Rows<'scope>>) {
    if nulls_match || !keys.iter().any(|key| node.nullable[*key]) {
        return (rows, None);
    }
    let (kinds, keys) = (node.kinds(), keys.to_vec());
    let (other_kinds, other_keys) = (kinds.clone(), keys.clone());
    let known = rows.clone().filter(move |row| !keys.iter().any(|key| row.has_null(&kinds, *key)));
    let unknown = rows.filter(move |row| other_keys.iter().any(|key| row.has_null(&other_kinds, *key)));
    (known, Some(unknown))
}

/// Rows of one side as a join shows them alone.
fn alone<'scope>(
    rows: Rows<'scope>,
    split: &Weave,
    weave: Weave,
    keys: usize,
    kinds: [&Vec<Kind>; 2],
    place: impl for<'row> Fn(&'row Row, &'row Row, &'row Row, &'row Row) -> [&'row Row; 4] + 'static,
    others: usize,
) -> Rows<'scope> {
    let all: Vec<Kind> = kinds[0].iter().chain(kinds[1]).cloned().collect();
    let key_of = Weave::pick(&all, &(0..keys).collect::<Vec<_>>());
    let rest_of = Weave::pick(&all, &(keys..all.len()).collect::<Vec<_>>());
    let (no_other, no_key) = (Row::from_bytes(&vec![0; others]), Row::from_bytes(&vec![0; keys]));
    let mut writer = Writer::new();
    rearrange(rows, split.clone()).map(move |row: Row| {
        let key = key_of.make(&[&row], &mut writer);
        let rest = rest_of.make(&[&row], &mut writer);
        weave.make(&place(&key, &rest, &no_other, &no_key), &mut writer)
    })
}
