//! The work of a reply.

use std::time::{Duration, Instant};

use ajatus_events::{Body, ConversationId, InteractionId, Role};
use ajatus_inference::prompt::{Prompt, PromptInput, PromptMemory};
use ajatus_inference::{ChatMessage, ChatRole, GenerateEvent, GenerateRequest};
use ajatus_memory::postgres::Memory;
use ajatus_memory::retrieve::{Hit, SearchOptions};
use futures::StreamExt as _;

use super::Inner;
use super::frames::{FrameBody, Reply, Usage, UsedMemory, finish_word};
use super::say::Said;
use crate::problem::Problem;
use crate::recall::RecallError;

/// Turns of the conversation looked at for the prompt.
const RECENT: u32 = 8;
/// Longest wait for the turn before to be in the views.
const CATCH_UP: Duration = Duration::from_secs(1);

impl Inner {
    /// Makes the reply; its last frame is `done` or `error` on every path.
    pub(super) async fn reply(&self, reply: &Reply, conversation: ConversationId, question: &Said, text: &str) {
        let clock = Instant::now();
        if let Err(problem) = self.try_reply(reply, conversation, question, text).await {
            reply.push(FrameBody::Error { problem });
        }
        metrics::histogram!("reply_seconds").record(clock.elapsed().as_secs_f64());
    }

    async fn try_reply(&self, reply: &Reply, conversation: ConversationId, question: &Said, text: &str) -> Result<(), Problem> {
        let until = tokio::time::Instant::now() + self.limits.deadline;
        let mut usage = Usage { model: self.parts.generator.model().id(), prompt: self.prompt.identity().to_owned(), ..Usage::default() };
        let mut answer = Body::default();
        let finish = tokio::select! {
            () = reply.stop.cancelled() => "stopped",
            finish = self.speak(reply, conversation, question, text, &mut answer, &mut usage) => finish?,
            () = tokio::time::sleep_until(until) => "timeout",
        };
        // The work was dropped by now, which stops the model before its next token.
        if answer.text.trim().is_empty() && finish == "timeout" {
            return Err(Problem::unavailable("the model said nothing in time; ask again"));
        }
        let said = match answer.text.trim().is_empty() {
            true => None,
            false => Some(self.say(reply.user, conversation, Role::Assistant, answer).await?),
        };
        let (message_id, receipt) = said.map(|said| (said.id.0, said.receipt)).unzip();
        reply.push(FrameBody::Done { message_id, receipt, finish_reason: finish.to_owned(), usage });
        Ok(())
    }

    /// Recalls, prompts and generates; returns why it ended. May be dropped at any word: `answer` holds those said, and the turns it was given.
    async fn speak(
        &self,
        reply: &Reply,
        conversation: ConversationId,
        question: &Said,
        text: &str,
        answer: &mut Body,
        usage: &mut Usage,
    ) -> Result<&'static str, Problem> {
        let parts = &self.parts;
        // The turn before may be on its way to the views still; the question itself is not waited for.
        if let Some(before) = &question.before
            && let Err(behind) = parts.recall.index().wait_for(before, CATCH_UP).await
        {
            tracing::warn!(%behind, "a reply goes on without the newest turns");
        }
        let recent = parts.db.memories_of_conversation(&parts.keys, reply.user, conversation, None, RECENT + 1).await?;
        let recent: Vec<Memory> = recent.into_iter().filter(|turn| turn.id != question.id).collect();
        let hits = self.recall(reply, question.id, text, &recent).await?;
        let (prompt, used) = self.prompt(&hits, &recent, text).await?;
        answer.used = used.iter().map(|used| InteractionId(used.id)).collect();
        reply.push(FrameBody::Memories { used });

        let request = GenerateRequest {
            messages: prompt.messages,
            max_tokens: self.config.reply_tokens,
            stop: Vec::new(),
            sampling: self.config.sampling.clone(),
        };
        let started = parts.generator.start(request).await?;
        usage.model = started.model.id();
        let mut stream = started.events;
        while let Some(event) = stream.next().await {
            match event? {
                GenerateEvent::Text(text) => {
                    answer.text.push_str(&text);
                    reply.push(FrameBody::Token { text });
                }
                GenerateEvent::Done { reason, prompt_tokens, completion_tokens } => {
                    usage.prompt_tokens = prompt_tokens;
                    usage.completion_tokens = completion_tokens;
                    return Ok(finish_word(reason));
                }
            }
        }
        Err(Problem::unavailable("the model stopped in the middle of its answer; ask again"))
    }

    /// Memories for the question, best first: at most `memories` of other talks, and turns of this one that rank among those.
    async fn recall(&self, reply: &Reply, question: InteractionId, text: &str, recent: &[Memory]) -> Result<Vec<Hit>, Problem> {
        let most = self.config.memories;
        if most == 0 {
            return Ok(Vec::new());
        }
        let options = SearchOptions { limit: most + recent.len() + 1, explain: true, now: Some(self.parts.clock.now()), ..SearchOptions::default() };
        let result = self.parts.recall.search(reply.user, text, &options).await.map_err(|error| match error {
            RecallError::Index(error) => Problem::from(error),
            RecallError::Embed(error) => Problem::from(error),
        })?;
        let mut notes = 0;
        let mut hits: Vec<Hit> = result.hits.into_iter().filter(|hit| hit.memory.id != question).collect();
        let mut rank = 0;
        hits.retain(|hit| {
            rank += 1;
            if is_in(hit, recent) {
                return rank <= most;
            }
            notes += 1;
            notes <= most
        });
        Ok(hits)
    }

    /// Fills the prompt within the budget, counted by the model itself; and says which of the memories are in it.
    async fn prompt(&self, hits: &[Hit], recent: &[Memory], question: &str) -> Result<(Prompt, Vec<UsedMemory>), Problem> {
        // What the prompt holds as a turn of this conversation is not a note as well.
        let memories: Vec<PromptMemory> = hits.iter().filter(|hit| !is_in(hit, recent)).map(|hit| prompt_memory(&hit.memory)).collect();
        let turns: Vec<ChatMessage> = recent.iter().map(message).collect();
        let prompt = self.fit(&memories, &turns, question).await?;
        let held = &recent[recent.len().saturating_sub(prompt.recent_used)..];
        let mut notes = prompt.memories_used;
        let read = |hit: &&Hit| {
            if is_in(hit, recent) {
                return is_in(hit, held);
            }
            let room = notes > 0;
            notes = notes.saturating_sub(1);
            room
        };
        let used = hits.iter().filter(read).map(used).collect();
        Ok((prompt, used))
    }

    async fn fit(&self, memories: &[PromptMemory], recent: &[ChatMessage], question: &str) -> Result<Prompt, Problem> {
        let mut budget = self.config.prompt_tokens;
        for _ in 0..6 {
            let input = PromptInput { memories, recent, question, budget };
            // About three bytes a token; the model then counts for real.
            let prompt = self.prompt.render(&input, &|text| text.len() / 3)?;
            let tokens = self.parts.generator.count_tokens(&prompt.messages).await?;
            if tokens <= self.config.prompt_tokens || (prompt.memories_used == 0 && prompt.messages.len() <= 2) {
                return Ok(prompt);
            }
            budget = budget * self.config.prompt_tokens / tokens * 9 / 10;
        }
        let input = PromptInput { memories: &[], recent: &[], question, budget };
        Ok(self.prompt.render(&input, &|text| text.len() / 3)?)
    }
}

fn is_in(hit: &Hit, turns: &[Memory]) -> bool {
    turns.iter().any(|turn| turn.id == hit.memory.id)
}

fn prompt_memory(memory: &Memory) -> PromptMemory {
    let who = memory.body.speaker.clone().unwrap_or_else(|| if memory.role == Role::Assistant { "you".to_owned() } else { "the user".to_owned() });
    let text = match &memory.body.caption {
        Some(caption) => format!("{} [shares a picture: {caption}]", memory.body.text),
        None => memory.body.text.clone(),
    };
    PromptMemory { who, when: memory.occurred_at.format("%-d %B %Y").to_string(), text }
}

fn message(turn: &Memory) -> ChatMessage {
    let role = if turn.role == Role::Assistant { ChatRole::Assistant } else { ChatRole::User };
    ChatMessage { role, content: turn.body.text.clone() }
}

fn used(hit: &Hit) -> UsedMemory {
    let mut signals = hit.signals.clone();
    signals.sort_by(|a, b| b.1.total_cmp(&a.1));
    let memory = &hit.memory;
    UsedMemory {
        id: memory.id.0,
        conversation_id: memory.conversation_id.0,
        role: memory.role,
        speaker: memory.body.speaker.clone(),
        occurred_at: memory.occurred_at,
        text: memory.body.text.clone(),
        source: memory.body.source.clone(),
        score: hit.score,
        why: signals.into_iter().take(3).map(|(name, _)| name.to_owned()).collect(),
    }
}
