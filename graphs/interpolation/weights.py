"""Sparse weights from the nodes of one mesh to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, Mask, parallel_transport, to_latlon
from graphs.mesh import Mesh
from graphs.meshes.healpix import healpix

Values = TypeVar("Values", NDArray[np.floating], Tensor)
Method = Literal["bilinear", "conservative", "nearest"]
RIM = 0.75  # spacings that a cell reaches from its node: half the diagonal of a square is 0.71
HOLE = 1.5  # spacings from the nearest node where there is none: next to a coarser level 1.2 still lie within a mesh
SLACK = 1e-6  # [degrees], of rounding


@dataclass(frozen=True, eq=False)
class Interpolation:
    """Values at the target's nodes as weighted means of the source's, by `method`.

    matrix: [target node, source node], sparse; its rows sum to one.
    """

    source: Mesh
    target: Mesh
    matrix: csr_array
    method: Method

    def apply(self, values: Values) -> Values:
        """Return values [..., node, channel] on the target of those on the source; tensors stay differentiable."""
        return multiply(self.matrix, values)

    def apply_known(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """As `apply`, over what is known: NaN takes no part, and comes out only where nothing else went in."""
        known = np.isfinite(values)
        if known.all():
            return self.apply(values)
        total = self.apply(np.where(known, values, 0.0).astype(values.dtype))
        weight = self.apply(known.astype(values.dtype))
        return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 1e-6)

    def apply_vector(self, east: Values, north: Values) -> tuple[Values, Values]:
        """Return components [..., node, channel] of a horizontal vector, carried to the target along great circles."""
        cosine, sine = self._turned
        return multiply(cosine, east) - multiply(sine, north), multiply(sine, east) + multiply(cosine, north)

    def describe(self) -> str:
        """Return the interpolation in half a sentence, for attributes and messages."""
        return f"{self.method} from a {self.source.describe()} to a {self.target.describe()}"

    @cached_property
    def _turned(self) -> tuple[csr_array, csr_array]:
        entries = self.matrix.tocoo()
        turn = parallel_transport(self.source.positions[entries.col], self.target.positions[entries.row])
        cosine, sine = (
            sparse(entries.row, entries.col, entries.data * factor, self.source, self.target) for factor in turn
        )
        return cosine, sine


def multiply(matrix: csr_array, values: Values) -> Values:
    if isinstance(values, Tensor):
        moved = values.movedim(-2, 0)
        flat = moved.reshape(moved.shape[0], -1)
        entries = matrix.tocoo()
        rows, columns = (torch.from_numpy(np.asarray(ends, np.int64)).to(values.device) for ends in entries.coords)
        weights = torch.from_numpy(entries.data).to(values.device, values.dtype)
        product = flat.new_zeros(matrix.shape[0], flat.shape[1])
        product = product.index_add(0, rows, weights[:, None] * flat.index_select(0, columns))
        return product.reshape(-1, *moved.shape[1:]).movedim(0, -2)
    array = np.moveaxis(values, -2, 0)
    flat = matrix @ array.reshape(array.shape[0], -1)
    return np.moveaxis(flat.reshape(-1, *array.shape[1:]), 0, -2).astype(values.dtype)


def sparse(rows: Index, columns: Index, data: Array, source: Mesh, target: Mesh) -> csr_array:
    """Return the sparse matrix of these entries, zeros left out and those of one place added."""
    some = data != 0
    shape = (target.num_nodes, source.num_nodes)
    return coo_array((data[some], (rows[some], columns[some])), shape=shape).tocsr()


def rows_to_one(matrix: csr_array) -> csr_array:
    total = np.asarray(matrix.sum(axis=1)).ravel()
    entries = matrix.tocoo()
    return coo_array((entries.data / total[entries.row], (entries.row, entries.col)), shape=matrix.shape).tocsr()


def axes_of(mesh: Mesh) -> tuple[Array, Array]:
    """Return latitudes and longitudes [degrees] of a grid, the longitudes unrolled eastward."""
    columns = mesh.shape[1]
    longitudes = mesh.longitudes[:columns]
    return mesh.latitudes[::columns], longitudes[0] + np.concatenate([[0.0], np.cumsum(np.diff(longitudes) % 360.0)])


def refuse_rings(source: Mesh, target: Mesh) -> None:
    for mesh in (source, target):
        if mesh.domain.kind == "ring":
            raise MeshcastError(f"Interpolation runs between meshes of the sphere, but one is a {mesh.describe()}.")


def beyond(source: Mesh, places: Array) -> Mask:
    """Return which places [place, xyz] no cell of the source reaches: half a spacing beyond its outermost nodes.

    Scattered nodes of the whole sphere leave holes where nothing is known within 1.5 times the usual spacing.
    """
    if source.structured:
        return _beyond_grid(source, places)
    if source.domain.kind == "sphere" and source.faces is not None:
        return np.zeros(len(places), dtype=bool)
    tree = cKDTree(source.positions)
    spacing = tree.query(source.positions, k=min(4, source.num_nodes))[0].max(axis=-1)  # to a neighbour, not a twin
    distance, node = tree.query(places)
    if source.domain.kind == "sphere":  # meridians meet at a pole, whose nodes are closer than their rows
        return np.asarray(distance >= HOLE * np.maximum(spacing[node], np.median(spacing)))
    return np.asarray(distance >= RIM * spacing[node])


def _beyond_grid(source: Mesh, places: Array) -> Mask:
    latitude, longitude = to_latlon(places)
    rows, columns = axes_of(source)
    steps = [float(np.abs(np.diff(axis)).max()) if len(axis) > 1 else 0.0 for axis in (rows, columns)]
    if source.domain.periodic:
        south, north = source.band or (-90.0, 90.0)
        return np.asarray((latitude < south - SLACK) | (latitude > north + SLACK))
    outside = (latitude < rows.min() - steps[0] / 2 - SLACK) | (latitude > rows.max() + steps[0] / 2 + SLACK)
    east = (longitude - columns[0]) % 360.0
    aside = np.minimum(np.maximum(east - (columns[-1] - columns[0]), 0.0), 360.0 - east)
    return np.asarray(outside | (aside > steps[1] / 2 + SLACK))


def uncovered(mesh: Mesh) -> float:
    """Return the share of the sphere that no cell of a mesh reaches, counted at 3,072 places."""
    return float(beyond(mesh, healpix(16).positions).mean())


def refuse_outside(outside: Index, source: Mesh, target: Mesh) -> None:
    if outside.size:
        raise MeshcastError(
            f"{outside.size} of {target.num_nodes} nodes lie beyond the {source.describe()}; the first is "
            f"{target.place(outside[0])}. Take a source that covers them all."
        )
