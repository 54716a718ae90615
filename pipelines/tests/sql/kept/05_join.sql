-- equal keys
select t.s, u.name, t.b + u.score as x from t join u on t.a = u.id;
-- with a residual
select t.s, u.name from t join u on t.a = u.id and t.b > u.score;
select t.s, u.name, t.b + u.score as x from t join u on t.a = u.id where t.b > u.score;
-- null keys never match
select t.a, u.id from t join u on t.b = u.score;
select t.a, u.id from t join u on t.s = u.name and t.b = u.score;
-- computed keys, several keys
select t.a, u.id from t join u on t.a = u.id + 1;
select t.a, u.score from t join u on t.a = u.id and t.s = u.name;
-- with itself
select x.a, y.a as other from t x join t y on x.s = y.s and x.b = y.b and x.a < y.a;
-- three tables
select t.a, u.name, e.k from t join u on t.a = u.id join e on e.n = u.id;
-- left, right, full
select t.a, t.s, u.name from t left join u on t.a = u.id;
select t.a, u.id, u.name from t right join u on t.b = u.score;
select t.a, t.b, u.id, u.score from t full join u on t.b = u.score;
-- outer with a residual: a row has a partner only if a pair passes
select t.a, t.b, u.score from t left join u on t.a = u.id and t.b > u.score;
select t.b, u.id, u.score from t right join u on t.a = u.id and t.b > u.score;
select t.a, t.b, u.id, u.score from t full join u on t.a = u.id and t.b < u.score;
-- what the other side lacks
select t.a, t.s from t left join u on t.a = u.id where u.id is null;
-- in, exists and their opposites
select a, b from t where a in (select id from u);
select a, b from t where exists (select 1 from u where u.id = t.a and u.score > t.b);
select a, b from t where not exists (select 1 from u where u.id = t.a);
select a, b from t where not exists (select 1 from u where u.id = t.a and u.score > t.b);
-- not in: a null in the list hides every row, an empty list none
select a, b from t where b not in (select score from u);
select a, b from t where b not in (select score from u where score is not null and id > 3);
select a, b from t where a not in (select id from u where id < 3);
-- in beside another condition
select a, b from t where a in (select id from u) or b > 2;
-- groups over joins, joins over groups
select u.name, count(*) as n, sum(t.b) as total from t join u on t.a = u.id group by u.name;
select t.a, t.b, g.n from t join (select id, count(*) as n from u group by id) as g on t.a = g.id;
select g.a, g.n, u.name from (select a, count(*) as n from t group by a) as g left join u on u.id = g.n;
-- one number beside every row
select a, b from t where b > (select avg(score) from u);
select a, (select max(score) from u) as top from t;
select a, (select count(*) from u where u.id = t.a) as n from t;
-- using, natural names
select a, name from t join (select id as a, name from u) as v using (a);
-- semi and anti joins by name
select t.a, t.b from t left semi join u on t.a = u.id;
select t.a, t.b from t left anti join u on t.a = u.id;
