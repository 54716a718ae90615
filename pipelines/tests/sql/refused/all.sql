-- Unordered
select * from t order by a;
-- Unordered
select * from t limit 3;
-- Unordered
select array_agg(a) from t;
-- Unordered
select a, first_value(b) from t group by a;
-- CrossJoin
select t.a from t, u;
-- CrossJoin
select t.a from t join u on t.a < u.id;
-- Impure
select a, random() as r from t;
-- Impure
select a from t where cast(s as timestamp) > now();
-- Impure
select a, uuid() as id from t;
-- FloatSum
select k, sum(x) as total from e group by k;
-- FloatSum
select avg(x) as mean from e;
-- FloatSum
select a, sum(b * 0.5e0) as x from t group by a;
-- WindowFunction
select a, row_number() over (partition by s order by a) as r from t;
-- WindowFunction
select a, sum(b) over (partition by s order by a) as r from t;
-- WindowFunction
select a, r from (select a, rank() over (order by b) as r from t) as x where r < 3;
-- GroupingSets
select a, s, count(*) from t group by rollup (a, s);
-- GroupingSets
select a, s, count(*) from t group by grouping sets ((a), (s));
-- Aggregate
select stddev(x) from e;
-- Aggregate
select approx_distinct(a) from t;
-- Aggregate
select median(b) from t;
-- Type
select a, interval '1 month' as m from t;
-- Recursion
with recursive r as (select 1 as n union all select n + 1 from r where n < 5) select * from r;
-- Planner
select nothing from t;
-- Planner
select a from nowhere;
-- Planner
select a + from_s from t;
-- Planner
select upper(a, b) from t;
-- Planner
select embed(minilm, s) from t;
-- Subquery
select a from t where b not in (select score from u) or a > 3;
-- Subquery
select a from t where not (b in (select score from u) and a > 3);
-- Subquery
select a from t where exists (select count(*) from u where u.id = t.a);
-- Plan
select a from t except all select id from u;
-- Plan
select b from t intersect all select score from u;
-- Plan
select a, score from t full join (select id as a, score from u) as v using (a);
