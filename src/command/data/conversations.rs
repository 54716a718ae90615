//! Turns as conversations that a chat model can be trained on.

use std::sync::LazyLock;

use ajatus_events::Role;
use ajatus_inference::prompt::BETWEEN_TURNS;
use ajatus_memory::postgres::Memory;
use ajatus_pipelines::{TrainingConversation, TrainingMessage};
use regex::Regex;

/// What stands in the place of a mail address.
const HIDDEN: &str = "[mail address]";
/// Hex digits of a conversation's name.
const NAME_DIGITS: usize = 32;

/// What is in a set, and what was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Users with a conversation in it.
    pub(super) users: u64,
    pub(super) conversations: u64,
    /// Messages of users and of the companion.
    pub(super) messages: u64,
    /// Turns of other people, who were not asked.
    pub(super) others: u64,
    /// Turns without words.
    pub(super) silent: u64,
    /// Turns before the first question or after the last answer of their sitting.
    pub(super) unanswered: u64,
}

impl Counts {
    pub(super) fn add(&mut self, more: &Self) {
        self.users += more.users;
        self.conversations += more.conversations;
        self.messages += more.messages;
        self.others += more.others;
        self.silent += more.silent;
        self.unanswered += more.unanswered;
    }
}

static MAIL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+").expect("a sound pattern"));

/// The text without mail addresses, and how many there were.
fn hidden(text: &str) -> (String, u64) {
    let count = MAIL.find_iter(text).count() as u64;
    (MAIL.replace_all(text, HIDDEN).into_owned(), count)
}

/// One user's turns (by conversation, session and time) as conversations, one for each sitting; the counts; mail addresses hidden.
///
/// A conversation is question and answer in turn, as chat templates want it: messages of one speaker in a row are one message; what stands
/// before the first question or after the last answer is left out, and so are turns of other people. `name` hashes a conversation's id.
pub(super) fn chat(turns: Vec<Memory>, system: Option<&str>, name: &dyn Fn(&str) -> [u8; 32]) -> (Vec<TrainingConversation>, Counts, u64) {
    let (mut counts, mut conversations, mut addresses) = (Counts::default(), Vec::new(), 0);
    for sitting in turns.chunk_by(|a, b| (a.conversation_id, a.session) == (b.conversation_id, b.session)) {
        let Some(first) = sitting.first() else { continue };
        // Speaker, words, and of how many turns.
        let mut said: Vec<(Role, String, u64)> = Vec::new();
        for turn in sitting {
            let words = if turn.body.text.trim().is_empty() { turn.body.caption.as_deref().unwrap_or("") } else { &turn.body.text };
            let words = words.trim();
            match (turn.role, said.last_mut()) {
                (Role::Other, _) => counts.others += 1,
                _ if words.is_empty() => counts.silent += 1,
                (role, Some((last, text, count))) if *last == role => {
                    text.push_str(BETWEEN_TURNS);
                    text.push_str(words);
                    *count += 1;
                }
                (role, _) => said.push((role, words.to_owned(), 1)),
            }
        }
        let begin = said.iter().position(|(role, ..)| *role == Role::User).unwrap_or(said.len());
        let end = said.iter().rposition(|(role, ..)| *role == Role::Assistant).map_or(begin, |last| (last + 1).max(begin));
        counts.unanswered += said[..begin].iter().chain(&said[end..]).map(|(.., count)| count).sum::<u64>();
        if begin == end {
            continue;
        }
        let mut messages: Vec<TrainingMessage> = system.map(|text| TrainingMessage { role: "system".to_owned(), content: text.to_owned() }).into_iter().collect();
        for (role, text, _) in &said[begin..end] {
            let (content, count) = hidden(text);
            addresses += count;
            messages.push(TrainingMessage { role: role.as_str().to_owned(), content });
        }
        counts.conversations += 1;
        counts.messages += (end - begin) as u64;
        let conversation = blake3::Hash::from(name(&format!("{}/{}", first.user_id, first.conversation_id))).to_hex().chars().take(NAME_DIGITS).collect();
        conversations.push(TrainingConversation { messages, conversation });
    }
    counts.users = u64::from(!conversations.is_empty());
    (conversations, counts, addresses)
}

/// Whether a user's conversations are kept apart for validation: all of them or none, by the user's hash and a seed.
pub(super) fn held_apart(user: &[u8; 32], seed: u64, share: f64) -> bool {
    let mut hasher = blake3::Hasher::new_keyed(user);
    hasher.update(&seed.to_le_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    f64::from(u32::from_le_bytes(first)) / f64::from(u32::MAX) < share
}

#[cfg(test)]
mod tests {
    use ajatus_events::{Body, ConversationId, InteractionId, UserId};
    use chrono::{DateTime, TimeDelta, Utc};
    use uuid::Uuid;

    use super::*;

    fn turn(number: u32, conversation: u128, session: u32, role: Role, text: &str) -> Memory {
        Memory {
            id: InteractionId(Uuid::from_u128(number.into())),
            user_id: UserId(Uuid::from_u128(1)),
            conversation_id: ConversationId(Uuid::from_u128(conversation)),
            session,
            position: number,
            role,
            occurred_at: DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(number.into()),
            body: Body { text: text.to_owned(), caption: (text == " ").then(|| "a cat".to_owned()), ..Body::default() },
            epoch: 1,
        }
    }

    fn name(text: &str) -> [u8; 32] {
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    fn said(of: &TrainingConversation) -> Vec<(&str, &str)> {
        of.messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect()
    }

    #[test]
    fn questions_and_answers_take_turns_and_sittings_are_conversations() {
        use Role::{Assistant, Other, User};
        let turns = vec![
            turn(1, 7, 0, Assistant, "Welcome!"),
            turn(2, 7, 0, User, "Hei."),
            turn(3, 7, 0, User, " "),
            turn(4, 7, 0, Other, "I was not asked."),
            turn(5, 7, 0, Assistant, "Hei hei."),
            turn(6, 7, 0, User, "And then?"),
            turn(7, 7, 1, User, "My mail is aino.v@example.org, yours?"),
            turn(8, 7, 1, Assistant, ""),
            turn(9, 7, 1, Assistant, "None."),
            turn(10, 8, 0, User, "Nobody answers."),
        ];
        let (conversations, counts, addresses) = chat(turns, Some("Be kind."), &name);
        assert_eq!(conversations.len(), 2);
        assert_eq!(said(&conversations[0]), [("system", "Be kind."), ("user", "Hei.\na cat"), ("assistant", "Hei hei.")]);
        assert_eq!(said(&conversations[1]), [("system", "Be kind."), ("user", "My mail is [mail address], yours?"), ("assistant", "None.")]);
        assert_eq!(conversations[0].conversation, conversations[1].conversation);
        assert_eq!(counts, Counts { users: 1, conversations: 2, messages: 4, others: 1, silent: 1, unanswered: 3 });
        assert_eq!(addresses, 1);
        let (none, counts, _) = chat(vec![turn(1, 1, 0, Assistant, "Hello?"), turn(2, 1, 0, User, "a")], None, &name);
        assert_eq!((none.len(), counts.users, counts.unanswered), (0, 0, 2));
    }

    #[test]
    fn every_turn_is_in_a_message_or_counted_as_left_out() {
        for seed in 0..200_u32 {
            let role = |at: u32| [Role::User, Role::Assistant, Role::Other][(seed.wrapping_mul(2_654_435_761).rotate_left(at * 3) % 3) as usize];
            let turns: Vec<Memory> = (0..12).map(|at| turn(at, u128::from(at / 6), at % 6 / 3, role(at), if at == seed % 12 { "" } else { "word" })).collect();
            let (conversations, counts, _) = chat(turns, None, &name);
            let words: usize = conversations.iter().flat_map(|one| &one.messages).map(|message| message.content.matches("word").count()).sum();
            assert_eq!(words as u64 + counts.others + counts.silent + counts.unanswered, 12, "{seed}");
            for one in &conversations {
                assert!(one.messages.len() % 2 == 0 && one.messages.chunks(2).all(|pair| pair[0].role == "user" && pair[1].role == "assistant"), "{seed}");
            }
        }
    }

    #[test]
    fn about_the_share_of_users_is_held_apart_and_another_seed_takes_others() {
        let users: Vec<[u8; 32]> = (0..2_000_u32).map(|at| name(&at.to_string())).collect();
        let apart = |seed: u64, share: f64| users.iter().map(|user| held_apart(user, seed, share)).collect::<Vec<_>>();
        let count = apart(1, 0.1).iter().filter(|apart| **apart).count();
        assert!((150..=250).contains(&count), "{count}");
        assert_eq!(apart(1, 0.1), apart(1, 0.1));
        assert_ne!(apart(1, 0.1), apart(2, 0.1));
        assert!(!apart(1, 0.0).contains(&true));
    }
}
