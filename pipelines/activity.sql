-- Who spoke how much on which day, per user: `ajatus pipeline run pipelines/activity.sql`.
--
-- Reads no words, so it needs no key. A forgotten turn is taken out of its day, and a day without turns is gone.

create table interactions (
  user_id text, id text, role text not null, occurred_at timestamp not null, primary key (user_id, id)
) with (connector = 'log', type = 'source', topic = 'interactions', format = 'ajatus', changelog = 'upsert', event_time = 'occurred_at');

create table activity_daily (
  user_id text, day date, role text, turns bigint not null, first_at timestamp not null, last_at timestamp not null,
  primary key (user_id, day, role)
) with (connector = 'postgres', type = 'sink');

create view days as
  select user_id, cast(date_trunc('day', occurred_at) as date) as day, role, count(*) as turns,
         min(occurred_at) as first_at, max(occurred_at) as last_at
  from interactions
  group by user_id, date_trunc('day', occurred_at), role;

insert into activity_daily select user_id, day, role, turns, first_at, last_at from days;

-- test: a day is counted by role, and a forgotten turn leaves it
-- given interactions
-- {"user_id": "aino", "id": "1", "role": "user", "occurred_at": "2026-03-01T08:00:00Z"}
-- {"user_id": "aino", "id": "2", "role": "assistant", "occurred_at": "2026-03-01T08:00:05Z"}
-- {"user_id": "aino", "id": "3", "role": "user", "occurred_at": "2026-03-01T23:59:59Z"}
-- {"user_id": "aino", "id": "4", "role": "user", "occurred_at": "2026-03-02T00:00:00Z"}
-- expect days
-- {"user_id": "aino", "day": "2026-03-01", "role": "user", "turns": 2, "first_at": "2026-03-01T08:00:00Z", "last_at": "2026-03-01T23:59:59Z"}
-- {"user_id": "aino", "day": "2026-03-01", "role": "assistant", "turns": 1, "first_at": "2026-03-01T08:00:05Z", "last_at": "2026-03-01T08:00:05Z"}
-- {"user_id": "aino", "day": "2026-03-02", "role": "user", "turns": 1, "first_at": "2026-03-02T00:00:00Z", "last_at": "2026-03-02T00:00:00Z"}
-- given interactions
-- - {"user_id": "aino", "id": "3"}
-- - {"user_id": "aino", "id": "4"}
-- expect activity_daily
-- {"user_id": "aino", "day": "2026-03-01", "role": "user", "turns": 1, "first_at": "2026-03-01T08:00:00Z", "last_at": "2026-03-01T08:00:00Z"}
-- {"user_id": "aino", "day": "2026-03-01", "role": "assistant", "turns": 1, "first_at": "2026-03-01T08:00:05Z", "last_at": "2026-03-01T08:00:05Z"}

-- test: an edit moves a turn to another day
-- given interactions
-- {"user_id": "aino", "id": "1", "role": "user", "occurred_at": "2026-03-01T08:00:00Z"}
-- then
-- given interactions
-- {"user_id": "aino", "id": "1", "role": "user", "occurred_at": "2026-03-05T09:00:00Z"}
-- expect days
-- {"user_id": "aino", "day": "2026-03-05", "role": "user", "turns": 1, "first_at": "2026-03-05T09:00:00Z", "last_at": "2026-03-05T09:00:00Z"}
