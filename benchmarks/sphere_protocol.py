"""Shallow water on the sphere: a graph network beside coarse solvers, as JSON.

    meshcast simulate simulate-shallow-water
    python benchmarks/sphere_protocol.py configs/shallow-water.yaml --seeds 0 1 2 > shallow-water.json
    python benchmarks/sphere_protocol.py configs/shallow-water.yaml training.minutes=60 --seeds 0 > an-hour.json
    python benchmarks/sphere_protocol.py configs/shallow-water.yaml --processors network graphcast pyg:NNConv > all.json

Each seed is trained on the configuration's training part, whose `training.minutes` are minutes of one core, and its
forecasts from the first frame of every test trajectory are scored beside those of coarse solvers: the error is the root
of the mean, over cases, area and the four channels depth and Cartesian wind, of squared error over variance, so that
the climatology scores one. `--processors` trains the networks it names, `network` for the configuration's own; others
have as many layers and the same sizes, and are trained by the same recipe for the same minutes: they take the updates
they can. Stopped and started again, the script skips the seeds that are finished.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.baselines.coarse_solver import CoarseSolverConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.build import TrainedEmulator, load_emulator, package_versions
from emulator.data.forcing_sources import forcings_of
from emulator.data.starts import spread_starts, states_at
from emulator.fields import Fields
from emulator.foundation.configuration import load
from emulator.foundation.low_precision import Precision
from emulator.networks.gnn import GNNConfig
from emulator.physics.shallow_water import ShallowWaterConfig
from graphs.atomic_file import write_text
from inference.forecasts.forecast import forecast
from inference.scores.equivalent_truncation import equivalent
from training.experiment import ExperimentConfig
from training.runs.study import Run, run_study

DAY = 86_400
TRUNCATIONS = (10, 15, 18, 21)  # beyond T21 the 642 nodes of level 3 hold too little to fit
LABEL = "network"
NAMES = ("h", "u", "v")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML of an experiment on h, u and v")
    parser.add_argument("overrides", nargs="*", help="key=value, e.g. training.minutes=60")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--days", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--processors", nargs="+", default=[LABEL], metavar="KIND", help="also graphcast, pyg:NNConv")
    parser.add_argument("--results", type=Path, default=Path("results"), help="one file a finished run")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_intermixed_args(arguments)

    config = load(ExperimentConfig, options.config, options.overrides)
    assert config.data.test is not None, "the experiment names no test part"
    test = config.data.test.open()
    networks = {name: with_processor(config, name) for name in options.processors}
    runs = [
        *(Run(label, each, seed) for label, each in networks.items() for seed in options.seeds),
        Run("persistence", replace(config, emulator=PersistenceConfig())),
        *(
            Run(f"T{truncation}", replace(config, emulator=CoarseSolverConfig(equation=_coarse(truncation))))
            for truncation in TRUNCATIONS
        ),
    ]
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        results = run_study(runs, options.results, emulators=True, say=print)
    train = config.data.train.open()
    rows = []
    for result in results:
        if result.status == "failed":
            rows.append({"label": result.label, "seed": result.seed, "status": "failed", "reason": result.reason})
            continue
        trained = load_emulator(result.emulator_path(options.results))
        row = {"label": result.label, "seed": result.seed, **measured(trained, train, test, options.days)}
        if result.update is not None:
            row |= {
                "fit_seconds": result.seconds,
                "fit_processor_seconds": result.processor_seconds,
                "kept_after_updates": result.update,
                "parameters": result.parameters,
                "validation_score": result.validation_score,
            }
        rows.append(row)
    text = json.dumps(summary(rows, options.days, options.processors), indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


def _coarse(truncation: int) -> ShallowWaterConfig:
    return ShallowWaterConfig(truncation=truncation)


def with_processor(config: ExperimentConfig, name: str) -> ExperimentConfig:
    """Return an experiment with another processor, `kind` or `pyg:layer`, of as many layers and the same sizes."""
    if name == LABEL:
        return config
    if not isinstance(config.emulator, GNNConfig):
        raise SystemExit("--processors are those of a graph network, but the configuration's emulator is none.")
    ours = config.emulator.processor
    kind, _, layer = name.partition(":")
    sizes = {key: getattr(ours, key) for key in ("num_layers", "latent_size", "hidden_size")}
    other = load(GNNConfig, {"processor": {"kind": kind, **sizes, **({"layer": layer} if layer else {})}})
    return replace(config, emulator=replace(config.emulator, processor=other.processor))


def measured(trained: TrainedEmulator, train: Fields, test: Fields, days: Sequence[int]) -> dict[str, Any]:
    """Error and share of the truth's kinetic energy at each lead, and the cost of a day and trajectory."""
    started = time.process_time()
    found, truth = forecast_and_truth(trained, test, days)
    cost = (time.process_time() - started) / len(found) / max(days)
    areas = trained.emulator.mesh.areas
    error = np.sqrt(squared_errors(found, truth, variances(train), areas).mean(axis=0))
    energy = [_kinetic(found[:, place], areas) / _kinetic(truth[:, place], areas) for place in range(len(days))]
    return {
        "error_by_day": {str(day): number(value) for day, value in zip(days, error, strict=True)},
        "kinetic_energy_by_day": {str(day): number(value) for day, value in zip(days, energy, strict=True)},
        "cases": len(found),
        "seconds_per_day_and_trajectory": number(cost),
    }


def forecast_and_truth(
    trained: TrainedEmulator, test: Fields, days: Sequence[int], precision: Precision = "float32"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[case, day, node, 3] depth and wind of both, from the first frame of every trajectory."""
    emulator = trained.emulator
    day = emulator.task.time_step.steps_in("1d")
    steps = max(days) * day
    init_time, trajectory = spread_starts(test, emulator.task, steps)
    initial = states_at(test, emulator.task, init_time, trajectory)
    free, _ = forecast(trained, initial, forcings_of(emulator.task, emulator.mesh, test), steps, precision=precision)
    columns = [emulator.task.prognostic.index(name) for name in NAMES]
    places = [number * day - 1 for number in days]
    found = free.values[:, 0, places][..., columns].astype(np.float64)
    frames = np.searchsorted(test.times, init_time[0] + np.array(days) * DAY)
    truth = test.read(frames, NAMES)[:, trajectory].swapaxes(0, 1).astype(np.float64)
    return found, truth


def squared_errors(
    found: NDArray[np.float64], truth: NDArray[np.float64], variance: NDArray[np.float64], areas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[case, day] mean over area and the four channels of squared error over variance."""
    return (np.square(found - truth) / variance).sum(axis=-1) @ areas


def variances(train: Fields) -> NDArray[np.float64]:
    """[3] what the squared errors of h, u and v are divided by, the four channels' mean included.

    The three Cartesian components of a wind share one variance, a third of that of the vector.
    """
    values = train.read(slice(0, len(train.times)), NAMES).astype(np.float64)
    depth = values[..., 0].var()
    wind = (np.square(values[..., 1]).mean() + np.square(values[..., 2]).mean()) / 3.0
    return np.array([4.0 * depth, 4.0 * wind, 4.0 * wind])


def _kinetic(values: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    return float(np.mean(np.square(values[..., 1:]).sum(axis=-1) @ areas))


def summary(rows: list[dict[str, Any]], days: Sequence[int], others: Sequence[str] = ()) -> dict[str, Any]:
    """The rows, the network's median over seeds, what it is worth as a solver, and other networks' medians."""
    solvers: dict[str, dict[int, float]] = {str(day): {} for day in days}
    for row in rows:
        if row["label"].startswith("T") and "error_by_day" in row:
            for day, error in row["error_by_day"].items():
                solvers[day][int(row["label"][1:])] = error
    ours = _scored(rows, LABEL)
    return {
        "median_over_seeds": _medians(ours, "error_by_day", days),
        "kinetic_energy": _medians(ours, "kinetic_energy_by_day", days),
        "equivalent_truncation": {
            day: str(equivalent(error, solvers[day]))
            for day, error in _medians(ours, "error_by_day", days).items()
            if error is not None
        },
        "other_networks": {
            name: _medians(_scored(rows, name), "error_by_day", days) for name in others if name != LABEL
        },
        "rows": rows,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "versions": package_versions(),
    }


def _scored(rows: Sequence[dict[str, Any]], label: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["label"] == label and "error_by_day" in row]


def _medians(rows: Sequence[Mapping[str, Any]], key: str, days: Sequence[int]) -> dict[str, float | None]:
    if not rows:
        return {}
    values = {str(day): [np.inf if row[key][str(day)] is None else row[key][str(day)] for row in rows] for day in days}
    return {day: number(np.median(found)) for day, found in values.items()}


def number(value: float | np.floating[Any]) -> float | None:
    """A finite number with the digits that mean something; JSON knows no infinity."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


if __name__ == "__main__":
    main()
