//! Reads after writes: a receipt is waited for, a while, or answered with how far it is.

use ajatus_events::{Receipt, UserId, topic};
use ajatus_kafka::partition_for_user;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::server::App;

/// How far a write is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Progress {
    /// Everything below is in.
    applied_offset: u64,
    /// The write's.
    wanted_offset: u64,
    /// Last epoch that is in.
    epoch: u64,
}

/// Waits for the write of a receipt; 202 with progress if that takes too long.
///
/// # Errors
/// `invalid_receipt` for a receipt that this server cannot have given to this user: nothing is waited for that cannot come.
pub(super) async fn wait(app: &App, user: UserId, after: Option<&str>) -> Result<Option<Response>, Problem> {
    let Some(after) = after else { return Ok(None) };
    let refuse = |reason: String| Problem::bad_request("invalid_receipt", format!("after: {reason}"));
    let receipt: Receipt = after.parse().map_err(|error| refuse(format!("{error}")))?;
    let own = partition_for_user(user, app.log.partitions(topic::INTERACTIONS)?);
    if receipt.topic != topic::INTERACTIONS || receipt.partition != own {
        return Err(refuse(format!("{receipt} is not the receipt of a write of yours")));
    }
    let index = app.recall.index();
    if !index.frontier().borrow().has(&receipt) && receipt.offset >= app.log.end_offset(topic::INTERACTIONS, own).await? {
        return Err(refuse(format!("{receipt} lies past the end of the log")));
    }
    match index.wait_for(&receipt, app.config.after_wait).await {
        Ok(_) => Ok(None),
        Err(behind) => {
            let progress = Progress { applied_offset: behind.applied_offset, wanted_offset: behind.wanted_offset, epoch: behind.epoch };
            Ok(Some((StatusCode::ACCEPTED, [("retry-after", "1")], axum::Json(progress)).into_response()))
        }
    }
}

/// Waits, a while, until everything the user wrote so far is in.
pub(super) async fn catch_up(app: &App, user: UserId) -> Result<(), Problem> {
    let partition = partition_for_user(user, app.log.partitions(topic::INTERACTIONS)?);
    let Some(offset) = app.log.end_offset(topic::INTERACTIONS, partition).await?.checked_sub(1) else { return Ok(()) };
    let last = Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset };
    if let Err(behind) = app.recall.index().wait_for(&last, app.config.after_wait).await {
        tracing::debug!(%behind, "what was written last is not in yet");
    }
    Ok(())
}
