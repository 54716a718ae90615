-- each row once
select distinct a, s from t where s like '%a%';
select distinct b from t;
-- all rows of both, and each once
select a as k, s as v from t union all select id, name from u;
select a, s from t union select id, name from u;
select k, count(*) as n from (select a as k from t union select id from u) as both_ids group by k;
-- except and intersect
select a from t except select id from u;
select b from t intersect select score from u;
select a, b from t except select id, score from u;
-- values
select a, v.w from t join (values (1, 'one'), (2, 'two')) as v(n, w) on t.a = v.n;
select * from (values (1), (2)) as v(x) union all select a from t;
-- with
with big as (select a, b from t where b > 0), small as (select id from u where id < 4) select big.a, big.b from big join small on big.a = small.id;
with g as (select a, count(*) as n from t group by a) select x.a, y.a as other from g x join g y on x.n = y.n and x.a < y.a;
