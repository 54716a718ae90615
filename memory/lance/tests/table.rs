//! A table as its writer and its readers see it: whole epochs, once each, whatever happens in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ajatus_lance::{At, Care, LanceError, Scan, Table, TableSpec};
use arrow::array::{Array as _, ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

fn schema() -> SchemaRef {
    let vector = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, false)), 2);
    Arc::new(Schema::new(vec![
        Field::new("owner", DataType::Utf8, true),
        Field::new("id", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("vector", vector, true),
    ]))
}

fn spec(path: &Path, key: &[&str]) -> TableSpec {
    TableSpec {
        path: path.to_owned(),
        schema: schema(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        writer: "pipeline".to_owned(),
        ledger: "ledger 1".to_owned(),
    }
}

type Key = (String, i64);
type Rows = BTreeMap<Key, Option<String>>;

fn batch<'row>(rows: impl Iterator<Item = (&'row Key, &'row Option<String>)>) -> RecordBatch {
    let rows: Vec<_> = rows.collect();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let values = Float32Array::from_iter_values(rows.iter().flat_map(|((_, id), _)| [*id as f32, 1.0]));
    let DataType::FixedSizeList(item, _) = schema().field(3).data_type().clone() else { unreachable!("the fourth column is a vector") };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|((owner, _), _)| owner))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|((_, id), _)| *id))),
        Arc::new(StringArray::from_iter(rows.iter().map(|(_, text)| text.as_deref()))),
        Arc::new(FixedSizeListArray::new(item, 2, Arc::new(values), None)),
    ];
    RecordBatch::try_new(schema(), columns).expect("a batch")
}

/// The keys' columns alone.
fn keys(keys: &[Key], names: &[&str]) -> RecordBatch {
    let whole = batch(keys.iter().map(|key| (key, &None)));
    let at: Vec<usize> = names.iter().map(|name| whole.schema().index_of(name).expect("a column")).collect();
    whole.project(&at).expect("columns")
}

fn rows_of(batches: &[RecordBatch]) -> Rows {
    let mut rows = Rows::new();
    for batch in batches {
        let text = |at: usize| batch.column(at).as_any().downcast_ref::<StringArray>().expect("text").clone();
        let ids = batch.column(1).as_any().downcast_ref::<Int64Array>().expect("numbers").clone();
        for row in 0..batch.num_rows() {
            let value = (!text(2).is_null(row)).then(|| text(2).value(row).to_owned());
            let before = rows.insert((text(0).value(row).to_owned(), ids.value(row)), value);
            assert!(before.is_none(), "a key is there twice");
        }
    }
    rows
}

async fn scanned(path: &Path, at: At) -> Rows {
    let names: Vec<String> = schema().fields().iter().map(|field| field.name().clone()).collect();
    let scan = Scan::open(path, &at, &names).await.expect("a version");
    let mut batches = Vec::new();
    // In pieces, as a source reads it.
    let mut from = 0;
    while from < scan.rows() {
        let piece = scan.read(from, 700).await.expect("rows");
        from += piece.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        batches.extend(piece);
    }
    assert_eq!(from, scan.rows());
    rows_of(&batches)
}

fn key(owner: &str, id: i64) -> Key {
    (owner.to_owned(), id)
}

const BOTH: [&str; 2] = ["owner", "id"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_withdrawals_and_their_epoch_become_visible_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns");
    let mut table = Table::open(spec(&path, &BOTH)).await.expect("a table");
    let first = Rows::from([(key("o'hara", 1), Some("a".to_owned())), (key("päivi", 2), None)]);
    table.apply(4, &batch(first.iter()), &keys(&[], &BOTH), || ()).await.expect("applied");
    let one = table.version();
    let second = Rows::from([(key("päivi", 2), Some("b".to_owned())), (key("new", 3), Some("c".to_owned()))]);
    table.apply(5, &batch(second.iter()), &keys(&[key("o'hara", 1), key("never", 9)], &BOTH), || ()).await.expect("applied");
    assert_eq!(table.version(), one + 1, "one commit");
    assert_eq!(rows_of(&table.rows().await.expect("rows")), second);
    assert_eq!(scanned(&path, At::Version(one)).await, first, "the version before is as it was");
    // Told again.
    table.apply(5, &batch(first.iter()), &keys(&[], &BOTH), || ()).await.expect("nothing");
    assert_eq!((table.version(), scanned(&path, At::Newest).await), (one + 1, second.clone()));
    drop(table);
    let again = Table::open(spec(&path, &BOTH)).await.expect("the table");
    assert_eq!((again.applied(), rows_of(&again.rows().await.expect("rows"))), (5, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_and_not_committed_was_never_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns");
    let mut table = Table::open(spec(&path, &BOTH)).await.expect("a table");
    let first = Rows::from([(key("a", 1), Some("a".to_owned()))]);
    table.apply(1, &batch(first.iter()), &keys(&[], &BOTH), || ()).await.expect("applied");
    let second = Rows::from([(key("b", 2), Some("b".to_owned()))]);
    let mut told = JoinSet::new();
    told.spawn({
        let (second, mut table) = (second.clone(), table);
        async move { table.apply(2, &batch(second.iter()), &keys(&[key("a", 1)], &BOTH), || panic!("the process ends here")).await }
    });
    assert!(told.join_next().await.expect("one").is_err());
    let mut table = Table::open(spec(&path, &BOTH)).await.expect("the table");
    assert_eq!((table.applied(), scanned(&path, At::Newest).await), (1, first));
    table.apply(2, &batch(second.iter()), &keys(&[key("a", 1)], &BOTH), || ()).await.expect("applied");
    assert_eq!(scanned(&path, At::Newest).await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_equal_a_map_at_every_version() {
    for (seed, names) in [(1_u64, vec!["owner", "id"]), (2, vec!["id"])] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("turns");
        let mut random = StdRng::seed_from_u64(seed);
        let mut truth = Rows::new();
        let mut versions: Vec<(u64, Rows)> = Vec::new();
        let mut table = Table::open(spec(&path, &names)).await.expect("a table");
        for epoch in 1..=25_u64 {
            let mut changed: BTreeMap<Key, Option<Option<String>>> = BTreeMap::new();
            for _ in 0..random.random_range(0..40) {
                let id = random.random_range(0..60);
                // With a key of one column, an id has one owner.
                let owner = if names.len() == 2 { ["a", "b'c", "ä\"", ""][random.random_range(0..4)] } else { "one" };
                let row = random.random_bool(0.6).then(|| random.random_bool(0.9).then(|| format!("{epoch}'s \\ text")));
                changed.insert(key(owner, id), row);
            }
            let upserts: Rows = changed.iter().filter_map(|(key, row)| Some((key.clone(), row.clone()?))).collect();
            let deletes: Vec<Key> = changed.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key.clone()).collect();
            table.apply(epoch, &batch(upserts.iter()), &keys(&deletes, &names), || ()).await.expect("applied");
            truth.retain(|key, _| !deletes.contains(key));
            truth.extend(upserts);
            versions.push((table.version(), truth.clone()));
            if epoch % 7 == 0 {
                let cared = table.tend(&Care { fragments: 3, history: Duration::from_secs(3_600) }, false).await.expect("tended");
                assert!(cared.is_some_and(|cared| cared.fragments.1 <= 1), "the pieces are put together");
            }
            if epoch % 10 == 0 {
                table = Table::open(spec(&path, &names)).await.expect("the table");
            }
            assert_eq!(rows_of(&table.rows().await.expect("rows")), truth, "seed {seed}, epoch {epoch}");
        }
        for (version, rows) in versions {
            assert_eq!(scanned(&path, At::Version(version)).await, rows, "seed {seed}, version {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_withdrawals_at_once_are_taken_in_parts_and_counted_with_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns");
    let mut table = Table::open(spec(&path, &["id"])).await.expect("a table");
    let all: Rows = (0..10_000).map(|id| (key("one", id), Some("text".to_owned()))).collect();
    table.apply(1, &batch(all.iter()), &keys(&[], &["id"]), || ()).await.expect("applied");
    let gone: Vec<Key> = (0..9_000).map(|id| key("one", id)).collect();
    let kept = Rows::from([(key("one", 9_500), Some("changed".to_owned()))]);
    table.apply(2, &batch(kept.iter()), &keys(&gone, &["id"]), || ()).await.expect("applied");
    let mut truth: Rows = all.into_iter().filter(|((_, id), _)| *id >= 9_000).collect();
    truth.extend(kept);
    assert_eq!(scanned(&path, At::Newest).await, truth);
    assert_eq!(Table::open(spec(&path, &["id"])).await.expect("the table").applied(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_outlive_the_history_and_old_versions_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns");
    let mut table = Table::open(spec(&path, &BOTH)).await.expect("a table");
    let short = Care { fragments: 32, history: Duration::ZERO };
    let mut first = None;
    for epoch in 1..=12 {
        let rows = Rows::from([(key("a", i64::try_from(epoch).expect("small")), None)]);
        table.apply(epoch, &batch(rows.iter()), &keys(&[], &BOTH), || ()).await.expect("applied");
        first.get_or_insert(table.version());
        table.tend(&short, true).await.expect("tended").expect("always");
    }
    assert_eq!(scanned(&path, At::Tag("e12".to_owned())).await.len(), 12);
    assert_eq!(scanned(&path, At::Tag("e5".to_owned())).await.len(), 5, "the last eight tags are kept");
    for gone in [At::Tag("e4".to_owned()), At::Version(first.expect("one")), At::Version(999)] {
        let error = Scan::open(&path, &gone, &["id".to_owned()]).await.err().expect("gone");
        assert!(matches!(error, LanceError::Version { .. }), "{error}");
    }
    assert_eq!(Table::open(spec(&path, &BOTH)).await.expect("the table").applied(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_another_has_replaced_commits_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns");
    let row = |id| Rows::from([(key("a", id), None)]);
    let mut old = Table::open(spec(&path, &BOTH)).await.expect("a table");
    old.apply(1, &batch(row(1).iter()), &keys(&[], &BOTH), || ()).await.expect("applied");
    let before = old.version();
    // The plan has changed: another ledger, and the rows are made anew.
    let mut new = Table::open(TableSpec { ledger: "ledger 2".to_owned(), ..spec(&path, &BOTH) }).await.expect("the table");
    assert_eq!((new.applied(), new.rows().await.expect("rows").iter().map(RecordBatch::num_rows).sum::<usize>()), (0, 0));
    assert_eq!(scanned(&path, At::Version(before)).await, row(1), "what was can still be read");
    let error = old.apply(2, &batch(row(2).iter()), &keys(&[], &BOTH), || ()).await.expect_err("fenced");
    assert!(matches!(error, LanceError::Fenced { .. }), "{error}");
    new.apply(1, &batch(row(3).iter()), &keys(&[], &BOTH), || ()).await.expect("applied");
    assert_eq!(scanned(&path, At::Newest).await, row(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_its_own_is_never_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns");
    drop(Table::open(spec(&path, &BOTH)).await.expect("a table"));
    let error = |opened: Result<Table, LanceError>| opened.err().expect("an error");
    let other = error(Table::open(TableSpec { writer: "another".to_owned(), ..spec(&path, &BOTH) }).await);
    assert!(matches!(&other, LanceError::Foreign { reason, .. } if reason.contains("\"pipeline\" keeps it")), "{other}");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).and_then(|()| std::fs::write(files.join("notes.txt"), "mine")).expect("a file");
    let held = error(Table::open(spec(&files, &BOTH)).await);
    assert!(matches!(held, LanceError::Foreign { .. }), "{held}");
    assert_eq!(std::fs::read_to_string(files.join("notes.txt")).expect("the file"), "mine");
    let narrow: SchemaRef = Arc::new(Schema::new(vec![Field::new("owner", DataType::Utf8, true), Field::new("id", DataType::Int64, true)]));
    let columns = error(Table::open(TableSpec { schema: narrow, ..spec(&path, &BOTH) }).await);
    assert!(matches!(columns, LanceError::Schema { .. }), "{columns}");
    for key in [&[][..], &["nowhere"]] {
        let keyless = error(Table::open(spec(&folder.path().join("other"), key)).await);
        assert!(matches!(keyless, LanceError::Schema { .. }), "{keyless}");
    }
    assert!(!folder.path().join("other").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_or_damaged_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns");
    let missing = Scan::open(&path, &At::Newest, &["id".to_owned()]).await.err().expect("an error");
    assert!(matches!(missing, LanceError::Missing { .. }), "{missing}");
    let mut table = Table::open(spec(&path, &BOTH)).await.expect("a table");
    let rows: Rows = (0..500).map(|id| (key("a", id), Some("text".to_owned()))).collect();
    table.apply(1, &batch(rows.iter()), &keys(&[], &BOTH), || ()).await.expect("applied");
    let column = Scan::open(&path, &At::Newest, &["weight".to_owned()]).await.err().expect("an error");
    assert!(matches!(&column, LanceError::Schema { reason, .. } if reason.contains("owner, id, text, vector")), "{column}");
    // A data file cut in half.
    for file in std::fs::read_dir(path.join("data")).expect("the files").flatten() {
        let bytes = std::fs::read(file.path()).expect("a file");
        std::fs::write(file.path(), &bytes[..bytes.len() / 2]).expect("a shorter one");
    }
    let scan = Scan::open(&path, &At::Newest, &["id".to_owned()]).await.expect("the manifest is whole");
    let cut = scan.read(0, 10).await.expect_err("damaged");
    assert!(matches!(cut, LanceError::Broken { .. }), "{cut}");
}
