-- A data key that is being replaced: until everything is sealed anew, what the older one sealed stays readable.
alter table user_keys
    add column previous_version integer,
    add column previous_wrapped bytea;
alter table user_keys alter column previous_wrapped set statistics 0;
