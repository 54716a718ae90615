-- a list in an order of its own
select a, array_agg(b order by b) as bs from t where b is not null group by a;
select s, array_agg(a order by a desc) as as_ from t group by s;
select a, array_agg(s order by s desc nulls last) as ss from t group by a;
select k, array_agg(distinct n order by n) as ns from e where n is not null group by k;
-- text in an order
select a, string_agg(s, ',' order by s) as ss from t where s is not null group by a;
-- the first and the last; ties are told apart by the row
select a, first_value(b order by b) as low, last_value(b order by b) as high from t where b is not null group by a;
select s, first_value(a order by a desc) as most from t group by s;
