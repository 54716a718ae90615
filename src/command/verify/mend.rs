//! Makes what differs anew.

use std::collections::BTreeSet;

use ajatus_events::UserId;
use ajatus_lance::LanceError;
use ajatus_memory::index::PIPELINE;
use ajatus_memory::profile;

use super::compare::Findings;
use crate::exit::{Ended, Exit};
use crate::stack::Stack;

/// Tries at a profile whose user writes meanwhile.
const TRIES: usize = 20;

/// Mends: Lance and the index from Postgres, profiles from turns and edits.
pub(super) async fn mend(stack: &Stack, found: &Findings) -> anyhow::Result<()> {
    if let Some(columns) = stack.columns() {
        let lance = &found.lance;
        let users: BTreeSet<UserId> = lance.differ.iter().map(|one| one.user).chain(lance.contents.iter().copied()).collect();
        let mut broken = lance.unusable.clone();
        let mut writer = columns.writer().await?;
        for user in users {
            match writer.mend(user).await {
                Ok(()) => {}
                // Worse than it looked.
                Err(error) if error.downcast_ref::<LanceError>().is_some() => {
                    broken = Some(format!("{error:#}"));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(why) = broken {
            writer.rebuild(&why).await?;
        }
    }
    for one in &found.index.differ {
        stack.index().evict(one.user);
    }
    for (user, _) in &found.profiles.differ {
        mend_profile(stack, *user).await?;
    }
    Ok(())
}

async fn mend_profile(stack: &Stack, user: UserId) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let mut snapshot = stack.database().snapshot(PIPELINE).await?;
        let check = profile::check(&mut snapshot, stack.keys(), user).await?;
        snapshot.close().await?;
        // Between the two an epoch may have come: then it is looked at again.
        if check.mend(stack.database()).await? {
            return Ok(());
        }
    }
    Err(Ended::new(Exit::Unavailable, format!("the profile of {user} could not be mended while so much is written; try again")))
}
