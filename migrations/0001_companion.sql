-- The served views, the keys and the pipeline's books, in one database, so that one transaction can change them together.
-- Personal text is ciphertext under the user's key (bytea); vectors are plain (docs/privacy.md says what that means).

create extension if not exists vector;

create table accounts (
    id            uuid primary key,
    -- Keyed hash of the normalised login: equal logins are found, none can be read.
    login_index   bytea not null unique,
    login         bytea not null,
    -- Argon2id, PHC string; null: the account was made by an import and cannot sign in yet.
    password_hash text,
    created_at    timestamptz not null default now()
);

create table user_keys (
    user_id    uuid primary key references accounts (id),
    version    integer not null,
    -- Wrapped under the root key; null once destroyed, which makes everything sealed under it unreadable for ever.
    wrapped    bytea,
    created_at timestamptz not null default now()
);

create table sessions (
    id           uuid primary key,
    user_id      uuid not null references accounts (id),
    device       text not null,
    created_at   timestamptz not null,
    last_used_at timestamptz not null,
    revoked_at   timestamptz
);
-- Used by: sessions of a user.
create index sessions_by_user on sessions (user_id, last_used_at desc);

create table refresh_tokens (
    token_hash bytea primary key,
    session_id uuid not null references sessions (id),
    issued_at  timestamptz not null,
    -- Set when it was exchanged; seen again later than the grace, it means theft.
    rotated_at timestamptz,
    -- The token it was exchanged for, sealed under a key derived from this token.
    successor  bytea
);
-- Used by: revoking a family.
create index refresh_tokens_by_session on refresh_tokens (session_id);

create table conversations (
    user_id    uuid not null references accounts (id),
    id         uuid not null,
    title      bytea,
    created_at timestamptz not null default now(),
    primary key (user_id, id)
);
-- Used by: the list of conversations, newest first.
create index conversations_by_age on conversations (user_id, created_at desc, id desc);

-- View kept by the pipeline: one row per live turn. No vector index: a search scans one user's own rows.
create table memories (
    user_id         uuid not null,
    id              uuid not null,
    conversation_id uuid not null,
    session         integer not null,
    position        integer not null,
    role            text not null check (role in ('user', 'assistant', 'other')),
    occurred_at     timestamptz not null,
    body            bytea not null,
    -- Keyed hash of the content: tells an unchanged turn from an edited one without opening either.
    fingerprint     text not null,
    vector          vector not null,
    model           text not null,
    epoch           bigint not null,
    primary key (user_id, id)
);
-- Used by: the turns of a conversation, newest first.
create index memories_by_conversation on memories (user_id, conversation_id, occurred_at desc, position desc);

-- View kept by the pipeline: counts per user.
create table activity (
    user_id         uuid primary key,
    turns           bigint not null,
    user_turns      bigint not null,
    assistant_turns bigint not null,
    other_turns     bigint not null,
    first_at        timestamptz not null,
    last_at         timestamptz not null,
    epoch           bigint not null
);

-- One row per pipeline: who may write (generation), what was promised (minted), what is in the views (progress).
create table pipelines (
    name       text primary key,
    plan_hash  text not null,
    generation bigint not null,
    minted     bigint not null,
    progress   bigint not null
);

-- The epoch ledger: which offsets an epoch is made of, written before the dataflow sees it.
create table epoch_ledger (
    pipeline   text not null references pipelines (name),
    epoch      bigint not null,
    generation bigint not null,
    plan_hash  text not null,
    ranges     jsonb not null,
    minted_at  timestamptz not null default now(),
    primary key (pipeline, epoch)
);

-- Everything below next_offset is in the views.
create table pipeline_positions (
    pipeline    text not null references pipelines (name),
    partition   integer not null,
    next_offset bigint not null,
    primary key (pipeline, partition)
);

-- Records to put on the log because of a committed epoch; a row goes when the log has acknowledged it.
create table outbox (
    id        bigint generated always as identity primary key,
    pipeline  text not null references pipelines (name),
    epoch     bigint not null,
    topic     text not null,
    partition integer not null,
    key       bytea not null,
    value     bytea
);
