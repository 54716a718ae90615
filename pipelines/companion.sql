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
  occurred_at timestamp not null, body bytea not null, fingerprint text not null, text text not null, caption text, used text, edit text,
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

-- What is known of each user, sealed before it rests.
create table profiles (
  user_id uuid, kind text, entry text, body text not null, primary key (user_id, kind, entry)
) with (connector = 'postgres', type = 'sink');

create table profile_edits (
  user_id uuid, id uuid, occurred_at timestamp not null, body bytea not null, primary key (user_id, id)
) with (connector = 'postgres', type = 'sink');

-- What users change of their profile is on the log too, and is no turn of a conversation.
create view said as select * from interactions where edit is null;

-- A turn without words is found by what its picture shows.
create view turns as
  select user_id, id, conversation_id, session, position, role, occurred_at, body, fingerprint,
         case when btrim(text, E' \t\n\r') <> '' then text else coalesce(caption, '') end as words
  from said;

create view counts as
  select user_id,
         count(*) filter (where role = 'user') as user_turns,
         count(*) filter (where role = 'assistant') as assistant_turns,
         count(*) filter (where role = 'other') as other_turns,
         min(occurred_at) as first_at, max(occurred_at) as last_at
  from said
  group by user_id;

-- What the user says of themselves and of people close to them, by the built-in rules.
create view told as select user_id, id, occurred_at, unnest(facts(text, occurred_at)) as fact from said where role = 'user';

create view claims as
  select user_id, id as turn, occurred_at as said_at, fact['attribute'] as attribute, fact['about'] as about, fact['value'] as value,
         fact['polarity'] as polarity, fact['confidence'] as confidence, fact['valid_from'] as valid_from, fact['valid_to'] as valid_to,
         fact['span_start'] as span_start, fact['span_end'] as span_end, fact['rule'] as rule, fact['version'] as version
  from told;

create view edits as select user_id, id, occurred_at, body, edit from interactions where edit is not null;

create view spoken as select user_id, id, role, occurred_at, text, used from said;

-- Whose answer it is decides whose key seals it: equal words of two users are two questions.
insert into memories
  select user_id, id, conversation_id, session, position, role, occurred_at, body, fingerprint, embed(embedder, words, user_id) from turns;

insert into activity select user_id, user_turns, assistant_turns, other_turns, first_at, last_at from counts;

insert into profiles select user_id, kind, entry, body from profile(claims, edits, spoken);

insert into profile_edits select user_id, id, occurred_at, body from edits;

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

-- test: a newer home supersedes the older one, which comes back when the newer turn is forgotten
-- given interactions
-- {"user_id": "aino", "id": "1", "conversation_id": "c", "session": 0, "position": 1, "role": "user", "occurred_at": "2026-03-01T08:00:00Z", "body": "", "fingerprint": "f1", "text": "Asun Turussa."}
-- {"user_id": "aino", "id": "2", "conversation_id": "c", "session": 0, "position": 2, "role": "user", "occurred_at": "2026-03-02T08:00:00Z", "body": "", "fingerprint": "f2", "text": "I live in Oulu."}
-- {"user_id": "aino", "id": "3", "conversation_id": "c", "session": 0, "position": 3, "role": "assistant", "occurred_at": "2026-03-02T08:01:00Z", "body": "", "fingerprint": "f3", "text": "I live in Kemi.", "used": "1"}
-- {"user_id": "aino", "id": "4", "conversation_id": "p", "session": 0, "position": 1, "role": "user", "occurred_at": "2026-03-03T08:00:00Z", "body": "", "fingerprint": "f4", "text": "", "edit": "{\"op\": \"pin\", \"attribute\": \"home\", \"about\": \"self\", \"value\": \"Oulu\"}"}
-- expect profiles
-- {"user_id": "aino", "kind": "fact", "entry": "self\u001fhome\u001fturku\u001f0", "body": "{\"about\":\"self\",\"attribute\":\"home\",\"value\":\"Turku\",\"stint\":0,\"from_us\":1772352000000000,\"to_us\":1772438400000000,\"confidence\":95,\"ended_by\":{\"why\":\"superseded\",\"at_us\":1772438400000000,\"value\":\"Oulu\",\"turn\":\"2\"},\"sources\":[{\"turn\":\"1\",\"said_us\":1772352000000000,\"start\":0,\"end\":12,\"confidence\":95,\"rule\":\"fi.koti.asun\",\"version\":\"rules.1\"}]}"}
-- {"user_id": "aino", "kind": "fact", "entry": "self\u001fhome\u001foulu\u001f0", "body": "{\"about\":\"self\",\"attribute\":\"home\",\"value\":\"Oulu\",\"stint\":0,\"from_us\":1772438400000000,\"to_us\":null,\"confidence\":95,\"flags\":{\"pinned\":true},\"sources\":[{\"turn\":\"2\",\"said_us\":1772438400000000,\"start\":0,\"end\":14,\"confidence\":95,\"rule\":\"en.home.live\",\"version\":\"rules.1\"}]}"}
-- {"user_id": "aino", "kind": "habits", "entry": "", "body": "{\"turns\":2,\"words\":6,\"characters\":28,\"questions\":0,\"exclamations\":0,\"emoji\":0,\"finnish\":0,\"english\":1,\"hours\":[0,0,0,0,0,0,0,0,2,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\"weekdays\":[1,0,0,0,0,0,1]}"}
-- {"user_id": "aino", "kind": "interest", "entry": "turussa", "body": "{\"topic\":\"turussa\",\"days\":[[20513,1],[20514,1]]}"}
-- {"user_id": "aino", "kind": "use", "entry": "1", "body": "{\"turn\":\"1\",\"times\":1,\"last_us\":1772438460000000}"}
-- given interactions
-- - {"user_id": "aino", "id": "2"}
-- - {"user_id": "aino", "id": "3"}
-- - {"user_id": "aino", "id": "4"}
-- expect profiles
-- {"user_id": "aino", "kind": "fact", "entry": "self\u001fhome\u001fturku\u001f0", "body": "{\"about\":\"self\",\"attribute\":\"home\",\"value\":\"Turku\",\"stint\":0,\"from_us\":1772352000000000,\"to_us\":null,\"confidence\":95,\"sources\":[{\"turn\":\"1\",\"said_us\":1772352000000000,\"start\":0,\"end\":12,\"confidence\":95,\"rule\":\"fi.koti.asun\",\"version\":\"rules.1\"}]}"}
-- {"user_id": "aino", "kind": "habits", "entry": "", "body": "{\"turns\":1,\"words\":2,\"characters\":13,\"questions\":0,\"exclamations\":0,\"emoji\":0,\"finnish\":0,\"english\":0,\"hours\":[0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\"weekdays\":[0,0,0,0,0,0,1]}"}
