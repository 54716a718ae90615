-- Nexmark q2, selection: bids on some auctions; their instant is kept beside, because it tells equal bids apart.
create table bid (
  auction bigint not null, bidder bigint not null, price bigint not null, channel text not null, url text not null,
  at timestamp not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/bid.jsonl', format = 'json', event_time = 'at');

create table result (auction bigint, price bigint not null, at timestamp, primary key (auction, at))
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

insert into result select auction, price, at from bid where auction % 123 = 0;
