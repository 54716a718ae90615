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
-- Aggregate
select avg(distinct b) as mean from t;
-- Aggregate
select s, avg(distinct a), count(*) from t group by s;
-- Type
select a, interval '1 month' as m from t;
-- Recursion
with recursive r (a, b) as (select a, b from t union select x.a, y.b from r x join r y on x.b = y.a) select a, b from r;
-- Recursion
with recursive r (n, c) as (select a, cast(0 as bigint) from t union select t.b, count(*) from r join t on t.a = r.n group by t.b) select n, c from r;
-- Recursion
with recursive r (n) as (select a from t union select max(n) + 1 from r) select n from r;
-- Recursion
with recursive r (n) as (select a from t union select id from u where id not in (select n from r where n is not null)) select n from r;
-- Recursion
with recursive r (n) as (select a from t union select id from u where not exists (select 1 from r where r.n = u.id)) select n from r;
-- Recursion
with recursive r (n, m) as (select a, b from t union select u.id, r.m from u left join r on u.id = r.n) select n, m from r;
-- Recursion
with recursive r (n) as (select a from t union all select distinct t.b from r join t on t.a = r.n) select n from r;
-- Recursion
with recursive r (n) as (select a from t union all select u.id from u where u.id in (select n from r)) select n from r;
-- Recursion
with recursive r (n) as (select a from t union all select x.id from (select u.id from u left semi join r on r.n = u.id) as x) select n from r;
-- Recursion
with recursive r (n) as (select a from t union select x.id from (select u.id from u left anti join r on r.n = u.id) as x) select n from r;
-- Recursion
with recursive r (n) as (select a from t union select b from r join t on t.a = r.n where r.n not in (select score from u)) select n from r;
-- Recursion
with recursive r (n) as (select a from t union (select b from r join t on t.a = r.n order by b limit 1)) select n from r;
-- Recursion
with recursive r (n) as (select a from t union (select id from u except select b from r join t on t.a = r.n)) select n from r;
-- Recursion
with recursive r (n) as (select a from t union (select b from r join t on t.a = r.n union all select id from u)) select n from r;
-- Recursion
with recursive u (n) as (select a from t union select t.b from u join t on t.a = u.n) select n from u;
-- CrossJoin
with recursive r (n) as (select a from t union select t.b from r join t on t.a > r.n) select n from r;
-- Impure
with recursive r (n) as (select random() union select n + random() from r) select n from r;
-- Function
select * from generate_series(1, 5);
-- Function
select * from activiti(t);
-- Operator
select * from activity(t);
-- Operator
select * from activity(nowhere);
-- Operator
select * from activity(t, u);
-- Operator
select * from activity('t');
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
