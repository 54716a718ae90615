-- the first few of all; the order is total
select a, b, s from t order by b desc nulls last, a, s nulls first limit 3;
select a, b, s from t order by a, b, s limit 4 offset 2;
select count(*) as n, a from t group by a order by n desc, a limit 2;
select count(*) as n, a from t group by a order by n desc, a desc limit 2;
-- the first few of each group
select a, b, s from (select a, b, s, row_number() over (partition by a order by b desc nulls last, s) as place from t) as r where place <= 2;
select a, b, s, place from (select a, b, s, row_number() over (partition by s order by a, b nulls last) as place from t) as r where place < 3;
select k, n, d from (select k, n, d, row_number() over (partition by k order by n, d, x, at, amount, ok, doc, tags) as place from e) as r where place = 1;
-- the newest row of each key
select distinct on (a) a, b, s from t order by a, b desc nulls last, s;
