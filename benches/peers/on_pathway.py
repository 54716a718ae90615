"""Pathway at the three jobs: python on_pathway.py wordcount|profiles|join --file F [--users U] [--epoch-rows N]

One epoch for all rows: Pathway's own file reader in static mode where it can be. It reads no signed rows: profiles sum the signs
instead, the join takes its Python connector with one commit (netting the rows by a group before the join took a fifth more). Fewer rows
an epoch: its Python connector, with a commit behind every N rows and real withdrawals; its file reader takes a file as one commit
whatever is asked. Results go through its own JSON lines writer, and are read back after the clock.
"""

import json
import os
import tempfile

from report import Clock, arguments, count_rows, report

given = arguments()
os.environ["PATHWAY_THREADS"] = str(given.workers)

import pathway as pw  # noqa: E402  the number of threads is read at import


class Word(pw.Schema):
    word: str


class Signed(pw.Schema):
    seq: int = pw.column_definition(primary_key=True)
    user: int
    weight: int
    diff: int


# `id` is Pathway's own name for the pointer of a row.
class Change(pw.Schema):
    rid: int = pw.column_definition(primary_key=True)
    user: int
    item: int
    weight: int


class User(pw.Schema):
    uid: int = pw.column_definition(primary_key=True)
    name: str


class Rows(pw.io.python.ConnectorSubject):
    """Feeds a file row by row, and commits behind every `epoch_rows` rows."""

    def run(self):
        signed = given.job != "wordcount"
        # Commits of the connector's own would come in between.
        self._disable_commits()
        with open(given.file, "rb") as lines:
            for at, line in enumerate(lines, 1):
                row = json.loads(line)
                if not signed:
                    self.next(word=row["word"])
                else:
                    values = {"rid": row["id"], "user": row["user"], "item": row["item"], "weight": row["weight"]}
                    if row["diff"] > 0:
                        self.next(**values)
                    else:
                        self.delete(**values)
                if at % given.epoch_rows == 0:
                    self._enable_commits()
                    self.commit()
                    self._disable_commits()
        self._enable_commits()


def sums_of(signed):
    """Sums over the signed file as its own reader gives it: the sign goes into the sum."""
    sums = signed.groupby(signed.user).reduce(
        signed.user, n=pw.reducers.sum(signed["diff"]), total=pw.reducers.sum(signed["diff"] * signed.weight)
    )
    return sums.filter(sums.n > 0)


def result(batch):
    if given.job == "wordcount":
        if batch:
            words = pw.io.jsonlines.read(given.file, schema=Word, mode="static")
        else:
            words = pw.io.python.read(Rows(), schema=Word, autocommit_duration_ms=None)
        return words.groupby(words.word).reduce(words.word, n=pw.reducers.count())
    if given.job == "profiles" and batch:
        return sums_of(pw.io.jsonlines.read(given.file, schema=Signed, mode="static"))
    changes = pw.io.python.read(Rows(), schema=Change, autocommit_duration_ms=None)
    if given.job == "profiles":
        return changes.groupby(changes.user).reduce(changes.user, n=pw.reducers.count(), total=pw.reducers.sum(changes.weight))
    users = pw.io.jsonlines.read(given.users, schema=User, mode="static", json_field_paths={"uid": "/id"})
    return changes.join(users, changes.user == users.uid).select(changes.rid, changes.item, changes.weight, users.name)


def live_rows(path):
    """How many changes were written, and the rows that stand at the end."""
    changes, live = 0, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            changes += 1
            row = json.loads(line)
            diff = row.pop("diff")
            row.pop("time")
            if "rid" in row:
                row["id"] = row.pop("rid")
            key = tuple(sorted(row.items()))
            count = live.get(key, 0) + diff
            if count:
                live[key] = count
            else:
                del live[key]
    return changes, [dict(key) for key, count in live.items() for _ in range(count)]


def main():
    rows = count_rows(given)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.jsonl")
        pw.io.jsonlines.write(result(batch=given.epoch_rows >= rows), out)
        pw.run(monitoring_level=pw.MonitoringLevel.NONE)
        taken = clock.read()
        changes, live = live_rows(out)
    report("pathway", given, rows, changes, taken, live)


main()
