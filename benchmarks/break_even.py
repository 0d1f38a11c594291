"""Error against cost of emulators and of their equation's solvers, and after how many days each pays, as JSON.

    python benchmarks/break_even.py sphere configs/simulate-shallow-water.yaml --runs results/*.json --output pays.json
    python benchmarks/break_even.py planet simulate-planetswe --runs results/*.json --output pays.json
    python benchmarks/break_even.py ring diff_ks --runs results/*.json --leads 10 50 100 --picture pays.png

The runs are the files that `sphere_protocol.py`, `planetswe.py` and `ring_protocol.py` leave in their results folder,
of networks and hybrids; the script is run where they were. Errors are those protocols' own, on their test trajectories.
Solvers start from the truth's own coefficients, cut to fewer harmonics, all trajectories at once, in float32; each is
run with every step of a list that is stable, and what counts is the cheapest for an error, on the line between
neighbours in the logarithm of both. A cost is processor time of one thread, of a simulated day and trajectory (on the
ring: of a time step), the median of runs that take turns with all others.

What a run costs once is the solver's time for its training and validation data, as the simulation makes them, its
tuning (`--tuning`, processor seconds) and its training. It pays after as many simulated days as the cheapest solver of
equal error takes that much longer for; never, where that solver is no dearer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch
from break_even_picture import draw, unsurpassed
from break_even_solvers import RingRivals, Rivals, SphereRivals
from planetswe_solvers import PlanetRivals

from emulator.build import package_versions
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.low_precision import Precision
from graphs.atomic_file import write_text


@dataclass(frozen=True)
class Row:
    """A solver with one step, or an emulator in one precision.

    errors: by lead. seconds: of processor time for a simulated day and trajectory, or for a step on the ring; low and
        high are the quartiles. once: what it costs before its first forecast, by what for [s]; nothing for a solver.
    """

    label: str
    family: str  # solver or emulator
    errors: dict[str, float]
    seconds: float
    low: float
    high: float
    once: dict[str, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Payment:
    """What a run costs beside the cheapest solver of equal error, at one lead.

    solver_seconds: of that solver; bound says which way it is only a bound: `at most` where the cheapest of all errs
        less, `at least` where the finest of all errs more.
    days: simulated days and trajectories after which the run has cost less in all; None for never.
    """

    lead: str
    solver_seconds: float
    times_cheaper: float
    days: float | None
    bound: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("truth", choices=("sphere", "planet", "ring"))
    parser.add_argument("simulation", help="YAML of a simulation on the sphere, or the name of an APEBench task")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="results of networks and hybrids")
    parser.add_argument("--leads", type=int, nargs="+", default=[1, 2, 5, 10], help="days, or steps on the ring")
    parser.add_argument("--sizes", type=int, nargs="+", help="truncations, or nodes, of the solvers")
    parser.add_argument("--precisions", choices=("float32", "bfloat16"), nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--tuning", type=float, default=0.0, help="processor seconds that went into choosing")
    parser.add_argument("--rounds", type=int, default=5, help="runs of which a median is taken")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    parser.add_argument("--picture", type=Path, help="draw it here")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    keep_freed_memory()
    families: dict[str, type[Rivals]] = {"sphere": SphereRivals, "planet": PlanetRivals, "ring": RingRivals}
    family = families[options.truth]
    rivals = family(options.simulation, options.leads, options.runs)
    rows = measured(rivals, options.sizes or rivals.sizes, options.precisions, options.tuning, options.rounds)
    solvers = [row for row in rows if row.family == "solver"]
    result: dict[str, Any] = {
        "unit": rivals.unit,
        "cases": rivals.cases,
        "rows": [
            asdict(row) | {"pays": [asdict(payment) for payment in payments(row, solvers)]}
            if row.family == "emulator"
            else asdict(row)
            for row in rows
        ],
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        write_text(options.output, text + "\n")
    if options.picture:
        draw(result, options.picture)


def measured(
    rivals: Rivals, sizes: Sequence[int], precisions: Sequence[Precision], tuning: float, rounds: int
) -> list[Row]:
    """Return the rows of all that is compared, timed in turn."""
    found: list[tuple[Row, Callable[[], Any], float]] = []
    for size in sizes:
        for step in rivals.steps:
            errors, run, duration = rivals.solver(size, step)
            if all(np.isfinite(error) for error in errors.values()):
                row = Row(rivals.solver_label(size), "solver", errors, 0.0, 0.0, 0.0, about={"step": step})
                found.append((row, run, duration))
                print(f"{row.label}, step {step:g}: {errors}", file=sys.stderr)
    data = rivals.seconds_for_data()
    for number, label in enumerate(rivals.labels):
        for precision in precisions:
            errors, run, duration = rivals.emulator(number, precision)
            once = {"data": data, "tuning": tuning, "training": rivals.training_seconds(number)}
            about = {"precision": precision, **rivals.about(number)}
            found.append((Row(label, "emulator", errors, 0.0, 0.0, 0.0, once, about), run, duration))
            print(f"{label}, {precision}: {errors}", file=sys.stderr)
    taken: list[list[float]] = [[] for _ in found]
    for _ in range(rounds):
        for times, (_, run, duration) in zip(taken, found, strict=True):
            started = process_time()
            run()
            times.append((process_time() - started) / duration)
    return [_timed(row, times) for (row, _, _), times in zip(found, taken, strict=True)]


def _timed(row: Row, times: Sequence[float]) -> Row:
    low, high = np.quantile(times, [0.25, 0.75])
    return replace(row, seconds=median(times), low=float(low), high=float(high))


def payments(row: Row, solvers: Sequence[Row]) -> list[Payment]:
    """Return what an emulator costs beside the cheapest solver of equal error, at each lead."""
    found = []
    for lead, error in row.errors.items():
        seconds, bound = cheapest(error, {(solver.seconds, solver.errors[lead]) for solver in solvers})
        saved = seconds - row.seconds
        days = sum(row.once.values()) / saved if saved > 0 else None
        found.append(Payment(lead, seconds, seconds / row.seconds, days, bound))
    return found


def cheapest(error: float, solvers: set[tuple[float, float]]) -> tuple[float, str]:
    """Return the cost at which solvers reach an error, and whether that is only a bound; see `Payment`.

    solvers: cost and error of each. Those that another surpasses in both do not count.
    """
    best = unsurpassed(sorted(solvers), lambda solver: solver[1])
    if error >= best[0][1]:
        return best[0][0], "at most" if error > best[0][1] else ""
    for (cheap, larger), (dear, smaller) in pairwise(best):
        if smaller <= error <= larger:
            if smaller <= 0.0:  # the truth itself: no error of a logarithm
                return dear, "at most"
            share = np.log(larger / error) / np.log(larger / smaller)
            return float(cheap * (dear / cheap) ** share), ""
    return best[-1][0], "at least"


if __name__ == "__main__":
    main()
