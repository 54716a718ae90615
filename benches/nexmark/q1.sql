-- Nexmark q1, currency: every bid's price in another currency, exactly.
create table bid (
  auction bigint not null, bidder bigint not null, price bigint not null, channel text not null, url text not null,
  at timestamp not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/bid.jsonl', format = 'json', event_time = 'at');

create table result (auction bigint, bidder bigint, price decimal(23, 3) not null, at timestamp, primary key (auction, bidder, at))
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

insert into result
  select auction, bidder, cast(price as decimal(18, 0)) * cast('0.908' as decimal(4, 3)) as price, at
  from bid;
