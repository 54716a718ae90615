-- What was forgotten: the receipts, without the witnesses, which only whoever asked is given.
create table forgettings (
    id          uuid primary key,
    user_id     uuid not null,
    finished_at timestamptz not null,
    receipt     jsonb not null
);
-- Used by: the receipts of a user, newest first.
create index forgettings_by_user on forgettings (user_id, finished_at desc, id desc);

-- Ciphertext does not shrink: kept as it is, so that a search of the raw files sees it.
alter table memories alter column body set storage external;
alter table profiles alter column body set storage external;
alter table profile_edits alter column body set storage external;
alter table outbox alter column value set storage external;

-- The planner needs no samples of these, and would keep them in a table of its own when the rows are gone.
alter table memories alter column body set statistics 0;
alter table memories alter column vector set statistics 0;
alter table memories alter column fingerprint set statistics 0;
alter table profiles alter column body set statistics 0;
alter table profiles alter column fingerprint set statistics 0;
alter table profile_edits alter column body set statistics 0;
alter table conversations alter column title set statistics 0;
alter table accounts alter column login set statistics 0;
alter table accounts alter column password_hash set statistics 0;
alter table user_keys alter column wrapped set statistics 0;
alter table refresh_tokens alter column successor set statistics 0;
alter table outbox alter column key set statistics 0;
alter table outbox alter column value set statistics 0;
