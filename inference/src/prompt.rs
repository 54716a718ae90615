//! Prompts: files with versions, filled within a budget of tokens.
//!
//! Holds always: the same input gives the same messages; a prompt never exceeds its budget by more than the question itself.
//! What goes first when there is no room: the oldest recent turn, then the memory ranked last.

use minijinja::{Environment, context};
use serde::Serialize;

use crate::port::{ChatMessage, ChatRole, InferenceError};

/// What stands between two turns of one speaker, which are one message to a model: what it is trained on is joined as what it is asked.
pub const BETWEEN_TURNS: &str = "\n";

const CHAT: &str = include_str!("../prompts/chat.v2.jinja");

/// One memory as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PromptMemory {
    /// Who said it: a name, `user` or `companion`.
    pub who: String,
    /// When, e.g. `8 May 2023`.
    pub when: String,
    /// What.
    pub text: String,
}

/// What a prompt is made of.
#[derive(Clone, Debug)]
pub struct PromptInput<'a> {
    /// Memories, best first.
    pub memories: &'a [PromptMemory],
    /// Turns of this conversation, oldest first, without the question.
    pub recent: &'a [ChatMessage],
    /// What the user says now.
    pub question: &'a str,
    /// Most tokens of the whole prompt.
    pub budget: usize,
}

/// A prompt ready for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// For the model's chat template.
    pub messages: Vec<ChatMessage>,
    /// How many of the memories, best first, found room.
    pub memories_used: usize,
    /// How many of the recent turns, newest first, found room.
    pub recent_used: usize,
}

/// The companion's chat prompt.
#[derive(Debug)]
pub struct ChatPrompt {
    environment: Environment<'static>,
    identity: String,
}

impl ChatPrompt {
    /// The prompt this program comes with.
    #[must_use]
    pub fn built_in() -> Self {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.add_template("chat", CHAT).expect("the file in the repository is checked by a test");
        let hash = blake3::hash(CHAT.as_bytes()).to_hex();
        Self { environment, identity: format!("chat.v2@{}", hash.chars().take(16).collect::<String>()) }
    }

    /// Name, version and hash: which prompt an answer came from.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Fills the prompt. `count` says how many tokens a text has, about.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the template cannot be filled, which is our bug.
    pub fn render(&self, input: &PromptInput<'_>, count: &dyn Fn(&str) -> usize) -> Result<Prompt, InferenceError> {
        // What a chat template adds around a message.
        const AROUND: usize = 6;
        let size = |message: &ChatMessage| count(&message.content) + AROUND;
        let question = ChatMessage { role: ChatRole::User, content: input.question.to_owned() };
        let mut used = input.memories.len();
        let mut system = self.system(input.memories, !input.recent.is_empty())?;
        let fixed = size(&question) + AROUND;
        while used > 0 && size(&system) + fixed > input.budget {
            used -= 1;
            system = self.system(&input.memories[..used], !input.recent.is_empty())?;
        }
        let mut left = input.budget.saturating_sub(size(&system) + fixed);
        let mut recent = Vec::new();
        for message in input.recent.iter().rev() {
            let tokens = size(message);
            if tokens > left {
                break;
            }
            left -= tokens;
            recent.push(message.clone());
        }
        // A conversation opens with the user; many templates refuse anything else.
        while recent.last().is_some_and(|message| message.role != ChatRole::User) {
            recent.pop();
        }
        let recent_used = recent.len();
        let mut messages = vec![system];
        for message in recent.into_iter().rev().chain([question]) {
            match messages.last_mut() {
                // Two turns of one speaker in a row become one: templates want them to alternate.
                Some(last) if last.role == message.role => {
                    last.content.push_str(BETWEEN_TURNS);
                    last.content.push_str(&message.content);
                }
                _ => messages.push(message),
            }
        }
        Ok(Prompt { messages, memories_used: used, recent_used })
    }

    fn system(&self, memories: &[PromptMemory], talking: bool) -> Result<ChatMessage, InferenceError> {
        let template = self.environment.get_template("chat").map_err(|error| InferenceError::Input { reason: error.to_string() })?;
        let content = template.render(context! { memories, talking }).map_err(|error| InferenceError::Input { reason: error.to_string() })?;
        Ok(ChatMessage { role: ChatRole::System, content: content.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn memory(text: &str) -> PromptMemory {
        PromptMemory { who: "Aino".into(), when: "8 May 2023".into(), text: text.into() }
    }

    fn said(role: ChatRole, content: &str) -> ChatMessage {
        ChatMessage { role, content: content.to_owned() }
    }

    #[test]
    fn puts_memories_with_speaker_and_date_before_the_question() {
        let memories = [memory("Mustikka sleeps in the sauna.")];
        let input = PromptInput { memories: &memories, recent: &[], question: "Where does Mustikka sleep?", budget: 500 };
        let prompt = ChatPrompt::built_in().render(&input, &words).expect("filled");
        assert!(prompt.messages[0].content.contains("- 8 May 2023, Aino: Mustikka sleeps in the sauna."), "{}", prompt.messages[0].content);
        assert_eq!(prompt.messages[1], said(ChatRole::User, "Where does Mustikka sleep?"));
        assert_eq!((prompt.memories_used, prompt.messages.len(), prompt.recent_used), (1, 2, 0));
    }

    #[test]
    fn says_that_there_are_no_notes_only_when_nothing_was_said_before() {
        let first = PromptInput { memories: &[], recent: &[], question: "Who am I?", budget: 500 };
        let prompt = ChatPrompt::built_in().render(&first, &words).expect("filled");
        assert!(prompt.messages[0].content.contains("no notes"), "{}", prompt.messages[0].content);
        let recent = [said(ChatRole::User, "I am Aino."), said(ChatRole::Assistant, "Hello, Aino.")];
        let prompt = ChatPrompt::built_in().render(&PromptInput { recent: &recent, ..first }, &words).expect("filled");
        assert!(!prompt.messages[0].content.contains("no notes"), "{}", prompt.messages[0].content);
    }

    #[test]
    fn drops_old_turns_first_then_the_memories_ranked_last() {
        let memories: Vec<PromptMemory> = (0..20).map(|at| memory(&format!("note {at} with ten words in it to take some room"))).collect();
        let recent = [said(ChatRole::User, "old old old"), said(ChatRole::Assistant, "reply"), said(ChatRole::User, "new"), said(ChatRole::Assistant, "newer")];
        let render = |budget| {
            let input = PromptInput { memories: &memories, recent: &recent, question: "q", budget };
            ChatPrompt::built_in().render(&input, &words).expect("filled")
        };
        let tight = render(150);
        assert!(tight.memories_used > 3 && tight.memories_used < 20, "{}", tight.memories_used);
        assert!(tight.messages[0].content.contains("note 0") && !tight.messages[0].content.contains("note 19"));
        assert_eq!(tight.messages.last(), Some(&said(ChatRole::User, "q")));
        let total: usize = tight.messages.iter().map(|message| words(&message.content) + 6).sum();
        assert!(total <= 150, "{total}");
        let wide = render(2_000);
        assert_eq!((wide.memories_used, wide.messages.len(), wide.recent_used), (20, 6, 4));
    }

    #[test]
    fn alternates_speakers_and_opens_with_the_user() {
        let recent = [said(ChatRole::Assistant, "cut off"), said(ChatRole::User, "one"), said(ChatRole::User, "two")];
        let input = PromptInput { memories: &[], recent: &recent, question: "three", budget: 500 };
        let prompt = ChatPrompt::built_in().render(&input, &words).expect("filled");
        assert_eq!(prompt.messages.len(), 2, "{:?}", prompt.messages);
        let with_reply = [said(ChatRole::Assistant, "cut off")];
        let input = PromptInput { recent: &with_reply, ..input };
        let prompt = ChatPrompt::built_in().render(&input, &words).expect("filled");
        assert_eq!(prompt.messages[1].role, ChatRole::User);
    }
}
