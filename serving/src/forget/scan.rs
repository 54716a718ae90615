//! A user's records on `interactions`, read once: which turns there are, which are meant, and the nonces of every version of each.

use std::collections::{BTreeMap, BTreeSet};

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Role, UserId, topic};
use ajatus_kafka::{Entry, Log, LogError, partition_for_user, wire};
use ajatus_memory::forget::{Matcher, Witness};
use ajatus_memory::keys::{Purpose, UserKey};
use chrono::{DateTime, Utc};

use super::ForgetError;

/// Letters of a turn that a preview shows.
const SHOWN: usize = 200;
/// Records of one read.
const CHUNK: usize = 5_000;

/// One turn, by the last record of it that is no tombstone.
pub(super) struct Turn {
    pub(super) conversation: ConversationId,
    pub(super) at: DateTime<Utc>,
    pub(super) role: Role,
    /// Whether it is a change of the profile.
    pub(super) edit: bool,
    /// Its first words, if they were asked for.
    pub(super) text: Option<String>,
    /// Whether its last record is no tombstone.
    live: bool,
    meant: bool,
    /// Turns that it was given as memories.
    used: Vec<InteractionId>,
    /// Of the last record.
    last: Option<Witness>,
    /// Of all records.
    all: Vec<Witness>,
    /// Where its records stand.
    offsets: Vec<u64>,
}

/// All of a user's turns.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) partition: u32,
    turns: BTreeMap<InteractionId, Turn>,
}

/// Calls `see` with every record of a partition whose key begins with a prefix, as far as the partition goes now.
pub(super) async fn each(log: &dyn Log, topic: &str, partition: u32, prefix: &[u8], mut see: impl FnMut(Entry) + Send) -> Result<(), LogError> {
    let end = log.end_offset(topic, partition).await?;
    let mut from = log.start_offset(topic, partition).await?;
    while from < end {
        let chunk = log.read(topic, partition, from, CHUNK).await?;
        if chunk.next == from {
            break;
        }
        from = chunk.next;
        chunk.entries.into_iter().filter(|entry| entry.key.starts_with(prefix)).for_each(&mut see);
    }
    Ok(())
}

impl Scanned {
    pub(super) async fn read(
        log: &dyn Log,
        user: UserId,
        key: Option<&UserKey>,
        matcher: &mut Matcher,
        with_answers: bool,
        texts: bool,
    ) -> Result<Self, ForgetError> {
        let partition = partition_for_user(user, log.partitions(topic::INTERACTIONS)?);
        let mut scanned = Self { partition, turns: BTreeMap::new() };
        let prefix = format!("{user}/");
        each(log, topic::INTERACTIONS, partition, prefix.as_bytes(), |entry| scanned.take(user, key, matcher, texts, &entry)).await?;
        if with_answers {
            scanned.add_answers();
        }
        Ok(scanned)
    }

    fn take(&mut self, user: UserId, key: Option<&UserKey>, matcher: &mut Matcher, texts: bool, entry: &Entry) {
        // What has no key of ours, the pipeline has refused.
        let Some(id) = std::str::from_utf8(&entry.key).ok().and_then(|text| text.parse::<InteractionKey>().ok()).map(|key| key.id) else { return };
        let turn = self.turns.entry(id).or_insert_with(|| Turn {
            conversation: ConversationId(uuid::Uuid::nil()),
            at: DateTime::<Utc>::UNIX_EPOCH,
            role: Role::User,
            edit: false,
            text: None,
            live: false,
            meant: false,
            used: Vec::new(),
            last: None,
            all: Vec::new(),
            offsets: Vec::new(),
        });
        turn.offsets.push(entry.offset);
        turn.live = entry.value.is_some();
        let Some(value) = &entry.value else { return };
        let Ok(interaction) = wire::decode::<Interaction>(value) else {
            // It cannot be read, so only who names it, or everything, means it.
            turn.meant = matches!(matcher, Matcher::Everything) || matches!(matcher, Matcher::Ids(ids) if ids.contains(&id));
            return;
        };
        let body = key.filter(|_| texts || matcher.reads() || interaction.role == Role::Assistant || interaction.conversation_id.0.is_nil()).and_then(|key| {
            let plain = key.open(Purpose::Messages, &Interaction::aad(user, id), &interaction.body).ok()?;
            serde_json::from_slice::<Body>(&plain).ok()
        });
        turn.meant = matcher.matches(id, interaction.conversation_id, interaction.occurred_at, body.as_ref());
        (turn.conversation, turn.at, turn.role) = (interaction.conversation_id, interaction.occurred_at, interaction.role);
        turn.last = Witness::of(&interaction.body);
        turn.all.extend(turn.last);
        turn.edit = body.as_ref().is_some_and(|body| body.edit.is_some());
        turn.text = body.as_ref().filter(|_| texts && turn.meant).map(shown);
        turn.used = body.map(|body| body.used).unwrap_or_default();
    }

    /// Means also the answers that were given one of the turns that are meant, and the answers that were given those.
    fn add_answers(&mut self) {
        loop {
            let meant: BTreeSet<InteractionId> = self.turns.iter().filter(|(_, turn)| turn.meant).map(|(id, _)| *id).collect();
            let more = self.turns.values_mut().filter(|turn| !turn.meant && turn.used.iter().any(|used| meant.contains(used)));
            if more.map(|turn| turn.meant = true).count() == 0 {
                return;
            }
        }
    }

    /// Takes in what a later reading found.
    pub(super) fn absorb(&mut self, later: Self) {
        self.turns.extend(later.turns);
    }

    /// Turns that are there and meant.
    pub(super) fn meant(&self) -> impl Iterator<Item = InteractionId> {
        self.turns.iter().filter(|(_, turn)| turn.live && turn.meant).map(|(id, _)| *id)
    }

    pub(super) fn turn(&self, id: InteractionId) -> Option<&Turn> {
        self.turns.get(&id)
    }

    /// Answers that were given one of these and are none of them.
    pub(super) fn answers_given(&self, ids: &BTreeSet<InteractionId>) -> u64 {
        let given = |(id, turn): &(&InteractionId, &Turn)| turn.live && !ids.contains(id) && turn.used.iter().any(|used| ids.contains(used));
        self.turns.iter().filter(given).count() as u64
    }

    /// Whether a record stands at an offset that is of one of these turns, or of one that was forgotten before.
    pub(super) fn is_of(&self, ids: &BTreeSet<InteractionId>, offset: u64) -> bool {
        self.turns.iter().any(|(id, turn)| (!turn.live || ids.contains(id)) && turn.offsets.contains(&offset))
    }

    /// Whether a turn is one of these, or was forgotten before.
    pub(super) fn is_gone(&self, ids: &BTreeSet<InteractionId>, id: InteractionId) -> bool {
        ids.contains(&id) || self.turns.get(&id).is_some_and(|turn| !turn.live)
    }

    /// These turns, and those that were forgotten before and whose records are there still.
    pub(super) fn gone(&self, ids: &BTreeSet<InteractionId>) -> Vec<InteractionId> {
        self.turns.iter().filter(|(id, turn)| !turn.live || ids.contains(id)).map(|(id, _)| *id).collect()
    }

    /// Of every record but the last of each turn that stays.
    pub(super) fn witnesses(&self, ids: &BTreeSet<InteractionId>) -> BTreeSet<Witness> {
        let live: BTreeSet<Witness> = self.live_witnesses(ids).collect();
        self.turns.values().flat_map(|turn| turn.all.iter().copied()).filter(|witness| !live.contains(witness)).collect()
    }

    /// Of the last record of each turn that stays.
    pub(super) fn live_witnesses(&self, ids: &BTreeSet<InteractionId>) -> impl Iterator<Item = Witness> {
        self.turns.iter().filter(|(id, turn)| turn.live && !ids.contains(id)).filter_map(|(_, turn)| turn.last)
    }
}

/// The first words of a turn, or what a change of the profile says.
fn shown(body: &Body) -> String {
    let text = match &body.edit {
        Some(edit) => {
            let words = [Some(edit.attribute.as_str()), Some(edit.about.as_str()), edit.value.as_deref(), edit.instead.as_deref()];
            format!("profile: {:?} {}", edit.op, words.into_iter().flatten().collect::<Vec<_>>().join(" / "))
        }
        None => match &body.caption {
            Some(caption) => format!("{} [picture: {caption}]", body.text),
            None => body.text.clone(),
        },
    };
    text.chars().take(SHOWN).collect()
}
