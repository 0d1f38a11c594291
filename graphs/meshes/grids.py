"""Grids by name: from a configuration to the mesh where data live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np

from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.kinds import ByKind
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian, octahedral, reduced_gaussian
from graphs.meshes.healpix import healpix
from graphs.meshes.icosphere import IcosphereMesh, icon, icosphere, num_nodes
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring

BYTES_PER_NODE = 120  # coordinates and areas while a grid is built; links to a mesh take more


@dataclass(frozen=True)
class LatLonGrid:
    """Latitudes and longitudes `spacing` degrees apart.

    spacing: [degrees]; must divide the extent.
    south, north: first and last latitude [degrees].
    west, east: first and last longitude [degrees]; 0 to 360 closes the circle.
    """

    kind: Literal["latlon"] = "latlon"
    spacing: float = 1.0
    south: float = -90.0
    north: float = 90.0
    west: float = 0.0
    east: float = 360.0


@dataclass(frozen=True)
class GaussianGrid:
    """The full Gaussian grid F`number`: 2 · number latitudes, 4 · number longitudes."""

    kind: Literal["gaussian"] = "gaussian"
    number: int = 32


@dataclass(frozen=True)
class OctahedralGrid:
    """The octahedral reduced Gaussian grid O`number`."""

    kind: Literal["octahedral"] = "octahedral"
    number: int = 96


@dataclass(frozen=True)
class ReducedGaussianGrid:
    """A reduced Gaussian grid.

    points_per_latitude: for every latitude, north to south.
    """

    points_per_latitude: tuple[int, ...]
    kind: Literal["reduced_gaussian"] = "reduced_gaussian"


@dataclass(frozen=True)
class HealpixGrid:
    """HEALPix in ring order, 12 · nside² points."""

    kind: Literal["healpix"] = "healpix"
    nside: int = 32


@dataclass(frozen=True)
class IconGrid:
    """The triangle centres of an icosphere, 20 · 4^level points."""

    kind: Literal["icon"] = "icon"
    level: int = 4


@dataclass(frozen=True)
class RingGrid:
    """Evenly spaced nodes on a ring."""

    kind: Literal["ring"] = "ring"
    num_nodes: int = 64
    length: float = 1.0


GaussianGrids = GaussianGrid | OctahedralGrid | ReducedGaussianGrid
GridConfig = Annotated[LatLonGrid | GaussianGrids | HealpixGrid | IconGrid | IcosphereMesh | RingGrid, ByKind]


def build_grid(config: GridConfig) -> Mesh:
    """Return the mesh of a grid; raises MeshcastError where it would not fit in memory."""
    count, build = planned(config)
    refuse_too_large(BYTES_PER_NODE * count, f"A grid of {count:,} points", "Choose a coarser one.")
    return build()


def planned(config: GridConfig) -> tuple[int, Callable[[], Mesh]]:
    """Return the number of points of a grid, counted before it is built, and what builds it."""
    match config:
        case LatLonGrid():
            rows, columns = _counts(config)
            latitudes = config.north - config.spacing * np.arange(rows)
            longitudes = config.west + config.spacing * np.arange(columns)
            return rows * columns, partial(latlon, latitudes, longitudes)
        case GaussianGrid(number=number):
            return 8 * number**2, partial(gaussian, number)
        case OctahedralGrid(number=number):
            return 4 * number * (number + 9), partial(octahedral, number)
        case ReducedGaussianGrid(counts):
            return sum(counts), partial(reduced_gaussian, counts)
        case HealpixGrid(nside=nside):
            return 12 * nside**2, partial(healpix, nside)
        case IconGrid(level=level):
            return 20 * 4 ** min(max(level, 0), 30), partial(icon, level)
        case IcosphereMesh(level=level):
            return num_nodes(min(max(level, 0), 30)), partial(icosphere, level)
        case RingGrid():
            return config.num_nodes, partial(ring, config.num_nodes, config.length)


def _counts(config: LatLonGrid) -> tuple[int, int]:
    """Return the rows and the columns of a grid."""
    if not (np.isfinite(config.spacing) and config.spacing > 0):
        raise MeshcastError(f"The spacing of a grid must be positive degrees, but is {config.spacing:g}.")
    if not -90.0 <= config.south < config.north <= 90.0:
        raise MeshcastError(
            f"Latitudes must lie in -90 to 90 degrees, south below north, but run from {config.south:g} to "
            f"{config.north:g}."
        )
    if not 0.0 < config.east - config.west <= 360.0:
        raise MeshcastError(
            f"Longitudes must run eastward, once around at most, not {config.west:g} to {config.east:g}."
        )
    counts = []
    for extent in (config.north - config.south, config.east - config.west):
        steps = extent / config.spacing
        if abs(steps - round(steps)) > 1e-6:
            raise MeshcastError(f"A spacing of {config.spacing:g} degrees does not divide an extent of {extent:g}.")
        counts.append(round(steps) + 1)
    rows, columns = counts
    return rows, columns - (config.east - config.west == 360.0)
