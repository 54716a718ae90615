//! What is computed row by row: moved columns, and batches handed to an evaluator.

use differential_dataflow::AsCollection as _;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Timestamp;
use timely::progress::operate::FrontierInterest;

use super::{Rows, Update};
use crate::row::{Kind, Row, Weave, Writer};

/// Moves columns. Keeps nothing.
#[must_use]
pub fn rearrange<T: Timestamp>(rows: Rows<'_, T>, weave: Weave) -> Rows<'_, T> {
    if weave.identity() {
        return rows;
    }
    let mut writer = Writer::new();
    rows.map(move |row: Row| weave.make(&[&row], &mut writer))
}

/// Hands whole batches of updates to `evaluate`, which gives rows and faults for them; it must be a function of the row alone,
/// and give each result the time and the weight of its row. Keeps nothing.
#[must_use]
pub fn map_batches<'scope, T, E>(rows: Rows<'scope, T>, name: &str, mut evaluate: E) -> (Rows<'scope, T>, Rows<'scope, T>)
where
    T: Timestamp,
    E: FnMut(&[Update<T>], &mut Vec<Update<T>>, &mut Vec<Update<T>>) + 'static,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), rows.scope());
    let mut input = builder.new_input(rows.inner, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (rows, rows_stream) = builder.new_output::<Vec<Update<T>>>();
    let (faults, faults_stream) = builder.new_output::<Vec<Update<T>>>();
    let mut rows: OutputBuilder<T, CapacityContainerBuilder<Vec<Update<T>>>> = OutputBuilder::from(rows);
    let mut faults: OutputBuilder<T, CapacityContainerBuilder<Vec<Update<T>>>> = OutputBuilder::from(faults);
    builder.build(move |capabilities| {
        drop(capabilities);
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        move |_frontiers| {
            let mut rows = rows.activate();
            let mut faults = faults.activate();
            input.for_each(|capability, updates| {
                evaluate(updates, &mut good, &mut bad);
                updates.clear();
                if !good.is_empty() {
                    rows.session(&capability).give_container(&mut good);
                    good.clear();
                }
                if !bad.is_empty() {
                    faults.session(&capability).give_container(&mut bad);
                    bad.clear();
                }
            });
        }
    });
    (rows_stream.as_collection(), faults_stream.as_collection())
}

/// One row per element of a list column, woven from the row (source 0) and the element (source 1); `outer` keeps a row whose list
/// has nothing, with null. Keeps nothing.
#[must_use]
pub fn unnest<T: Timestamp>(rows: Rows<'_, T>, kinds: Vec<Kind>, column: usize, output: Weave, outer: bool) -> Rows<'_, T> {
    let Kind::List(element) = kinds[column].clone() else { unreachable!("the planner unnests lists") };
    let mut writer = Writer::new();
    rows.flat_map(move |row: Row| {
        let mut reader = row.reader_at(&kinds, column);
        let mut given = Vec::new();
        if reader.present() {
            while reader.element() {
                let before = reader.rest();
                reader.skip(&element);
                let value = Row::from_bytes(&before[..before.len() - reader.rest().len()]);
                given.push(output.make(&[&row, &value], &mut writer));
            }
        }
        if outer && given.is_empty() {
            given.push(output.make(&[&row, &Row::from_bytes(&[0])], &mut writer));
        }
        given
    })
}
