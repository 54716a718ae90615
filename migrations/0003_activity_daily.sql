-- Kept by pipelines/activity.sql: what each user's days were like.
create table activity_daily (
    user_id uuid not null,
    -- In UTC.
    day date not null,
    role text not null,
    turns bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    -- Read by user, newest day first.
    primary key (user_id, day, role)
);
