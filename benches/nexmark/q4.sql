-- Nexmark q4, average price of a category: the mean of its auctions' highest bids before they expired.
create table auction (
  id bigint not null, item_name text not null, description text not null, initial_bid bigint not null, reserve bigint not null,
  at timestamp not null, expires timestamp not null, seller bigint not null, category bigint not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/auction.jsonl', format = 'json', event_time = 'at');

create table bid (
  auction bigint not null, bidder bigint not null, price bigint not null, channel text not null, url text not null,
  at timestamp not null, extra text not null
) with (connector = 'file', type = 'source', path = '${DATA}/bid.jsonl', format = 'json', event_time = 'at');

create table result (category bigint primary key, mean double not null)
  with (connector = 'file', type = 'sink', path = '${OUT}', format = 'json');

create view closed as
  select auction.id, auction.category, max(bid.price) as final
  from auction join bid on auction.id = bid.auction
  where bid.at >= auction.at and bid.at <= auction.expires
  group by auction.id, auction.category;

insert into result select category, avg(final) as mean from closed group by category;
