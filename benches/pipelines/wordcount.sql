-- How often each word is there.
create table words (word text not null)
  with (connector = 'file', type = 'source', path = '${WORDS}', format = 'json');

create table counts (word text primary key, n bigint not null)
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

insert into counts select word, count(*) as n from words group by word;
