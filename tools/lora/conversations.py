"""Reads the conversations that `ajatus data training-set` exported, and refuses a file with anything else in it.

One conversation a line:

    {"messages": [{"role": "user", "content": "Hei!"}, {"role": "assistant", "content": "Moi!"}], "conversation": "<hash>", "split": "train"}

`role` is system (first, and once at most), user or assistant; `split` is train or valid. A conversation may stand in several lines, all of
one split: what is learned must not be what is tested. Every bad line is named by its number, and nothing is trained on the good ones:
a file that others have changed is not the one that people agreed to.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROLES = ("system", "user", "assistant")
SPLITS = ("train", "valid")
# Bad lines that are named; the rest are counted.
NAMED = 10

Message = dict[str, str]


class Refused(Exception):
    """Something that the person who started the training can mend; its text says what."""


@dataclass(frozen=True)
class Conversation:
    """What was said, in order."""

    line: int
    messages: list[Message]
    name: str
    split: str


def parse(line: int, raw: bytes) -> Conversation:
    """Reads one line.

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
    expect_keys(value, {"messages", "conversation", "split"}, "it")
    if value["split"] not in SPLITS:
        raise ValueError(f"split is {value['split']!r}, but must be one of {', '.join(SPLITS)}")
    if not isinstance(value["conversation"], str) or not value["conversation"]:
        raise ValueError("conversation must be a text that is not empty")
    return Conversation(line, messages(value["messages"]), value["conversation"], value["split"])


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


def read(path: Path) -> list[Conversation]:
    """Reads a whole export.

    Raises Refused if it cannot be opened, has a bad line, has nothing to train on, or has one conversation in both splits.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; `ajatus data training-set` makes such a file") from None
    if lines and not lines[-1]:
        lines.pop()
    found: list[Conversation] = []
    wrong: list[str] = []
    first: dict[str, Conversation] = {}
    for number, raw in enumerate(lines, start=1):
        try:
            conversation = parse(number, raw)
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
            continue
        before = first.setdefault(conversation.name, conversation)
        if before.split != conversation.split:
            wrong.append(f"line {number}: its conversation is in {conversation.split}, but in {before.split} in line {before.line}")
        found.append(conversation)
    if wrong:
        rest = f"\n  and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise Refused(f"{path}: {len(wrong)} bad lines; export it again, nothing was trained\n  " + "\n  ".join(wrong[:NAMED]) + rest)
    if not any(conversation.split == "train" for conversation in found):
        raise Refused(f"{path}: there is no conversation with the split train")
    return found
