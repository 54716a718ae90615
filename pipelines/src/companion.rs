//! The companion's job: `companion.sql`, planned for the model there is, and its rows on the way in and out.
//!
//! Holds always: what is computed is what the file says; what leaves a failed row is its key, never its words. The plan's hash
//! changes with the file and with the model, and the views are then made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ajatus_events::{InteractionKey, Sealed, UserId, topic};
use ajatus_inference::Embedder;
use ajatus_memory::postgres::{ActivityRow, EditRow, MemoryRow, OutboxRow};
use ajatus_operators::relational::FAULT;
use ajatus_operators::row::{Cell, Kind, Row, Writer};
use ajatus_sql::diagnostic::{Diagnostics, Source};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::{ModelTask, Node, Step};
use ajatus_sql::script::Table;
use chrono::{DateTime, Utc};

use crate::runtime::PipelineError;
use crate::turn::{Said, Turn, dead_letter};

/// The definition.
const FILE: &str = include_str!("../companion.sql");
/// The source, and the sinks.
const INTERACTIONS: &str = "interactions";
const MEMORIES: &str = "memories";
const ACTIVITY: &str = "activity";
const PROFILES: &str = "profiles";
const EDITS: &str = "profile_edits";

/// Columns of the sinks, in the order in which they are read here.
const MEMORY_COLUMNS: [&str; 10] =
    ["user_id", "id", "conversation_id", "session", "position", "role", "occurred_at", "body", "fingerprint", "vector"];
const ACTIVITY_COLUMNS: [&str; 6] = ["user_id", "user_turns", "assistant_turns", "other_turns", "first_at", "last_at"];
const PROFILE_COLUMNS: [&str; 4] = ["user_id", "kind", "entry", "body"];
const EDIT_COLUMNS: [&str; 4] = ["user_id", "id", "occurred_at", "body"];

/// An entry of a profile as the dataflow has it: whose, its kind, its name, and itself as JSON.
pub(crate) type ProfileEntry = (UserId, String, String, String);

/// The planned job.
pub(crate) struct Job {
    pub(crate) pipeline: Arc<Pipeline>,
    /// Names the plan and the model.
    pub(crate) plan_hash: String,
    /// The source, and which of its columns are read.
    pub(crate) source: (Table, Vec<usize>),
    /// What a live row holds behind its key, in order.
    fields: Vec<Field>,
    memories: Taken,
    activity: Taken,
    profiles: Taken,
    edits: Taken,
    /// Steps that call a model, by label.
    callers: BTreeMap<String, Caller>,
    model: String,
}

/// What a column of `interactions` is, of a turn.
#[derive(Clone, Copy, Debug)]
enum Field {
    Conversation,
    Session,
    Position,
    Role,
    OccurredAt,
    Body,
    Fingerprint,
    Text,
    Speaker,
    Caption,
    Used,
    Edit,
}

/// An output, and where its columns stand.
struct Taken {
    output: usize,
    kinds: Vec<Kind>,
    places: Vec<usize>,
}

/// A step that calls a model.
struct Caller {
    function: &'static str,
    kinds: Vec<Kind>,
    /// Columns of the turn's user and id.
    key: Option<(usize, usize)>,
}

impl Job {
    /// Plans the job. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`PipelineError::Definition`] if the file is not what the program expects, which is a bug.
    pub(crate) fn plan(embedder: &dyn Embedder) -> Result<Self, PipelineError> {
        Self::of(FILE, embedder)
    }

    fn of(file: &str, embedder: &dyn Embedder) -> Result<Self, PipelineError> {
        let refuse = |reason: String| PipelineError::Definition(reason);
        let (model, dimensions) = (embedder.model(), embedder.dimension());
        let settings = [("EMBEDDING_MODEL", model.name.clone()), ("EMBEDDING_DIMENSIONS", dimensions.to_string())];
        let source = Source::new("companion.sql", file).with_settings(settings.map(|(name, value)| (name.to_owned(), value)).into());
        let pipeline = Pipeline::check(source.clone()).map_err(|found| refuse(Diagnostics(found).render(&source)))?;
        let required = pipeline.required();
        let [(name, columns)] = required.iter().collect::<Vec<_>>()[..] else { return Err(refuse("it reads more than one table".to_owned())) };
        let table = pipeline.table(name).filter(|table| table.name == INTERACTIONS).ok_or_else(|| refuse(format!("it reads {name:?}")))?;
        let named = |column: &usize| table.columns[*column].name.as_str();
        if table.primary_key.iter().map(named).ne(["user_id", "id"]) {
            return Err(refuse(format!("the key of {INTERACTIONS:?} is not user_id, id")));
        }
        let fields = columns
            .iter()
            .filter(|column| !table.primary_key.contains(column))
            .map(|column| Field::named(named(column)).ok_or_else(|| refuse(format!("a turn has no {:?}", named(column)))))
            .collect::<Result<Vec<_>, _>>()?;
        let plan_hash = blake3::hash(format!("companion turned {} {} {dimensions}", pipeline.hash, model.id()).as_bytes()).to_hex().chars().take(16).collect();
        let taken = |sink: &str, columns: &[&str]| {
            Taken::find(&pipeline, sink, columns).ok_or_else(|| refuse(format!("sink {sink:?} is not there, or lacks a column")))
        };
        Ok(Self {
            memories: taken(MEMORIES, &MEMORY_COLUMNS)?,
            activity: taken(ACTIVITY, &ACTIVITY_COLUMNS)?,
            profiles: taken(PROFILES, &PROFILE_COLUMNS)?,
            edits: taken(EDITS, &EDIT_COLUMNS)?,
            callers: callers(&pipeline)?,
            source: (table.clone(), columns.clone()),
            fields,
            plan_hash,
            model: model.id(),
            pipeline: Arc::new(pipeline),
        })
    }

    /// Outputs of the dataflow, the faults behind them.
    pub(crate) fn outputs(&self) -> usize {
        self.pipeline.outputs.len() + 1
    }

    /// Which output holds the memories.
    pub(crate) fn memories(&self) -> usize {
        self.memories.output
    }

    /// Which output holds the counts.
    pub(crate) fn activity(&self) -> usize {
        self.activity.output
    }

    /// Which output holds the profiles.
    pub(crate) fn profiles(&self) -> usize {
        self.profiles.output
    }

    /// Which output holds the profiles' edits.
    pub(crate) fn edits(&self) -> usize {
        self.edits.output
    }

    /// Rows as the source takes them: key, offset, whether it lives, and the rest.
    pub(crate) fn rows(&self, said: Vec<Said>) -> Vec<(Row, i64)> {
        let mut out = Writer::new();
        said.into_iter()
            .map(|(key, offset, turn)| {
                out.text(&key.user_id.to_string());
                out.text(&key.id.to_string());
                out.uint64(offset);
                out.bool(turn.is_some());
                for field in turn.iter().flat_map(|turn| self.fields.iter().map(move |field| (field, turn))) {
                    field.0.put(field.1, &mut out);
                }
                (out.finish(), 1)
            })
            .collect()
    }

    /// Whose memory a row is.
    pub(crate) fn memory_key(&self, row: &Row) -> Result<InteractionKey, PipelineError> {
        let cells = row.cells(&self.memories.kinds);
        Ok(InteractionKey { user_id: parsed(&cells[self.memories.places[0]])?, id: parsed(&cells[self.memories.places[1]])? })
    }

    /// A row of the view.
    pub(crate) fn memory(&self, row: &Row) -> Result<MemoryRow, PipelineError> {
        let mut cells = self.memories.cells(row);
        let [user, id, conversation, session, position, role, at, body, fingerprint, vector] = std::array::from_fn(|_| cells.next().unwrap_or(Cell::Null));
        let (Cell::Bytes(body), Cell::Text(fingerprint), Cell::Vector(vector)) = (body, fingerprint, vector) else {
            return Err(PipelineError::Bug("a memory lacks its body, its fingerprint or its vector"));
        };
        Ok(MemoryRow {
            key: InteractionKey { user_id: parsed(&user)?, id: parsed(&id)? },
            conversation_id: parsed(&conversation)?,
            session: number(&session)?,
            position: number(&position)?,
            role: parsed(&role)?,
            occurred_at: instant(&at)?,
            body: Sealed(body.into_owned()),
            fingerprint: fingerprint.into_owned(),
            vector,
            model: self.model.clone(),
        })
    }

    /// A row of the counts.
    pub(crate) fn counts(&self, row: &Row) -> Result<ActivityRow, PipelineError> {
        let mut cells = self.activity.cells(row);
        let [user, user_turns, assistant_turns, other_turns, first, last] = std::array::from_fn(|_| cells.next().unwrap_or(Cell::Null));
        Ok(ActivityRow {
            user_id: parsed::<UserId>(&user)?,
            user_turns: number(&user_turns)?,
            assistant_turns: number(&assistant_turns)?,
            other_turns: number(&other_turns)?,
            first_at: instant(&first)?,
            last_at: instant(&last)?,
        })
    }

    /// An entry of a profile.
    pub(crate) fn profile(&self, row: &Row) -> Result<ProfileEntry, PipelineError> {
        let mut cells = self.profiles.cells(row);
        let [user, kind, entry, body] = std::array::from_fn(|_| cells.next().unwrap_or(Cell::Null));
        let (Cell::Text(kind), Cell::Text(entry), Cell::Text(body)) = (kind, entry, body) else { return Err(BUG) };
        Ok((parsed(&user)?, kind.into_owned(), entry.into_owned(), body.into_owned()))
    }

    /// An edit of a profile.
    pub(crate) fn edit(&self, row: &Row) -> Result<EditRow, PipelineError> {
        let mut cells = self.edits.cells(row);
        let [user, id, at, body] = std::array::from_fn(|_| cells.next().unwrap_or(Cell::Null));
        let Cell::Bytes(body) = body else { return Err(BUG) };
        let key = InteractionKey { user_id: parsed(&user)?, id: parsed(&id)? };
        Ok(EditRow { key, occurred_at: instant(&at)?, body: Sealed(body.into_owned()) })
    }

    /// What the log must hear of a row that a step could not compute: which turn it was, and why. Its words stay here.
    pub(crate) fn letter(&self, fault: &Row) -> OutboxRow {
        let cells = fault.cells(&FAULT);
        let text = |at: usize| if let Cell::Text(text) = &cells[at] { text.to_string() } else { String::new() };
        let (step, code) = (text(0), text(1));
        let (Some(caller), Cell::Bytes(cause)) = (self.callers.get(&step), &cells[4]) else {
            // The reason may quote what was computed on.
            return dead_letter(&step, &code, "a row cannot be computed".to_owned(), &format!("step {step}"), Vec::new());
        };
        let row = Row::from_bytes(cause);
        let asked = row.cells(&caller.kinds);
        let key = caller.key.map(|(user, id)| (&asked[user], &asked[id]));
        let origin = if let Some((Cell::Text(user), Cell::Text(id))) = key { format!("{}:{user}/{id}", topic::INTERACTIONS) } else { format!("step {step}") };
        dead_letter(caller.function, &format!("{}.refused", caller.function), text(2), &origin, Vec::new())
    }
}

/// The steps that call a model. Only vectors of texts with an owner can be recorded so far.
fn callers(pipeline: &Pipeline) -> Result<BTreeMap<String, Caller>, PipelineError> {
    let (mut found, mut wrong, mut seen) = (BTreeMap::new(), None, BTreeSet::new());
    for node in pipeline.nodes() {
        node.walk(&mut seen, &mut |node: &Node| {
            let Step::Infer { input, call } = &node.step else { return };
            let kinds = input.kinds();
            let function = call.task.function();
            if call.task != ModelTask::Embedding || call.asked.iter().map(|column| &kinds[*column]).ne([&Kind::Text, &Kind::Text]) {
                wrong.get_or_insert(format!("{function}({}, …) is not embed(model, text, owner)", call.model));
            }
            let place = |name: &str| input.names.iter().position(|held| held == name);
            found.insert(node.label(), Caller { function, key: place("user_id").zip(place("id")), kinds });
        });
    }
    wrong.map_or(Ok(found), |reason| Err(PipelineError::Definition(reason)))
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "conversation_id" => Self::Conversation,
            "session" => Self::Session,
            "position" => Self::Position,
            "role" => Self::Role,
            "occurred_at" => Self::OccurredAt,
            "body" => Self::Body,
            "fingerprint" => Self::Fingerprint,
            "text" => Self::Text,
            "speaker" => Self::Speaker,
            "caption" => Self::Caption,
            "used" => Self::Used,
            "edit" => Self::Edit,
            _ => return None,
        })
    }

    fn put(self, turn: &Turn, out: &mut Writer) {
        let maybe = |text: Option<&String>, out: &mut Writer| match text {
            Some(text) => out.text(text),
            None => out.null(),
        };
        match self {
            Self::Conversation => out.text(&turn.conversation_id.to_string()),
            Self::Session => out.int64(turn.session.into()),
            Self::Position => out.int64(turn.position.into()),
            Self::Role => out.text(turn.role.as_str()),
            Self::OccurredAt => out.int64(turn.at_us),
            Self::Body => out.bytes(&turn.sealed.0),
            Self::Fingerprint => out.text(&turn.fingerprint),
            Self::Text => out.text(&turn.body.text),
            Self::Speaker => maybe(turn.body.speaker.as_ref(), out),
            Self::Caption => maybe(turn.body.caption.as_ref(), out),
            Self::Used => {
                let used: Vec<String> = turn.body.used.iter().map(ToString::to_string).collect();
                maybe(Some(used.join(",")).filter(|used| !used.is_empty()).as_ref(), out);
            }
            Self::Edit => maybe(turn.body.edit.as_ref().map(|edit| serde_json::json!(edit).to_string()).as_ref(), out),
        }
    }
}

impl Taken {
    fn find(pipeline: &Pipeline, sink: &str, columns: &[&str]) -> Option<Self> {
        let output = pipeline.outputs.iter().position(|output| output.table.name == sink)?;
        let node = &pipeline.outputs[output].planned.node;
        let place = |name: &&str| pipeline.outputs[output].table.columns.iter().position(|column| column.name == **name);
        Some(Self { output, kinds: node.kinds(), places: columns.iter().map(place).collect::<Option<_>>()? })
    }

    /// The columns asked for, in the order asked.
    fn cells<'row>(&self, row: &'row Row) -> impl Iterator<Item = Cell<'row>> {
        let mut cells = row.cells(&self.kinds);
        self.places.iter().map(move |place| std::mem::replace(&mut cells[*place], Cell::Null))
    }
}

const BUG: PipelineError = PipelineError::Bug("a row of the dataflow is not what companion.sql says");

fn parsed<T: std::str::FromStr>(cell: &Cell<'_>) -> Result<T, PipelineError> {
    let Cell::Text(text) = cell else { return Err(BUG) };
    text.parse().map_err(|_| BUG)
}

fn number<T: TryFrom<i128>>(cell: &Cell<'_>) -> Result<T, PipelineError> {
    let Cell::Int(number) = cell else { return Err(BUG) };
    T::try_from(*number).map_err(|_| BUG)
}

fn instant(cell: &Cell<'_>) -> Result<DateTime<Utc>, PipelineError> {
    let micros: i64 = number(cell)?;
    DateTime::from_timestamp_micros(micros).ok_or(PipelineError::Bug("a time of the dataflow is out of range"))
}

#[cfg(test)]
mod tests {
    use ajatus_inference::{Embedding, InferenceError, ModelIdentity};
    use async_trait::async_trait;

    use super::*;

    struct Named(ModelIdentity, usize);

    #[async_trait]
    impl Embedder for Named {
        fn model(&self) -> &ModelIdentity {
            &self.0
        }

        fn dimension(&self) -> usize {
            self.1
        }

        async fn embed(&self, _texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
            Ok(Vec::new())
        }
    }

    fn model(name: &str, weights: &str, dimensions: usize) -> Named {
        Named(ModelIdentity { name: name.into(), weights: weights.into() }, dimensions)
    }

    fn hash(file: &str, model: &Named) -> String {
        Job::of(file, model).unwrap_or_else(|error| panic!("{error}")).plan_hash
    }

    #[test]
    fn the_plan_changes_with_the_file_and_with_the_model_and_not_with_a_comment() {
        let minilm = model("minilm", "1", 4);
        let plan = hash(FILE, &minilm);
        assert_eq!(plan, hash(FILE, &model("minilm", "1", 4)));
        assert_eq!(plan, hash(&format!("{FILE}\n-- seen\n"), &minilm));
        let others = [
            hash(&FILE.replace("coalesce(caption, '')", "coalesce(caption, '?')"), &minilm),
            hash(&FILE.replace("max_batch_rows = 128", "max_batch_rows = 64"), &minilm),
            hash(FILE, &model("minilm", "2", 4)),
            hash(FILE, &model("other", "1", 4)),
            hash(FILE, &model("minilm", "1", 8)),
        ];
        assert_eq!(others.iter().chain([&plan]).collect::<BTreeSet<_>>().len(), 6, "{plan} {others:?}");
    }

    #[test]
    fn a_file_that_the_program_cannot_serve_is_refused_with_a_reason() {
        let minilm = model("minilm", "1", 4);
        for (from, to, reason) in [
            ("embed(embedder, words, user_id)", "embed(embedder, words)", "owner"),
            ("text text not null, caption text", "text text not null, caption text, mood text", "mood"),
            ("insert into activity", "-- ", "activity"),
            ("max_in_flight = 2", "max_in_flight = 0", "P0204"),
        ] {
            let mut file = FILE.replace(from, to);
            if reason == "mood" {
                file = file.replace("coalesce(caption, '')", "coalesce(mood, '')");
            }
            let refused = Job::of(&file, &minilm).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains(reason), "{reason}: {refused}");
        }
    }

    #[test]
    fn a_letter_names_the_turn_and_holds_none_of_its_words() {
        let job = Job::of(FILE, &model("minilm", "1", 4)).unwrap_or_else(|error| panic!("{error}"));
        let (label, caller) = job.callers.first_key_value().expect("a step that calls the model");
        let (user, id) = caller.key.expect("its columns");
        let mut out = Writer::new();
        for at in 0..caller.kinds.len() {
            out.text(if at == user { "aino" } else if at == id { "7" } else { "secret" });
        }
        let texts = Row::from_bytes(out.written());
        let cause = Caller { function: "embed", kinds: vec![Kind::Text; caller.kinds.len()], key: Some((user, id)) };
        let job = Job { callers: BTreeMap::from([(label.clone(), cause)]), ..job };
        for (step, code) in [(label.as_str(), "model.refused"), ("9-map", "expression.cast")] {
            let fault = ajatus_operators::relational::fault(step, code, "no", "", texts.bytes(), &mut Writer::new());
            let letter = job.letter(&fault);
            let said = String::from_utf8_lossy(letter.value.as_deref().unwrap_or_default()).into_owned();
            assert!(!said.contains("secret"), "{said}");
            assert_eq!(String::from_utf8_lossy(&letter.key), if step == "9-map" { "9-map/step 9-map" } else { "embed/interactions:aino/7" });
        }
    }
}
