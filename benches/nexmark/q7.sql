-- Nexmark q7, highest bid: the highest bids of every ten seconds.
create table bid (
  auction bigint not null, bidder bigint not null, price bigint not null, channel text not null, url text not null,
  at timestamp not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/bid.jsonl', format = 'json', event_time = 'at');

create table result (auction bigint, bidder bigint not null, price bigint not null, at timestamp, primary key (auction, at))
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

create view windowed as select auction, bidder, price, at, tumble(interval '10 seconds') as w from bid;

create view bids as select w.start as since, auction, bidder, price, at from windowed;

create view highest as select since, max(price) as price from bids group by since;

insert into result
  select bids.auction, bids.bidder, bids.price, bids.at
  from bids join highest on bids.since = highest.since and bids.price = highest.price;
