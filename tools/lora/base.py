"""The base model: where its files are, its tokenizer and chat template as the companion uses them, the hashes that name it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3
from transformers import PreTrainedTokenizerFast

from conversations import Refused

# Only what is loaded: the same weights also stand in the repository in another form (consolidated.safetensors).
FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model*.safetensors",
    "model.safetensors.index.json",
]


@dataclass(frozen=True)
class Base:
    """A base model on this machine."""

    name: str
    revision: str | None
    folder: Path


def find(name: str, revision: str | None) -> Base:
    """Finds a base: a folder, or a repository's name at the model hub, which is fetched.

    Raises Refused if it is neither.
    """
    if (folder := Path(name)).is_dir():
        for needed in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            if not (folder / needed).is_file():
                raise Refused(
                    f"{folder}: there is no {needed}; a base is a folder with safetensors, config.json, tokenizer.json and tokenizer_config.json"
                )
        return Base(folder.resolve().name, revision, folder)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except Exception as error:
        cause = str(error).strip().splitlines()
        raise Refused(
            f"{name} is no folder, and cannot be had from the model hub: {cause[0] if cause else type(error).__name__}\n"
            "  Is the name right, its licence accepted, and `hf auth login` done? Or fetch it elsewhere and give its folder."
        ) from None
    # The hub's cache keeps each commit in a folder of its name.
    return Base(name, folder.name, folder)


def tokenizer(base: Base, template: Path | None) -> PreTrainedTokenizerFast:
    """Loads tokenizer.json and the chat template as they stand, which is what the companion does; no class of transformers changes them."""
    settings = json.loads((base.folder / "tokenizer_config.json").read_text("utf-8"))
    beside = base.folder / "chat_template.jinja"
    source = settings.get("chat_template")
    if template:
        source = template.read_text("utf-8")
    elif not isinstance(source, str) and beside.is_file():
        source = beside.read_text("utf-8")
    if not isinstance(source, str):
        raise Refused(f"{base.folder}: it has no chat template, so it is no chat model; give one with --template")
    special = {name: text(settings.get(name)) for name in ("bos_token", "eos_token")}
    if not special["eos_token"]:
        raise Refused(f"{base.folder}/tokenizer_config.json: eos_token is missing, by which an answer ends")
    return PreTrainedTokenizerFast(
        tokenizer_file=str(base.folder / "tokenizer.json"), chat_template=source, **{k: v for k, v in special.items() if v}
    )


def text(token: Any) -> str:
    """A special token's text; it is written as a text or as an object."""
    return token.get("content", "") if isinstance(token, dict) else token or ""


# What an adapter consists of, in the order in which it is hashed.
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a base's weights: model.safetensors, or all parts in order, as the companion reads them."""
    single = folder / "model.safetensors"
    files = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise Refused(f"{folder}: there is no *.safetensors file")
    return files


def digest(*files: Path, before: bytes = b"") -> bytes:
    """The BLAKE3 hash over some bytes and then files in order."""
    hasher = blake3(before)
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                hasher.update(block)
    return hasher.digest()


def weights(folder: Path, adapter: Path | None = None) -> str:
    """Names weights as `ajatus model` does: first 16 hex digits of the hash over a base's files, or over that hash and the adapter's files."""
    named = digest(*weight_files(folder))
    if adapter:
        named = digest(*(adapter / name for name in ADAPTER), before=named)
    return named.hex()[:16]
