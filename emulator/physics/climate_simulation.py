"""Climates under pathways of forcing: trajectories of the energy balance, sampled onto any mesh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep, share_of_year, to_seconds
from emulator.global_scalars import GlobalScalars
from emulator.physics.energy_balance import EnergyBalance
from emulator.physics.energy_balance_config import EnergyBalanceConfig
from emulator.physics.energy_balance_solver import FORCING
from emulator.physics.forcing_pathways import RandomPathways
from emulator.physics.sphere_simulation import Progress, SphereMesh, check_counts, check_start_date, sphere_mesh
from graphs.errors import MeshcastError
from graphs.harmonics.basis import orthonormal_basis
from graphs.meshes.icosphere import IcosphereMesh


@dataclass(frozen=True)
class ClimateSimulationConfig:
    """Independent trajectories of a planet's energy balance, each under a pathway of its own.

    Each begins in equilibrium with the first forcing of its pathway.

    A trajectory depends on the equation, the pathways, the seed and its own number alone.

    time_step: between two frames, a month or a year or several.
    mesh: where the temperatures are written, by summing their harmonics at its nodes.
    start_date: of the first frame.
    seed: of the pathways.
    output: name of the dataset, ending in .zarr. The forcings stand beside its fields, as global scalars.
    """

    kind: Literal["climate"] = "climate"
    equation: EnergyBalanceConfig = field(default_factory=EnergyBalanceConfig)
    pathways: RandomPathways = field(default_factory=RandomPathways)
    time_step: str = "1 year"
    mesh: SphereMesh = field(default_factory=lambda: IcosphereMesh(level=2))
    num_trajectories: int = 24
    num_frames: int = 251
    start_date: str = "1850-01-01T00:00:00"
    seed: int = 0
    output: str = "data/climate.zarr"
    title: str = "a planet's energy balance under pathways of forcing"
    licence: str = "CC0-1.0"

    def __post_init__(self) -> None:
        check_counts(self.num_trajectories, self.num_frames, 0)
        check_start_date(self.start_date)
        if TimeStep.parse(self.time_step).years < self.equation.longest_step - 1e-9:
            raise MeshcastError(
                f"A climate's time_step must not be shorter than equation.longest_step, {self.equation.longest_step:g} "
                f"years, but is {self.time_step}."
            )

    @property
    def times(self) -> NDArray[np.int64]:
        """Return the times of the frames [frame]."""
        first = to_seconds(np.array([self.start_date], "datetime64[s]"))
        return TimeStep.parse(self.time_step).advance(np.repeat(first, self.num_frames), np.arange(self.num_frames))

    def in_words(self) -> str:
        """Return what is simulated and how, for a paragraph on methods, sources by their keys in references.bib."""
        ice = ", ice-albedo feedback" if self.equation.ice else ""
        return (
            f"a two-layer energy balance on the sphere [@north1981; @geoffroy2013] with diffusion of heat{ice}, a "
            f"sensitivity of {self.equation.sensitivity:g} K and random pathways of radiative forcing, solved in "
            f"spherical harmonics at T{self.equation.truncation} by Radau's implicit scheme [@hairer1996]"
        )


def pathways(config: ClimateSimulationConfig) -> GlobalScalars:
    """Return the forcing of each trajectory at the times of its frames."""
    years = TimeStep.parse(config.time_step).years * np.arange(config.num_frames, dtype=np.float64)
    seeds = [np.random.SeedSequence([config.seed, number]) for number in range(config.num_trajectories)]
    drawn = [config.pathways.draw(years, np.random.default_rng(seed)) for seed in seeds]
    numbers = tuple(range(config.num_trajectories))
    values = np.stack(drawn, axis=1)[..., None]
    return GlobalScalars((FORCING.name,), (FORCING.units,), config.times, numbers, values, config.output)


def climate_arrays(
    config: ClimateSimulationConfig, forcing: GlobalScalars, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return frames [trajectory, frame, node, layer] of the temperatures [K]; progress as in `simulate_arrays`."""
    return np.stack(list(climate_frames(config, forcing, progress)), axis=1)


def climate_frames(
    config: ClimateSimulationConfig, forcing: GlobalScalars, progress: Progress | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield the frames [trajectory, node, layer] of all trajectories, whose steps are solved together."""
    planet, mesh = EnergyBalance(config.equation), sphere_mesh(config.mesh)
    synthesis = torch.from_numpy(orthonormal_basis(mesh.positions, config.equation.truncation)[0])
    years, season = TimeStep.parse(config.time_step).years, share_of_year(config.times)
    given = torch.from_numpy(forcing.values[..., 0])  # [frame, trajectory]
    starts = {first: planet.equilibrium(first, float(season[0])) for first in set(given[0].tolist())}
    state = torch.cat([starts[first] for first in given[0].tolist()])
    for frame in range(config.num_frames):
        if frame:
            begun = np.full(config.num_trajectories, season[frame - 1])
            between = planet.uniform(given[frame - 1]), planet.uniform(given[frame])
            state = planet.advance(state, years, begun, between).state
        values = config.equation.mean_temperature + state @ synthesis.T
        yield values.transpose(1, 2).numpy().astype(np.float32)
        if progress:
            progress(frame, config.num_frames - 1)
