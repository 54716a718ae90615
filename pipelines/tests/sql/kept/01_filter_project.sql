-- columns move, repeat and take new names
select s as text, a, a as again, b from t;
-- a filter over a nullable column drops the unknown
select a, b from t where b > 0;
-- not of unknown is unknown
select a, b from t where not (b > 0);
-- and, or with unknowns
select a from t where b > 1 or s = 'a';
select a from t where b > 1 and s is not null;
-- is distinct from compares nulls
select a, b from t where b is distinct from 2;
select a from t where s is not distinct from null;
-- case, coalesce, nullif
select a, case when b > 0 then 'up' when b < 0 then 'down' end as way from t;
select coalesce(b, a * 10, 0) as v, nullif(a, 3) as n from t;
select case s when 'a' then 1 when 'b' then 2 else 0 end as code from t;
-- between and in lists, with nulls
select a, b from t where b between -1 and 2;
select a from t where b in (1, 2, null);
select a from t where b not in (1, 2);
-- arithmetic, remainder and sign
select a + b as s, a - b as d, a * b as p, -b as m, a % 3 as r from t;
select a / 2 as half, (a + 5) / (a + 1) as q from t;
-- booleans as columns
select ok, not ok as nay, ok is true as yes, ok is unknown as hm from e;
-- a constant row beside each row
select 1 as one, 'x' as letter, null as nothing, a from t;
-- duplicates stay duplicates
select a % 2 as p from t;
