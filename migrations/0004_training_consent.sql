-- Who has allowed that their turns train a model, and what was taken for it.

-- When they allowed it; null: they have not, or no longer do.
alter table accounts add column training_consent_at timestamptz;

-- One row per export of turns: a trail that is only added to.
create table training_exports (
    id            bigint generated always as identity primary key,
    exported_at   timestamptz not null default now(),
    -- The name of the account on the machine.
    exported_by   text not null,
    purpose       text not null,
    users         bigint not null,
    conversations bigint not null,
    messages      bigint not null,
    -- BLAKE3 of the manifest, which holds the hash of every file.
    content_hash  text not null
);

create function training_exports_refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'training_exports is only added to';
end
$$;

create trigger training_exports_only_added_to
    before update or delete or truncate on training_exports
    for each statement execute function training_exports_refuse_change();
