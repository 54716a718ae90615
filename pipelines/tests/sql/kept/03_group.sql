-- the counts
select s, count(*) as n from t group by s;
select a, count(b) as n, count(*) as all_rows from t group by a;
-- sums and means, null where there is nothing to add
select a, sum(b) as total, avg(b) as mean from t group by a;
select s, sum(a) as total, sum(a) + 1 as more, avg(a) as mean from t group by s;
-- several keys, computed keys
select a, s, count(*) as n from t group by a, s;
select a % 3 as bucket, length(s) as l, count(*) as n, sum(b) as total from t group by a % 3, length(s);
-- least and greatest come back when they are withdrawn
select a, min(b) as low, max(b) as high, min(s) as first, max(s) as last from t group by a;
select k, min(at) as first, max(at) as last, min(x) as low, max(amount) as top, min(d) as day from e group by k;
-- having
select a, count(*) as n from t group by a having count(*) > 1;
select s, max(b) as high from t group by s having max(b) > 0 and count(*) < 4;
-- over nothing there is one row
select count(*) as n, count(b) as nb, sum(b) as total, min(s) as low, avg(b) as mean from t where b is not null;
select count(*) as n from t where a > 100;
-- no rows where nothing is left of a group
select a from t group by a;
-- filters
select a, sum(b) filter (where s <> 'b') as total, count(*) filter (where b > 0) as n from t group by a;
select min(a) filter (where b > 0) as low, avg(b) filter (where a > 2) as mean from t;
-- truth
select k, bool_and(ok) as every, bool_or(ok) as some from e group by k;
-- distinct, alone and beside others
select s, count(distinct a) as n from t group by s;
select a, count(distinct b) as nb, count(distinct s) as ns, count(*) as n from t group by a;
select count(distinct s) as n from t;
-- decimals are exact
select k, sum(amount) as total, avg(amount) as mean, count(amount) as n from e group by k;
select sum(amount * 3) as total from e;
-- small integers
select k, sum(n) as total, avg(n) as mean, max(n) - min(n) as spread from e group by k;
-- a group over a group
select n, count(*) as groups from (select a, count(*) as n from t group by a) as g group by n;
select max(n) as most from (select s, count(*) as n from t group by s) as g;
-- null is a group of its own
select b, count(*) as n from t group by b;
-- keys of every type
select ok, d, count(*) as n from e group by ok, d;
select x, amount, count(*) as n from e group by x, amount;
-- the mean of different values, as the hint of avg(distinct …) says
select avg(b) as mean from (select distinct b from t) as x;
select s, avg(b) as mean, count(*) as n from (select distinct s, b from t) as x group by s;
-- filters of every aggregate
select s, sum(a) filter (where b > 0) as up, avg(a) filter (where b < 0) as down, min(b) filter (where a > 2) as low, count(distinct b) filter (where a < 5) as n from t group by s;
