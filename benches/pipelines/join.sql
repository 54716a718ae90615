-- Every live change with the name of its user.
create table changes (
  seq bigint not null, id bigint not null, "user" bigint not null, item bigint not null, weight bigint not null, diff bigint not null
) with (connector = 'file', type = 'source', path = '${CHANGES}', format = 'json', changelog = 'signed', diff_column = 'diff');

create table users (id bigint not null, name text not null)
  with (connector = 'file', type = 'source', path = '${USERS}', format = 'json');

create table named (id bigint primary key, item bigint not null, weight bigint not null, name text not null)
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

insert into named
  select changes.id, changes.item, changes.weight, users.name
  from changes join users on changes."user" = users.id;
