"""Sparse weights from the nodes of one mesh to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, parallel_transport
from graphs.mesh import Mesh

Values = TypeVar("Values", NDArray[np.floating], Tensor)
Method = Literal["bilinear", "conservative", "nearest"]


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


def refuse_outside(outside: Index, source: Mesh, target: Mesh) -> None:
    if outside.size:
        raise MeshcastError(
            f"{outside.size} of {target.num_nodes} nodes lie beyond the {source.describe()}; the first is "
            f"{target.place(outside[0])}. Take a source that covers them all."
        )
