"""Embeds texts with sentence-transformers on PyTorch, in f32; prints what it cost as JSON and writes the vectors.

    on_sentence_transformers.py --model FOLDER --texts FILE --out FILE

As its documentation has it: `encode` over all texts, which sorts them by length, in batches of 32. Tokenising is counted, because it is part of `encode`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True, help="a JSON array of texts")
    parser.add_argument("--out", type=Path, required=True, help="vectors, f32, one text after the other")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(arguments.model), device="cpu", local_files_only=True)
    texts = json.loads(arguments.texts.read_text())
    model.encode(texts[:8])
    clock, cpu = time.perf_counter(), time.process_time()
    vectors = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    wall, cpu = time.perf_counter() - clock, time.process_time() - cpu
    arguments.out.write_bytes(vectors.astype("float32").tobytes())
    print(json.dumps({"wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()
