"""Bytewax at the three jobs: python on_bytewax.py wordcount|profiles|join --file F [--users U] [--epoch-rows N]

Bytewax keeps no collections and knows no withdrawals: a stateful step in Python adds signed numbers, the join is written by hand over
one merged stream, and every input row gives one output row. Its epochs follow the clock, so `--epoch-rows` is the batch of the source.
"""

import json

import bytewax.operators as op
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from report import Clock, arguments, count_rows, report

given = arguments()
changes = 0
live = {}


class Partition(StatelessSinkPartition):
    """Keeps the last row of each key; `None` takes it away."""

    def write_batch(self, items):
        global changes
        changes += len(items)
        for key, row in items:
            if row is None:
                live.pop(key, None)
            else:
                live[key] = row


class Sink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Partition()


def counted(word, n):
    return word, {"word": word, "n": n}


def add_word(state, one):
    state = (state or 0) + one
    return state, state


def add_signed(state, change):
    n, total = state or (0, 0)
    state = (n + change[0], total + change[1])
    # A user without rows has no profile; the state may go.
    return (state if state[0] else None), state


def profile(item):
    user, (n, total) = item
    return user, ({"user": int(user), "n": n, "total": total} if n else None)


def joined(name, change):
    diff, row, item, weight = change
    return row, ({"id": row, "item": item, "weight": weight, "name": name} if diff > 0 else None)


def join(state, event):
    """Both sides of one user: changes wait until the name is there."""
    name, waiting = state or (None, [])
    side, value = event
    if side == "user":
        return (value, []), [joined(value, change) for change in waiting]
    if name is None:
        waiting.append(value)
        return (None, waiting), []
    return (name, waiting), [joined(name, value)]


def parse_word(line):
    return json.loads(line)["word"], 1


def parse_signed(line):
    row = json.loads(line)
    return str(row["user"]), (row["diff"], row["diff"] * row["weight"])


def parse_change(line):
    row = json.loads(line)
    return str(row["user"]), ("change", (row["diff"], row["id"], row["item"], row["weight"]))


def parse_user(line):
    row = json.loads(line)
    return str(row["id"]), ("user", row["name"])


def dataflow(batch):
    flow = Dataflow("bench")
    lines = op.input("in", flow, FileSource(given.file, batch_size=batch))
    if given.job == "wordcount":
        counts = op.stateful_map("count", op.map("parse", lines, parse_word), add_word)
        out = op.map("row", counts, lambda item: counted(*item))
    elif given.job == "profiles":
        sums = op.stateful_map("sum", op.map("parse", lines, parse_signed), add_signed)
        out = op.map("row", sums, profile)
    else:
        users = op.map("parse_user", op.input("users", flow, FileSource(given.users, batch_size=batch)), parse_user)
        both = op.merge("both", op.map("parse", lines, parse_change), users)
        out = op.key_rm("unkey", op.stateful_flat_map("join", both, join))
    op.output("out", out, Sink())
    return flow


def main():
    rows = count_rows(given)
    clock = Clock()
    run_main(dataflow(min(given.epoch_rows, rows)))
    report("bytewax", given, rows, changes, clock.read(), live.values())


main()
