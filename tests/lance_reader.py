"""Reads a dataset of memories as docs/lance.md shows it: runs the page's own Python, asks it what standard input says, and prints the answers.

Called by tests/lance_python.rs: lance_reader.py PAGE < QUESTIONS.
"""

import json
import re
import sys

page = open(sys.argv[1], encoding="utf-8").read()
questions = json.load(sys.stdin)
names = {}
for block in re.findall(r"```python\n(.*?)```", page, re.S):
    exec(compile(block, sys.argv[1], "exec"), names)

open_newest, open_tag, open_as_of = names["newest"], names["tagged"], names["as_of"]
epoch_of, of_user, nearest = names["epoch_of"], names["of_user"], names["nearest"]
path, user = questions["path"], questions["user"]


def held(dataset):
    """Ids and epochs of everybody's memories that are there."""
    table = dataset.to_table(columns=["id", "user_id", "epoch"], filter="deleted = false")
    return sorted([row["user_id"], row["id"], row["epoch"]] for row in table.to_pylist())


def missing(read, argument):
    """Whether a read says that there is no such version."""
    try:
        read(path, argument)
    except (ValueError, LookupError, OSError):
        return True
    return False


dataset = open_newest(path)
rows = []
for row in of_user(dataset, user).to_pylist():
    row["occurred_at"] = row["occurred_at"].isoformat(timespec="microseconds")
    row["body"] = row["body"].hex()
    rows.append(row)
answers = {
    "schema": [f"{field.name} {field.type}" for field in dataset.schema],
    "epoch": epoch_of(dataset),
    "newest": held(dataset),
    "tags": {tag: held(open_tag(path, tag)) for tag in questions["tags"]},
    "as_of": {str(epoch): [epoch_of(open_as_of(path, epoch)), held(open_as_of(path, epoch))] for epoch in questions["epochs"]},
    "missing": [missing(open_tag, questions["no_tag"]), missing(open_as_of, questions["no_epoch"])],
    "rows": rows,
    "nearest": nearest(dataset, user, questions["query"], questions["k"]),
}
json.dump(answers, sys.stdout)
