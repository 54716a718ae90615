/* Muistojen putki:
   esimerkki, jossa on kaikkea. */
create table interactions (
  id text primary key, user_id text not null, role text, text text, occurred_at timestamp, -- ääkkösiä: äöå
  extra json, tags text[]
) with (connector = 'kafka', type = 'source', topic = 'interactions', format = 'ajatus', event_time = 'occurred_at');

create model minilm with (task = 'embedding', provider = 'candle', name = 'all-MiniLM-L6-v2',
  max_batch_tokens = 16384, max_batch_rows = 256, max_delay = '5 ms', max_in_flight = 2);

create model mood with (
  task = 'extraction', provider = 'vllm', name = 'qwen3', url = 'http://localhost:8000', temperature = 0.5,
  prompt = 'Mikä on kirjoittajan mieli?
{{ input }}',
  schema = $${"type": "object", "properties": {"mieli": {"type": "string"}}, "required": ["mieli"]}$$
);

create view embedded as
  select id, user_id, embed(minilm, text) as vector, extract(mood, text) as mieli
  from interactions where role = 'user' and extra ->> 'kieli' = 'fi';

create view päivät as
  select day, count(*) as viestejä
  from (select date_trunc('day', occurred_at) as day from interactions) d
  group by day;

-- test: laskee päivän viestit
-- given interactions
-- {"id": "1", "user_id": "Åsa", "occurred_at": "2026-11-24T08:00:00"}
-- {"id": "2", "user_id": "Åsa", "occurred_at": "2026-11-24T09:00:00"}
-- then
-- expect päivät
-- {"day": "2026-11-24T00:00:00", "viestejä": 2}
-- expect "lines"
-- {"id": "1"}
--
-- given interactions
-- - {"id": "2", "user_id": "Åsa", "occurred_at": "2026-11-24T09:00:00"}
-- expect päivät
-- test: odottaa tyhjää
-- expect memories

-- Muistot, kerran kukin.
create table memories (id text primary key, vector vector(384), mieli json)
  with (connector = 'postgres', type = 'sink', table = 'memories', mode = 'exactly_once');
create table lines (id text) with (connector = 'stdout');

insert into memories (id, vector, mieli) select id, vector, mieli from embedded join interactions using (id);
insert into lines select id from embedded;
