"""Fields from one mesh to another by their harmonics, turned about the axis on the way: exact, not interpolated."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, Mask
from graphs.harmonics.basis import Degrees, real_basis, truncated
from graphs.harmonics.nodes import Evaluation, NodeProjection, WindProjection, pseudo_inverse_by_blocks
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian_latitudes

AT_A_POLE = 1e-6  # [radians] where the components of a wind are those a little beside it


class Analysis(Protocol):
    """From values on a mesh to coefficients [order, offset, column] up to degree T, and back to the same mesh."""

    transform: SphericalTransform

    def scalar(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients of values [column, node], and the values that they make."""
        ...

    def wind(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return vorticity and divergence of a wind [column, node], for radius one, and the wind that they make."""
        ...


class GaussianAnalysis:
    """Analysis by quadrature on a full Gaussian grid, its rows from north to south or from south to north."""

    def __init__(self, mesh: Mesh, truncation: int) -> None:
        self.transform = SphericalTransform(truncation, mesh.shape[0], mesh.shape[1])
        self.southward = bool(mesh.latitudes[0] > 0)

    def scalar(self, values: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = self.transform.analysis(self._on_grid(values))
        return coefficients, self._on_nodes(self.transform.synthesis(coefficients))

    def wind(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        cosine = self.transform.cos_latitude
        both = (self._on_grid(component) * cosine for component in (east, north))
        divergence, vorticity = self.transform.divergence_and_curl(*both)
        fitted = (self.transform.synthesis(part) / cosine for part in self.transform.wind(vorticity, divergence))
        u, v = (self._on_nodes(part) for part in fitted)
        return vorticity, divergence, u, v

    def _on_grid(self, values: Tensor) -> Tensor:
        grid = values.unflatten(1, (self.transform.num_latitudes, -1)).transpose(0, 1)  # [latitude, column, longitude]
        return grid.flip(0) if self.southward else grid

    def _on_nodes(self, grid: Tensor) -> Tensor:
        return (grid.flip(0) if self.southward else grid).transpose(0, 1).flatten(1)


class NodeAnalysis:
    """Analysis by least squares at any nodes of the whole sphere, of which there must be enough."""

    def __init__(self, mesh: Mesh, truncation: int) -> None:
        self.mesh, self.transform = mesh, SphericalTransform(truncation)
        self.scalars, self.nodes = NodeProjection(mesh, truncation), Evaluation(mesh, truncation)

    @cached_property
    def winds(self) -> WindProjection:
        """Return the fit of a wind, built when first asked for: data without a wind need none."""
        return WindProjection(self.mesh, self.transform, pseudo_inverse_by_blocks)

    def scalar(self, values: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = self.scalars.coefficients(values)
        return coefficients, self.nodes.field(coefficients)

    def wind(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        vorticity, divergence = self.winds.coefficients(east, north)
        return vorticity, divergence, *self.nodes.wind(vorticity, divergence, self.transform)


def analysis_of(mesh: Mesh, truncation: int) -> Analysis:
    """Return the analysis of a mesh: by quadrature where it is a Gaussian grid that is fine enough."""
    if mesh.domain.kind != "sphere" or mesh.band is not None:
        raise MeshcastError(f"Spherical harmonics need nodes all over the sphere, but this is a {mesh.describe()}.")
    if mesh.structured:
        rows, columns = mesh.shape
        fine = rows % 2 == 0 and rows > truncation and columns > 2 * truncation
        if fine and np.allclose(np.sort(mesh.latitudes[::columns]), gaussian_latitudes(rows)[0], atol=1e-4):
            grid = SphericalTransform(1, rows, columns).mesh.longitudes[:columns]
            away = (mesh.longitudes.reshape(rows, columns) - grid + 180.0) % 360.0 - 180.0
            if np.abs(away).max() < 1e-4:
                return GaussianAnalysis(mesh, truncation)
    return NodeAnalysis(mesh, truncation)


class HarmonicRemapping:
    """Takes fields from the nodes of one mesh to those of another, by harmonics up to degree T.

    A scalar is kept as its own coefficients, each component of a wind as those of the component times cos(latitude),
    which reach degree T + 1. `packed` [..., coefficient] holds what is kept of a field in the order of `orders`.

    source: where the values are given; it must resolve T. target: where they are wanted.
    """

    def __init__(self, source: Mesh, target: Mesh, truncation: int) -> None:
        if target.domain.kind != "sphere":
            raise MeshcastError(f"Harmonics are evaluated on the whole sphere, but this is a {target.describe()}.")
        self.source, self.target, self.truncation = source, target, truncation
        self._degrees = Degrees(truncation + 1)

    @cached_property
    def analysis(self) -> Analysis:
        """Return the analysis on the mesh of the source, built when it is first asked for."""
        return analysis_of(self.source, self.truncation)

    @property
    def orders(self) -> Index:
        """Return the order m [coefficient] of what is kept of a field."""
        return np.broadcast_to(self._degrees.order, self._degrees.kept.shape)[self._degrees.kept]

    def scalar(self, values: Array) -> tuple[NDArray[np.complex128], Array]:
        """Return the packed coefficients of values [column, node], and the values that they make on the same nodes."""
        coefficients, fitted = self.analysis.scalar(torch.from_numpy(values))
        return self._packed(truncated(coefficients, self.truncation + 1)), fitted.numpy()

    def wind(self, east: Array, north: Array) -> tuple[NDArray[np.complex128], Array]:
        """Return the packed coefficients [component, column, coefficient] of a wind [column, node], and the wind
        [component, column, node] that they make on the same nodes."""
        vorticity, divergence, *fitted = self.analysis.wind(torch.from_numpy(east), torch.from_numpy(north))
        components = self.analysis.transform.wind(vorticity, divergence)  # times cos φ [T + 1, T + 2, column]
        packed = [self._packed(pad(component, (0, 0, 0, 0, 0, 1))) for component in components]
        return np.stack(packed), np.stack([part.numpy() for part in fitted])

    def values(self, packed: NDArray[np.complex64], wind: Mask, turn: float = 0.0) -> NDArray[np.float32]:
        """Return values [column, node] on the target of packed coefficients [column, coefficient].

        wind: [column] whether a column is the component of a wind.
        turn: eastward about the axis, as a share of the whole circle.
        """
        turned = packed * np.exp(-2j * np.pi * turn * self.orders).astype(np.complex64) if turn else packed
        columns = np.concatenate([turned.real, turned.imag], axis=1)  # [column, coefficient * 2]
        found = (torch.from_numpy(columns) @ self._basis.T).numpy()
        values = np.ascontiguousarray(found[:, : self.target.num_nodes])
        values[wind] /= self._cosine
        values[np.ix_(wind, self._polar)] = found[wind, self.target.num_nodes :]
        return values

    def _packed(self, coefficients: Tensor) -> NDArray[np.complex128]:
        return coefficients.permute(2, 0, 1).numpy()[:, self._degrees.kept]

    @cached_property
    def _polar(self) -> Index:
        """Return the nodes on a pole."""
        return np.flatnonzero(np.hypot(*self.target.positions.T[:2]) < AT_A_POLE)

    @cached_property
    def _cosine(self) -> NDArray[np.float32]:
        cosine = np.hypot(*self.target.positions.T[:2])
        cosine[self._polar] = 1.0  # their winds have rows of their own
        return cosine.astype(np.float32)

    @cached_property
    def _basis(self) -> Tensor:
        """Return [node + pole, coefficient * 2]: of scalars at every node, then of the wind at the poles.

        Beside a pole u cos(latitude) is cos(latitude) times waves of order one; the others vanish faster, and would
        leave rounding alone.
        """
        beside = self.target.positions[self._polar].copy()
        meridian = np.radians(self.target.longitudes[self._polar])
        beside[:, 0], beside[:, 1] = AT_A_POLE * np.cos(meridian), AT_A_POLE * np.sin(meridian)
        of_winds = real_basis(beside, self.truncation + 1) / AT_A_POLE * np.tile(self.orders == 1, 2)
        both = np.concatenate([real_basis(self.target.positions, self.truncation + 1), of_winds])
        return torch.from_numpy(both.astype(np.float32))
