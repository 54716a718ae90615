"""Embeds texts with ONNX Runtime, in f32; prints what it cost as JSON and writes the vectors.

    on_onnxruntime.py --model FOLDER --texts FILE --way sorted|client --out FILE

`sorted` is ONNX Runtime at its best: texts sorted by length, batches of 2,048 tokens with padding, two workers of one thread each.
`client` is what most callers do: rows of 32 in the order they come, one session of two threads. Tokenising is not counted.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import tempfile
import time
from pathlib import Path

import graph
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

BUDGET, ROWS, MOST = 2048, 32, 256


def sessions(path: str, count: int, threads: int) -> list[ort.InferenceSession]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait burn time that is counted.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return [ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for _ in range(count)]


def batches(lengths: list[int], way: str) -> list[list[int]]:
    if way == "client":
        return [list(range(at, min(at + ROWS, len(lengths)))) for at in range(0, len(lengths), ROWS)]
    found: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        # The first of a batch is its longest.
        if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= BUDGET:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def embed(session: ort.InferenceSession, tokens: list[np.ndarray]) -> np.ndarray:
    """Mean over the tokens, then length 1."""
    ids = np.zeros((len(tokens), max(map(len, tokens))), np.int32)
    mask = np.zeros_like(ids)
    for row, text in enumerate(tokens):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    hidden = session.run(None, {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "attention_mask": mask})[0]
    weight = mask[..., None].astype(np.float32)
    mean = (hidden * weight).sum(1) / weight.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True, help="a JSON array of texts")
    parser.add_argument("--way", choices=("sorted", "client"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="vectors, f32, one text after the other")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST)
    tokens = [np.array(encoding.ids, np.int32) for encoding in tokenizer.encode_batch(json.loads(arguments.texts.read_text()))]
    work = batches([len(text) for text in tokens], arguments.way)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/minilm.onnx"
        graph.write(arguments.model, Path(path))
        pool = sessions(path, 2, 1) if arguments.way == "sorted" else sessions(path, 1, 2)
    for session in pool:
        embed(session, tokens[:8])
    vectors = np.zeros((len(tokens), 384), np.float32)

    def run(job: tuple[int, list[int]]) -> None:
        number, batch = job
        vectors[batch] = embed(pool[number % len(pool)], [tokens[at] for at in batch])

    wall, cpu = time.perf_counter(), time.process_time()
    with concurrent.futures.ThreadPoolExecutor(len(pool)) as workers:
        list(workers.map(run, enumerate(work)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    vectors.tofile(arguments.out)
    print(json.dumps({"wall": wall, "cpu": cpu, "version": ort.__version__}))


if __name__ == "__main__":
    main()
