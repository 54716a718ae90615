//! The work of a reply.

use std::sync::PoisonError;
use std::time::Duration;

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Receipt, Role, UserId, topic};
use ajatus_inference::prompt::{Prompt, PromptInput, PromptMemory};
use ajatus_inference::{ChatMessage, ChatRole, GenerateEvent, GenerateRequest};
use ajatus_kafka::{Record, partition_for_user, wire};
use ajatus_memory::keys::Purpose;
use ajatus_memory::postgres::Memory;
use ajatus_memory::retrieve::{Hit, SearchOptions};
use futures::StreamExt as _;
use uuid::Uuid;

use super::frames::{FrameBody, Reply, Usage, UsedMemory, finish_word};
use super::{CONVERSATIONS, Inner, Last};
use crate::problem::Problem;
use crate::recall::RecallError;

/// Silence that ends a session.
const SESSION_GAP_MINUTES: i64 = 30;
/// Turns of the conversation looked at for the prompt.
const RECENT: u32 = 8;
/// Longest wait for the turn before to be in the views.
const CATCH_UP: Duration = Duration::from_secs(1);

/// A turn on the log.
pub(super) struct Said {
    pub(super) id: InteractionId,
    pub(super) receipt: Receipt,
}

impl Inner {
    /// Puts a turn on the log; durable when it returns.
    pub(super) async fn say(&self, user: UserId, conversation: ConversationId, role: Role, text: &str) -> Result<Said, Problem> {
        let parts = &self.parts;
        let key = parts.keys.user(user).await?;
        let last = self.last(user, conversation).await?;
        let now = parts.clock.now();
        let (session, position) = match &last {
            None => (0, 0),
            Some((session, position, at)) if now - *at > chrono::TimeDelta::minutes(SESSION_GAP_MINUTES) => (session + 1, position + 1),
            Some((session, position, _)) => (*session, position + 1),
        };
        let id = InteractionId(Uuid::now_v7());
        let body = Body { text: text.to_owned(), speaker: None, caption: None, source: None };
        let plain = serde_json::to_vec(&body).map_err(|error| Problem::internal(&error))?;
        let interaction = Interaction {
            id,
            user_id: user,
            conversation_id: conversation,
            session,
            position,
            role,
            occurred_at: now,
            body: key.seal(Purpose::Messages, &Interaction::aad(user, id), &plain),
        };
        let value = wire::encode(&interaction).map_err(|error| Problem::internal(&error))?;
        let record = Record { key: InteractionKey { user_id: user, id }.to_string().into_bytes(), value: Some(value) };
        let partition = partition_for_user(user, parts.log.partitions(topic::INTERACTIONS)?);
        let offsets = parts.log.append(topic::INTERACTIONS, partition, vec![record]).await?;
        let offset = offsets.first().copied().ok_or_else(|| Problem::internal(&"the log gave no offset"))?;
        let receipt = Receipt { topic: topic::INTERACTIONS.to_owned(), partition, offset };
        let mut known = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CONVERSATIONS {
            known.clear();
        }
        known.insert(conversation, Last { session, position, at: now, receipt: receipt.clone() });
        Ok(Said { id, receipt })
    }

    /// Session, position and time of the conversation's last turn: what was said here, or what the views hold.
    async fn last(&self, user: UserId, conversation: ConversationId) -> Result<Option<(u32, u32, chrono::DateTime<chrono::Utc>)>, Problem> {
        if let Some(last) = self.last.lock().unwrap_or_else(PoisonError::into_inner).get(&conversation) {
            return Ok(Some((last.session, last.position, last.at)));
        }
        let turns = self.parts.db.memories_of_conversation(&self.parts.keys, user, conversation, None, 1).await?;
        Ok(turns.last().map(|turn| (turn.session, turn.position, turn.occurred_at)))
    }

    /// Makes the reply; its last frame is `done` or `error` on every path.
    pub(super) async fn reply(&self, reply: &Reply, question: InteractionId, text: &str) {
        let clock = std::time::Instant::now();
        if let Err(problem) = self.try_reply(reply, question, text).await {
            reply.push(FrameBody::Error { problem });
        }
        metrics::histogram!("reply_seconds").record(clock.elapsed().as_secs_f64());
    }

    async fn try_reply(&self, reply: &Reply, question: InteractionId, text: &str) -> Result<(), Problem> {
        let parts = &self.parts;
        // What was said in this conversation just before may be on its way to the views.
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).get(&reply.conversation).map(|last| last.receipt.clone());
        if let Some(receipt) = before
            && let Err(behind) = parts.recall.index().wait_for(&receipt, CATCH_UP).await
        {
            tracing::warn!(%behind, "a reply goes on without the newest turns");
        }
        let recent = parts.db.memories_of_conversation(&parts.keys, reply.user, reply.conversation, None, RECENT + 1).await?;
        let recent: Vec<Memory> = recent.into_iter().filter(|turn| turn.id != question).collect();
        let hits = self.recall(reply, question, text, &recent).await?;
        let prompt = self.prompt(&hits, &recent, text).await?;
        reply.push(FrameBody::Memories { used: hits.iter().take(prompt.memories_used).map(used).collect() });

        let mut stream = parts
            .generator
            .generate(GenerateRequest {
                messages: prompt.messages,
                max_tokens: self.config.reply_tokens,
                stop: Vec::new(),
                sampling: self.config.sampling.clone(),
            })
            .await?;
        let mut answer = String::new();
        let mut usage = Usage { model: parts.generator.model().id(), prompt: self.prompt.identity().to_owned(), ..Usage::default() };
        let mut finish = "stopped";
        loop {
            let event = tokio::select! {
                () = reply.stop.cancelled() => break,
                event = stream.next() => event,
            };
            match event {
                Some(Ok(GenerateEvent::Text(text))) => {
                    answer.push_str(&text);
                    reply.push(FrameBody::Token { text });
                }
                Some(Ok(GenerateEvent::Done { reason, prompt_tokens, completion_tokens })) => {
                    finish = finish_word(reason);
                    usage.prompt_tokens = prompt_tokens;
                    usage.completion_tokens = completion_tokens;
                    break;
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Problem::unavailable("the model stopped in the middle of its answer; ask again")),
            }
        }
        // Dropping the stream stops the model before its next token.
        drop(stream);
        let said = self.say(reply.user, reply.conversation, Role::Assistant, &answer).await?;
        reply.push(FrameBody::Done { message_id: said.id.0, receipt: said.receipt, finish_reason: finish.to_owned(), usage });
        Ok(())
    }

    /// Memories for the question, without what the prompt holds anyway.
    async fn recall(&self, reply: &Reply, question: InteractionId, text: &str, recent: &[Memory]) -> Result<Vec<Hit>, Problem> {
        if self.config.memories == 0 {
            return Ok(Vec::new());
        }
        let options = SearchOptions { limit: self.config.memories + recent.len() + 1, explain: true, ..SearchOptions::default() };
        let result = self.parts.recall.search(reply.user, text, &options).await.map_err(|error| match error {
            RecallError::Index(error) => Problem::from(error),
            RecallError::Embed(error) => Problem::from(error),
        })?;
        let shown = |hit: &Hit| hit.memory.id == question || recent.iter().any(|turn| turn.id == hit.memory.id);
        let mut hits: Vec<Hit> = result.hits.into_iter().filter(|hit| !shown(hit)).collect();
        hits.truncate(self.config.memories);
        Ok(hits)
    }

    /// Fills the prompt within the budget, counted by the model itself.
    async fn prompt(&self, hits: &[Hit], recent: &[Memory], question: &str) -> Result<Prompt, Problem> {
        let memories: Vec<PromptMemory> = hits.iter().map(|hit| prompt_memory(&hit.memory)).collect();
        let recent: Vec<ChatMessage> = recent.iter().map(message).collect();
        let mut budget = self.config.prompt_tokens;
        for _ in 0..6 {
            let input = PromptInput { memories: &memories, recent: &recent, question, budget };
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
