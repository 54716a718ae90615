-- How many rows each user has and the sum of their weights, while a fifth of the rows is withdrawn again.
create table changes (
  seq bigint not null, id bigint not null, "user" bigint not null, item bigint not null, weight bigint not null, diff bigint not null
) with (connector = 'file', type = 'source', path = '${CHANGES}', format = 'json', changelog = 'signed', diff_column = 'diff');

create table profiles ("user" bigint primary key, n bigint not null, total bigint not null)
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

insert into profiles select "user", count(*) as n, sum(weight) as total from changes group by "user";
