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
from graphs.harmonics.quadrature import latitude_weights
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian_latitudes
from graphs.meshes.mirror import SAME_PLACE, mirrored_nodes

AT_A_POLE = 1e-6  # [radians] where the components of a wind are those a little beside it
POLAR, SAME_ANGLE = 90.0 - 1e-6, 1e-4  # [degrees]


class Analysis(Protocol):
    """From values on a mesh to coefficients [order, offset, column] up to degree T, and back to the same mesh."""

    @property
    def transform(self) -> SphericalTransform:
        """Return the transform of degree T."""
        ...

    def scalar(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients of values [column, node], and the values that they make."""
        ...

    def wind(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return vorticity and divergence of a wind [column, node], for radius one, and the wind that they make."""
        ...


class RowAnalysis:
    """Analysis by quadrature on a grid of evenly spaced longitudes, its rows from north to south or the other way.

    Rows on a pole take no part, and keep their values where others get those that the coefficients make.
    """

    def __init__(self, mesh: Mesh, truncation: int, rows: tuple[Array, Array]) -> None:
        """Rows: their latitudes, from south to north without poles, and weights; one on the equator stands twice."""
        self.transform = SphericalTransform(truncation, num_longitudes=mesh.shape[1], rows=rows)
        self.southward = bool(mesh.latitudes[0] > 0)
        self.poles = int(np.abs(mesh.latitudes[0]) > POLAR)
        self.equator = len(rows[0]) // 2 if mesh.shape[0] % 2 else None  # where its second one stands
        first = torch.from_numpy(np.radians(mesh.longitudes[:1]))
        self.eastward = torch.exp(-1j * torch.arange(truncation + 1)[:, None, None] * first)  # [order, 1, 1]

    def scalar(self, values: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = self.transform.analysis(self._on_grid(values))
        fitted = self._on_nodes(self.transform.synthesis(coefficients), values)
        return coefficients * self.eastward, fitted

    def wind(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        cosine = self.transform.cos_latitude
        both = (self._on_grid(component) * cosine for component in (east, north))
        divergence, vorticity = self.transform.divergence_and_curl(*both)
        fitted = (self.transform.synthesis(part) / cosine for part in self.transform.wind(vorticity, divergence))
        u, v = (self._on_nodes(part, given) for part, given in zip(fitted, (east, north), strict=True))
        return vorticity * self.eastward, divergence * self.eastward, u, v

    def _on_grid(self, values: Tensor) -> Tensor:
        rows = values.unflatten(1, (-1, self.transform.num_longitudes)).transpose(0, 1)  # [latitude, column, longitude]
        grid = rows[self.poles : len(rows) - self.poles]
        if self.equator is not None:
            grid = torch.cat([grid[: self.equator], grid[self.equator - 1 :]])
        return grid.flip(0) if self.southward else grid

    def _on_nodes(self, grid: Tensor, given: Tensor) -> Tensor:
        """Return values [column, node] of those on the grid, at the poles those that were given."""
        rows = grid.flip(0) if self.southward else grid
        if self.equator is not None:
            rows = torch.cat([rows[: self.equator], rows[self.equator + 1 :]])
        inside = rows.transpose(0, 1).flatten(1)
        size = self.poles * self.transform.num_longitudes
        return torch.cat([given[:, :size], inside, given[:, given.shape[1] - size :]], dim=1)


class NodeAnalysis:
    """Analysis by least squares at any nodes of the whole sphere, of which there must be enough."""

    def __init__(self, mesh: Mesh, truncation: int) -> None:
        self.mesh, self.truncation = mesh, truncation
        self.scalars, self.nodes = NodeProjection(mesh, truncation), Evaluation(mesh, truncation)

    @cached_property
    def transform(self) -> SphericalTransform:
        """Return the transform of the truncation, which winds alone need."""
        return SphericalTransform(self.truncation)

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
    """Return the analysis of a mesh: by quadrature where it is a grid whose rows are fine enough for it."""
    if not mesh.whole_sphere:
        raise MeshcastError(f"Spherical harmonics need nodes all over the sphere, but this is a {mesh.describe()}.")
    if mesh.structured:
        columns = mesh.shape[1]
        even = mesh.longitudes[0] + 360.0 * np.arange(columns) / columns
        away = (mesh.longitudes.reshape(mesh.shape) - even + 180.0) % 360.0 - 180.0
        if columns > 2 * truncation and np.abs(away).max() < SAME_ANGLE:
            rows = quadrature_rows(np.sort(mesh.latitudes[::columns]), truncation)
            if rows is not None:
                return RowAnalysis(mesh, truncation, rows)
    return NodeAnalysis(mesh, truncation)


def quadrature_rows(latitudes: Array, truncation: int) -> tuple[Array, Array] | None:
    """Return what `RowAnalysis` takes of a grid's latitudes [degrees], from south to north: None for too few rows, or
    for such as do not lie alike north and south of the equator."""
    if len(latitudes) > truncation and len(latitudes) % 2 == 0:
        gaussian = gaussian_latitudes(len(latitudes))
        if np.allclose(latitudes, gaussian[0], atol=SAME_ANGLE):
            return gaussian
    inside = latitudes[np.abs(latitudes) <= POLAR]
    weights = latitude_weights(inside, 2 * truncation + 2) if len(inside) > 2 else None
    if weights is None:
        return None
    half = len(inside) // 2
    if len(inside) % 2:
        inside, weights = np.insert(inside, half, inside[half]), np.insert(weights, half, weights[half])
        weights[half : half + 2] /= 2.0
    return inside, weights


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
        columns = torch.from_numpy(np.concatenate([turned.real, turned.imag], axis=1))  # [column, coefficient * 2]
        values = self._bases.values(columns)
        values[wind] /= self._cosine
        if len(self._polar):
            values[np.ix_(wind, self._polar)] = (columns @ self._at_poles.T).numpy()[wind]
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
    def _bases(self) -> PairedBasis:
        return PairedBasis(self.target, self.truncation + 1)

    @cached_property
    def _at_poles(self) -> Tensor:
        """Return what makes the wind at the poles [pole, coefficient * 2].

        Beside a pole u cos(latitude) is cos(latitude) times waves of order one; the others vanish faster, and would
        leave rounding alone.
        """
        beside = self.target.positions[self._polar].copy()
        meridian = np.radians(self.target.longitudes[self._polar])
        beside[:, 0], beside[:, 1] = AT_A_POLE * np.cos(meridian), AT_A_POLE * np.sin(meridian)
        of_winds = real_basis(beside, self.truncation + 1) / AT_A_POLE * np.tile(self.orders == 1, 2)
        return torch.from_numpy(of_winds.astype(np.float32))


class PairedBasis:
    """Sums harmonics at the nodes of a mesh in single precision, where it can at half of the nodes for both halves.

    Through the centre of the sphere degree l takes the factor (-1)^l, across the equator offset k = l - m (-1)^k. So of
    two nodes that lie so, one has the sum and the other the difference of the even and the odd harmonics.
    """

    def __init__(self, mesh: Mesh, truncation: int) -> None:
        self.num_nodes, images = mesh.num_nodes, mirrored_nodes(mesh)
        degrees, kept = Degrees(truncation), Degrees(truncation).kept
        if images is None:
            images, odd = np.arange(mesh.num_nodes), np.zeros(kept.sum(), bool)  # each alone, all harmonics even
        else:
            through_the_centre = np.abs(mesh.positions[images] + mesh.positions).max() < SAME_PLACE
            number = degrees.degree if through_the_centre else degrees.degree - degrees.order
            odd = (number % 2 == 1)[kept]
        self.nodes = np.flatnonzero(np.arange(mesh.num_nodes) <= images)
        self.images = images[self.nodes]
        basis = torch.from_numpy(real_basis(mesh.positions[self.nodes], truncation).astype(np.float32))
        self.parts = [torch.from_numpy(np.flatnonzero(np.tile(part, 2))) for part in (~odd, odd)]
        self.bases = [basis[:, part].T.contiguous() for part in self.parts]  # [coefficient * 2, node]

    def values(self, columns: Tensor) -> NDArray[np.float32]:
        """Return values [column, node] of the kept coefficients [column, coefficient * 2], as `real_basis` has them."""
        even, odd = ((columns[:, part] @ basis).numpy() for part, basis in zip(self.parts, self.bases, strict=True))
        values = np.empty((len(columns), self.num_nodes), np.float32)
        values[:, self.images] = even - odd
        values[:, self.nodes] = even + odd
        return values
