"""Limited areas: a window of a mesh with a ring of boundary nodes around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from graphs.errors import MeshcastError
from graphs.geometry import EDGE, Array, Index, Mask, between_meridians, great_circle_distance, to_xyz
from graphs.mesh import Domain, Mesh
from graphs.meshes.icosphere import trim


@dataclass(frozen=True)
class CapWindow:
    """All places at most `radius_km` from a centre, with a boundary around them.

    centre: latitude and longitude [degrees].
    radius_km: of what is forecast, along the great circle.
    boundary_km: width of the ring around it, whose nodes are given at every step.
    """

    centre: tuple[float, float]
    radius_km: float
    boundary_km: float
    kind: Literal["cap"] = "cap"

    def __post_init__(self) -> None:
        refuse_bad_place("A window", [self.centre], radius_km=self.radius_km, boundary_km=self.boundary_km)


@dataclass(frozen=True)
class BoxWindow:
    """All places between two latitudes and two meridians, with a boundary around them.

    north, south: latitudes [degrees].
    west, east: longitudes [degrees]; the box reaches from west eastward to east, across the date line too.
    boundary_km: width of the ring around it, whose nodes are given at every step.
    """

    north: float
    west: float
    south: float
    east: float
    boundary_km: float
    kind: Literal["box"] = "box"

    def __post_init__(self) -> None:
        refuse_bad_place("A window", [(self.north, self.west), (self.south, self.east)], boundary_km=self.boundary_km)
        if not self.south < self.north:
            raise MeshcastError(f"A window's north, {self.north:g}, must lie north of its south, {self.south:g}.")
        if self.west % 360.0 == self.east % 360.0:
            raise MeshcastError(f"A window's west and east must differ, but are {self.west:g} and {self.east:g}.")


Window = CapWindow | BoxWindow


def limited_area(mesh: Mesh, window: Window) -> tuple[Mesh, Index]:
    """Return the part of a mesh within a window and its boundary, and which nodes of the mesh those are.

    Nodes keep their order, so that levels stay nested; of a grid, a box keeps whole rows and columns and stays a grid.
    Raises MeshcastError where nothing lies inside, or the boundary has no node or is thinner than the mesh's spacing,
    so that what lies inside would receive nothing from beyond it.
    """
    if mesh.domain.kind == "ring":
        raise MeshcastError(f"A window is cut out of the sphere, but this is a {mesh.describe()}.")
    beyond = distance_beyond(window, mesh) / 1e3
    inside, within = beyond <= 0.0, beyond <= window.boundary_km
    about = f"{_describe(window)} of a {mesh.describe()}"
    if inside.sum() < 3:
        raise MeshcastError(f"The window {about} has {inside.sum()} nodes inside. Make it wider, or take finer data.")
    spacing = _spacing_km(mesh, within)
    if window.boundary_km < spacing:
        raise MeshcastError(
            f"The boundary of the window {about} is {window.boundary_km:g} km wide, but its nodes are {spacing:.0f} km "
            f"apart, so that it has holes. Set boundary_km to {1.5 * spacing:.0f} or more."
        )
    if within.all() and not np.any(within & ~inside):
        raise MeshcastError(f"The window {about} holds all its nodes and needs no boundary. Leave the window away.")
    block = _rows_and_columns(mesh, within) if isinstance(window, BoxWindow) else None
    if block is None:
        return replace(trim(mesh, within), boundary=~inside[within]), np.flatnonzero(within)
    nodes = block.ravel()
    areas = mesh.areas[nodes]
    domain = Domain("limited_area", mesh.domain.size)
    area = Mesh(mesh.positions[nodes], areas / areas.sum(), block.shape, domain, boundary=~inside[nodes])
    return area, nodes


def distance_beyond(window: Window, mesh: Mesh) -> Array:
    """Return how far [node] nodes lie outside what a window forecasts [m], zero inside."""
    positions, radius = mesh.positions, mesh.domain.size
    if isinstance(window, CapWindow):
        distance = great_circle_distance(positions, to_xyz(*window.centre)) * radius
        return np.maximum(distance - window.radius_km * 1e3, 0.0)
    latitude = np.degrees(np.arctan2(positions[:, 2], np.hypot(positions[:, 0], positions[:, 1])))
    longitude = np.degrees(np.arctan2(positions[:, 1], positions[:, 0]))
    width = (window.east - window.west) % 360.0
    among = between_meridians(longitude, window.west, width)
    beside = np.maximum(np.maximum(latitude - window.north, window.south - latitude) - EDGE, 0.0)
    edges = [_to_meridian(positions, side, window.south, window.north) for side in (window.west, window.east)]
    return np.where(among, np.radians(beside), np.minimum(*edges)) * radius


def _to_meridian(positions: Array, longitude: float, south: float, north: float) -> Array:
    """Return the angle [node] to a meridian between two latitudes [degrees]: to the foot of the normal or an end."""
    along, across = to_xyz(0.0, longitude), to_xyz(0.0, longitude + 90.0)
    foot = np.degrees(np.arctan2(positions[:, 2], positions @ along))
    ends = [great_circle_distance(positions, to_xyz(latitude, longitude)) for latitude in (south, north)]
    perpendicular = np.abs(np.arcsin(np.clip(positions @ across, -1.0, 1.0)))
    return np.where((foot >= south) & (foot <= north), perpendicular, np.minimum(*ends))


def _rows_and_columns(mesh: Mesh, within: Mask) -> Index | None:
    """Return the nodes [row, column] of rows and columns that hold a window's; None of no grid, or a closed circle."""
    if not mesh.structured:
        return None
    on_grid = within.reshape(mesh.shape)
    rows, columns = np.flatnonzero(on_grid.any(axis=1)), np.flatnonzero(on_grid.any(axis=0))
    if (len(columns) == mesh.shape[1] and mesh.domain.periodic) or min(len(rows), len(columns)) < 2:
        return None
    breaks = np.flatnonzero(np.diff(columns) > 1)
    if len(breaks):  # across the seam of the longitudes: begin after the gap
        columns = np.roll(columns, -(int(breaks[0]) + 1))
    return rows[:, None] * mesh.shape[1] + columns


def _spacing_km(mesh: Mesh, within: Mask) -> float:
    """Return the usual distance of a node of the window to its nearest neighbour."""
    chord = np.median(cKDTree(mesh.positions).query(mesh.positions[within], k=2)[0][:, 1])
    return float(2.0 * np.arcsin(chord / 2.0) * mesh.domain.size / 1e3)


def _describe(window: Window) -> str:
    if isinstance(window, CapWindow):
        return "within {:g} km of {:g} N, {:g} E".format(window.radius_km, *window.centre)
    return f"{window.south:g} to {window.north:g} N, {window.west:g} to {window.east:g} E"


def refuse_bad_place(what: str, places: Sequence[tuple[float, float]], **widths: float) -> None:
    """Raise MeshcastError where a place is no latitude and longitude in degrees, or a width is not positive."""
    for latitude, longitude in places:
        for name, value, limit in (("latitudes", latitude, 90.0), ("longitudes", longitude, 360.0)):
            if not -limit <= value <= limit:
                raise MeshcastError(f"{what}'s {name} lie in -{limit:g} to {limit:g} degrees, but one is {value:g}.")
    for name, width in widths.items():
        if not (np.isfinite(width) and width > 0):
            raise MeshcastError(f"{what}'s {name} must be positive, but is {width:g}.")
