"""Trajectories of a reference solver on a ring, as arrays or as an anemoi dataset."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.data.datasets.create import check_output, dataset_folder, write_dataset
from emulator.data.datasets.store_parts import PART_BYTES
from emulator.data.datasets.trajectory_files import Trajectories, write_trajectories
from emulator.foundation.configuration import load, load_one_of, resolve
from emulator.foundation.lineage import as_attribute, named_in, records_of
from emulator.foundation.threads import Notice, faster_threads, num_threads, threads_given
from emulator.foundation.time_step import TimeStep, to_datetime, to_seconds
from emulator.foundation.workers import OneByOne, Workers
from emulator.global_scalars import GlobalScalars
from emulator.physics.climate_simulation import ClimateSimulationConfig, climate_frames, pathways
from emulator.physics.energy_balance_solver import DEEP, SURFACE
from emulator.physics.ring_equations import EquationConfig, RingEquation, equation_in_words, ring_equation
from emulator.physics.ring_solver import RingSolver
from emulator.physics.sphere_simulation import (
    Progress,
    SphereSimulationConfig,
    advanced_together,
    check_counts,
    one_step,
    sphere_frames,
    sphere_mesh,
    sphere_solver,
    written_variables,
)
from emulator.task import Variable
from graphs.errors import MeshcastError
from graphs.kinds import kinds_of
from graphs.mesh import Mesh
from graphs.meshes.ring import ring
from graphs.output_lock import output_lock

log = logging.getLogger(__name__)

VALUES_TOGETHER = 2**20  # of a ring's trajectories that are advanced together
START = "1970-01-01T00:00:00"  # nominal, so that times count from 0: an equation knows no dates


@dataclass(frozen=True)
class RingConfig:
    """An even mesh of a periodic ring.

    length: once around, in the equation's unit.
    """

    num_nodes: int = 160
    length: float = 1.0


@dataclass(frozen=True)
class RandomFourierSeries:
    """u(x) = sum_k A_k sin(2 pi k x / L + phi_k), A_k uniform in [-1, 1], phi_k in [0, 2 pi), divided by max|u|.

    APEBench's `fourier;5;true;true` (Koehler et al. 2024, arXiv:2411.00180): smooth, of mean zero, largest value one.
    num_modes: k runs from 1 to this.
    """

    kind: Literal["fourier"] = "fourier"
    num_modes: int = 5


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
    kind: Literal["ring"] = "ring"
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
        check_counts(self.num_trajectories, self.num_frames, self.warm_up)

    def in_words(self) -> str:
        """Return what is simulated and how, for a paragraph on methods, sources by their keys in references.bib."""
        scheme = "[@cox2002; @kassam2005]" if self.order == 4 else "[@cox2002]"
        return (
            f"{equation_in_words(self.equation)} on a periodic ring, solved pseudo-spectrally by exponential time "
            f"differencing of order {self.order} {scheme}"
        )


AnySimulation = SimulationConfig | SphereSimulationConfig | ClimateSimulationConfig
KINDS: tuple[type[AnySimulation], ...] = (SimulationConfig, SphereSimulationConfig, ClimateSimulationConfig)


def solver(config: SimulationConfig) -> RingSolver:
    """Return the reference solver of a simulation."""
    mesh = ring(config.mesh.num_nodes, config.mesh.length)
    return RingSolver(config.equation, mesh, config.time_step, config.substeps, config.order)


def _started(config: SimulationConfig) -> tuple[RingSolver, Tensor]:
    """Return the solver of a simulation, and its initial states [trajectory, node]."""
    emulator, generator = solver(config), torch.Generator().manual_seed(config.seed)
    return emulator, initial_states(config.initial_states, emulator.mesh, config.num_trajectories, generator)


def simulate_arrays(config: SimulationConfig, progress: Progress | None = None) -> NDArray[np.float64]:
    """Return the frames [trajectory, frame, node] of a simulation, float64; progress takes steps done and their total.

    Raises MeshcastError where the solution is no longer finite.
    """
    return np.stack(list(ring_frames(config, range(config.num_trajectories), progress)), axis=1)


def ring_frames(
    config: SimulationConfig, rows: range, progress: Progress | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield the frames [row, node] of some trajectories, float64; progress takes steps done and their total.

    Raises MeshcastError where the solution is no longer finite.
    """
    emulator, u = _started(config)
    u = u[rows.start : rows.stop]
    last = config.warm_up + config.num_frames - 1
    for step in range(last + 1):
        u = emulator.advance(u) if step else u
        if not torch.isfinite(u).all():
            raise MeshcastError(
                f"The solution is no longer finite after {step} of {last} steps. Take more than {config.substeps} "
                "substeps, a shorter time_step, or more nodes."
            )
        if step >= config.warm_up:
            yield u.numpy()
        if progress:
            progress(step, last)


def initial_states(config: RandomFourierSeries, mesh: Mesh, count: int, generator: torch.Generator) -> Tensor:
    """Return states [count, node] in float64; the same draw on two rings is the same series."""
    if not 1 <= config.num_modes <= (mesh.num_nodes - 1) // 2:
        raise MeshcastError(
            f"num_modes must be between 1 and {(mesh.num_nodes - 1) // 2} on a {mesh.describe()}, "
            f"but is {config.num_modes}."
        )
    draws = torch.rand(count, 2, config.num_modes, dtype=torch.float64, generator=generator)
    amplitude, phase = 2 * draws[:, 0] - 1, 2 * torch.pi * draws[:, 1]  # [count, mode]
    angle = 2 * torch.pi * torch.arange(mesh.num_nodes, dtype=torch.float64) / mesh.num_nodes
    mode = torch.arange(1, config.num_modes + 1, dtype=torch.float64)
    u = torch.einsum("ck,ckn->cn", amplitude, torch.sin(mode[:, None] * angle + phase[:, :, None]))
    return u / u.abs().amax(dim=1, keepdim=True)


def load_simulation(path: str | Path, overrides: Sequence[str] = ()) -> AnySimulation:
    """Return the configuration of a simulation, of the kind it names, of a ring where it names none."""
    found: AnySimulation = load_one_of(KINDS, path, overrides)
    return found


def simulation_of(attributes: Mapping[str, str]) -> AnySimulation | None:
    """Return the simulation that the attributes of a dataset name, None where they name none that is known today."""
    try:
        found = json.loads(attributes.get("simulation", ""))
        if not isinstance(found, dict):
            return None
        by_kind = {tag: cls for cls in KINDS for tag in kinds_of(cls)}
        simulation: AnySimulation = load(by_kind.get(str(found.get("kind")), SimulationConfig), found)
        return simulation
    except (ValueError, MeshcastError):
        return None


def equation_of(config: SimulationConfig) -> RingEquation:
    """Return the equation of a simulation on a ring."""
    return ring_equation(config.equation, config.mesh.num_nodes, config.mesh.length, config.time_step)


def mesh_of(config: AnySimulation) -> Mesh:
    """Return the mesh that a simulation writes its fields on."""
    return solver(config).mesh if isinstance(config, SimulationConfig) else sphere_mesh(config.mesh)


def simulate(
    config: AnySimulation,
    output: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
    notice: Notice = log.info,
    workers: Workers | None = None,
) -> Path:
    """Run a simulation and write it as an anemoi dataset, trajectories on the ensemble axis.

    On a ring one step is a nominal second; on the sphere dates are real, from the configuration's start on.

    output: in place of the configuration's.
    threads: of PyTorch; by default as OMP_NUM_THREADS has it, else one or all, by the time of a few steps.
    notice: takes a line on the threads that were chosen, and on parts of an earlier run that are gone on with.
    workers: who computes the trajectories and writes the dataset, this process alone by default. Theirs is one thread
        each, with which this process alone computes the same, bit for bit.
    Returns where the dataset is. Raises MeshcastError where the output exists, cannot be written or is written by
    another process, before any step is taken, and where the solution is no longer finite.
    """
    path, workers = Path(config.output if output is None else output), workers or OneByOne()
    check_output(path, overwrite)
    with output_lock(path):
        _write(config, path, overwrite, progress, threads_given(threads), notice, workers)
    return path


@dataclass(frozen=True)
class _Simulated:
    """What a kind of simulation writes.

    groups: trajectories that are advanced together. frames: of the trajectories of a group, and a progress.
    piece: the first step of a group, to measure its speed by; None where one thread is best.
    """

    variables: tuple[Variable, ...]
    time_step: TimeStep
    start: str
    groups: list[range]
    frames: Callable[[range, Progress | None], Iterator[NDArray[np.floating]]]
    piece: Callable[[], object] | None
    scalars: GlobalScalars | None = None


def _simulated(config: AnySimulation) -> _Simulated:
    if isinstance(config, ClimateSimulationConfig):
        scalars, every = pathways(config), [range(config.num_trajectories)]
        frames = partial(_of_climate, config, scalars)
        step = TimeStep.parse(config.time_step)
        return _Simulated((SURFACE, DEEP), step, config.start_date, every, frames, None, scalars)
    if isinstance(config, SimulationConfig):
        task, count = solver(config).task, max(1, VALUES_TOGETHER // config.mesh.num_nodes)
        groups = [
            range(first, min(first + count, config.num_trajectories))
            for first in range(0, config.num_trajectories, count)
        ]
        frames = partial(_of_ring, config)
        return _Simulated(task.variables, task.time_step, START, groups, frames, _one_step(config))
    piece, step = one_step(config, sphere_solver(config)), TimeStep.parse(config.time_step)
    frames, groups = partial(sphere_frames, config), advanced_together(config)
    return _Simulated(written_variables(config), step, config.start_date, groups, frames, piece)


def _of_climate(
    config: ClimateSimulationConfig, scalars: GlobalScalars, rows: range, progress: Progress | None
) -> Iterator[NDArray[np.floating]]:
    yield from climate_frames(config, scalars, progress)


def _of_ring(config: SimulationConfig, rows: range, progress: Progress | None) -> Iterator[NDArray[np.floating]]:
    for frame in ring_frames(config, rows, progress):
        yield frame[..., None]


def _write(
    config: AnySimulation,
    path: Path,
    overwrite: bool,
    progress: Progress | None,
    given: int | None,
    notice: Notice,
    workers: Workers,
) -> None:
    import xarray as xr

    simulated, mesh = _simulated(config), mesh_of(config)
    groups = simulated.groups
    if workers.together:
        threads = 1
    elif simulated.piece is None:
        threads = given or 1
    else:
        threads = given or faster_threads(simulated.piece, notice)
    steps = None if workers.together else progress
    trajectories = [
        Trajectories(partial(simulated.frames, rows, steps), config.num_frames, len(rows)) for rows in groups
    ]

    def done(number: int) -> None:
        if progress and workers.together:
            progress(number, len(groups))

    of_all = 4 * config.num_frames * config.num_trajectories * mesh.num_nodes * len(simulated.variables)
    several = len(groups) > 1 or of_all > PART_BYTES
    inputs = _inputs(config, threads) if several else None
    with dataset_folder(path, inputs, overwrite, notice) as folder:
        with num_threads(threads):
            values = write_trajectories(folder, trajectories, workers, done)  # [frame, trajectory, variable, node]
        columns = {
            variable.name: (("time", "number", "cell"), values[:, :, column], {"units": variable.units})
            for column, variable in enumerate(simulated.variables)
        }
        first = to_seconds(np.array([simulated.start], "datetime64[s]"))
        times = to_datetime(simulated.time_step.advance(first, np.arange(config.num_frames)))
        write_dataset(
            folder,
            xr.Dataset(columns, {"time": times}),
            mesh=mesh,
            time_step=simulated.time_step,
            ensemble_axis="trajectory",
            attributes={
                "title": config.title,
                "licence": config.licence,
                "attribution": "simulated with Meshcast",
                "simulation": json.dumps(resolve(config)),
                **as_attribute(records_of(named_in(resolve(config), left_out=(config.output,)))),
            },
            scalars=simulated.scalars,
            workers=workers,
        )


def _inputs(config: AnySimulation, threads: int) -> str:
    """Return a digest of all that trajectories depend on: the configuration, and the threads."""
    return hashlib.sha256(json.dumps([resolve(config), threads], sort_keys=True).encode()).hexdigest()


def _one_step(config: SimulationConfig) -> Callable[[], object]:
    """Return what takes a first step of a simulation on a ring, to measure its speed by."""
    emulator, u = _started(config)
    return lambda: emulator.advance(u)
