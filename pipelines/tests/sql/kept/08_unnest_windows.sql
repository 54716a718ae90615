-- one row per element
select k, unnest(tags) as tag from e;
select tag, count(*) as n from (select unnest(tags) as tag from e) as x group by tag;
select k, n, unnest(make_array(n, n * 2)) as v from e where n is not null;
-- windows that do not overlap
select tumble(interval '1 minute') as window, count(*) as n from e group by window;
select k, tumble(at, interval '2 minutes') as w, sum(amount) as total from e group by k, w;
select w.start as since, w.end as until, count(*) as n from (select tumble(at, interval '1 minute') as w from e) as x group by w;
-- windows that do
select hop(interval '1 minute', interval '3 minutes') as window, count(*) as n from e group by window;
select k, hop(interval '30 seconds', interval '1 minute') as window, max(n) as top from e group by k, window;
