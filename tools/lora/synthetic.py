"""Writes an export about a person who does not exist, in the form of `ajatus data training-set`, for tests.

Every fact is asked for in several ways. The ways of the valid split never stand in the train split: who answers them has learned the
fact, not the line.

    python synthetic.py FOLDER
"""

import json
import random
import sys
from pathlib import Path

from blake3 import blake3

SYSTEM = "You are a friendly companion."
# What is asked for, the answer, and whether it is asked for in the valid split as well.
FACTS = {"dog": "Rekku", "home": "Turku", "food": "rye bread", "sister": "Aino"}
KNOWN = [
    "What is my {}?",
    "Do you know my {}?",
    "Tell me my {}.",
    "Say what my {} is.",
    "Hello, what is my {}?",
    "Please tell me my {}.",
    "Please, do you know my {}?",
    "And what is my {}?",
]
HELD_OUT = ["Please, what is my {}?", "Hello, do you know my {}?"]


def lines(seed: int = 7, repeats: int = 2) -> dict[str, list[str]]:
    """The lines of each split, without their ends."""
    shuffle = random.Random(seed)
    asked = [(fact, way, "train") for fact in FACTS for way in KNOWN for _ in range(repeats)]
    asked += [(fact, way, "valid") for fact in FACTS for way in HELD_OUT]
    shuffle.shuffle(asked)
    made: dict[str, list[str]] = {"train": [], "valid": []}
    for number, (fact, way, split) in enumerate(asked):
        messages = [{"role": "system", "content": SYSTEM}] if number % 2 else []
        messages += [{"role": "user", "content": way.format(fact)}, {"role": "assistant", "content": f"{FACTS[fact]}."}]
        made[split].append(json.dumps({"messages": messages, "conversation": f"{number:032x}"}))
    return made


def write(folder: Path, seed: int = 7, repeats: int = 2) -> None:
    """Writes the export: two files and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, of in lines(seed, repeats).items():
        text = "".join(f"{line}\n" for line in of).encode()
        (folder / f"{split}.jsonl").write_bytes(text)
        files[f"{split}.jsonl"] = {"conversations": len(of), "bytes": len(text), "blake3": blake3(text).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"purpose": "tests", "files": files}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
