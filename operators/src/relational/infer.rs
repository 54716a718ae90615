//! A model call on a column of rows, through the batched bridge of [`crate::infer`].

use differential_dataflow::VecCollection;

use super::{Rows, fault};
use crate::infer::{Calls, Pack, infer_kept};
use crate::keep::{Keep, put_bytes, put_uint};
use crate::row::{Kind, Row, Weave, Writer};

/// Asks a model about the first `asked` columns of each row and appends its answer as a last column.
///
/// In: rows of `kinds`. Out: the row, then the answer's encoded value. Faults: `model.refused` with the reason, or the code that a reason
/// begins with, as in `model.timeout: no answer within 30 s`. Equal requests are
/// asked once while one of them is live; a retraction takes back what was answered.
///
/// Keeps: the answer of every live request.
#[must_use]
pub fn infer_rows<'scope, Dispatch, Release>(
    rows: Rows<'scope>,
    step: &str,
    kinds: &[Kind],
    asked: &[usize],
    calls: Calls<Dispatch, Release>,
    keep: Keep,
) -> (Rows<'scope>, Rows<'scope>)
where
    Dispatch: FnMut(crate::Job<Row, Row>) + 'static,
    Release: FnMut(u64, Vec<(Row, crate::Answer<Row>)>) + 'static,
{
    let request = Weave::pick(kinds, asked);
    let mut writer = Writer::new();
    let pairs: VecCollection<'scope, u64, (Row, Row), isize> = rows.map(move |row: Row| (request.make(&[&row], &mut writer), row));
    let pack: Pack<Row, Row> = Pack {
        write: |request, answer, out| {
            put_bytes(request.bytes(), out);
            put_uint(answer.is_ok().into(), out);
            put_bytes(answer.as_ref().map_or_else(|reason| reason.as_bytes(), Row::bytes), out);
        },
        read: |entry| {
            let (request, good, bytes) = (entry.row()?, entry.uint()? == 1, entry.bytes()?);
            Some((request, if good { Ok(Row::from_bytes(bytes)) } else { Err(String::from_utf8(bytes.to_vec()).ok()?) }))
        },
    };
    let answered = infer_kept(pairs, calls, keep, pack);
    let step = step.to_owned();
    let (mut good, mut bad) = (Writer::new(), Writer::new());
    let rows = answered.clone().flat_map(move |(row, answer)| {
        answer.ok().map(|answer| {
            good.encoded(row.bytes());
            good.encoded(answer.bytes());
            good.finish()
        })
    });
    let faults = answered.flat_map(move |(row, answer)| {
        let reason = answer.err()?;
        let (code, message) = coded(&reason);
        Some(fault(&step, code, message, "", row.bytes(), &mut bad))
    });
    (rows, faults)
}

/// The code that a reason begins with, and the rest.
fn coded(reason: &str) -> (&str, &str) {
    let letters = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match reason.split_once(": ") {
        Some((code, message)) if code.strip_prefix("model.").is_some_and(letters) => (code, message),
        _ => ("model.refused", reason),
    }
}

#[cfg(test)]
mod tests {
    use super::coded;

    #[test]
    fn a_reason_may_begin_with_its_code() {
        assert_eq!(coded("model.schema: the answer lacks \"mood\""), ("model.schema", "the answer lacks \"mood\""));
        for plain in ["the text is too long", "model.: x", "model.Odd word: x", "other.code: x", "model.schema"] {
            assert_eq!(coded(plain), ("model.refused", plain));
        }
    }
}
