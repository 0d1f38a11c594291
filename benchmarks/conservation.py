"""What exact conservation costs and brings, as JSON: emulators of one experiment side by side.

    python benchmarks/conservation.py configs/shallow-water.yaml fixer=runs/a flux=runs/b none=runs/c > mass.json

Each emulator forecasts the same test trajectories. Its errors are compared with the first one's, case by case, with a
bootstrap interval over the trajectories; a further row takes the fixer off the first emulator's own weights. The mass
drift is the largest relative change of the area-mean depth over a rollout of a thousand steps, while the guard lets a
case go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sphere_protocol import forecast_and_truth, number, squared_errors, variances

from emulator.build import TrainedEmulator, load_emulator
from emulator.data.forcing_sources import forcings_of
from emulator.data.starts import spread_starts, states_at
from emulator.features.conservation import Conservation
from emulator.fields import Fields
from emulator.foundation.configuration import load
from graphs.atomic_file import write_text
from inference.forecasts.forecast import GuardedRollout
from inference.forecasts.guard import Guard
from inference.scores.bootstrap import interval, resample_cases, resampled_mean
from inference.scores.conservation import corrections
from training.experiment import ExperimentConfig

LONG = 1000  # steps of the rollout whose mass is weighed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML of the experiment on h, u and v")
    parser.add_argument("emulators", nargs="+", help="LABEL=RUN, the first is what others are compared with")
    parser.add_argument("--days", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_args(arguments)

    config = load(ExperimentConfig, options.config, [])
    assert config.data.test is not None, "the experiment names no test part"
    test, variance = config.data.test.open(), variances(config.data.train.open())
    paths = dict(item.split("=", 1) for item in options.emulators)
    emulators = {label: load_emulator(Path(path) / "emulator.safetensors") for label, path in paths.items()}
    first = next(iter(emulators))
    emulators[f"{first}, taken off the same weights"] = without_fixer(Path(paths[first]) / "emulator.safetensors")

    errors = {}
    for label, trained in emulators.items():
        found, truth = forecast_and_truth(trained, test, options.days)
        errors[label] = squared_errors(found, truth, variance, trained.emulator.mesh.areas)
    cases = np.arange(len(found))
    resamples = resample_cases(np.zeros_like(cases), cases, np.random.default_rng(0))
    rows = []
    for label, trained in emulators.items():
        change = errors[label] - errors[first]  # [case, day]
        drawn = resampled_mean(change, np.full(change.shape, True), resamples.counts)
        lower, upper = interval(drawn, resamples.num_blocks)
        rows.append(
            {
                "label": label,
                "error_by_day": by_day(options.days, np.sqrt(errors[label].mean(axis=0))),
                "squared_error_less_the_first": by_day(options.days, change.mean(axis=0)),
                "its_interval": {"lower": by_day(options.days, lower), "upper": by_day(options.days, upper)},
                **mass(trained, test),
            }
        )
    text = json.dumps({"cases": len(cases), "intervals": resamples.describe(), "rows": rows}, indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


def without_fixer(path: Path) -> TrainedEmulator:
    """The emulator of a checkpoint with nothing held to its mean."""
    trained = load_emulator(path)
    emulator = trained.emulator
    free = tuple(replace(variable, conserved=False) for variable in emulator.task.variables)
    emulator.inputs.conservation = Conservation(  # type: ignore[attr-defined]
        replace(emulator.task, variables=free), emulator.mesh
    )
    return trained


def mass(trained: TrainedEmulator, test: Fields) -> dict[str, Any]:
    """Of a long rollout of the test trajectories: the drift of the mean depth while the guard lets a case go on, how
    many it stops, and what conservation took off the mean at a step of the first day."""
    emulator = trained.emulator
    init_time, trajectory = spread_starts(test, emulator.task, 1, most=8)
    initial = states_at(test, emulator.task, init_time, trajectory)
    forcings = forcings_of(emulator.task, emulator.mesh, test)
    areas, depth = emulator.mesh.areas, emulator.task.prognostic.index("h")
    before = initial.state.now[:, 0, :, depth].double().numpy() @ areas
    guarded = GuardedRollout(emulator, initial.state, forcings, Guard(trained.statistics, emulator.mesh))
    largest = 0.0
    for values in guarded.steps(LONG):
        drift = np.abs(values[:, 0, :, depth].astype(np.float64) @ areas / before - 1.0)
        largest = max(largest, float(np.nanmax(drift, initial=0.0)))
    taken = corrections(emulator, initial.state, forcings, emulator.task.time_step.steps_in("1d"))
    return {
        f"relative_mass_drift_within_{LONG}_steps": number(largest),
        "stopped_by_guard_at_steps": sorted(stop.step for stop in guarded.stops),
        "correction_of_a_step_on_the_first_day": {name: number(np.median(size)) for name, size in taken.items()},
    }


def by_day(days: Sequence[int], values: NDArray[np.float64]) -> dict[str, float | None]:
    return {str(day): number(value) for day, value in zip(days, values, strict=True)}


if __name__ == "__main__":
    main()
