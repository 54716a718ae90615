"""Puts an adapter into its base's weights: a folder like the base's, for what takes no adapter.

    .cache/lora/bin/python tools/lora/merge.py BASE ADAPTER OUT [--f32]

Each weight becomes W + alpha / rank * B A (Hu et al., 2021, "LoRA", section 4.1), added in f32 and stored as the base is, or in f32. One file
of the base is in memory at a time.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import base as bases
from conversations import Refused

# Where peft writes a layer's two matrices, A [rank, in] and B [out, rank].
PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def deltas(adapter: Path) -> dict[str, torch.Tensor]:
    """What is added to each weight, by the weight's name.

    Raises Refused for another kind of adapter, and for tensors that are no pair.
    """
    for name in bases.ADAPTER:
        if not (adapter / name).is_file():
            raise Refused(f"{adapter}: there is no {name}; an adapter is a folder with {' and '.join(bases.ADAPTER)}")
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    unknown = [key for key in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save") if config.get(key)]
    if config.get("peft_type") != "LORA" or unknown:
        raise Refused(f"{adapter}: it is no plain LoRA adapter ({', '.join(unknown) or config.get('peft_type')})")
    tensors = load_file(adapter / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    found = {}
    for name, a in tensors.items():
        if name.startswith(PREFIX) and name.endswith(A):
            layer = name.removeprefix(PREFIX).removesuffix(A)
            if (b := tensors.get(f"{PREFIX}{layer}{B}")) is not None:
                found[f"{layer}.weight"] = scale * (b.float() @ a.float())
    if len(found) * 2 != len(tensors):
        raise Refused(f"{adapter}: {len(tensors)} tensors are no {len(found)} pairs of lora_A and lora_B")
    return found


def merge(base: Path, adapter: Path, out: Path, f32: bool) -> None:
    """Writes the merged folder; nothing stands under its name before it is whole.

    Raises Refused if the adapter is not one of this base.
    """
    if out.exists():
        raise Refused(f"{out} is there already; name another folder, or remove it")
    bases.find(str(base), None)
    added = deltas(adapter)
    new = out.with_name(out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for file in bases.weight_files(base):
        weights = load_file(file)
        for name in weights.keys() & added.keys():
            delta, weight = added.pop(name), weights[name]
            if delta.shape != weight.shape:
                raise Refused(
                    f"{adapter}: {name} is {list(delta.shape)}, but in the base {list(weight.shape)}: it is an adapter of another base"
                )
            weights[name] = (weight.float() + delta).to(torch.float32 if f32 else weight.dtype)
        save_file({name: weight.float() if f32 else weight for name, weight in weights.items()}, new / file.name, metadata={"format": "pt"})
    if added:
        raise Refused(f"{adapter}: the base has no {next(iter(added))}: it is an adapter of another base")
    for file in sorted(base.iterdir()):
        if file.suffix in (".json", ".jinja"):
            shutil.copyfile(file, new / file.name)
    if f32:
        config = json.loads((new / "config.json").read_text("utf-8"))
        config["dtype"] = "float32"
        (new / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    new.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Puts an adapter into its base's weights.")
    parser.add_argument("base", type=Path, help="the base's folder")
    parser.add_argument("adapter", type=Path, help="the adapter's folder")
    parser.add_argument("out", type=Path, help="folder for the merged model; must not be there yet")
    parser.add_argument("--f32", action="store_true", help="store f32, not what the base is stored in")
    options = parser.parse_args()
    try:
        merge(options.base, options.adapter, options.out, options.f32)
    except Refused as error:
        sys.exit(f"merge: {error}")


if __name__ == "__main__":
    main()
