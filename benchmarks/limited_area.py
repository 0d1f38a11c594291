"""A limited-area emulator beside a global one in the same window, with true and with coarse boundaries, as JSON.

    python benchmarks/limited_area.py configs/shallow-water-limited.yaml runs/shallow-water > limited-area.json
    python benchmarks/limited_area.py configs/shallow-water-limited.yaml runs/shallow-water --solver \\
        configs/simulate-shallow-water.yaml --truncations 10 15

The global run is one of `configs/shallow-water.yaml` in the same steps, task.time_step=3h validation.steps=40
between=null. The limited-area emulator is trained first, or taken from its run where that is done. All forecasts
start from the test part's first states and are scored inside the window alone, by area. Boundaries are the truth's,
the global emulator's forecast and, with --solver, forecasts of the solver truncated lower. Scores are root mean
square errors over cases, nodes and channels, each in units of its standard deviation over the globe and the training
part: every scalar is a channel, and a wind is three, its Cartesian components, which share one standard deviation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.persistence import PersistenceConfig
from emulator.build import TrainedEmulator, load_emulator, package_versions
from emulator.data.boundary_sources import boundary_forcings
from emulator.data.forcing_sources import forcings_of
from emulator.data.forecast import Forecast
from emulator.data.sources import forecast_on_area
from emulator.data.starts import spread_starts, states_at
from emulator.fields import Fields
from emulator.foundation.configuration import load
from emulator.normalise import Statistics
from emulator.physics.simulate import load_simulation
from emulator.physics.sphere_simulation import SphereSimulationConfig
from emulator.physics.sphere_solver import SphereSolver
from emulator.training_part import TrainingPart
from graphs.atomic_file import write_text
from graphs.errors import MeshcastError
from inference.forecasts.forecast import forecast
from inference.scores.verification import verify
from training.experiment import ExperimentConfig
from training.runs.fit import fit
from training.runs.verify import same_starts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML of the limited-area experiment, with data.window and data.test")
    parser.add_argument("globe", type=Path, help="run folder or emulator.safetensors of the global emulator")
    parser.add_argument("overrides", nargs="*", help="key=value of the experiment, e.g. training.updates=200")
    parser.add_argument("--steps", type=int, default=40, help="of the forecasts")
    parser.add_argument("--cases", type=int, help="at most so many starts")
    parser.add_argument("--solver", type=Path, help="YAML of the simulation, for boundaries by its solver")
    parser.add_argument("--truncations", type=int, nargs="+", default=[10, 15], help="of the solver")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    given = parser.parse_args(arguments)
    result = compare(
        load(ExperimentConfig, given.config, given.overrides),
        load_emulator(given.globe / "emulator.safetensors" if given.globe.is_dir() else given.globe),
        given.steps,
        given.cases,
        given.solver,
        given.truncations,
    )
    text = json.dumps(result, indent=1)
    print(text)
    if given.output is not None:
        write_text(given.output, text + "\n")


def compare(
    config: ExperimentConfig,
    globe: TrainedEmulator,
    steps: int,
    cases: int | None = None,
    simulation: Path | None = None,
    truncations: Sequence[int] = (),
) -> dict[str, Any]:
    """Scores in the window's interior by lead time, and at the last lead their ratios to the global emulator's."""
    if config.data.window is None or config.data.test is None:
        raise MeshcastError("The benchmark needs an experiment with data.window and data.test.")
    area = fit(config, resume="auto", progress=False)
    truth, whole = config.data.test.open(), replace(config.data.test, window=None).open()
    starts = spread_starts(whole, area.emulator.task, steps, cases)
    tables = config.data.tables_of(config.data.test)
    boundaries = same_starts([replace(globe, name="global")], whole, *starts, steps, tables)
    boundaries += [_by_solver(simulation, number, globe, whole, starts, steps) for number in truncations if simulation]
    made = [forecast_on_area(one, truth.mesh) for one in boundaries]
    made += same_starts([replace(area, name="limited, true boundary")], truth, *starts, steps, tables)
    made += [_within(area, config, truth, starts, steps, boundary) for boundary in boundaries]
    made += same_starts([_persistence(area, truth)], truth, *starts, steps)
    verification = verify(made, truth, spectra=False)
    statistics = globe.statistics.select(verification.variables)
    rmse = {scores.label: combined(scores.mean("rmse"), statistics, area) for scores in verification.emulators}
    boundary = truth.mesh.boundary
    assert boundary is not None
    return {
        "window": str(config.data.window),
        "nodes": {"inside": int((~boundary).sum()), "boundary": int(boundary.sum()), "globe": whole.mesh.num_nodes},
        "cases": len(starts[0]),
        "lead_steps": made[0].lead_steps.tolist(),
        "time_step": str(made[0].time_step),
        "rmse": {label: [round(float(value), 5) for value in values] for label, values in rmse.items()},
        "rmse_by_variable": {
            scores.label: {
                name: [round(float(value), 4) for value in scores.mean("rmse")[:, column]]
                for column, name in enumerate(verification.variables)
            }
            for scores in verification.emulators
        },
        "ratio_to_global_at_last_lead": {
            label: round(float(values[-1] / rmse["global"][-1]), 4) for label, values in rmse.items()
        },
        "updates": {area.name: area.metadata.get("update"), globe.name: globe.metadata.get("update")},
        "versions": package_versions(),
    }


def combined(rmse: NDArray[np.float64], statistics: Statistics, area: TrainedEmulator) -> NDArray[np.float64]:
    """[lead] the root mean square over channels of errors [lead, variable] in units of the training part's std.

    Of a wind (u, v), whose components share std s, the three Cartesian components have variance 2 s² / 3 each and
    errors whose squares sum to those of u and v.
    """
    winds = {variable.name for variable in area.emulator.task.predicted if variable.partner is not None}
    squares = (rmse / statistics.std) ** 2
    is_wind = np.array([name in winds for name in statistics.names])
    channels = (~is_wind).sum() + 1.5 * is_wind.sum()
    return np.sqrt((squares * np.where(is_wind, 1.5, 1.0)).sum(axis=1) / channels)


Starts = tuple[NDArray[np.int64], NDArray[np.int64]]


def _within(
    area: TrainedEmulator, config: ExperimentConfig, truth: Fields, starts: Starts, steps: int, boundary: Forecast
) -> Forecast:
    """The limited-area forecast inside another forecast."""
    task, mesh = area.emulator.task, area.emulator.mesh
    initial = states_at(truth, task, *starts)
    forcings = forcings_of(task, mesh, truth, config.data.tables_of(config.data.test))
    given, notices = boundary_forcings(forcings, boundary, task, mesh, initial.state, initial.trajectory, steps)
    for notice in notices:
        print(notice, file=sys.stderr)
    made, _ = forecast(replace(area, name=f"limited, boundary {boundary.name}"), initial, given, steps)
    return made


def _by_solver(
    simulation: Path, truncation: int, globe: TrainedEmulator, whole: Fields, starts: Starts, steps: int
) -> Forecast:
    """The solver's own forecast, truncated lower, at the nodes of the data."""
    config = load_simulation(simulation)
    if not isinstance(config, SphereSimulationConfig):
        raise MeshcastError(f"{simulation} is no simulation on the sphere.")
    equation = replace(config.equation, truncation=truncation)
    solver = SphereSolver(equation, globe.emulator.task.time_step, whole.mesh)
    return same_starts([replace(globe, name=f"T{truncation} solver", emulator=solver)], whole, *starts, steps)[0]


def _persistence(area: TrainedEmulator, truth: Fields) -> TrainedEmulator:
    emulator = PersistenceConfig().fit(area.emulator.task, TrainingPart(truth))
    return replace(area, name="persistence", emulator=emulator)


if __name__ == "__main__":
    main()
