"""Truth on the sphere: trajectories of the shallow-water solver, sampled onto any mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.heating_cycle import HOUR
from emulator.physics.shallow_water import ShallowWater, ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver, sampled
from emulator.physics.sphere_states import BalancedFlow, SphereStates, sphere_states
from emulator.physics.tracers import TracerBell, TracerTransport
from emulator.task import Variable
from graphs.errors import MeshcastError
from graphs.harmonics.nodes import Evaluation
from graphs.kinds import ByKind
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian_latitudes
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon

Progress = Callable[[int, int], None]
Sampler = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
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


SphereMesh = Annotated[IcosphereMesh | LatLonMesh | GaussianMesh, ByKind]


def sphere_mesh(config: SphereMesh) -> Mesh:
    """Return the mesh of a configuration."""
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
    first_trajectory: number of the first one, for a part of a set.
    warm_up: steps taken and thrown away before the first frame.
    any_season: whether the warm-up of each trajectory begins on a random day of the heating's year. The first frame's
        date is the configuration's all the same: the year starts anew there, as in planetswe of The Well.
    tracers: passive mixing ratios and where they start, variables beside h, u and v.
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
    first_trajectory: int = 0
    warm_up: int = 0
    any_season: bool = False
    tracers: tuple[TracerBell, ...] = ()
    start_date: str = "2000-01-01T00:00:00"
    seed: int = 0
    output: str = "data/shallow-water.zarr"
    title: str = "rotating shallow water on the sphere"
    licence: str = "CC0-1.0"

    def __post_init__(self) -> None:
        check_counts(self.num_trajectories, self.num_frames, self.warm_up)
        check_start_date(self.start_date)
        if self.first_trajectory < 0:
            raise MeshcastError(f"first_trajectory counts from 0, but is {self.first_trajectory}.")
        if self.any_season and self.equation.heating is None:
            raise MeshcastError("any_season needs an equation with a heating, which has a year: give equation.heating.")

    def in_words(self) -> str:
        """Return what is simulated and how, for a paragraph on methods, sources by their keys in references.bib."""
        equation = self.equation
        ground = " over mountains" if equation.has_ground else ""
        heated = ", heated in the course of day and year as planetswe of The Well [@ohana2024]"
        forced = (heated if equation.heating else "") + (", forced and damped" if equation.climate else "")
        return (
            f"rotating shallow water on the sphere [@williamson1992]{ground} at T{equation.truncation} from "
            f"{self.initial_states.in_words()}{forced}, solved in spherical harmonics by a semi-implicit three-cycle "
            "[@whitaker2013]"
        )


def check_counts(num_trajectories: int, num_frames: int, warm_up: int) -> None:
    """Raise where a simulation, on the sphere or on a ring, has too few trajectories or frames."""
    if num_trajectories < 1 or num_frames < 2 or warm_up < 0:
        raise MeshcastError(
            "A simulation needs num_trajectories >= 1, num_frames >= 2 and warm_up >= 0, but they are "
            f"{num_trajectories}, {num_frames} and {warm_up}."
        )


def check_start_date(text: str) -> None:
    """Raise where the date of a simulation's first frame is none."""
    try:
        np.datetime64(text, "s")
    except ValueError:
        raise MeshcastError(f"start_date must be a date such as 2000-01-01T00:00:00, but is {text!r}.") from None


def sphere_solver(config: SphereSimulationConfig) -> SphereSolver:
    """Return the reference solver of a simulation, on its Gaussian grid."""
    names = tuple(tracer.name for tracer in config.tracers)
    return SphereSolver(config.equation, TimeStep.parse(config.time_step), tracers=names)


def written_variables(config: SphereSimulationConfig) -> tuple[Variable, ...]:
    """Return what a simulation writes: h, u, v, the tracers, and the ground's height where it has mountains."""
    equation = config.equation
    ground = (Variable("orography", "static", "m"),) if equation.has_ground else ()
    return sphere_solver(config).task.variables + ground


def sphere_arrays(
    config: SphereSimulationConfig, progress: Progress | None = None, solver: SphereSolver | None = None
) -> NDArray[np.float32]:
    """Return frames [trajectory, frame, node, variable] of `written_variables`; progress as in `simulate_arrays`.

    Raises MeshcastError where the solution is no longer finite.
    """
    nodes, variables = sphere_mesh(config.mesh).num_nodes, len(written_variables(config))
    frames = np.empty((config.num_trajectories, config.num_frames, nodes, variables), np.float32)
    for rows in advanced_together(config):
        for frame, values in enumerate(sphere_frames(config, rows, progress, solver)):
            frames[rows.start : rows.stop, frame] = values
    return frames


def advanced_together(config: SphereSimulationConfig) -> list[range]:
    """Return the trajectories of a simulation in groups that are advanced together."""
    count = config.num_trajectories
    return [range(first, min(first + TOGETHER, count)) for first in range(0, count, TOGETHER)]


def sphere_frames(
    config: SphereSimulationConfig, rows: range, progress: Progress | None = None, solver: SphereSolver | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield the frames [row, node, variable] of some trajectories; progress counts the steps of all before them too.

    Raises MeshcastError where the solution is no longer finite.
    """
    solver, equation, sampler, starts = _prepared(config, solver)
    spectral = starts[..., rows.start : rows.stop]
    tracers, times = _tracers_at_the_start(config, equation, len(rows)), _times(config, rows)
    last, groups = config.warm_up + config.num_frames - 1, -(-config.num_trajectories // TOGETHER)
    for step in range(last + 1):
        if step:
            spectral, tracers = solver.advance(spectral, tracers, times[step - 1])
        if not torch.isfinite(torch.view_as_real(spectral)).all():
            raise MeshcastError(
                f"The solution is no longer finite after {step} steps. Shorten equation.longest_step, now "
                f"{equation.config.longest_step:g} s."
            )
        if step >= config.warm_up:
            yield sampler(spectral, tracers).numpy().astype(np.float32)
        if progress:
            progress(rows.start // TOGETHER * (last + 1) + step, groups * (last + 1) - 1)


@lru_cache(maxsize=1)
def _prepared(
    config: SphereSimulationConfig, solver: SphereSolver | None
) -> tuple[SphereSolver, ShallowWater, Sampler, torch.Tensor]:
    """Return what all groups of trajectories need: solver, equation, sampler and the spectral states to start from."""
    solver = solver or sphere_solver(config)
    equation = solver.equation()
    starts = _starts(config, equation, config.num_trajectories)
    return solver, equation, _sampler(solver, sphere_mesh(config.mesh)), starts


def one_step(config: SphereSimulationConfig, solver: SphereSolver) -> Callable[[], object]:
    """Return what takes a first step of as many trajectories as are advanced at once, to measure its speed by."""
    equation, count = solver.equation(), min(config.num_trajectories, TOGETHER)
    spectral = _starts(config, equation, count)
    tracers, times = _tracers_at_the_start(config, equation, count), _times(config, range(count))
    return lambda: solver.advance(spectral, tracers, times[0])


def _starts(config: SphereSimulationConfig, equation: ShallowWater, count: int) -> torch.Tensor:
    """Return the spectral states [field, order, offset, trajectory] of the first trajectories of a simulation."""
    return sphere_states(config.initial_states, equation, count, config.seed, config.first_trajectory)


def _times(config: SphereSimulationConfig, rows: range) -> NDArray[np.int64]:
    """Return when each step's start is [step, row] for the heating, in seconds since 1970, warm-up included."""
    time_step, heating = TimeStep.parse(config.time_step), config.equation.heating
    first = to_seconds(np.array([config.start_date], "datetime64[s]"))
    steps = np.arange(-config.warm_up, config.num_frames)
    times = np.repeat(first + time_step.count * steps[:, None], len(rows), axis=1)
    if config.any_season and heating is not None:
        days = max(1, int(heating.year_hours / heating.day_hours))
        seeds = [[config.seed, config.first_trajectory + row, 1] for row in rows]
        later = [np.random.default_rng(np.random.SeedSequence(seed)).integers(days) for seed in seeds]
        times[: config.warm_up] += np.array(later, np.int64) * int(HOUR * heating.day_hours)
    return times


def _tracers_at_the_start(config: SphereSimulationConfig, equation: ShallowWater, count: int) -> torch.Tensor:
    """Return the tracers [row, node, tracer]."""
    bells = [tracer.on_grid(equation.transform).flatten() for tracer in config.tracers]
    none = torch.zeros(equation.transform.mesh.num_nodes, 0, dtype=equation.transform.dtype)
    return (torch.stack(bells, dim=-1) if bells else none).expand(count, -1, -1)


def _sampler(solver: SphereSolver, mesh: Mesh) -> Sampler:
    """Return what gives all written variables [row, node, variable] of a spectral state and tracers on a mesh."""
    equation, nodes = solver.equation(), Evaluation(mesh, solver.config.truncation)
    transport = TracerTransport(equation.transform, solver.config.radius)
    shape = equation.transform.num_latitudes, equation.transform.num_longitudes
    ground = [] if equation.ground is None else [nodes.field(equation.ground)[..., None] / solver.config.gravity]
    own_grid = mesh.shape == shape and mesh.same_nodes(
        sphere_mesh(GaussianMesh(num_latitudes=shape[0], num_longitudes=shape[1]))
    )

    def on_grid(spectral: torch.Tensor) -> torch.Tensor:
        return solver.synthesis(spectral).unflatten(1, shape).flip(1).flatten(1, 2)  # from north to south

    def sample(spectral: torch.Tensor, tracers: torch.Tensor) -> torch.Tensor:
        flow = on_grid(spectral) if own_grid else sampled(spectral, nodes, equation)
        fields = [transport.sampled(q.unflatten(1, shape), mesh)[..., None] for q in tracers.unbind(-1)]
        return torch.cat([flow, *fields, *(height.expand(len(flow), -1, -1) for height in ground)], dim=-1)

    return sample
