"""Writes the training card: everything by which an adapter can be told from another, and made again."""

import argparse
import dataclasses
import hashlib
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

import base as bases
from base import Base
from conversations import Export
from examples import Examples
from training import Trained

FORMAT = 1


def write(
    folder: Path,
    base: Base,
    tokenizer: PreTrainedTokenizerFast,
    options: argparse.Namespace,
    rows: dict[str, Examples],
    export: Export,
    trained: Trained,
    seconds: float,
) -> None:
    """Writes training-card.json beside the adapter. It holds hashes and counts, nothing of what people said."""
    card: dict[str, Any] = {
        "format": FORMAT,
        "adapter": {
            "weights": bases.weights(base.folder, folder),
            "blake3": {name: bases.digest(folder / name).hex() for name in bases.ADAPTER},
            "rank": options.rank,
            "alpha": options.alpha,
            "dropout": options.dropout,
        },
        "base": {
            "name": base.name,
            "revision": base.revision,
            "weights": bases.weights(base.folder),
            "tokenizer_sha256": sha256((base.folder / "tokenizer.json").read_bytes()),
            "template_sha256": sha256(str(tokenizer.chat_template).encode()),
        },
        "data": {
            "content_hash": export.content_hash,
            "blake3": export.files,
            "splits": {split: summary(split, made, export) for split, made in rows.items()},
        },
        "training": {
            **{
                name: getattr(options, name)
                for name in ("seed", "epochs", "rate", "warmup", "batch", "accumulation", "max_tokens", "checkpointing")
            },
            "device": options.device,
            "steps": len(trained.steps),
            "kept_epoch": trained.kept,
            "seconds": round(seconds, 1),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "loss": {"unit": "nats per answer token", "valid": trained.valid, "train": [dataclasses.asdict(step) for step in trained.steps]},
        "software": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "peft", "tokenizers")},
        },
    }
    (folder / "training-card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


def summary(split: str, made: Examples, export: Export) -> dict[str, int]:
    """What one split holds."""
    return {
        "conversations": len({one.name for one in export.conversations if one.split == split}),
        "rows": len(made.rows),
        "answer_tokens": made.loss_tokens(),
        "shortened": made.shortened,
        "too_long": made.too_long,
        "unasked": made.unasked,
    }


def sha256(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()
