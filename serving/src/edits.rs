//! Changes that users make of their profile: records on the log, like everything else that they say.

use std::sync::Arc;

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, ProfileEdit, ProfileOp, Receipt, Role, UserId, topic};
use ajatus_kafka::{Log, Record, partition_for_user, wire};
use ajatus_memory::keys::{KeyRing, Purpose};
use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use crate::problem::Problem;

/// Characters of an attribute, of whom it is about, and of a value at most.
const LONGEST: [usize; 3] = [64, 120, 300];

/// Puts a change on the log; durable when it returns. Forgetting the record of this id undoes it.
///
/// # Errors
/// A [`Problem`]: what is wrong with the change, or why it cannot be taken now.
pub async fn append_edit(log: &Arc<dyn Log>, keys: &KeyRing, user: UserId, edit: ProfileEdit, now: DateTime<Utc>) -> Result<(InteractionId, Receipt), Problem> {
    let edit = checked(edit)?;
    let _writing = keys.writing().await;
    let key = keys.user(user).await?;
    let id = InteractionId(Uuid::now_v7());
    let body = Body { edit: Some(edit), ..Body::default() };
    let plain = serde_json::to_vec(&body).map_err(|error| Problem::internal(&error))?;
    let interaction = Interaction {
        id,
        user_id: user,
        // No conversation: it is listed nowhere.
        conversation_id: ConversationId(Uuid::nil()),
        session: 0,
        position: 0,
        role: Role::User,
        occurred_at: now.trunc_subsecs(6),
        body: key.seal(Purpose::Messages, &Interaction::aad(user, id), &plain),
    };
    let value = wire::encode(&interaction).map_err(|error| Problem::internal(&error))?;
    let record = Record { key: InteractionKey { user_id: user, id }.to_string().into_bytes(), value: Some(value) };
    Ok((id, append(log, user, record).await?))
}

/// Takes the record of a change, or of a turn, back; durable when it returns.
///
/// # Errors
/// A [`Problem`] if the log cannot take it now.
pub async fn take_back(log: &Arc<dyn Log>, keys: &KeyRing, user: UserId, id: InteractionId) -> Result<Receipt, Problem> {
    let _writing = keys.writing().await;
    append(log, user, Record { key: InteractionKey { user_id: user, id }.to_string().into_bytes(), value: None }).await
}

async fn append(log: &Arc<dyn Log>, user: UserId, record: Record) -> Result<Receipt, Problem> {
    let partition = partition_for_user(user, log.partitions(topic::INTERACTIONS)?);
    let offsets = log.append(topic::INTERACTIONS, partition, vec![record]).await?;
    let offset = offsets.first().copied().ok_or_else(|| Problem::internal(&"the log gave no offset"))?;
    Ok(Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset })
}

/// A change as it is kept: words trimmed, and only what its kind can use.
fn checked(edit: ProfileEdit) -> Result<ProfileEdit, Problem> {
    let refuse = |what: String| Problem::invalid("invalid_edit", what);
    let trimmed = |name: &str, word: &str, most: usize| {
        let word = word.split_whitespace().collect::<Vec<_>>().join(" ");
        match word.chars().count() {
            0 => Err(refuse(format!("{name} is empty"))),
            long if long > most => Err(refuse(format!("{name} has {long} characters, but {most} are taken at most"))),
            _ if word.chars().any(char::is_control) => Err(refuse(format!("{name} holds a control character"))),
            _ => Ok(word),
        }
    };
    let attribute = trimmed("attribute", &edit.attribute, LONGEST[0])?.to_lowercase().replace(' ', "_");
    if !attribute.chars().all(|letter| letter.is_alphanumeric() || letter == '_') {
        return Err(refuse(format!("attribute is {attribute:?}; letters, digits and '_' are taken, as in \"home\" or \"marital_status\"")));
    }
    let maybe = |name: &str, word: Option<String>| word.map(|word| trimmed(name, &word, LONGEST[2])).transpose();
    let (value, instead) = (maybe("value", edit.value)?, maybe("instead", edit.instead)?);
    if instead.is_some() && edit.op != ProfileOp::Correct {
        return Err(refuse("instead goes with a correction only".to_owned()));
    }
    if value.is_none() && instead.is_none() && edit.op == ProfileOp::Correct {
        return Err(refuse("a correction needs the value that is wrong, or what is right instead".to_owned()));
    }
    Ok(ProfileEdit { op: edit.op, attribute, about: trimmed("about", &edit.about, LONGEST[1])?, value, instead })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(op: ProfileOp, attribute: &str, value: Option<&str>, instead: Option<&str>) -> ProfileEdit {
        let word = |word: Option<&str>| word.map(str::to_owned);
        ProfileEdit { op, attribute: attribute.to_owned(), about: "self".to_owned(), value: word(value), instead: word(instead) }
    }

    #[test]
    fn trims_words_and_refuses_what_means_nothing() {
        let kept = checked(edit(ProfileOp::Correct, " Marital  Status ", Some(" a \n b "), Some("c"))).expect("taken");
        assert_eq!((kept.attribute.as_str(), kept.value.as_deref()), ("marital_status", Some("a b")));
        let long = "x".repeat(301);
        for wrong in [
            edit(ProfileOp::Pin, "", Some("a"), None),
            edit(ProfileOp::Pin, "ho\u{1f}me", Some("a"), None),
            edit(ProfileOp::Pin, "home!", Some("a"), None),
            edit(ProfileOp::Pin, "home", Some("  "), None),
            edit(ProfileOp::Pin, "home", Some(&long), None),
            edit(ProfileOp::Pin, "home", Some("a"), Some("b")),
            edit(ProfileOp::Correct, "home", None, None),
        ] {
            assert_eq!(checked(wrong.clone()).expect_err("refused").code, "invalid_edit", "{wrong:?}");
        }
        assert!(checked(edit(ProfileOp::Mute, "home", None, None)).is_ok());
    }
}
