-- Nexmark q3, local items: who sells in category 10 and lives in Oregon, Idaho or California.
create table person (
  id bigint not null, name text not null, email_address text not null, credit_card text not null, city text not null,
  state text not null, at timestamp not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/person.jsonl', format = 'json', event_time = 'at');

create table auction (
  id bigint not null, item_name text not null, description text not null, initial_bid bigint not null, reserve bigint not null,
  at timestamp not null, expires timestamp not null, seller bigint not null, category bigint not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/auction.jsonl', format = 'json', event_time = 'at');

create table result (id bigint primary key, name text not null, city text not null, state text not null)
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

insert into result
  select auction.id, person.name, person.city, person.state
  from auction join person on auction.seller = person.id
  where auction.category = 10 and person.state in ('OR', 'ID', 'CA');
