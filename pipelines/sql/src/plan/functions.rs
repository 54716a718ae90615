//! Functions that the engine adds: model calls and windows of time.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::cast::AsArray as _;
use arrow::array::types::TimestampMicrosecondType;
use arrow::array::{Array, ArrayRef, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility};

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelTask {
    /// Text to vector.
    Embedding,
    /// Text to text.
    Generation,
    /// Text to a JSON document of a schema.
    Extraction,
}

impl ModelTask {
    /// Every task.
    pub const ALL: [Self; 3] = [Self::Embedding, Self::Generation, Self::Extraction];

    /// The function that calls a model of this task.
    #[must_use]
    pub fn function(self) -> &'static str {
        match self {
            Self::Embedding => "embed",
            Self::Generation => "generate",
            Self::Extraction => "extract",
        }
    }

    /// The task behind a function's name.
    #[must_use]
    pub fn of_function(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.function() == name)
    }
}

/// What the planner must know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelShape {
    /// What it does.
    pub task: ModelTask,
    /// Components of its vectors; 0 if it makes none.
    pub dimensions: usize,
}

/// `embed(model, text)`, `generate(model, text)`, `extract(model, text)`, each with a third argument that says whose answer it is: never
/// evaluated, always lowered to a step of their own.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelFunction {
    task: ModelTask,
    models: Arc<BTreeMap<String, ModelShape>>,
    signature: Signature,
}

impl ModelFunction {
    pub(crate) fn udf(task: ModelTask, models: Arc<BTreeMap<String, ModelShape>>) -> ScalarUDF {
        // Volatile, so that the optimiser neither evaluates nor moves nor doubles it.
        ScalarUDF::new_from_impl(Self { task, models, signature: Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Volatile) })
    }
}

impl ScalarUDFImpl for ModelFunction {
    fn name(&self) -> &str {
        self.task.function()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        plan_err!("{}() needs a model's name", self.name())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(Some(ScalarValue::Utf8(Some(name)))) = arguments.scalar_arguments.first() else {
            return plan_err!("the first argument of {}() is the name of a model", self.name());
        };
        let Some(model) = self.models.get(name) else {
            return plan_err!("there is no model {name:?}; `create model {name} with (…)` makes one");
        };
        if model.task != self.task {
            return plan_err!("model {name:?} does not do what {}() asks; it is for {}()", self.name(), model.task.function());
        }
        if !matches!(arguments.arg_fields[1].data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null) {
            return plan_err!("{}() takes a text, not {}", self.name(), arguments.arg_fields[1].data_type());
        }
        let data_type = match self.task {
            ModelTask::Embedding => vector_type(model.dimensions),
            ModelTask::Generation | ModelTask::Extraction => DataType::Utf8,
        };
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{}() stands where no step can be made of it", self.name())
    }
}

/// The Arrow type of `vector(n)`.
#[must_use]
pub(crate) fn vector_type(dimensions: usize) -> DataType {
    let item = Field::new("item", DataType::Float32, false);
    DataType::FixedSizeList(Arc::new(item), i32::try_from(dimensions).unwrap_or(i32::MAX))
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn window_fields() -> Fields {
    vec![Field::new("start", instant(), false), Field::new("end", instant(), false)].into()
}

/// `tumble(time, width)` and `hop(time, slide, width)`: the window or the windows that an instant lies in, `start` inclusive and
/// `end` exclusive, counted from 1970.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowFunction {
    hop: bool,
    signature: Signature,
}

impl WindowFunction {
    pub(crate) fn udf(hop: bool) -> ScalarUDF {
        ScalarUDF::new_from_impl(Self { hop, signature: Signature::any(if hop { 3 } else { 2 }, Volatility::Immutable) })
    }
}

/// The microseconds of an interval without months.
fn micros(value: &ColumnarValue) -> Result<i64> {
    let ColumnarValue::Scalar(scalar) = value else { return exec_err!("the width of a window must be a constant") };
    let micros = match scalar {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            i64::from(interval.days).saturating_mul(86_400_000_000).saturating_add(interval.nanoseconds / 1_000)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            i64::from(interval.days).saturating_mul(86_400_000_000).saturating_add(i64::from(interval.milliseconds) * 1_000)
        }
        ScalarValue::DurationMicrosecond(Some(micros)) => *micros,
        other => return exec_err!("{other} is not a width of a window; use an interval of days or less, such as interval '10 minutes'"),
    };
    if micros <= 0 {
        return exec_err!("the width of a window must be above zero");
    }
    Ok(micros)
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        if self.hop { "hop" } else { "tumble" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if !matches!(arguments[0], DataType::Timestamp(..) | DataType::Null) {
            return plan_err!("{}() takes a timestamp first, not {}", self.name(), arguments[0]);
        }
        let window = DataType::Struct(window_fields());
        Ok(if self.hop { DataType::List(Arc::new(Field::new("item", window, true))) } else { window })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let count = arguments.number_rows;
        let times = arrow::compute::cast(&arguments.args[0].clone().into_array(count)?, &instant())?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let slide = micros(&arguments.args[1])?;
        let width = if self.hop { micros(&arguments.args[2])? } else { slide };
        if width % slide != 0 {
            return exec_err!("the width of hop() must be a multiple of its slide");
        }
        let (mut starts, mut lengths, mut present) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..count {
            let here = times.is_valid(at);
            present.push(here);
            let before = starts.len();
            if here {
                let last = times.value(at).div_euclid(slide).checked_mul(slide);
                let last = last.ok_or_else(|| DataFusionError::Execution("an instant is too far from 1970 for a window".to_owned()))?;
                starts.extend((0..width / slide).rev().map(|back| last - back * slide));
            } else if !self.hop {
                starts.push(0);
            }
            lengths.push(starts.len() - before);
        }
        let ends: Vec<i64> = starts.iter().map(|start| start + width).collect();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(TimestampMicrosecondArray::from(starts)), Arc::new(TimestampMicrosecondArray::from(ends))];
        let nulls = present.contains(&false).then(|| NullBuffer::from(present));
        let array: ArrayRef = if self.hop {
            let windows = StructArray::try_new(window_fields(), columns, None)?;
            let item = Field::new("item", windows.data_type().clone(), true);
            Arc::new(ListArray::try_new(Arc::new(item), OffsetBuffer::from_lengths(lengths), Arc::new(windows), nulls)?)
        } else {
            Arc::new(StructArray::try_new(window_fields(), columns, nulls)?)
        };
        Ok(ColumnarValue::Array(array))
    }
}
