"""Reads the conversations that `ajatus data training-set` exported, and refuses anything else.

The export is a folder with train.jsonl, valid.jsonl and manifest.json, which has the hash of each; or, from elsewhere, one file in which
every line names its split. One conversation a line:

    {"messages": [{"role": "user", "content": "Hei!"}, {"role": "assistant", "content": "Moi!"}], "conversation": "<hash>", "split": "train"}

`role` is system (first, and once at most), user or assistant; `split` is train or valid, and is left out in a folder. A conversation may
stand in several lines, all of one split: what is learned must not be what is tested. Every bad line is named by its number, and nothing
is trained on the good ones: a file that others have changed is not the one that people agreed to.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

ROLES = ("system", "user", "assistant")
SPLITS = ("train", "valid")
MANIFEST = "manifest.json"
# Bad lines that are named; the rest are counted.
NAMED = 10

Message = dict[str, str]


class Refused(Exception):
    """Something that the person who started the training can mend; its text says what."""


@dataclass(frozen=True)
class Conversation:
    """What was said, in order. `place` is the line that it stands in, for people to find."""

    place: str
    messages: list[Message]
    name: str
    split: str


@dataclass
class Export:
    """What was exported, and the BLAKE3 hashes by which it is known: of each file, and of the manifest, which the trail of exports has."""

    conversations: list[Conversation] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    content_hash: str | None = None


def parse(place: str, raw: bytes, split: str | None) -> Conversation:
    """Reads one line of a file of one split, or of a file whose lines name theirs.

    Raises ValueError saying what is wrong with it.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    if not text.strip():
        raise ValueError("it is empty")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    if split:
        value.setdefault("split", split)
    expect_keys(value, {"messages", "conversation", "split"}, "it")
    if split and value["split"] != split:
        raise ValueError(f"split is {value['split']!r}, but the file is that of {split}")
    if value["split"] not in SPLITS:
        raise ValueError(f"split is {value['split']!r}, but must be one of {', '.join(SPLITS)}")
    if not isinstance(value["conversation"], str) or not value["conversation"]:
        raise ValueError("conversation must be a text that is not empty")
    return Conversation(place, messages(value["messages"]), value["conversation"], value["split"])


def messages(value: Any) -> list[Message]:
    """Checks the messages of one conversation."""
    if not isinstance(value, list) or not value:
        raise ValueError("messages must be a list that is not empty")
    for at, message in enumerate(value, start=1):
        if not isinstance(message, dict):
            raise ValueError(f"message {at} is not an object")
        expect_keys(message, {"role", "content"}, f"message {at}")
        if message["role"] not in ROLES:
            raise ValueError(f"message {at} has the role {message['role']!r}, but must have one of {', '.join(ROLES)}")
        if not isinstance(message["content"], str) or not message["content"].strip():
            raise ValueError(f"message {at} has no text")
        if message["role"] == "system" and at > 1:
            raise ValueError(f"message {at} has the role system, which only the first may have")
    if not any(message["role"] == "assistant" for message in value):
        raise ValueError("there is no message of the assistant, so nothing can be learned from it")
    return value


def expect_keys(value: dict[str, Any], keys: set[str], what: str) -> None:
    """Refuses missing and unknown keys."""
    if missing := sorted(keys - value.keys()):
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    if unknown := sorted(value.keys() - keys):
        raise ValueError(f"{what} has the unknown key {', '.join(unknown)}")


def read(path: Path) -> Export:
    """Reads a whole export.

    Raises Refused if it cannot be opened, is not what its manifest says, has a bad line, has nothing to train on, or has one conversation in
    both splits.
    """
    export = Export()
    wrong: list[str] = []
    if path.is_dir():
        manifest = contents(path / MANIFEST)
        export.content_hash = blake3(manifest).hexdigest()
        try:
            said = {name: file["blake3"] for name, file in json.loads(manifest)["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refused(f"{path / MANIFEST}: it is not the manifest of an export; export it again") from None
        for split in SPLITS:
            name = f"{split}.jsonl"
            if name not in said:
                raise Refused(f"{path / MANIFEST}: it names no {name}; export it again with --format jsonl")
            raw = contents(path / name)
            export.files[name] = blake3(raw).hexdigest()
            if export.files[name] != said[name]:
                raise Refused(
                    f"{path / name}: its hash is {export.files[name]}, but the manifest has {said[name]}: it was changed; export it again"
                )
            take(export, raw, f"{name} ", split, wrong)
    else:
        raw = contents(path)
        export.files[path.name] = blake3(raw).hexdigest()
        take(export, raw, "", None, wrong)
    if wrong:
        rest = f"\n  and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise Refused(f"{path}: {len(wrong)} bad lines; export it again, nothing was trained\n  " + "\n  ".join(wrong[:NAMED]) + rest)
    if not any(conversation.split == "train" for conversation in export.conversations):
        raise Refused(f"{path}: there is no conversation with the split train")
    return export


def contents(path: Path) -> bytes:
    """The bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; `ajatus data training-set` makes such a file") from None


def take(export: Export, raw: bytes, file: str, split: str | None, wrong: list[str]) -> None:
    """Takes the conversations of one file, and notes what is wrong with it."""
    lines = raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    first = {conversation.name: conversation for conversation in reversed(export.conversations)}
    for number, line in enumerate(lines, start=1):
        place = f"{file}line {number}"
        try:
            conversation = parse(place, line, split)
        except ValueError as error:
            wrong.append(f"{place}: {error}")
            continue
        before = first.setdefault(conversation.name, conversation)
        if before.split != conversation.split:
            wrong.append(f"{place}: its conversation is in {conversation.split}, but in {before.split} in {before.place}")
        export.conversations.append(conversation)
