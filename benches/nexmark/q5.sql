-- Nexmark q5, hot items: the auctions with most bids of every ten seconds, every two seconds.
create table bid (
  auction bigint not null, bidder bigint not null, price bigint not null, channel text not null, url text not null,
  at timestamp not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/bid.jsonl', format = 'json', event_time = 'at');

create table result (since timestamp, auction bigint, bids bigint not null, primary key (since, auction))
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

create view hopped as
  select auction, hop(interval '2 seconds', interval '10 seconds') as w, count(*) as bids
  from bid
  group by auction, w;

create view counts as select w.start as since, auction, bids from hopped;

create view most as select since, max(bids) as bids from counts group by since;

insert into result
  select counts.since, counts.auction, counts.bids
  from counts join most on counts.since = most.since and counts.bids = most.bids;
