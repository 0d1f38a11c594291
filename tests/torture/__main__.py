"""Torture: kills, failing disks, altered inputs and pairs of commands; counts of what came of them.

    python -m tests.torture --minutes 30 --seed 0

Exit code 1 where there is a defect; each is printed with the case that makes it again, and kept in --output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.torture import faults

SETTINGS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMEXPR_MAX_THREADS": "1", "MKL_NUM_THREADS": "1",
            "WANDB_MODE": "offline", "WANDB_SILENT": "true", "MPLBACKEND": "Agg", "COLUMNS": "120",
            "PYTHONHASHSEED": "0"}  # fmt: skip


def main() -> int:
    """Run the bench under the layer of faults."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="by the clock, after the inputs are made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes side by side")
    parser.add_argument("--families", nargs="*", help="faults, kills, inputs, lines, pairs; all by default")
    parser.add_argument("--case", help="run one case alone: a line as the bench prints it, or a file of such lines")
    parser.add_argument("--output", type=Path, help="write counts and defects there, as JSON")
    options = parser.parse_args()
    if faults.LAYER not in os.environ:
        if faults.compiler() is None:
            print("torture: no C compiler, so that no faults can be injected. Install cc, or name one in CC.")
            return 2
        with tempfile.TemporaryDirectory() as folder:
            layer = faults.build(Path(folder))
            command = [sys.executable, "-m", "tests.torture", *sys.argv[1:]]
            environment = os.environ | SETTINGS | {faults.LAYER: str(layer), "LD_PRELOAD": str(layer)}
            return os.spawnve(os.P_WAIT, sys.executable, command, environment)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from tests.torture.bench import Bench

    def say(text: str) -> None:
        print(f"[{time.monotonic() - since:5.0f} s] {text}", flush=True)

    since = time.monotonic()
    bench = Bench(options.seed, options.minutes, options.workers, options.families)
    try:
        bench.prepare(say)
        runs = bench.cases()
        if options.case:
            given = Path(options.case).read_text() if Path(options.case).is_file() else options.case
            runs = map(bench.of_plain, [json.loads(line) for line in given.splitlines() if line.strip()])
        counts = bench.run(runs, say)
    finally:
        bench.close()
    if options.output:
        options.output.write_text(json.dumps(vars(counts), default=str, indent=1))
    if options.case:
        for verdict in counts.found:
            print(verdict["text"])
    say(counts.table())
    return int(bool(counts.found))


if __name__ == "__main__":
    sys.exit(main())
