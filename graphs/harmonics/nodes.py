"""Spherical harmonics at any nodes: fields from coefficients, and coefficients from fields by least squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.harmonics.basis import Degrees, real_basis
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh

PseudoInverse = Callable[[Array], Array]
ORTHOGONAL = 1e-12  # cosine of the angle between columns: rounding


class Evaluation:
    """Values at any nodes of coefficients up to degree T: summed there, not interpolated.

    mesh: the nodes. truncation: T; winds need derivatives, which reach T + 1.
    cached: whether the basis is kept, 16 (T + 1)² bytes a node, for the next field; by default up to a GiB.
    """

    CHUNK = 1024  # nodes at a time

    def __init__(self, mesh: Mesh, truncation: int, cached: bool | None = None) -> None:
        if mesh.domain.kind == "ring":
            raise MeshcastError(f"Spherical harmonics need nodes on the sphere, but this is a {mesh.describe()}.")
        self.mesh, self.truncation = mesh, truncation
        self.cached = 8 * mesh.num_nodes * (truncation + 2) ** 2 < 2**30 if cached is None else cached
        self._kept_basis: dict[tuple[int, torch.dtype], list[Tensor]] = {}

    def field(self, coefficients: Tensor) -> Tensor:
        """Return values [..., node] of coefficients [order, offset, ...], T + 1 orders."""
        assert coefficients.shape[0] == self.truncation + 1, (coefficients.shape, self.truncation)
        return self._sum(coefficients)

    def wind(self, vorticity: Tensor, divergence: Tensor, transform: SphericalTransform) -> tuple[Tensor, Tensor]:
        """Return a wind [..., node] (see `SphericalTransform.wind`), at a pole along the node's own meridian."""
        shape = vorticity.shape[2:]
        u, v = transform.wind(vorticity.flatten(2), divergence.flatten(2))
        # One order more, which is zero, makes [T + 1, T + 2] the square layout of T + 1.
        both = torch.nn.functional.pad(torch.cat([u, v], dim=-1), (0, 0, 0, 0, 0, 1))
        cosine = torch.from_numpy(np.hypot(*self._off_the_poles.T[:2])).to(both.real)
        east, north = (self._sum(both) / cosine).tensor_split(2)
        return east.reshape(*shape, -1), north.reshape(*shape, -1)

    @cached_property
    def _off_the_poles(self) -> Array:
        positions = self.mesh.positions.copy()
        polar = np.hypot(positions[:, 0], positions[:, 1]) < 1e-6
        meridian = np.radians(self.mesh.longitudes[polar])
        positions[polar, 0], positions[polar, 1] = 1e-6 * np.cos(meridian), 1e-6 * np.sin(meridian)
        return positions

    def _sum(self, coefficients: Tensor) -> Tensor:
        truncation = coefficients.shape[0] - 1
        real = torch.view_as_real(coefficients.flatten(2) if coefficients.ndim > 2 else coefficients[..., None])
        index = torch.as_tensor(np.flatnonzero(Degrees(truncation).kept), device=real.device)
        kept = real.flatten(0, 1).index_select(0, index)
        columns = torch.cat([kept[..., 0], kept[..., 1]])  # [coefficient * 2, column]
        values = [basis.to(columns.device) @ columns for basis in self._basis(truncation, columns.dtype)]
        return torch.cat(values).T.reshape(*coefficients.shape[2:], self.mesh.num_nodes)

    def _basis(self, truncation: int, dtype: torch.dtype) -> Iterable[Tensor]:
        if (truncation, dtype) in self._kept_basis:
            return self._kept_basis[truncation, dtype]
        parts = (self._off_the_poles[first : first + self.CHUNK] for first in range(0, self.mesh.num_nodes, self.CHUNK))
        chunks = (torch.from_numpy(real_basis(part, truncation)).to(dtype) for part in parts)
        return self._kept_basis.setdefault((truncation, dtype), list(chunks)) if self.cached else chunks


def refuse_unresolved(mesh: Mesh, truncation: int) -> None:
    """Raise MeshcastError where nodes do not lie on the whole sphere, or are fewer than the coefficients up to T."""
    if mesh.domain.kind != "sphere":
        raise MeshcastError(f"Spherical harmonics need the whole sphere, but this is a {mesh.describe()}.")
    if (truncation + 1) ** 2 > mesh.num_nodes:
        raise MeshcastError(
            f"T{truncation} has {(truncation + 1) ** 2} coefficients, more than the {mesh.num_nodes} nodes tell. "
            f"Use a truncation of at most {int(np.sqrt(mesh.num_nodes)) - 1}."
        )


def weighted_pseudo_inverse(basis: Array, areas: Array) -> Array:
    """Return the matrix [column, node] of the area-weighted least-squares fit of a basis [node, column]."""
    root = np.sqrt(areas)
    return _pseudo_inverse(basis * root[:, None]) * root


class NodeProjection:
    """Area-weighted least-squares fit of harmonics up to degree T to values at any nodes: analysis without a grid.

    Exact for fields within T as long as the nodes resolve it; (T + 1)² must stay below the number of nodes.
    """

    def __init__(self, mesh: Mesh, truncation: int) -> None:
        refuse_unresolved(mesh, truncation)
        self.truncation = truncation
        basis = real_basis(mesh.positions, truncation)
        useful = np.abs(basis).max(axis=0) > 1e-14  # the imaginary parts of order zero are not there
        inverse = np.zeros(basis.T.shape)
        inverse[useful] = weighted_pseudo_inverse(basis[:, useful], mesh.areas)
        self.matrix = torch.from_numpy(inverse)  # [coefficient * 2, node]

    def coefficients(self, values: Tensor) -> Tensor:
        """Return the complex coefficients [order, offset, ...] of values [..., node]."""
        shape, size = values.shape[:-1], self.truncation + 1
        fitted = self.matrix.to(values) @ values.reshape(-1, values.shape[-1]).T  # [coefficient * 2, column]
        real, imaginary = fitted.tensor_split(2)
        kept = torch.as_tensor(np.flatnonzero(Degrees(self.truncation).kept), device=values.device)
        found = torch.complex(real, imaginary)
        full = found.new_zeros(size * size, found.shape[1])
        return full.index_copy(0, kept, found).reshape(size, size, *shape)


class WindProjection:
    """Area-weighted least-squares fit of vorticity and divergence up to degree T to a wind at any nodes.

    transform: of the truncation T. mesh: the nodes, none of them on a pole; twice their number must exceed 2 T (T + 2).
    pseudo_inverse: of the wind's matrix, such as `pseudo_inverse_by_blocks`.
    """

    def __init__(self, mesh: Mesh, transform: SphericalTransform, pseudo_inverse: PseudoInverse | None = None) -> None:
        self.truncation = truncation = transform.truncation
        if mesh.domain.kind != "sphere" or truncation * (truncation + 2) > mesh.num_nodes:
            raise MeshcastError(
                f"A wind of T{truncation} needs at least {truncation * (truncation + 2)} nodes all over the sphere, "
                f"but this is a {mesh.describe()}."
            )
        degrees = Degrees(truncation)
        order, offset = np.nonzero(degrees.kept & (degrees.degree > 0))
        both = np.flatnonzero(order > 0)  # coefficients with an imaginary part
        self._order, self._offset = np.append(order, order[both]), np.append(offset, offset[both])
        self._unit = torch.cat([torch.ones(len(order)), 1j * torch.ones(len(both))]).to(torch.complex128)
        count = len(self._unit)
        basis = torch.zeros(truncation + 1, truncation + 1, count, dtype=torch.complex128)
        basis[self._order, self._offset, torch.arange(count)] = self._unit
        turning, opening = torch.cat([basis, 0 * basis], dim=-1), torch.cat([0 * basis, basis], dim=-1)
        east, north = Evaluation(mesh, truncation, cached=False).wind(turning, opening, transform)
        root = np.sqrt(mesh.areas)
        matrix = torch.cat([east, north], dim=1).T.numpy() * np.tile(root, 2)[:, None]  # [node * 2, unknown]
        self.matrix = torch.from_numpy((pseudo_inverse or _pseudo_inverse)(matrix) * np.tile(root, 2))

    def coefficients(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor]:
        """Return vorticity and divergence [order, offset, ...] of a wind [..., node] on the sphere of radius one."""
        wind = torch.cat([east, north], dim=-1).reshape(-1, 2 * east.shape[-1])
        return self.arranged(self.matrix.to(wind) @ wind.T, east.shape[:-1])

    def arranged(self, fitted: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return vorticity and divergence [order, offset, ...] of the fit's unknowns [unknown, column]."""
        size, wind = self.truncation + 1, fitted
        unit = self._unit.to(wind.device)
        values = unit.to(torch.complex(wind[:1], wind[:1]).dtype).repeat(2)[:, None] * fitted
        place = torch.as_tensor(self._order * size + self._offset, device=wind.device)
        turning, opening = (
            values.new_zeros(size * size, values.shape[1]).index_add(0, place, half).reshape(size, size, *shape)
            for half in values.tensor_split(2)
        )
        return turning, opening


def pseudo_inverse_by_blocks(matrix: Array) -> Array:
    """Return the pseudo-inverse [column, row], solved apart where columns are orthogonal, as waves on a grid."""
    gram = matrix.T @ matrix
    length = np.sqrt(np.diag(gram))
    count, block = connected_components(np.abs(gram) > ORTHOGONAL * np.outer(length, length), directed=False)
    if count == 1:
        return _pseudo_inverse(matrix)
    inverse = np.empty(matrix.T.shape)
    for columns in (np.flatnonzero(block == number) for number in range(count)):
        inverse[columns] = _pseudo_inverse(matrix[:, columns])
    return inverse


def _pseudo_inverse(matrix: Array) -> Array:
    """Return the pseudo-inverse [column, row], 20 times as fast where columns are nearly orthogonal."""
    gram = matrix.T @ matrix
    with suppress(np.linalg.LinAlgError):
        diagonal = np.diag(np.linalg.cholesky(gram))
        if diagonal.min() >= 0.1 * diagonal.max():
            return np.asarray(np.linalg.solve(gram, matrix.T), np.float64)
    return np.asarray(np.linalg.pinv(matrix), np.float64)
