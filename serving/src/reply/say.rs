//! Puts turns on the log, each with its place in its conversation.
//!
//! Holds always: two turns of one conversation have two positions, however many are said at once; a place that was taken for a
//! turn the log refused stays empty, which harms nobody.
//! Not promised: that positions follow a turn said before the process began that is not in the views yet.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Receipt, Role, UserId, topic};
use ajatus_kafka::{Record, partition_for_user, wire};
use ajatus_memory::keys::Purpose;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Inner;
use crate::problem::Problem;

/// Silence that ends a session.
const SESSION_GAP: TimeDelta = TimeDelta::minutes(30);
/// Conversations whose last turn is remembered here.
const CONVERSATIONS: usize = 10_000;

/// Where a turn stands in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    session: u32,
    position: u32,
    at: DateTime<Utc>,
}

impl Place {
    fn next(last: Option<Self>, at: DateTime<Utc>) -> Self {
        match last {
            None => Self { session: 0, position: 0, at },
            Some(last) => {
                let session = last.session.saturating_add(u32::from(at - last.at > SESSION_GAP));
                Self { session, position: last.position.saturating_add(1), at }
            }
        }
    }
}

/// Where conversations stand, ahead of the views.
#[derive(Default)]
pub(super) struct Threads(Mutex<HashMap<ConversationId, (Place, Option<Receipt>)>>);

impl Threads {
    fn last(&self, conversation: ConversationId) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&conversation).map(|(place, _)| *place)
    }

    /// Takes the next place; `viewed` is the last one in the views, for a conversation not known here. Also the receipt of the
    /// turn before, if it is known. `is_in` says of a receipt whether the views have it.
    fn take(
        &self,
        conversation: ConversationId,
        viewed: Option<Place>,
        now: DateTime<Utc>,
        is_in: impl Fn(&Receipt) -> bool,
    ) -> (Place, Option<Receipt>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CONVERSATIONS && !known.contains_key(&conversation) {
            // The views know these as well.
            known.retain(|_, (_, receipt)| receipt.as_ref().is_none_or(|receipt| !is_in(receipt)));
            if known.len() >= CONVERSATIONS {
                known.clear();
            }
        }
        let held = known.remove(&conversation);
        let (last, before) = held.map_or((viewed, None), |(place, receipt)| (Some(place), receipt));
        let place = Place::next(last, now);
        known.insert(conversation, (place, before.clone()));
        (place, before)
    }

    fn said(&self, conversation: ConversationId, receipt: &Receipt) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, held)) = known.get_mut(&conversation)
            && held.as_ref().is_none_or(|held| held.offset < receipt.offset)
        {
            *held = Some(receipt.clone());
        }
    }
}

/// A turn on the log.
pub(super) struct Said {
    pub(super) id: InteractionId,
    pub(super) receipt: Receipt,
    /// The turn before, if it was said here.
    pub(super) before: Option<Receipt>,
}

impl Inner {
    /// Puts a turn on the log; durable when it returns.
    pub(super) async fn say(&self, user: UserId, conversation: ConversationId, role: Role, body: Body) -> Result<Said, Problem> {
        let parts = &self.parts;
        // Before the key is asked for: what it seals is on the log before it can be replaced.
        let _writing = parts.keys.writing().await;
        let key = parts.keys.user(user).await?;
        let viewed = match self.threads.last(conversation) {
            Some(_) => None,
            None => {
                let turns = parts.db.memories_of_conversation(&parts.keys, user, conversation, None, 1).await?;
                turns.last().map(|turn| Place { session: turn.session, position: turn.position, at: turn.occurred_at })
            }
        };
        let frontier = parts.recall.index().frontier();
        let (place, before) = self.threads.take(conversation, viewed, parts.clock.now(), |receipt| frontier.borrow().has(receipt));
        let id = InteractionId(Uuid::now_v7());
        let plain = serde_json::to_vec(&body).map_err(|error| Problem::internal(&error))?;
        let interaction = Interaction {
            id,
            user_id: user,
            conversation_id: conversation,
            session: place.session,
            position: place.position,
            role,
            occurred_at: place.at,
            body: key.seal(Purpose::Messages, &Interaction::aad(user, id), &plain),
        };
        let value = wire::encode(&interaction).map_err(|error| Problem::internal(&error))?;
        let record = Record { key: InteractionKey { user_id: user, id }.to_string().into_bytes(), value: Some(value) };
        let partition = partition_for_user(user, parts.log.partitions(topic::INTERACTIONS)?);
        let offsets = parts.log.append(topic::INTERACTIONS, partition, vec![record]).await?;
        let offset = offsets.first().copied().ok_or_else(|| Problem::internal(&"the log gave no offset"))?;
        let receipt = Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset };
        self.threads.said(conversation, &receipt);
        Ok(Said { id, receipt, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(offset: u64) -> Receipt {
        Receipt { topic: topic::INTERACTIONS.to_owned(), partition: 0, offset }
    }

    #[test]
    fn goes_on_from_the_views_and_begins_a_session_after_silence() {
        let (threads, id, start) = (Threads::default(), ConversationId(Uuid::nil()), DateTime::<Utc>::UNIX_EPOCH);
        let viewed = Some(Place { session: 2, position: 9, at: start });
        let (place, before) = threads.take(id, viewed, start + SESSION_GAP, |_| false);
        assert_eq!((place.session, place.position, before), (2, 10, None));
        threads.said(id, &receipt(7));
        let (place, before) = threads.take(id, None, start + SESSION_GAP + SESSION_GAP + TimeDelta::seconds(1), |_| false);
        assert_eq!((place.session, place.position, before), (3, 11, Some(receipt(7))));
    }

    #[test]
    fn stays_bounded_and_keeps_the_conversations_that_the_views_do_not_have_yet() {
        let (threads, start) = (Threads::default(), DateTime::<Utc>::UNIX_EPOCH);
        for number in 0..CONVERSATIONS as u128 + 10 {
            let id = ConversationId(Uuid::from_u128(number));
            threads.take(id, None, start, |receipt| receipt.offset > 0);
            threads.said(id, &receipt(number as u64));
        }
        assert!(threads.0.lock().expect("no panic").len() <= CONVERSATIONS);
        assert!(threads.last(ConversationId(Uuid::from_u128(0))).is_some(), "not in the views, so kept");
        assert!(threads.last(ConversationId(Uuid::from_u128(1))).is_none(), "in the views, so not needed");
    }
}
