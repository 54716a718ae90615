"""Trains a LoRA adapter on conversations that `ajatus data training-set` exported; docs/training.md tells the whole way.

    .cache/lora/bin/python tools/lora/train.py --data FOLDER --out adapter [--base FOLDER-OR-NAME] …

Writes a folder with adapter_model.safetensors and adapter_config.json, as peft has them, and training-card.json: what it was trained on,
how, with which result. After a crash: nothing stands under --out, at most a folder beside it that ends in .new; start again.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

# Before torch starts CUDA, for the same sums every time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import base as bases
import card
import conversations
from conversations import Refused
from examples import Examples, Writer
from training import Settings, train

DEFAULT_BASE = "mistralai/Mistral-7B-Instruct-v0.3"
# Every linear layer of a Llama or Mistral block: Dettmers et al. (2023), "QLoRA", section 4, found that fewer do worse. The default rate,
# dropout and 16 rows a step are theirs for 7B as well (appendix B); rank and alpha are ours, by what vLLM takes without being told.
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def arguments(given: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Trains a LoRA adapter on exported conversations.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that `ajatus data training-set` wrote, or one JSONL file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter; must not be there yet")
    parser.add_argument("--base", default=DEFAULT_BASE, help="the model to adapt: a folder with safetensors, or a name at the model hub")
    parser.add_argument("--revision", help="commit of the base at the model hub; the newest unless given, and noted in the card")
    parser.add_argument("--template", type=Path, help="a chat template to use in place of the base's own")
    parser.add_argument("--rank", type=int, default=16, help="rank of the adapter; vLLM takes up to 16 unless told otherwise")
    parser.add_argument("--alpha", type=int, default=32, help="the adapter is scaled by alpha / rank")
    parser.add_argument("--dropout", type=float, default=0.1, help="share of the adapter's inputs dropped in training")
    parser.add_argument("--epochs", type=int, default=3, help="times that all conversations are seen")
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate at its highest")
    parser.add_argument("--warmup", type=float, default=0.03, help="share of the steps in which the rate rises")
    parser.add_argument("--batch", type=int, default=1, help="rows at once on the device")
    parser.add_argument("--accumulation", type=int, default=16, help="batches for one step")
    parser.add_argument("--max-tokens", type=int, default=2048, help="length of a row; longer ones lose their oldest turns")
    parser.add_argument("--seed", type=int, default=7, help="of the adapter's first weights, dropout and order")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    parser.add_argument(
        "--checkpointing", action="store_true", help="compute activations again in the backward pass: slower, far less memory"
    )
    parsed = parser.parse_args(given)
    for name in ("rank", "alpha", "epochs", "batch", "accumulation", "max_tokens"):
        if getattr(parsed, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if not parsed.rate > 0:
        parser.error("--rate must be above 0")
    if not 0 <= parsed.dropout < 1 or not 0 <= parsed.warmup < 1:
        parser.error("--dropout and --warmup must be at least 0 and below 1")
    return parsed


def say(line: str) -> None:
    """Tells how it goes."""
    print(line, flush=True)


def run(given: list[str] | None = None) -> None:
    """Does it all.

    Raises Refused with what to do.
    """
    options = arguments(given)
    started = time.monotonic()
    if options.out.exists():
        raise Refused(f"{options.out} is there already; name another folder, or remove it")
    export = conversations.read(options.data)
    base = bases.find(options.base, options.revision)
    tokenizer = bases.tokenizer(base, options.template)
    writer = Writer(tokenizer, options.max_tokens)
    rows: dict[str, Examples] = {
        split: writer.write([one for one in export.conversations if one.split == split]) for split in conversations.SPLITS
    }
    for split, made in rows.items():
        say(
            f"{split}: {len(made.rows)} rows, {made.loss_tokens()} answer tokens, {made.shortened} shortened, {made.too_long} too long, {made.unasked} without a question"
        )
    if not rows["train"].rows:
        raise Refused(f"{options.data}: no answer of the train split fits into {options.max_tokens} tokens; raise --max-tokens")

    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = torch.device(options.device)
    # Half the memory on a GPU; on a processor the numbers that the companion's own backend computes with.
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=dtype, local_files_only=True).to(device)
    shape = LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=TARGETS, bias="none", task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, shape)
    if options.checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    settings = Settings(options.epochs, options.rate, options.warmup, options.batch, options.accumulation, options.seed)
    trained = train(model, rows["train"].rows, rows["valid"].rows, settings, device, say)

    new = options.out.with_name(options.out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    # The base by its name, not by where it lies on this machine.
    model.peft_config["default"].base_model_name_or_path = base.name
    model.save_pretrained(new, save_embedding_layers=False)
    # A page of headings to fill in.
    (new / "README.md").unlink(missing_ok=True)
    # peft writes this list in another order each time.
    written = json.loads((new / "adapter_config.json").read_text("utf-8"))
    written["target_modules"].sort()
    (new / "adapter_config.json").write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    card.write(new, base, tokenizer, options, rows, export, trained, time.monotonic() - started)
    new.rename(options.out)
    say(f"kept epoch {trained.kept}; {options.out} is the adapter, {options.out}/training-card.json says how it was made")


def main() -> None:
    try:
        run()
    except (Refused, FloatingPointError) as error:
        sys.exit(f"train: {error}")
    except torch.OutOfMemoryError as error:
        sys.exit(
            f"train: the device's memory does not suffice; try --checkpointing, a smaller --max-tokens or --batch 1 ({str(error).splitlines()[0]})"
        )


if __name__ == "__main__":
    main()
