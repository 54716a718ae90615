-- everything that can be reached, over cycles too
with recursive r (a, b) as (select a, b from t where b is not null union select r.a, t.b from r join t on r.b = t.a where t.b is not null) select a, b from r;
-- from one place: the cut of a bridge takes what lay behind it
with recursive r (n) as (select cast(0 as bigint) union select t.b from r join t on t.a = r.n) select n from r;
-- an org tree with depth; a ring of managers ends at the depth
with recursive tree (id, boss, depth) as (
  select id, score, cast(0 as bigint) from u where score is null or score < 0
  union all
  select u.id, u.score, tree.depth + 1 from tree join u on u.score = tree.id where tree.depth < 4)
select id, boss, depth from tree;
-- copies count: the number of paths of each length
with recursive path (a, b, steps) as (
  select a, b, cast(1 as bigint) from t
  union all
  select path.a, t.b, path.steps + 1 from path join t on path.b = t.a where path.steps < 3)
select a, b, steps, count(*) as paths from path group by a, b, steps;
-- the shortest way of at most five steps
with recursive way (n, steps) as (
  select distinct a, cast(0 as bigint) from t where s = 'a'
  union
  select t.b, way.steps + 1 from way join t on t.a = way.n where way.steps < 5 and t.b is not null)
select n, min(steps) as steps from way group by n;
-- two recursions of one query, the second over the first
with recursive
  up (n) as (select id from u where name = 'b' union select u.score from up join u on u.id = up.n where u.score is not null),
  down (n) as (select n from up union select t.b from down join t on t.a = down.n)
select up.n, down.n as other from up join down on up.n = down.n;
-- one recursion, read twice
with recursive r (a, b) as (select a, b from t union select r.a, t.b from r join t on r.b = t.a)
select x.a, x.b, y.b as c from r x join r y on x.a = y.b;
-- of a column more than is shown: rows that differ in it count
with recursive r (a, b) as (select a, b from t where b is not null union select r.a, t.b from r join t on r.b = t.a where t.b is not null)
select a, count(*) as n, count(b) as known from r group by a;
-- nulls are in a row, and end it
with recursive r (a, b, s) as (select a, b, s from t union select t.a, t.b, r.s from r join t on r.b = t.a) select a, b, s from r;
-- numbers without a table
with recursive n (i) as (select 1 union all select i + 1 from n where i < 12) select i, i * i as square from n where i > 2;
-- what is left out of the walk: the preserved side of anti and semi joins
with recursive r (n, steps) as (
  select a, cast(0 as bigint) from t
  union
  select t.b, r.steps + 1 from r join t on t.a = r.n
  where r.steps < 3 and t.b is not null and not exists (select 1 from u where u.id = r.n) and exists (select 1 from e where e.n >= 0 and cast(e.n as bigint) = r.n))
select n, steps from r;
-- the preserved side of an outer join
with recursive r (n, name, steps) as (
  select a, s, cast(0 as bigint) from t
  union all
  select r.n + 1, u.name, r.steps + 1 from r left join u on u.id = r.n where r.steps < 2)
select n, name, steps from r;
-- one row per element, again and again
with recursive r (k, v, steps) as (
  select k, cast(n as bigint), cast(0 as bigint) from e where n is not null
  union
  select x.k, x.tag, x.steps + 1 from (select r.k, unnest(make_array(r.v + 1, r.v - 1)) as tag, r.steps from r where r.steps < 3) as x)
select k, v, steps from r;
-- found by a semi join: each row once
with recursive r (n) as (select min(a) from t union select x.b from (select t.b from t left semi join r on r.n = t.a) as x where x.b is not null) select n from r;
-- a recursion inside of a condition
select id, name from u where id in (with recursive r (n) as (select a from t where s = 'b' union select t.b from r join t on t.a = r.n) select n from r where n is not null);
-- a recursion over a recursion
with recursive a (n) as (select b from t where a = 1 union select t.b from a join t on t.a = a.n)
, b (n, m) as (select n, n as m from a union select b.n, u.score from b join u on u.id = b.m where exists (select 1 from a where a.n = u.score))
select n, m from b;
-- less what is in another table
with recursive r (n) as (select a from t union (select b from r join t on t.a = r.n except select id from u)) select n from r;
-- a recursion over what a group gives, and a group over it
with recursive r (k, v) as (select s, max(b) from t group by s union select r.k, m.id from r join (select id, score from u) as m on m.score = r.v) select k, count(v) as n, sum(v) as total from r group by k;
-- of two columns, one that nobody shows: rows that differ in it are two
with recursive r as (select a, b from t where b is not null union select r.a, t.b from r join t on r.b = t.a where t.b is not null) select a from r;
with recursive r as (select a, b, s from t union select t.a, t.b, r.s from r join t on r.b = t.a) select a, count(*) as n from r group by a;
with recursive r as (select a, b from t union select r.a + 3, r.b from r where r.a < 6) select a from r;
