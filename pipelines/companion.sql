-- The companion's own pipeline: from what is said to what is remembered. `ajatus up` runs it, and nothing else may.
--
-- The words of a turn come opened from their seal, for the model; `body` is the sealed form, and the only one that leaves.
-- A turn that is edited or forgotten takes its memory with it, and the model's answer when no other turn of the user needs it.

create model embedder with (
  task = 'embedding', provider = 'candle', name = '${EMBEDDING_MODEL:-all-MiniLM-L6-v2}', dimensions = '${EMBEDDING_DIMENSIONS:-384}',
  max_batch_rows = 128, max_in_flight = 2
);

create table interactions (
  user_id uuid, id uuid, conversation_id uuid not null, session int not null, position int not null, role text not null,
  occurred_at timestamp not null, body bytea not null, fingerprint text not null, text text not null, caption text,
  primary key (user_id, id)
) with (connector = 'log', type = 'source', topic = 'interactions', format = 'ajatus', changelog = 'upsert');

create table memories (
  user_id uuid, id uuid, conversation_id uuid not null, session int not null, position int not null, role text not null,
  occurred_at timestamp not null, body bytea not null, fingerprint text not null, vector vector('${EMBEDDING_DIMENSIONS:-384}') not null,
  primary key (user_id, id)
) with (connector = 'postgres', type = 'sink');

create table activity (
  user_id uuid primary key, user_turns bigint not null, assistant_turns bigint not null, other_turns bigint not null,
  first_at timestamp not null, last_at timestamp not null
) with (connector = 'postgres', type = 'sink');

-- A turn without words is found by what its picture shows.
create view turns as
  select user_id, id, conversation_id, session, position, role, occurred_at, body, fingerprint,
         case when btrim(text, E' \t\n\r') <> '' then text else coalesce(caption, '') end as words
  from interactions;

create view counts as
  select user_id,
         count(*) filter (where role = 'user') as user_turns,
         count(*) filter (where role = 'assistant') as assistant_turns,
         count(*) filter (where role = 'other') as other_turns,
         min(occurred_at) as first_at, max(occurred_at) as last_at
  from interactions
  group by user_id;

-- Whose answer it is decides whose key seals it: equal words of two users are two questions.
insert into memories
  select user_id, id, conversation_id, session, position, role, occurred_at, body, fingerprint, embed(embedder, words, user_id) from turns;

insert into activity select user_id, user_turns, assistant_turns, other_turns, first_at, last_at from counts;

-- test: a turn is found by its words, or by what its picture shows, or by nothing
-- given interactions
-- {"user_id": "aino", "id": "1", "conversation_id": "c", "session": 0, "position": 1, "role": "user", "occurred_at": "2026-03-01T08:00:00Z", "body": "AQ==", "fingerprint": "f1", "text": "Mustikka is my cat."}
-- {"user_id": "aino", "id": "2", "conversation_id": "c", "session": 0, "position": 2, "role": "user", "occurred_at": "2026-03-01T08:01:00Z", "body": "Ag==", "fingerprint": "f2", "text": " \n\t ", "caption": "a cat on a sofa"}
-- {"user_id": "aino", "id": "3", "conversation_id": "c", "session": 0, "position": 3, "role": "other", "occurred_at": "2026-03-01T08:02:00Z", "body": "Aw==", "fingerprint": "f3", "text": ""}
-- expect turns
-- {"user_id": "aino", "id": "1", "conversation_id": "c", "session": 0, "position": 1, "role": "user", "occurred_at": "2026-03-01T08:00:00Z", "body": "AQ==", "fingerprint": "f1", "words": "Mustikka is my cat."}
-- {"user_id": "aino", "id": "2", "conversation_id": "c", "session": 0, "position": 2, "role": "user", "occurred_at": "2026-03-01T08:01:00Z", "body": "Ag==", "fingerprint": "f2", "words": "a cat on a sofa"}
-- {"user_id": "aino", "id": "3", "conversation_id": "c", "session": 0, "position": 3, "role": "other", "occurred_at": "2026-03-01T08:02:00Z", "body": "Aw==", "fingerprint": "f3", "words": ""}
-- given interactions
-- - {"user_id": "aino", "id": "1"}
-- - {"user_id": "aino", "id": "2"}
-- - {"user_id": "aino", "id": "3"}
-- expect turns
-- expect memories
-- expect activity

-- test: turns are counted by who speaks, and a forgotten turn takes its time with it
-- given interactions
-- {"user_id": "aino", "id": "1", "conversation_id": "c", "session": 0, "position": 1, "role": "user", "occurred_at": "2026-03-01T08:00:00Z", "body": "", "fingerprint": "f1", "text": "hei"}
-- {"user_id": "aino", "id": "2", "conversation_id": "c", "session": 0, "position": 2, "role": "assistant", "occurred_at": "2026-03-01T08:00:05Z", "body": "", "fingerprint": "f2", "text": "hei hei"}
-- {"user_id": "aino", "id": "3", "conversation_id": "c", "session": 1, "position": 3, "role": "user", "occurred_at": "2026-03-04T20:00:00Z", "body": "", "fingerprint": "f3", "text": "moi"}
-- {"user_id": "eino", "id": "4", "conversation_id": "d", "session": 0, "position": 1, "role": "other", "occurred_at": "2026-03-02T08:00:00Z", "body": "", "fingerprint": "f4", "text": "hei"}
-- expect activity
-- {"user_id": "aino", "user_turns": 2, "assistant_turns": 1, "other_turns": 0, "first_at": "2026-03-01T08:00:00Z", "last_at": "2026-03-04T20:00:00Z"}
-- {"user_id": "eino", "user_turns": 0, "assistant_turns": 0, "other_turns": 1, "first_at": "2026-03-02T08:00:00Z", "last_at": "2026-03-02T08:00:00Z"}
-- given interactions
-- - {"user_id": "aino", "id": "3"}
-- - {"user_id": "eino", "id": "4"}
-- {"user_id": "aino", "id": "1", "conversation_id": "c", "session": 0, "position": 1, "role": "user", "occurred_at": "2026-03-01T07:00:00Z", "body": "", "fingerprint": "f5", "text": "hei, mended"}
-- expect activity
-- {"user_id": "aino", "user_turns": 1, "assistant_turns": 1, "other_turns": 0, "first_at": "2026-03-01T07:00:00Z", "last_at": "2026-03-01T08:00:05Z"}
