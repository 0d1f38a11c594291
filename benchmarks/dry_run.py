"""What a dry run expects beside what comes: processor time, time of the clock and the peak of memory.

Run it in a folder that holds data/ as the shipped configurations name them (see their first lines):

    python benchmarks/dry_run.py                      # five experiments of different kinds, of one to three minutes
    python benchmarks/dry_run.py ring-ks training.updates=3000 -- shallow-water training.minutes=2

Each is rehearsed and then trained, in processes of its own; what the system counted of these is what came. Prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

EXPERIMENTS = (
    ("ring-ks", "training.updates=4000"),
    ("shallow-water", "training.minutes=1.5"),
    ("shallow-water-hybrid", "training.minutes=1.5", "validation.every=200"),
    ("climate-resnet", "training.updates=600"),
    ("climate-keras-cnn", "training.updates=600"),
)


def main(words: list[str]) -> None:
    groups = [tuple(group) for separates, group in groupby(words, lambda word: word == "--") if not separates]
    print(json.dumps([compared(*experiment) for experiment in groups or EXPERIMENTS], indent=2))


def compared(name: str, *overrides: str) -> dict[str, Any]:
    """Return what a dry run of an experiment expected, what came, and the ratio of the two."""
    with tempfile.TemporaryDirectory() as folder:
        given = [name, *overrides, f"output={folder}"]
        text, rehearsal = finished("train", *given, "--dry-run", "--json")
        expected = json.loads(text)
        _, came = finished("train", *given)
        energy = json.loads(next(Path(folder).glob("*/energy.json")).read_text())
    took = next(expected[key] for key in expected if key.endswith("minutes to expect")) * 60
    wanted = {
        "processor_seconds": took,
        "seconds": expected["hours"] * 3600,
        "peak_megabytes": expected["peak memory [MB]"],
        "kwh": expected["kWh"],
    }
    came["kwh"] = energy["kwh"]  # without the start of the process
    return {
        "experiment": " ".join([name, *overrides]),
        "expected": wanted,
        "came": came,
        "expected_over_came": {key: round(wanted[key] / came[key], 3) for key in wanted},
        "rehearsal": rehearsal,
        "parts": next(value for key, value in expected.items() if key.endswith("seconds by part")),
    }


def finished(*arguments: str) -> tuple[str, dict[str, float]]:
    """Return the standard output of a command, and what the system counted of its process."""
    begun = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "meshcast", *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"meshcast {' '.join(arguments)} ended with code {process.returncode}")
    seconds = {"processor_seconds": used.ru_utime + used.ru_stime, "seconds": time.perf_counter() - begun}
    return text, {
        **{key: round(value, 2) for key, value in seconds.items()},
        "peak_megabytes": round(used.ru_maxrss * 1024 / 1e6),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
