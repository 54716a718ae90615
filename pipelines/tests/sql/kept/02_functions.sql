-- text
select upper(s) as u, lower(s) as l, length(s) as n, substr(s, 2, 3) as part from t;
select s || '-' || cast(a as varchar) as joined from t;
select trim(s) as t, replace(s, 'a', 'o') as r, reverse(s) as back from t;
select a from t where s like '%b%';
select a from t where s not like 'a%';
select a from t where s ilike 'AB%';
select a, s ~ '^[a-z]+$' as plain from t;
select split_part(s, ' ', 2) as second, starts_with(s, 'a') as begins, strpos(s, 'x') as place from t;
select concat(s, a, null, 'z') as c, left(s, 2) as l2, right(s, 2) as r2 from t;
-- numbers
select abs(b) as v, round(x * 1.3) as r, floor(x) as f, ceil(x) as c from t join e on t.a = e.n;
select x + 0.5 as y, x * x as q, power(n, 2) as w from e;
select greatest(a, b, 2) as g, least(a, b, 2) as l from t;
-- casts
select cast(n as bigint) as b, cast(n as varchar) as s, cast(x as bigint) as i, try_cast(k as bigint) as t from e;
select cast(amount as decimal(20, 4)) as wide, cast(amount as varchar) as text from e;
select amount * 2 as twice, amount + cast(1.5 as decimal(12, 2)) as more from e;
-- dates and times
select date_trunc('minute', at) as m, date_part('second', at) as s from e;
select extract(hour from at) as h, at + interval '90 seconds' as later from e;
select d, date_part('month', d) as m, d + interval '1 day' as tomorrow from e;
select to_char(d, '%Y-%m') as month from e;
select date_bin(interval '5 minutes', at) as five from e;
-- json
select json_get_int(doc, 'n') as n, json_get_str(doc, 's') as s, json_contains(doc, 'l') as has from e;
select doc->>'s' as s, json_length(doc, 'l') as n from e;
-- arrays
select array_length(tags) as n, tags[1] as first, array_has(tags, 2) as two from e;
select k, make_array(n, n + 1) as pair from e where n is not null;
