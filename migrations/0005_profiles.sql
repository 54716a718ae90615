-- What is known of each user, kept by the companion's pipeline.
create table profiles (
    user_id     uuid not null,
    kind        text not null check (kind in ('fact', 'interest', 'habits', 'use')),
    -- Keyed hash of the entry's name: names the entry without saying what it is.
    entry       text not null,
    -- The entry as JSON, sealed.
    body        bytea not null,
    -- Keyed hash of the entry as JSON: tells whether it changed without opening it.
    fingerprint text not null,
    epoch       bigint not null,
    -- Read by user.
    primary key (user_id, kind, entry)
);

-- What users changed of their profile: the records as they are on the log.
create table profile_edits (
    user_id     uuid not null,
    id          uuid not null,
    occurred_at timestamptz not null,
    body        bytea not null,
    epoch       bigint not null,
    -- Read by user.
    primary key (user_id, id)
);
