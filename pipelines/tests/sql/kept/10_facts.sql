-- facts that the rules read
select k, at, unnest(facts(case when n > 0 then 'I moved to Oulu yesterday, and I like tea and maps.' when n = 0 then 'En asu enää Lahdessa.' else s end, at)) as fact from (select k, at, n, k as s from e) as x;
select f['attribute'] as attribute, f['value'] as value, count(*) as n, min(f['valid_from']) as first, max(f['confidence']) as most from (select unnest(facts(case when n > 0 then 'I moved to Oulu yesterday, and I like tea and maps.' else 'Menen huomenna uimaan. En asu enää Lahdessa.' end, at)) as f from e) as x group by f['attribute'], f['value'];
-- facts that a model gave
select f['value'] as value, f['rule'] as rule, count(*) as n from (select unnest(grounded_facts('{"facts":[{"attribute":"home","value":"Oulu"},{"attribute":"likes","value":"jam"}]}', case when ok then 'I live in Oulu' else 'I like jam' end, at, 'facts.v1', k)) as f from e) as x group by f['value'], f['rule'];
