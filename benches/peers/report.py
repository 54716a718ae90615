"""What every peer prints at the end: one JSON line, with the checksum that `benches/src/checksum.rs` defines."""

import argparse
import hashlib
import json
import os
import resource
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=["wordcount", "profiles", "join"])
    parser.add_argument("--file", required=True)
    parser.add_argument("--users")
    parser.add_argument("--epoch-rows", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    if given.job == "join" and not given.users:
        parser.error("the join needs --users")
    return given


def count_rows(given):
    """Rows of every input that the job reads."""
    total = 0
    for path in [given.file] + ([given.users] if given.job == "join" else []):
        with open(path, "rb") as lines:
            total += sum(1 for _ in lines)
    return total


def checksum(rows):
    """How many rows there are, and the sum of their hashes modulo 2^64."""
    count = total = 0
    for row in rows:
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        total += int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        count += 1
    return count, f"{total % 2**64:016x}"


class Clock:
    """Processor and wall time from here on: imports and the start of the interpreter are not held against anyone."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), self._cpu()

    @staticmethod
    def _cpu():
        times = os.times()
        return times.user + times.system

    def read(self):
        return time.perf_counter() - self.wall, self._cpu() - self.cpu


def report(engine, given, rows, changes, taken, live):
    """`taken` is what the clock said when the result was there; `live` are its rows as dictionaries."""
    wall, cpu = taken
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    live_rows, digest = checksum(live)
    line = {
        "engine": engine, "job": given.job, "rows": rows, "epoch_rows": given.epoch_rows, "changes": changes,
        "cpu_seconds": round(cpu, 3), "wall_seconds": round(wall, 3), "peak_rss_mib": round(peak, 1),
        "live_rows": live_rows, "checksum": digest,
    }
    print(json.dumps(line), flush=True)
