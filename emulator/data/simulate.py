"""Truth made here: a reference solver's trajectories, as arrays or as an anemoi dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.data.create import check_output, create_dataset
from emulator.physics.initial_states import RandomFourierSeries, initial_states
from emulator.physics.ring_equations import EquationConfig
from emulator.physics.ring_solver import RingSolver
from emulator.time_step import to_datetime
from graphs.errors import MeshcastError
from graphs.ring import ring

START = np.datetime64("1970-01-01T00:00:00", "s")  # nominal, so that times count from 0: an equation knows no dates

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RingConfig:
    """An even mesh of a periodic ring.

    length: once around, in the equation's unit.
    """

    num_nodes: int = 160
    length: float = 1.0


@dataclass(frozen=True)
class SimulationConfig:
    """Independent trajectories of one ring equation from random initial states.

    time_step: between two frames, in the equation's own time; taken in `substeps` steps of the integrator.
    warm_up: steps taken and thrown away before the first frame.
    order: of the integrator.
    seed: of the initial states.
    output: name of the dataset, ending in .zarr.
    """

    equation: EquationConfig
    time_step: float
    mesh: RingConfig = field(default_factory=RingConfig)
    num_trajectories: int = 50
    num_frames: int = 51
    warm_up: int = 0
    substeps: int = 1
    order: Literal[2, 4] = 4
    initial_states: RandomFourierSeries = field(default_factory=RandomFourierSeries)
    seed: int = 0
    output: str = "data/ring.zarr"
    title: str = "trajectories of a ring equation"
    licence: str = "CC0-1.0"

    def __post_init__(self) -> None:
        if self.num_trajectories < 1 or self.num_frames < 2 or self.warm_up < 0:
            raise MeshcastError(
                "A simulation needs num_trajectories >= 1, num_frames >= 2 and warm_up >= 0, but they are "
                f"{self.num_trajectories}, {self.num_frames} and {self.warm_up}."
            )


def solver(config: SimulationConfig) -> RingSolver:
    """The reference solver of a simulation."""
    mesh = ring(config.mesh.num_nodes, config.mesh.length)
    return RingSolver(config.equation, mesh, config.time_step, config.substeps, config.order)


def simulate_arrays(config: SimulationConfig, progress: Progress | None = None) -> NDArray[np.float64]:
    """[trajectory, frame, node] of a simulation, in float64.

    progress: called with the steps done and their total.
    Raises MeshcastError where the solution is no longer finite.
    """
    emulator = solver(config)
    generator = torch.Generator().manual_seed(config.seed)
    u = initial_states(config.initial_states, emulator.mesh, config.num_trajectories, generator)
    frames = np.empty((config.num_trajectories, config.num_frames, emulator.mesh.num_nodes))
    last = config.warm_up + config.num_frames - 1
    for step in range(last + 1):
        u = emulator.advance(u) if step else u
        if not torch.isfinite(u).all():
            raise MeshcastError(
                f"The solution is no longer finite after {step} of {last} steps. Take more than {config.substeps} "
                "substeps, a shorter time_step, or more nodes."
            )
        if step >= config.warm_up:
            frames[:, step - config.warm_up] = u.numpy()
        if progress:
            progress(step, last)
    return frames


def simulate(
    config: SimulationConfig, output: Path | None = None, overwrite: bool = False, progress: Progress | None = None
) -> Path:
    """Run a simulation and write it as an anemoi dataset: trajectories on the ensemble axis, one step a nominal second.

    output: in place of the configuration's.
    Returns where the dataset is. Raises MeshcastError where the output exists or cannot be written, before any step is
    taken, and where the solution is no longer finite.
    """
    import xarray as xr

    path = Path(config.output if output is None else output)
    check_output(path, overwrite)
    frames = simulate_arrays(config, progress)
    emulator = solver(config)
    variable = emulator.task.variables[0]
    times = START.astype(np.int64) + emulator.task.time_step.count * np.arange(config.num_frames)
    values = frames.transpose(1, 0, 2)  # [time, number, cell]
    fields = xr.Dataset(
        {variable.name: (("time", "number", "cell"), values, {"units": variable.units})},
        coords={"time": to_datetime(times)},
    )
    create_dataset(
        path,
        fields,
        mesh=emulator.mesh,
        time_step=emulator.task.time_step,
        ensemble_axis="trajectory",
        attributes={
            "title": config.title,
            "licence": config.licence,
            "attribution": "simulated with Meshcast",
            "simulation": json.dumps(asdict(config)),
        },
        overwrite=overwrite,
    )
    return path
