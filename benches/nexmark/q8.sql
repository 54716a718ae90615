-- Nexmark q8, new users: who registered and sold within the same ten seconds.
create table person (
  id bigint not null, name text not null, email_address text not null, credit_card text not null, city text not null,
  state text not null, at timestamp not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/person.jsonl', format = 'json', event_time = 'at');

create table auction (
  id bigint not null, item_name text not null, description text not null, initial_bid bigint not null, reserve bigint not null,
  at timestamp not null, expires timestamp not null, seller bigint not null, category bigint not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/auction.jsonl', format = 'json', event_time = 'at');

create table result (id bigint, name text not null, since timestamp, primary key (id, since))
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

create view registered as
  select id, name, w.start as since
  from (select id, name, tumble(interval '10 seconds') as w from person group by id, name, w) as p;

create view sold as
  select seller, w.start as since
  from (select seller, tumble(interval '10 seconds') as w from auction group by seller, w) as a;

insert into result
  select registered.id, registered.name, registered.since
  from registered join sold on registered.id = sold.seller and registered.since = sold.since;
