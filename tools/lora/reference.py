"""Writes what PyTorch computes with a base, and with base and adapter: the numbers that the companion's own backend must meet.

Beside reference.json (prompts, and the answers without chance) stands reference.safetensors: for prompt 0, 1, … `N.tokens` [tokens],
`N.base` and `N.adapted` [8, vocabulary], the logits after each of the last 8 tokens, in f32.

    python reference.py BASE ADAPTER FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

import base as bases
import synthetic
from conversations import Message

# Questions in words that the synthetic export keeps out of its train split, and a conversation with all that may stand in one.
PROMPTS: list[list[Message]] = [
    *([{"role": "user", "content": synthetic.HELD_OUT[0].format(fact)}] for fact in synthetic.FACTS),
    [
        {"role": "system", "content": synthetic.SYSTEM},
        {"role": "user", "content": "Hyvää huomenta!"},
        {"role": "assistant", "content": "Huomenta!"},
        {"role": "user", "content": "Please, what is my home? 🏡"},
    ],
]
ANSWER_TOKENS = 16
# Rows of logits that are kept, to keep the file small.
KEPT = 8


@torch.inference_mode()
def logits(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    """Logits after each token."""
    return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()


def answer(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, tokens: list[int]) -> tuple[str, float]:
    """The likeliest answer, token by token, and by how much the narrowest choice was won."""
    said: list[int] = []
    narrowest = float("inf")
    while len(said) < ANSWER_TOKENS:
        best = logits(model, tokens + said)[-1].topk(2)
        narrowest = min(narrowest, float(best.values[0] - best.values[1]))
        if int(best.indices[0]) == tokenizer.eos_token_id:
            break
        said.append(int(best.indices[0]))
    return str(tokenizer.decode(said, skip_special_tokens=True)), narrowest


def load(folder: Path) -> torch.nn.Module:
    """A base in f32, ready to answer."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, attn_implementation="eager").eval()


def compute(base: Path, adapter: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Prompts with answers, and the logits."""
    logging.disable_progress_bar()
    tokenizer = bases.tokenizer(bases.find(str(base), None), None)
    plain = load(base)
    # Another copy of the base: peft changes the one it is given.
    adapted = PeftModel.from_pretrained(load(base), adapter).eval()
    prompts: list[dict[str, Any]] = []
    tensors: dict[str, torch.Tensor] = {}
    for number, messages in enumerate(PROMPTS):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        tokens = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        tensors[f"{number}.tokens"] = torch.tensor(tokens, dtype=torch.int64)
        prompt: dict[str, Any] = {"messages": messages, "text": text}
        for name, model in (("base", plain), ("adapted", adapted)):
            tensors[f"{number}.{name}"] = logits(model, tokens)[-KEPT:].contiguous()
            prompt[name], prompt[f"{name}_margin"] = answer(model, tokenizer, tokens)
        prompts.append(prompt)
    return prompts, tensors


def write(base: Path, adapter: Path, folder: Path) -> None:
    """Writes both files."""
    prompts, tensors = compute(base, adapter)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reference.json").write_text(
        json.dumps({"answer_tokens": ANSWER_TOKENS, "prompts": prompts}, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    save_file(tensors, folder / "reference.safetensors")


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:4]))
