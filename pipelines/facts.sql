-- What users say of themselves, as facts: by the rules, and by a model beside them. `ajatus pipeline run pipelines/facts.sql`.
--
-- Both sources stay side by side, each fact with the turn it comes from, the rule or the prompt, and the version of the rules or the model.
-- A turn that is edited or forgotten takes its facts with it. The words come opened from their seal, so the run needs the users' keys.

create model reader with (
  task = 'extraction', provider = 'candle', name = '${CHAT_MODEL:-SmolLM2-135M-Instruct}', schema = '${FACTS_SCHEMA}', prompt = '${FACTS_PROMPT}',
  max_tokens = '${FACTS_TOKENS:-512}', timeout = '10 minutes'
);

create table interactions (
  user_id text, id text, role text not null, occurred_at timestamp not null, text text not null, primary key (user_id, id)
) with (connector = 'log', type = 'source', topic = 'interactions', format = 'ajatus', changelog = 'upsert', event_time = 'occurred_at');

create table facts (
  user_id text not null, turn text not null, source text not null, attribute text not null, value text not null, about text not null, polarity text not null,
  confidence bigint not null, valid_from timestamp, valid_to timestamp, span_start bigint not null, span_end bigint not null, rule text not null, version text not null
) with (connector = 'stdout', type = 'sink');

create view said as select user_id, id, occurred_at, text from interactions where role = 'user';

create view by_rules as select user_id, id, unnest(facts(text, occurred_at)) as fact from said;

-- A model costs a thousand times what the rules do: it is not asked about a few words. Whose answer it is keeps users apart.
create view answers as
  select user_id, id, occurred_at, text, extract(reader, text, user_id) as answer from said where length(text) >= 20;

create view by_model as
  select user_id, id, unnest(grounded_facts(answer, text, occurred_at, 'facts.v1', 'reader')) as fact from answers;

create view rule_facts as
  select user_id, id as turn, 'rules' as source, fact['attribute'] as attribute, fact['value'] as value, fact['about'] as about, fact['polarity'] as polarity,
         fact['confidence'] as confidence, fact['valid_from'] as valid_from, fact['valid_to'] as valid_to,
         fact['span_start'] as span_start, fact['span_end'] as span_end, fact['rule'] as rule, fact['version'] as version
  from by_rules;

create view model_facts as
  select user_id, id as turn, 'model' as source, fact['attribute'] as attribute, fact['value'] as value, fact['about'] as about, fact['polarity'] as polarity,
         fact['confidence'] as confidence, fact['valid_from'] as valid_from, fact['valid_to'] as valid_to,
         fact['span_start'] as span_start, fact['span_end'] as span_end, fact['rule'] as rule, fact['version'] as version
  from by_model;

insert into facts select * from rule_facts union all select * from model_facts;

-- test: a turn gives its facts with where they stand, and a forgotten turn takes them with it
-- given interactions
-- {"user_id": "aino", "id": "1", "role": "user", "occurred_at": "2026-03-04T12:00:00Z", "text": "I like tea."}
-- {"user_id": "aino", "id": "2", "role": "user", "occurred_at": "2026-03-04T12:01:00Z", "text": "Asun Turussa."}
-- {"user_id": "aino", "id": "3", "role": "assistant", "occurred_at": "2026-03-04T12:02:00Z", "text": "I live in Oulu."}
-- {"user_id": "eino", "id": "4", "role": "user", "occurred_at": "2026-03-04T12:03:00Z", "text": "Do I like tea?"}
-- expect rule_facts
-- {"user_id": "aino", "turn": "1", "source": "rules", "attribute": "likes", "value": "tea", "about": "self", "polarity": "holds", "confidence": 90, "span_start": 0, "span_end": 10, "rule": "en.like.like", "version": "rules.1"}
-- {"user_id": "aino", "turn": "2", "source": "rules", "attribute": "home", "value": "Turku", "about": "self", "polarity": "holds", "confidence": 95, "span_start": 0, "span_end": 12, "rule": "fi.koti.asun", "version": "rules.1"}
-- expect model_facts
-- given interactions
-- - {"user_id": "aino", "id": "1"}
-- expect facts
-- {"user_id": "aino", "turn": "2", "source": "rules", "attribute": "home", "value": "Turku", "about": "self", "polarity": "holds", "confidence": 95, "span_start": 0, "span_end": 12, "rule": "fi.koti.asun", "version": "rules.1"}
-- given interactions
-- - {"user_id": "aino", "id": "2"}
-- expect facts

-- test: an edited turn gives other facts, and days are counted from when it was said
-- given interactions
-- {"user_id": "aino", "id": "1", "role": "user", "occurred_at": "2026-03-04T12:00:00Z", "text": "I am 34."}
-- expect rule_facts
-- {"user_id": "aino", "turn": "1", "source": "rules", "attribute": "age", "value": "34", "about": "self", "polarity": "holds", "confidence": 85, "span_start": 0, "span_end": 7, "rule": "en.age.bare", "version": "rules.1"}
-- given interactions
-- {"user_id": "aino", "id": "1", "role": "user", "occurred_at": "2026-03-04T12:00:00Z", "text": "I swim tomorrow."}
-- {"user_id": "aino", "id": "2", "role": "user", "occurred_at": "2026-12-31T12:00:00Z", "text": "Lennän huomenna Roomaan."}
-- {"user_id": "aino", "id": "3", "role": "user", "occurred_at": "2026-12-31T12:00:00Z", "text": "Muutin eilen Ouluun"}
-- expect facts
-- {"user_id": "aino", "turn": "2", "source": "rules", "attribute": "plan", "value": "Lennän Roomaan", "about": "self", "polarity": "holds", "confidence": 85, "valid_from": "2027-01-01T00:00:00Z", "valid_to": "2027-01-02T00:00:00Z", "span_start": 0, "span_end": 24, "rule": "fi.aikeet.menen", "version": "rules.1"}
-- {"user_id": "aino", "turn": "3", "source": "rules", "attribute": "home", "value": "Oulu", "about": "self", "polarity": "holds", "confidence": 90, "valid_from": "2026-12-30T00:00:00Z", "span_start": 0, "span_end": 19, "rule": "fi.koti.muutin_aika", "version": "rules.1"}
