"""Truth on the sphere: trajectories of the shallow-water solver, sampled onto any mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.physics.shallow_water import ShallowWater, ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver, sampled
from emulator.physics.sphere_states import BalancedFlow, SphereStates, sphere_states
from emulator.time_step import TimeStep
from graphs.build import IcosphereMesh
from graphs.errors import MeshcastError
from graphs.harmonics import Evaluation, gaussian_latitudes
from graphs.icosphere import icosphere
from graphs.latlon import latlon
from graphs.mesh import Mesh

Progress = Callable[[int, int], None]
TOGETHER = 8  # trajectories advanced at once: their fields still fit a cache


@dataclass(frozen=True)
class LatLonMesh:
    """A regular grid, latitudes from north to south and longitudes from 0 eastward.

    poles: whether the first and last latitudes are the poles, else half a spacing from them.
    """

    kind: Literal["latlon"] = "latlon"
    num_latitudes: int = 36
    num_longitudes: int = 72
    poles: bool = False


@dataclass(frozen=True)
class GaussianMesh:
    """A full Gaussian grid, latitudes from north to south; 64 and 128 free T42 of aliasing."""

    kind: Literal["gaussian"] = "gaussian"
    num_latitudes: int = 64
    num_longitudes: int = 128


SphereMesh = IcosphereMesh | LatLonMesh | GaussianMesh


def sphere_mesh(config: SphereMesh) -> Mesh:
    """The mesh of a configuration."""
    match config:
        case IcosphereMesh():
            return icosphere(config.level)
        case LatLonMesh():
            if config.num_latitudes < 2 or config.num_longitudes < 4:
                raise MeshcastError(
                    f"A regular grid needs at least 2 x 4 nodes, not {config.num_latitudes} x {config.num_longitudes}."
                )
            spacing = 180.0 / (config.num_latitudes - config.poles)
            first = 90.0 if config.poles else 90.0 - spacing / 2
            latitudes = first - spacing * np.arange(config.num_latitudes)
        case GaussianMesh():
            latitudes = gaussian_latitudes(config.num_latitudes)[0][::-1]
    return latlon(latitudes, 360.0 / config.num_longitudes * np.arange(config.num_longitudes), periodic=True)


@dataclass(frozen=True)
class SphereSimulationConfig:
    """Independent trajectories of shallow water on a rotating sphere.

    A trajectory depends on the equation, the initial states, the seed and its own number; neither the mesh nor the
    number of trajectories changes it, so the same truth can be written on a second mesh.

    time_step: between two frames.
    mesh: where the fields are written, by summing their harmonics at its nodes.
    warm_up: steps taken and thrown away before the first frame.
    start_date: of the first frame, nominal.
    seed: of the initial states.
    output: name of the dataset, ending in .zarr.
    """

    kind: Literal["sphere"] = "sphere"
    equation: ShallowWaterConfig = field(default_factory=ShallowWaterConfig)
    initial_states: SphereStates = field(default_factory=BalancedFlow)
    time_step: str = "3h"
    mesh: SphereMesh = field(default_factory=lambda: IcosphereMesh(level=3))
    num_trajectories: int = 48
    num_frames: int = 81
    warm_up: int = 0
    start_date: str = "2000-01-01T00:00:00"
    seed: int = 0
    output: str = "data/shallow-water.zarr"
    title: str = "rotating shallow water on the sphere"
    licence: str = "CC0-1.0"

    def __post_init__(self) -> None:
        if self.num_trajectories < 1 or self.num_frames < 2 or self.warm_up < 0:
            raise MeshcastError(
                "A simulation needs num_trajectories >= 1, num_frames >= 2 and warm_up >= 0, but they are "
                f"{self.num_trajectories}, {self.num_frames} and {self.warm_up}."
            )
        try:
            np.datetime64(self.start_date, "s")
        except ValueError:
            raise MeshcastError(
                f"start_date must be a date such as 2000-01-01T00:00:00, but is {self.start_date!r}."
            ) from None


def sphere_solver(config: SphereSimulationConfig) -> SphereSolver:
    """The reference solver of a simulation, on its Gaussian grid."""
    return SphereSolver(config.equation, TimeStep.parse(config.time_step))


def sphere_arrays(config: SphereSimulationConfig, progress: Progress | None = None) -> NDArray[np.float32]:
    """[trajectory, frame, node, variable] of a simulation, variables in the order of the solver's task.

    progress: called with the frames done and their total.
    Raises MeshcastError where the solution is no longer finite.
    """
    solver = sphere_solver(config)
    mesh = sphere_mesh(config.mesh)
    nodes = Evaluation(mesh, config.equation.truncation)
    equation, duration = solver.equation(), float(solver.task.time_step.count)
    starts = sphere_states(config.initial_states, equation, config.num_trajectories, config.seed)
    shape = (config.num_trajectories, config.num_frames, mesh.num_nodes, len(solver.task.prognostic))
    frames = np.empty(shape, np.float32)
    last = config.warm_up + config.num_frames - 1
    parts = starts.split(TOGETHER, dim=-1)
    for part, spectral in enumerate(parts):
        rows = slice(part * TOGETHER, part * TOGETHER + spectral.shape[-1])
        for step in range(last + 1):
            spectral = equation.advance(spectral, duration) if step else spectral
            _refuse_overflow(spectral, step, equation)
            if step >= config.warm_up:
                frames[rows, step - config.warm_up] = sampled(spectral, nodes, equation).numpy()
            if progress:
                progress(part * (last + 1) + step, len(parts) * (last + 1) - 1)
    return frames


def _refuse_overflow(spectral: torch.Tensor, step: int, equation: ShallowWater) -> None:
    if not torch.isfinite(torch.view_as_real(spectral)).all():
        raise MeshcastError(
            f"The solution is no longer finite after {step} steps. Shorten equation.longest_step, now "
            f"{equation.config.longest_step:g} s."
        )
