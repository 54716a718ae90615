"""Makes inference/candle/tests/fixtures/lora: a tiny base, an adapter trained on the synthetic export, and PyTorch's numbers with both.

.cache/lora/bin/python tools/lora/fixture.py inference/candle/tests/fixtures/lora
"""

import sys
from pathlib import Path

import reference
import synthetic
import tiny
import train

# What a tiny base needs to learn a few facts by heart; a real one is trained with the defaults.
SETTINGS = "--rank 8 --alpha 16 --dropout 0.05 --rate 1e-2 --epochs 30 --batch 16 --accumulation 1".split()


def make(folder: Path) -> None:
    """Writes base/, adapter/, export/ and reference.* into a folder that has none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    export, base, adapter = folder / "export", folder / "base", folder / "adapter"
    synthetic.write(export)
    tiny.write(base)
    train.run(["--data", str(export), "--base", str(base), "--out", str(adapter), *SETTINGS])
    reference.write(base, adapter, folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
