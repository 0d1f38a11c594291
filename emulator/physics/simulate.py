"""Trajectories of a reference solver on a ring, as arrays or as an anemoi dataset."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.data.datasets.create import check_output, create_dataset
from emulator.data.lineage import as_attribute, named_in, records_of
from emulator.foundation.configuration import load, load_one_of, resolve
from emulator.foundation.threads import Notice, faster_threads, num_threads, threads_given
from emulator.foundation.time_step import TimeStep, to_datetime, to_seconds
from emulator.physics.climate_simulation import ClimateSimulationConfig, climate_arrays, pathways
from emulator.physics.energy_balance_solver import DEEP, SURFACE
from emulator.physics.ring_equations import EquationConfig, RingEquation, equation_in_words, ring_equation
from emulator.physics.ring_solver import RingSolver
from emulator.physics.sphere_simulation import (
    Progress,
    SphereSimulationConfig,
    check_counts,
    one_step,
    sphere_arrays,
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
    emulator, u = _started(config)
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
) -> Path:
    """Run a simulation and write it as an anemoi dataset, trajectories on the ensemble axis.

    On a ring one step is a nominal second; on the sphere dates are real, from the configuration's start on.

    output: in place of the configuration's.
    threads: of PyTorch; by default as OMP_NUM_THREADS has it, else one or all, by the time of a few steps.
    notice: takes a line on the threads that were chosen.
    Returns where the dataset is. Raises MeshcastError where the output exists, cannot be written or is written by
    another process, before any step is taken, and where the solution is no longer finite.
    """
    path = Path(config.output if output is None else output)
    check_output(path, overwrite)
    with output_lock(path):
        _write(config, path, overwrite, progress, threads_given(threads), notice)
    return path


def _write(
    config: AnySimulation,
    path: Path,
    overwrite: bool,
    progress: Progress | None,
    given: int | None,
    notice: Notice,
) -> None:
    import xarray as xr

    scalars, variables = None, tuple[Variable, ...]()
    if isinstance(config, ClimateSimulationConfig):
        scalars, variables = pathways(config), (SURFACE, DEEP)
        time_step, start = TimeStep.parse(config.time_step), config.start_date
        with num_threads(given or 1):  # its matrices are small
            values: NDArray[np.floating] = climate_arrays(config, scalars, progress)
    elif isinstance(config, SimulationConfig):
        task = solver(config).task
        variables, time_step, start = task.variables, task.time_step, START
        with num_threads(given or faster_threads(_one_step(config), notice)):
            values = simulate_arrays(config, progress)[..., None]
    else:
        on_sphere, variables = sphere_solver(config), written_variables(config)
        time_step, start = TimeStep.parse(config.time_step), config.start_date
        with num_threads(given or faster_threads(one_step(config, on_sphere), notice)):
            values = sphere_arrays(config, progress, on_sphere)
    first = to_seconds(np.array([start], "datetime64[s]"))
    columns = {  # of values [trajectory, frame, node, variable]
        variable.name: (("number", "time", "cell"), values[..., column], {"units": variable.units})
        for column, variable in enumerate(variables)
    }
    create_dataset(
        path,
        xr.Dataset(columns, {"time": to_datetime(time_step.advance(first, np.arange(config.num_frames)))}),
        mesh=mesh_of(config),
        time_step=time_step,
        ensemble_axis="trajectory",
        attributes={
            "title": config.title,
            "licence": config.licence,
            "attribution": "simulated with Meshcast",
            "simulation": json.dumps(resolve(config)),
            **as_attribute(records_of(named_in(resolve(config), left_out=(config.output,)))),
        },
        overwrite=overwrite,
        scalars=scalars,
    )


def _one_step(config: SimulationConfig) -> Callable[[], object]:
    """Return what takes a first step of a simulation on a ring, to measure its speed by."""
    emulator, u = _started(config)
    return lambda: emulator.advance(u)
