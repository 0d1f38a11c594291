"""What a planet's energy balance is made of: radiation, ice, land and sea, and the deep ocean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emulator.data.files import static_fields_of_files
from emulator.pathways.radiative_forcing import CO2_DOUBLING
from emulator.physics.insolation import Insolation
from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.interpolation.conservative import conservative
from graphs.mesh import Mesh

LEAST_DEEP_SEA = 0.01  # of the mean, under land, where nothing reaches it: a capacity of zero would make no matrix


@dataclass(frozen=True)
class IceAlbedo:
    """The albedo of ice and snow, taken on as the surface freezes.

    α = α_free + (albedo - α_free) (1 + tanh((freezing - T) / width)) / 2

    albedo: of ice; .62 as in North (1975), doi:10.1175/1520-0469(1975)032<2033:TOASCM>2.0.CO;2.
    freezing: temperature at which half is taken on [K]. width: of the transition [K].
    """

    albedo: float = 0.62
    freezing: float = 266.15
    width: float = 6.0

    def __post_init__(self) -> None:
        if not (0 < self.albedo < 1 and self.freezing > 0 and self.width > 0):
            raise MeshcastError(
                "The ice's albedo must be between 0 and 1, its freezing and width positive, but they are "
                f"{self.albedo:g}, {self.freezing:g} and {self.width:g}."
            )

    def of(self, free: Tensor, temperature: Tensor) -> Tensor:
        """Return the albedo [..., node] of a surface with the albedo `free` [node] without ice."""
        return free + (self.albedo - free) * 0.5 * (1.0 + torch.tanh((self.freezing - temperature) / self.width))

    def with_slope(self, free: Array, temperature: Array) -> tuple[Array, Array]:
        """Return the same and its derivative by the temperature [K-1]."""
        frozen = 0.5 * (1.0 + np.tanh((self.freezing - temperature) / self.width))
        return free + (self.albedo - free) * frozen, -(self.albedo - free) * 2.0 * frozen * (1.0 - frozen) / self.width


@dataclass(frozen=True)
class LandMask:
    """Where land is, which takes up less heat than the sea, and no deep ocean below it.

    source: a NetCDF or GRIB file with a global grid. variable: its name there, the share of land from 0 to 1.
    capacity: of soil and air [W yr m-2 K-1].
    """

    source: str
    variable: str = "lsm"
    capacity: float = 0.6

    def share(self, mesh: Mesh) -> Array:
        """Return the share of land [node] of a mesh."""
        fields = static_fields_of_files([self.source])
        if self.variable not in fields.variables:
            raise MeshcastError(
                f"{self.source} has no {self.variable}; it holds {', '.join(fields.variables)}. Name the share of land "
                "in land.variable."
            )
        values = fields.read(slice(0, 1), [self.variable])[0, 0, :, 0].astype(np.float64)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise MeshcastError(
                f"{self.variable} of {self.source} must be the share of land, from 0 to 1 everywhere, but it is "
                f"{np.nanmin(values):g} to {np.nanmax(values):g}, and {np.count_nonzero(~np.isfinite(values)):,} "
                "values are missing."
            )
        return np.clip(conservative(fields.mesh, mesh).apply(values[:, None])[:, 0], 0.0, 1.0)


@dataclass(frozen=True)
class EnergyBalanceConfig:
    """A planet's energy balance. Capacities and uptake are means over the globe; where is land, the sea has the rest.

    truncation: T of the harmonics.
    sensitivity: warming in equilibrium at twice the CO2 [K], which the radiation's slope B is chosen for.
    forcing_of_doubling: of CO2 [W m-2].
    mean_temperature: T₀, the global mean without forcing [K], which the radiation's mean A is chosen for.
    diffusivity: D [W m-2 K-1], on the unit sphere; North et al. (1981) have .649.
    capacity, deep_capacity: C, C_d [W yr m-2 K-1]. uptake: γ [W m-2 K-1]. Means of CMIP5's models, Geoffroy et al.
        (2013), table 4. An uptake of 0 leaves the deep ocean as it is.
    insolation: of the annual mean, or in the course of the year, the mean over each day.
    solar_constant: [W m-2].
    albedo, albedo_slope: α_free = albedo + albedo_slope (3 sin²(latitude) - 1) / 2 without ice, North (1975).
    ice: null for a planet without ice-albedo feedback.
    land: null for a planet alike everywhere.
    longest_step: of the integrator [yr].
    """

    truncation: int = 15
    sensitivity: float = 3.0
    forcing_of_doubling: float = CO2_DOUBLING
    mean_temperature: float = 286.85
    diffusivity: float = 0.6
    capacity: float = 7.3
    deep_capacity: float = 106.0
    uptake: float = 0.73
    insolation: Insolation = "annual"
    solar_constant: float = 1361.0
    albedo: float = 0.303
    albedo_slope: float = 0.0779
    ice: IceAlbedo | None = IceAlbedo()
    land: LandMask | None = None
    longest_step: float = 1 / 24

    def free_albedo(self, sin_latitude: Array) -> Array:
        """Return the albedo without ice at the sine of latitudes."""
        return self.albedo + self.albedo_slope * (1.5 * np.square(sin_latitude) - 0.5)

    def __post_init__(self) -> None:
        positive = ("truncation", "sensitivity", "forcing_of_doubling", "mean_temperature", "capacity", "deep_capacity")
        for name in (*positive, "solar_constant", "longest_step"):
            if not getattr(self, name) > 0:
                raise MeshcastError(f"{name} of an energy balance must be positive, but is {getattr(self, name):g}.")
        for name in ("diffusivity", "uptake"):
            if not getattr(self, name) >= 0:
                raise MeshcastError(f"{name} of an energy balance cannot be negative, but is {getattr(self, name):g}.")


@dataclass(frozen=True)
class Layers:
    """Capacities [W yr m-2 K-1] and exchange [W m-2 K-1] of each node [node]."""

    surface: Array
    deep: Array
    uptake: Array


def layers(config: EnergyBalanceConfig, land: Array, areas: Array) -> Layers:
    """Return what the nodes hold and exchange where so much of each is land [node]."""
    if config.land is None:
        return Layers(*(np.full(len(areas), value) for value in (config.capacity, config.deep_capacity, config.uptake)))
    all_land = float(areas @ land)
    sea = (config.capacity - config.land.capacity * all_land) / (1 - all_land) if all_land < 1 else 0.0
    if not sea > 0:
        raise MeshcastError(
            f"A land.capacity of {config.land.capacity:g} W yr m-2 K-1 on {all_land:.0%} of the globe leaves the sea "
            f"nothing of a mean capacity of {config.capacity:g}. Make it smaller."
        )
    share = (1 - land) / (1 - all_land)  # of a mean over the globe
    deep = np.maximum(share, LEAST_DEEP_SEA)
    return Layers(
        config.land.capacity * land + sea * (1 - land),
        config.deep_capacity * deep / (areas @ deep),
        config.uptake * share,
    )
