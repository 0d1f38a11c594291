"""Interpolation between two meshes by a method that a name chooses: the nearest node, linear, or conservative."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import QhullError, cKDTree

from graphs.edges.connect import locate
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, delaunay, great_circle_distance
from graphs.interpolation import weights
from graphs.interpolation.conservative import conservative
from graphs.interpolation.weights import Interpolation, Method, refuse_outside, sparse
from graphs.mesh import Mesh

WIDEST = 4.0  # usual sides: a longer one bridges a bay of a limited area, or the rest of the globe


def interpolation(method: Method, source: Mesh, target: Mesh) -> Interpolation:
    """Return the interpolation of this method between two meshes of the sphere."""
    methods = {"bilinear": bilinear, "conservative": conservative, "nearest": nearest}
    if method not in methods:
        raise MeshcastError(f"Interpolation is bilinear, conservative or nearest, not {method!r}.")
    return methods[method](source, target)


def nearest(source: Mesh, target: Mesh) -> Interpolation:
    """Each target node takes the value of the nearest source node; raise MeshcastError where the source has none."""
    weights.refuse_rings(source, target)
    refuse_outside(np.flatnonzero(weights.beyond(source, target.positions)), source, target)
    found = cKDTree(source.positions).query(target.positions)[1]
    rows = np.arange(target.num_nodes)
    return Interpolation(source, target, sparse(rows, found, np.ones(len(rows)), source, target), "nearest")


def bilinear(source: Mesh, target: Mesh) -> Interpolation:
    """Interpolate linearly: in latitude and longitude on a grid, else in the triangle around each target node.

    Beyond the last row of a global grid, between that row and its mean, which stands for the pole. Second order.
    Raises MeshcastError where the source does not reach a target node.
    """
    weights.refuse_rings(source, target)
    if source.structured or source.domain.kind == "sphere":
        refuse_outside(np.flatnonzero(weights.beyond(source, target.positions)), source, target)
    matrix = _on_grid(source, target) if source.structured else _on_triangles(source, target)
    return Interpolation(source, target, matrix, "bilinear")


def _on_grid(source: Mesh, target: Mesh) -> csr_array:
    latitudes, longitudes = weights.axes_of(source)
    rows = np.arange(source.shape[0])
    if latitudes[0] > latitudes[-1]:
        latitudes, rows = latitudes[::-1], rows[::-1]
    lower, along, beyond = _bracket(latitudes, target.latitudes)
    periodic = source.domain.periodic
    shift = (target.longitudes - longitudes[0]) % 360.0  # [target], from the first column eastward
    axis = longitudes - longitudes[0]
    if periodic:
        axis = np.append(axis, 360.0)
    elif len(axis) > 1:
        shift = np.where(shift > (360.0 + axis[-1]) / 2, shift - 360.0, shift)  # nearer from the west
    left, across, _ = _bracket(axis, shift)
    columns = source.shape[1]
    right = (left + 1) % columns if periodic else left + (across > 0)
    nodes = np.arange(target.num_nodes)
    entries = []
    for row, share in ((lower, 1.0 - along), (np.minimum(lower + 1, len(rows) - 1), along)):
        for column, fraction in ((left, 1.0 - across), (right, across)):
            entries.append((nodes, rows[row] * columns + column, share * fraction))
    south, north = source.band or (-90.0, 90.0)
    reaches_pole = np.where(target.latitudes < 0, south == -90.0, north == 90.0)
    if periodic and (polar := np.flatnonzero((beyond > 0) & reaches_pole)).size:
        # between the last row and the pole: the nearer the pole, the more of the row's mean
        end = np.where(along[polar] > 0.5, -1, 0)
        gap = 90.0 - np.abs(latitudes[end])
        towards = np.zeros(target.num_nodes)
        towards[polar] = beyond[polar] / gap
        entries = [(node, sender, weight * (1.0 - towards)) for node, sender, weight in entries]
        senders = (rows[end][:, None] * columns + np.arange(columns)).ravel()
        entries.append((np.repeat(polar, columns), senders, np.repeat(towards[polar] / columns, columns)))
    row, column, weight = (np.concatenate(arrays) for arrays in zip(*entries, strict=True))
    return weights.rows_to_one(sparse(row, column, weight, source, target))


def _bracket(axis: Array, values: Array) -> tuple[Index, Array, Array]:
    """Return each value's lower neighbour on a rising axis, the fraction to the next, and how far it lies beyond."""
    if len(axis) == 1:
        zeros = np.zeros(len(values))
        return zeros.astype(np.int64), zeros, np.abs(values - axis[0])
    clipped = np.clip(values, axis[0], axis[-1])
    lower = np.clip(np.searchsorted(axis, clipped, side="right") - 1, 0, len(axis) - 2)
    return lower, (clipped - axis[lower]) / (axis[lower + 1] - axis[lower]), np.abs(values - clipped)


def _on_triangles(source: Mesh, target: Mesh) -> csr_array:
    faces = source.faces if source.faces is not None else _triangles(source)
    face, shares = locate(source.positions, faces, target.positions)
    refuse_outside(np.flatnonzero(face < 0), source, target)
    rows = np.repeat(np.arange(target.num_nodes), 3)
    return sparse(rows, faces[face].ravel(), shares.ravel(), source, target)


def _triangles(mesh: Mesh) -> Index:
    """Return Delaunay triangles of nodes that have none; of a limited area those that do not bridge its outside."""
    try:
        faces = delaunay(mesh.positions)
    except QhullError:
        raise MeshcastError(
            f"The nodes of the {mesh.describe()} span no triangles, so nothing lies between them. Use nearest."
        ) from None
    if mesh.domain.kind == "sphere":
        return faces
    sides = mesh.positions[faces]
    longest = great_circle_distance(sides, np.roll(sides, 1, axis=1)).max(axis=1)
    return faces[longest < WIDEST * np.median(longest)]
