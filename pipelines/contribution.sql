-- What nodes earned in each epoch: `ajatus pipeline run pipelines/contribution.sql`.
--
-- A first form of the Proof-of-Contribution specification: score, reward weight and slashing of every node and epoch, in whole numbers
-- that anybody can repeat. Here: which slots count (section 4: those that nodes with two thirds of the matured stake answered), and
-- presence as answered of counted slots. In the operator: uptime factor and section 7. Not yet: whether a heartbeat came in time,
-- signatures, draws, verdicts and performance (they are read as the log has them), settlement.
--
-- Reads the topic `node-events`, one document an event, by id: an event counts once, and one that is corrected or withdrawn changes its
-- epoch and all later ones. Writes `node-scores`, the last score of a node and epoch.

create table node_events (
  id text primary key, kind text not null, node text, epoch bigint,
  verdict text, work bigint, performance bigint,      -- kind 'decided': valid, invalid or missed; micro-credits; parts per billion
  slot bigint,                                        -- kind 'heartbeat': the slot of the epoch that was answered
  stake decimal(38, 0), matured decimal(38, 0)        -- kind 'stake': at the epoch's beginning, in the smallest unit
) with (connector = 'log', type = 'source', topic = 'node-events', format = 'json', changelog = 'upsert');

create table node_scores (
  node text, epoch bigint, net bigint not null, decided bigint not null, uptime bigint not null, score bigint not null,
  weight decimal(38, 0) not null, slash decimal(38, 0) not null, stake_after decimal(38, 0) not null, matured_after decimal(38, 0) not null,
  smoothed bigint not null, primary key (node, epoch)
) with (connector = 'log', type = 'sink', topic = 'node-scores');

create view decided as select node, epoch, verdict, work, performance from node_events where kind = 'decided';

create view stakes as select node, epoch, stake, matured from node_events where kind = 'stake';

-- The same slot answered twice is answered once.
create view heartbeats as select distinct node, epoch, slot from node_events where kind = 'heartbeat' and slot is not null;

-- A slot in which nodes with less than two thirds of the matured stake answered is void for everybody.
create view counted as
  select a.epoch, a.slot
  from (select h.epoch, h.slot, sum(s.matured) as matured from heartbeats h join stakes s on s.node = h.node and s.epoch = h.epoch group by h.epoch, h.slot) a
  join (select epoch, sum(matured) as matured from stakes group by epoch) t on t.epoch = a.epoch
  where a.matured * 3 >= t.matured * 2;

create view presence as
  select s.node, s.epoch, count(h.slot) as answered, count(*) as expected
  from stakes s
  join counted c on c.epoch = s.epoch
  left join heartbeats h on h.node = s.node and h.epoch = c.epoch and h.slot = c.slot
  group by s.node, s.epoch;

insert into node_scores select * from contribution(decided, presence, stakes);

-- test: valid work in time earns in full
-- given node_events
-- {"id": "s1", "kind": "stake", "node": "aino", "epoch": 1, "stake": "400000000", "matured": "400000000"}
-- {"id": "h1", "kind": "heartbeat", "node": "aino", "epoch": 1, "slot": 0}
-- {"id": "d1", "kind": "decided", "node": "aino", "epoch": 1, "verdict": "valid", "work": 12000000, "performance": 1000000000}
-- {"id": "d2", "kind": "decided", "node": "aino", "epoch": 1, "verdict": "valid", "work": 8000000, "performance": 1000000000}
-- expect node_scores
-- {"node": "aino", "epoch": 1, "net": 20000000, "decided": 20000000, "uptime": 1000000000, "score": 1000000000, "weight": "20000000", "slash": "0", "stake_after": "400000000", "matured_after": "400000000", "smoothed": 250000000}

-- test: one invalid result of twenty costs ten, and a withdrawn verdict gives it back
-- given node_events
-- {"id": "s1", "kind": "stake", "node": "aino", "epoch": 1, "stake": "400000000", "matured": "400000000"}
-- {"id": "h1", "kind": "heartbeat", "node": "aino", "epoch": 1, "slot": 0}
-- {"id": "d1", "kind": "decided", "node": "aino", "epoch": 1, "verdict": "valid", "work": 19000000, "performance": 1000000000}
-- {"id": "d2", "kind": "decided", "node": "aino", "epoch": 1, "verdict": "invalid", "work": 1000000}
-- expect node_scores
-- {"node": "aino", "epoch": 1, "net": 9000000, "decided": 20000000, "uptime": 1000000000, "score": 450000000, "weight": "9000000", "slash": "0", "stake_after": "400000000", "matured_after": "400000000", "smoothed": 112500000}
-- given node_events
-- - {"id": "d2"}
-- expect node_scores
-- {"node": "aino", "epoch": 1, "net": 19000000, "decided": 19000000, "uptime": 1000000000, "score": 1000000000, "weight": "19000000", "slash": "0", "stake_after": "400000000", "matured_after": "400000000", "smoothed": 250000000}

-- test: a slot that only a third of the stake answered is void, and what is owed is taken from the stake
-- given node_events
-- {"id": "s1", "kind": "stake", "node": "aino", "epoch": 3, "stake": "2000", "matured": "2000"}
-- {"id": "s2", "kind": "stake", "node": "eino", "epoch": 3, "stake": "1000", "matured": "1000"}
-- {"id": "h1", "kind": "heartbeat", "node": "aino", "epoch": 3, "slot": 0}
-- {"id": "h2", "kind": "heartbeat", "node": "eino", "epoch": 3, "slot": 1}
-- {"id": "h3", "kind": "heartbeat", "node": "aino", "epoch": 3, "slot": 0}
-- {"id": "d1", "kind": "decided", "node": "eino", "epoch": 3, "verdict": "missed", "work": 300}
-- expect counted
-- {"epoch": 3, "slot": 0}
-- expect presence
-- {"node": "aino", "epoch": 3, "answered": 1, "expected": 1}
-- {"node": "eino", "epoch": 3, "answered": 0, "expected": 1}
-- expect node_scores
-- {"node": "aino", "epoch": 3, "net": 0, "decided": 0, "uptime": 1000000000, "score": 0, "weight": "0", "slash": "0", "stake_after": "2000", "matured_after": "2000", "smoothed": 0}
-- {"node": "eino", "epoch": 3, "net": -300, "decided": 300, "uptime": 0, "score": 0, "weight": "0", "slash": "300", "stake_after": "700", "matured_after": "700", "smoothed": 0}

-- test: the smoothed score goes from epoch to epoch, and a late verdict changes the epochs after it
-- given node_events
-- {"id": "s1", "kind": "stake", "node": "aino", "epoch": 1, "stake": "1000000000", "matured": "1000000000"}
-- {"id": "s2", "kind": "stake", "node": "aino", "epoch": 2, "stake": "1000000000", "matured": "1000000000"}
-- {"id": "h1", "kind": "heartbeat", "node": "aino", "epoch": 1, "slot": 5}
-- {"id": "h2", "kind": "heartbeat", "node": "aino", "epoch": 2, "slot": 5}
-- {"id": "d2", "kind": "decided", "node": "aino", "epoch": 2, "verdict": "valid", "work": 100, "performance": 1000000000}
-- then
-- given node_events
-- {"id": "d1", "kind": "decided", "node": "aino", "epoch": 1, "verdict": "valid", "work": 100, "performance": 1000000000}
-- expect node_scores
-- {"node": "aino", "epoch": 1, "net": 100, "decided": 100, "uptime": 1000000000, "score": 1000000000, "weight": "100", "slash": "0", "stake_after": "1000000000", "matured_after": "1000000000", "smoothed": 250000000}
-- {"node": "aino", "epoch": 2, "net": 100, "decided": 100, "uptime": 1000000000, "score": 1000000000, "weight": "100", "slash": "0", "stake_after": "1000000000", "matured_after": "1000000000", "smoothed": 437500000}
