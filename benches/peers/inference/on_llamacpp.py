"""Generates with llama.cpp, by the server that the wheel xllamacpp has in it; prints what it cost as JSON.

    on_llamacpp.py --model FILE --requests FILE --threads N --together N

The requests are a JSON array of `{"messages": […], "max_tokens": N}`; so many of them run together. Greedy, no prompt is remembered. Figures are
llama.cpp's own: tokens a second of prompts and of answers; where several run together, all tokens over the whole time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import time
from pathlib import Path

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--together", type=int, required=True)
    arguments = parser.parse_args()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(arguments.model)
    parameters.n_ctx = 2048 * arguments.together
    parameters.n_parallel = arguments.together
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = arguments.threads
    server = xllamacpp.Server(parameters)

    def ask(request: dict) -> dict:
        settings = {"temperature": 0, "seed": 1, "cache_prompt": False}
        answer = server.handle_chat_completions({**request, **settings})
        answer = answer if isinstance(answer, dict) else json.loads(answer)
        if "choices" not in answer:
            raise SystemExit(f"llama.cpp answered {answer}")
        return answer

    requests = json.loads(arguments.requests.read_text())
    ask({**requests[0], "max_tokens": 2})
    clock, cpu = time.perf_counter(), time.process_time()
    with concurrent.futures.ThreadPoolExecutor(arguments.together) as pool:
        answers = list(pool.map(ask, requests))
    wall, cpu = time.perf_counter() - clock, time.process_time() - cpu
    usage = [answer["usage"] for answer in answers]
    said = [answer["choices"][0]["message"]["content"] for answer in answers]
    print(json.dumps({
        "wall": wall,
        "cpu": cpu,
        "prompt_tokens": sum(each["prompt_tokens"] for each in usage),
        "completion_tokens": sum(each["completion_tokens"] for each in usage),
        "said": said,
    }))


if __name__ == "__main__":
    main()
