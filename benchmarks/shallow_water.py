"""The shallow-water solver by truncation: seconds a simulated day and trajectory, and the error it leaves, as JSON.

    OMP_NUM_THREADS=1 python benchmarks/shallow_water.py --output results/shallow-water-speed.json
    OMP_NUM_THREADS=1 python benchmarks/shallow_water.py configs/simulate-shallow-water.yaml --trajectories 32 48

With a simulation named, its trajectories are made again at its own truncation, the truth, and by coarser solvers that
start from the truth's first frame, truncated. The error is sampled at the nodes of the simulation's mesh: square root
of the mean, over trajectories, area-weighted nodes and four channels (depth, three Cartesian wind components, each
divided by its standard deviation over the truth, one for all of the wind), of the squared difference.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.build import package_versions
from emulator.foundation.constants import DAY
from emulator.foundation.time_step import TimeStep
from emulator.physics.shallow_water import ShallowWater, ShallowWaterConfig
from emulator.physics.simulate import load_simulation
from emulator.physics.sphere_simulation import SphereSimulationConfig, sphere_mesh
from emulator.physics.sphere_solver import sampled
from emulator.physics.sphere_states import BalancedFlow, sphere_states
from graphs.atomic_file import write_text
from graphs.harmonics.basis import truncated
from graphs.harmonics.nodes import Evaluation
from graphs.mesh import Mesh

TRUNCATIONS = (10, 15, 18, 21, 31, 42)
LEADS = (1, 5, 10)  # days


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, nargs="?", help="YAML of a simulation on the sphere, for the errors")
    parser.add_argument("--trajectories", type=int, nargs=2, default=(32, 48), help="first and one past the last")
    parser.add_argument("--truncations", type=int, nargs="+", default=TRUNCATIONS)
    parser.add_argument("--columns", type=int, default=8, help="trajectories advanced at once in the timing")
    parser.add_argument("--longest-step", type=float, help="of the coarse solvers [s]; the simulation's by default")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    given = parser.parse_args(arguments)
    result: dict[str, Any] = {"versions": package_versions(), "threads": torch.get_num_threads()}
    if given.config is None:
        result["speed"] = [speed(truncation, given.columns) for truncation in given.truncations]
    else:
        config = load_simulation(given.config)
        assert isinstance(config, SphereSimulationConfig), "name a simulation on the sphere"
        result["errors"] = errors(config, slice(*given.trajectories), given.truncations, given.longest_step)
    print(json.dumps(result, indent=1))
    if given.output:
        write_text(given.output, json.dumps(result, indent=1) + "\n")


def speed(truncation: int, columns: int, precision: str = "float64") -> dict[str, Any]:
    """Process seconds a simulated day and trajectory, the quickest of three runs of half a day."""
    config = ShallowWaterConfig(truncation=truncation, precision=precision)  # type: ignore[arg-type]
    equation = ShallowWater(config)
    state = sphere_states(BalancedFlow(degrees=(4, min(12, truncation))), equation, columns, 0)
    state = equation.advance(state, 2 * config.longest_step)
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        state = equation.advance(state, DAY / 2)
        seconds.append(2 * (time.process_time() - begin) / columns)
    steps = equation.num_steps(DAY)
    return {"truncation": truncation, "step": DAY / steps, "seconds_a_day_and_trajectory": min(seconds)}


def errors(
    config: SphereSimulationConfig, part: slice, truncations: Sequence[int], longest_step: float | None
) -> list[dict[str, Any]]:
    """The error of coarser solvers after each of the leads."""
    mesh, fine = sphere_mesh(config.mesh), ShallowWater(config.equation)
    warm_up = config.warm_up * TimeStep.parse(config.time_step).count
    starts = sphere_states(config.initial_states, fine, config.num_trajectories, config.seed)[..., part]
    begin = fine.advance(starts, float(warm_up))
    truth = series(fine, begin, mesh)  # [lead, trajectory, node, channel]
    scale = np.concatenate([[truth[..., 0].std()], np.full(3, truth[..., 1:].std())])
    rows = []
    for truncation in truncations:
        coarse = replace(config.equation, truncation=truncation)
        coarse = coarse if longest_step is None else replace(coarse, longest_step=longest_step)
        start = torch.stack([truncated(field, truncation) for field in begin])
        forecast = series(ShallowWater(coarse), start, mesh)
        square = (((forecast - truth) / scale) ** 2).mean(axis=-1) @ mesh.areas  # [lead, trajectory]
        rmse = np.sqrt(square.mean(axis=1))
        rows.append({"truncation": truncation} | {f"day {day}": float(rmse[day]) for day in (0, *LEADS)})
    return rows


def series(equation: ShallowWater, state: torch.Tensor, mesh: Mesh) -> NDArray[np.float64]:
    """[day, trajectory, node, channel] depth and Cartesian wind, from day 0 to the last lead."""
    nodes = Evaluation(mesh, equation.config.truncation)
    days = []
    for day in range(max(LEADS) + 1):
        state = equation.advance(state, DAY) if day else state
        h, u, v = sampled(state, nodes, equation).numpy().transpose(2, 0, 1)
        days.append(np.concatenate([h[..., None], cartesian(u, v, mesh)], axis=-1))
    return np.stack(days)


def cartesian(u: NDArray[np.float64], v: NDArray[np.float64], mesh: Mesh) -> NDArray[np.float64]:
    """[..., node, 3] of east and north components."""
    longitude = np.radians(mesh.longitudes)
    east = np.stack([-np.sin(longitude), np.cos(longitude), 0 * longitude], axis=-1)
    north = np.cross(mesh.positions, east)
    return u[..., None] * east + v[..., None] * north


if __name__ == "__main__":
    main()
