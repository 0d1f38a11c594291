"""Spherical harmonics: Gaussian grids, transforms, and evaluation and projection at any nodes.

A field is f(λ, μ) = Σ_m Σ_l f_lm P_lm(μ) e^{imλ}, μ = sin(latitude), with (1/2) ∫ P_lm² dμ = 1. The f_00 is then the
area mean, and the area mean of f² is Σ_l |f_l0|² + 2 Σ_{m>0} |f_lm|². Fields are real, so only m >= 0 is kept.

Coefficients are complex [order, offset, ...]: order m = 0 ... T, offset k = l - m = 0 ... T; those with l > T are zero.
In this layout even and odd offsets are the parts symmetric and antisymmetric about the equator, for every order alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.mesh import EARTH_RADIUS, Mesh
from graphs.meshes.gaussian import gaussian_latitudes
from graphs.meshes.latlon import latlon

Array = NDArray[np.float64]

TABLES = 6  # of Legendre functions that a transform holds at the peak, of both parities together


def legendre(mu: Array, truncation: int, offsets: int | None = None, cosine: Array | None = None) -> Array:
    """Associated Legendre functions P_lm(μ) [point, order, offset], normalised as above, without the (-1)^m.

    By the recurrence in l at fixed m (Belousov 1962; Press et al., Numerical Recipes, 3rd ed., eq. 6.7.9), which is
    stable up to degrees of some hundreds in float64.

    offsets: how many offsets to return, `truncation + 1` by default.
    cosine: cos(latitude), where it is known better than sqrt(1 - μ²), as beside a pole.
    """
    offsets = truncation + 1 if offsets is None else offsets
    mu = np.asarray(mu, np.float64)
    cosine = np.sqrt(np.maximum(0.0, 1.0 - mu**2)) if cosine is None else cosine
    table = np.zeros((mu.size, truncation + 1, offsets))
    diagonal = np.ones(mu.size)
    for m in range(truncation + 1):
        if m:
            diagonal = diagonal * cosine * np.sqrt((2 * m + 1) / (2 * m))
        table[:, m, 0] = diagonal
        if offsets > 1:
            table[:, m, 1] = np.sqrt(2 * m + 3.0) * mu * diagonal
        for k in range(2, offsets):
            low, high = _epsilon(m + k - 1.0, m), _epsilon(float(m + k), m)
            table[:, m, k] = (mu * table[:, m, k - 1] - low * table[:, m, k - 2]) / high
    return table


def _epsilon(degree: float | Array, order: int | Array) -> float | Array:
    """ε_lm = sqrt((l² - m²) / (4 l² - 1)): μ P_lm = ε_{l+1,m} P_{l+1,m} + ε_lm P_{l-1,m}."""
    return np.sqrt(np.maximum(degree**2 - order**2, 0.0) / (4.0 * degree**2 - 1.0))


@dataclass(frozen=True)
class Degrees:
    """The indices of triangular truncation T in the layout [order, offset].

    truncation: T, the highest degree and order.
    """

    truncation: int

    @property
    def order(self) -> NDArray[np.int64]:
        """[order, 1]."""
        return np.arange(self.truncation + 1)[:, None]

    @property
    def degree(self) -> NDArray[np.int64]:
        """[order, offset], beyond T where a place is unused."""
        return self.order + np.arange(self.truncation + 1)[None]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """[order, offset] true where l <= T."""
        return self.degree <= self.truncation

    @property
    def multiplicity(self) -> Array:
        """[order, offset]: 1 for m = 0, 2 beyond (its conjugate counts too), 0 where unused."""
        return np.where(self.order == 0, 1.0, 2.0) * self.kept


def power_by_degree(coefficients: Tensor) -> Tensor:
    """[degree, ...] area mean of the square, by degree, of coefficients [order, offset, ...]."""
    truncation = coefficients.shape[0] - 1
    degrees = Degrees(truncation)
    share = torch.as_tensor(degrees.multiplicity, device=coefficients.device)
    square = coefficients.abs().square()
    square = square * share.to(square.dtype).reshape(share.shape + (1,) * (square.ndim - 2))
    total = square.new_zeros(2 * truncation + 1, *square.shape[2:])
    index = torch.as_tensor(degrees.degree.ravel(), device=coefficients.device)
    return total.index_add_(0, index, square.flatten(0, 1))[: truncation + 1]


def truncated(coefficients: Tensor, truncation: int) -> Tensor:
    """The same field with degrees up to `truncation` only, in that truncation's layout (zeros are added, too)."""
    have = coefficients.shape[0] - 1
    more = max(0, truncation - have)
    pad = (0, 0) * (coefficients.ndim - 2) + (0, more, 0, more)
    wide = torch.nn.functional.pad(coefficients, pad) if more else coefficients
    part = wide[: truncation + 1, : truncation + 1]
    kept = torch.as_tensor(Degrees(truncation).kept, device=part.device)
    return part * kept.reshape(kept.shape + (1,) * (part.ndim - 2))


class SphericalTransform:
    """Transforms between coefficients and a Gaussian grid, in any number of columns at once; differentiable.

    Grid values are [latitude, column, longitude], latitudes from south to north. The default grid, 3 T + 1 longitudes
    rounded up to a product of small primes and half as many latitudes, is free of aliasing in quadratic products.

    truncation: T; coefficients of derivatives reach T + 1, which the tables allow for.
    dtype: of the grid values, float64 or float32.
    """

    def __init__(
        self,
        truncation: int,
        num_latitudes: int | None = None,
        num_longitudes: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        if truncation < 1:
            raise MeshcastError(f"The truncation must be at least 1, but is {truncation}.")
        least = 3 * truncation + 1
        self.num_longitudes = _smooth_even(least) if num_longitudes is None else num_longitudes
        self.num_latitudes = _next_even(self.num_longitudes / 2) if num_latitudes is None else num_latitudes
        if self.num_latitudes % 2 or self.num_latitudes < truncation + 1 or self.num_longitudes < 2 * truncation + 1:
            raise MeshcastError(
                f"T{truncation} needs an even number of at least {truncation + 1} latitudes and at least "
                f"{2 * truncation + 1} longitudes, but the grid has {self.num_latitudes} x {self.num_longitudes}."
            )
        refuse_too_large(
            8 * TABLES * (self.num_latitudes // 2) * (truncation + 1) * (truncation + 2),
            f"The transform of T{truncation} on {self.num_latitudes:,} x {self.num_longitudes:,} points",
            "Choose a lower truncation.",
        )
        self.truncation, self.dtype, self.device = truncation, dtype, torch.device(device)
        self.latitudes, weights = gaussian_latitudes(self.num_latitudes)
        self.longitudes = 360.0 * np.arange(self.num_longitudes) / self.num_longitudes
        half = self.num_latitudes // 2
        # T + 2 offsets: one degree more than T at every order, for the products with μ in derivatives.
        table = legendre(np.sin(np.radians(self.latitudes[half:])), truncation, truncation + 2)  # north
        beyond = Degrees(truncation).order + np.arange(truncation + 2)[None] > truncation + 1
        table[:, beyond] = 0.0
        synthesis = table.transpose(1, 0, 2)  # [order, latitude, offset]
        analysis = (table * weights[half:, None, None]).transpose(1, 2, 0)  # [order, offset, latitude]
        divided = analysis / np.cos(np.radians(self.latitudes[half:])) ** 2
        self._synthesis = [self._tensor(synthesis[:, :, parity::2]) for parity in (0, 1)]
        self._analysis = [self._tensor(analysis[:, parity::2]) for parity in (0, 1)]
        self._divided_analysis = [self._tensor(divided[:, parity::2]) for parity in (0, 1)]
        self.sin_latitude = self._tensor(np.sin(np.radians(self.latitudes)))[:, None, None]
        self.cos_latitude = self._tensor(np.cos(np.radians(self.latitudes)))[:, None, None]

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, self.dtype)

    @cached_property
    def mesh(self) -> Mesh:
        """The Gaussian grid as a mesh, its areas the quadrature weights."""
        mesh = latlon(self.latitudes, self.longitudes, periodic=True, radius=EARTH_RADIUS)
        weights = gaussian_latitudes(self.num_latitudes)[1]
        areas = np.repeat(weights / self.num_longitudes, self.num_longitudes)
        return Mesh(mesh.positions, areas / areas.sum(), mesh.shape, mesh.domain)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Grid values [latitude, column, longitude] of coefficients [order, offset, column], T + 1 or T + 2 offsets."""
        offsets = coefficients.shape[1]
        columns = torch.view_as_real(coefficients).flatten(2)  # [order, offset, column * 2]
        even, odd = (
            torch.bmm(table[:, :, : columns[:, parity::2].shape[1]], columns[:, parity::2])
            for parity, table in enumerate(self._synthesis)
        )
        assert offsets <= self.truncation + 2
        fourier = torch.cat([(even - odd).flip(1), even + odd], dim=1)  # [order, latitude, column * 2]
        orders = torch.view_as_complex(fourier.unflatten(2, (-1, 2))).permute(1, 2, 0)  # [latitude, column, order]
        return torch.fft.irfft(orders, n=self.num_longitudes, norm="forward")

    def analysis(self, values: Tensor, offsets: int | None = None, divided: bool = False) -> Tensor:
        """Coefficients [order, offset, column] of grid values [latitude, column, longitude], by Gaussian quadrature.

        offsets: T + 1 by default, T + 2 for what a derivative is made of.
        divided: of the values over cos²(latitude).
        """
        offsets = self.truncation + 1 if offsets is None else offsets
        fourier = torch.fft.rfft(values, norm="forward")[..., : self.truncation + 1]  # [latitude, column, order]
        columns = torch.view_as_real(fourier).permute(2, 0, 1, 3).flatten(2)  # [order, latitude, column * 2]
        half = self.num_latitudes // 2
        north, south = columns[:, half:], columns[:, :half].flip(1)
        parts = [
            torch.bmm(table, part)
            for table, part in zip(
                self._divided_analysis if divided else self._analysis, (north + south, north - south), strict=True
            )
        ]
        # Interleave the parities: offsets 0, 2, ... are even, 1, 3, ... odd.
        result = columns.new_empty(columns.shape[0], self.truncation + 2, columns.shape[2])
        result[:, 0::2], result[:, 1::2] = parts
        result = result[:, :offsets]
        if offsets == self.truncation + 1:
            result = result * self._kept
        return torch.view_as_complex(result.unflatten(2, (-1, 2)).contiguous())

    def kept(self, coefficients: Tensor) -> Tensor:
        """Coefficients [order, offset, column] without what lies beyond degree T."""
        return coefficients * self._kept

    @cached_property
    def _kept(self) -> Tensor:
        return torch.as_tensor(Degrees(self.truncation).kept, device=self.device, dtype=self.dtype)[..., None]

    @cached_property
    def laplacian(self) -> Tensor:
        """[order, offset, 1] eigenvalues -l (l + 1) of the Laplacian on the unit sphere, zero where unused."""
        degrees = Degrees(self.truncation)
        return self._tensor(-(degrees.degree * (degrees.degree + 1.0)) * degrees.kept)[..., None]

    @cached_property
    def inverse_laplacian(self) -> Tensor:
        """[order, offset, 1] the inverse, zero for the mean."""
        values = self.laplacian
        return torch.where(values == 0, torch.zeros_like(values), 1.0 / torch.where(values == 0, 1.0, values))

    @cached_property
    def _recurrence(self) -> tuple[Tensor, Tensor, Tensor]:
        """i m [order, 1, 1]; what l sends to l + 1 and to l - 1 in (1 - μ²) dP/dμ, [order, offset of l, 1]."""
        degrees = Degrees(self.truncation)
        degree, order = degrees.degree.astype(np.float64), degrees.order.astype(np.float64)
        up = -degree * _epsilon(degree + 1.0, order)
        down = (degree + 1.0) * _epsilon(degree, order)
        return (
            1j * self._tensor(order.astype(np.float64))[..., None],
            self._tensor(up * degrees.kept)[..., None],
            self._tensor(down * degrees.kept)[..., None],
        )

    def wind(self, vorticity: Tensor, divergence: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients [order, T + 2 offsets, column] of u cos φ and v cos φ, on the sphere of radius one.

        u cos φ = ∂χ/∂λ - cos φ ∂ψ/∂φ, v cos φ = ∂ψ/∂λ + cos φ ∂χ/∂φ, ψ = ∇⁻² ζ, χ = ∇⁻² δ; in units of the
        vorticity, so multiply by the radius.
        """
        imaginary, up, down = self._recurrence
        stream, potential = self.inverse_laplacian * vorticity, self.inverse_laplacian * divergence
        both = torch.cat([stream, potential], dim=-1)
        slope = torch.nn.functional.pad(up * both, (0, 0, 1, 0)) + torch.nn.functional.pad(
            (down * both)[:, 1:], (0, 0, 0, 2)
        )  # cos φ ∂/∂φ, [order, T + 2, column]
        turn = torch.nn.functional.pad(imaginary * both, (0, 0, 0, 1))
        count = vorticity.shape[-1]
        u = turn[..., count:] - slope[..., :count]
        v = turn[..., :count] + slope[..., count:]
        return u, v

    def divergence_and_curl(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients [order, offset, column] of div and curl, on the sphere of radius one, of a vector on the grid.

        east, north: components times cos φ [latitude, column, longitude].
        """
        return self.differentiated(self.analysis(torch.cat([east, north], dim=1), self.truncation + 2, divided=True))

    def differentiated(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients [order, offset, column] of div and curl of a vector, on the sphere of radius one.

        both: coefficients [order, T + 2 offsets, column · 2] of its east, then its north component over cos φ.

        div = (1 / cos² φ) (∂A/∂λ + cos φ ∂B/∂φ), integrated by parts in μ, so that its mean is zero exactly.
        """
        count = both.shape[-1] // 2
        imaginary, up, down = self._recurrence
        width = self.truncation + 1
        lower = torch.nn.functional.pad(both[:, : width - 1], (0, 0, 1, 0))  # degree l - 1 at the place of l
        slope = -(up * both[:, 1:] + down * lower)  # -∫ X (1 - μ²) dP_lm/dμ
        turn = imaginary * both[:, :width] * self._kept
        divergence = turn[..., :count] + slope[..., count:]
        curl = turn[..., count:] - slope[..., :count]
        return divergence, curl


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
        self._kept_basis: dict[int, list[Array]] = {}

    def field(self, coefficients: Tensor) -> Tensor:
        """Values [..., node] of coefficients [order, offset, ...], T + 1 orders."""
        assert coefficients.shape[0] == self.truncation + 1, (coefficients.shape, self.truncation)
        return self._sum(coefficients)

    def wind(self, vorticity: Tensor, divergence: Tensor, transform: SphericalTransform) -> tuple[Tensor, Tensor]:
        """East and north components [..., node]; see `SphericalTransform.wind`.

        On a pole they are those of the node's own meridian, taken a millionth of a radian away.
        """
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
        parts = [torch.from_numpy(basis).to(columns) @ columns for basis in self._basis(truncation)]
        return torch.cat(parts).T.reshape(*coefficients.shape[2:], self.mesh.num_nodes)

    def _basis(self, truncation: int) -> Iterable[Array]:
        if truncation in self._kept_basis:
            return self._kept_basis[truncation]
        firsts = range(0, self.mesh.num_nodes, self.CHUNK)
        parts = (real_basis(self._off_the_poles[first : first + self.CHUNK], truncation) for first in firsts)
        return self._kept_basis.setdefault(truncation, list(parts)) if self.cached else parts


def evaluate(coefficients: Tensor, mesh: Mesh) -> Tensor:
    """Values [..., node] at a mesh's nodes of coefficients [order, offset, ...], once; see `Evaluation`."""
    return Evaluation(mesh, coefficients.shape[0] - 1, cached=False).field(coefficients)


def real_basis(positions: Array, truncation: int) -> Array:
    """[node, coefficient * 2]: values of a real field at nodes from the kept coefficients' real, then imaginary parts.

    The columns of the imaginary parts of order zero are zero.
    """
    degrees = Degrees(truncation)
    cosine = np.hypot(positions[:, 0], positions[:, 1])
    table = legendre(positions[:, 2], truncation, cosine=cosine) * degrees.multiplicity
    angle = np.arctan2(positions[:, 1], positions[:, 0])[:, None, None] * degrees.order
    kept = degrees.kept
    return np.concatenate([(table * np.cos(angle))[:, kept], (-table * np.sin(angle))[:, kept]], axis=1)


class NodeProjection:
    """Area-weighted least-squares fit of harmonics up to degree T to values at any nodes: analysis without a grid.

    Exact for fields within T as long as the nodes resolve it; (T + 1)² must stay below the number of nodes.

    mesh: the nodes. truncation: T.
    """

    def __init__(self, mesh: Mesh, truncation: int) -> None:
        if mesh.domain.kind != "sphere":
            raise MeshcastError(f"Spherical harmonics need the whole sphere, but this is a {mesh.describe()}.")
        if (truncation + 1) ** 2 > mesh.num_nodes:
            raise MeshcastError(
                f"T{truncation} has {(truncation + 1) ** 2} coefficients, more than the {mesh.num_nodes} nodes tell. "
                f"Use a truncation of at most {int(np.sqrt(mesh.num_nodes)) - 1}."
            )
        self.truncation = truncation
        basis = real_basis(mesh.positions, truncation)
        useful = np.abs(basis).max(axis=0) > 1e-14  # the imaginary parts of order zero are not there
        root = np.sqrt(mesh.areas)
        inverse = np.zeros(basis.T.shape)
        inverse[useful] = _pseudo_inverse(basis[:, useful] * root[:, None]) * root
        self.matrix = torch.from_numpy(inverse)  # [coefficient * 2, node]

    def coefficients(self, values: Tensor) -> Tensor:
        """Complex [order, offset, ...] of values [..., node]."""
        shape, size = values.shape[:-1], self.truncation + 1
        fitted = self.matrix.to(values) @ values.reshape(-1, values.shape[-1]).T  # [coefficient * 2, column]
        real, imaginary = fitted.tensor_split(2)
        kept = torch.as_tensor(np.flatnonzero(Degrees(self.truncation).kept), device=values.device)
        full = torch.zeros(
            size * size, fitted.shape[1], dtype=torch.complex(real, imaginary).dtype, device=values.device
        )
        return full.index_copy(0, kept, torch.complex(real, imaginary)).reshape(size, size, *shape)


class WindProjection:
    """Area-weighted least-squares fit of vorticity and divergence up to degree T to a wind at any nodes.

    transform: of the truncation T. mesh: the nodes, none of them on a pole; twice their number must exceed 2 T (T + 2).
    """

    def __init__(self, mesh: Mesh, transform: SphericalTransform) -> None:
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
        self.matrix = torch.from_numpy(_pseudo_inverse(matrix) * np.tile(root, 2))

    def coefficients(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor]:
        """Vorticity and divergence [order, offset, ...] of a wind [..., node] on the sphere of radius one."""
        shape, size = east.shape[:-1], self.truncation + 1
        wind = torch.cat([east, north], dim=-1).reshape(-1, 2 * east.shape[-1])
        fitted = self.matrix.to(wind) @ wind.T  # [unknown, column]
        unit = self._unit.to(wind.device)
        values = unit.to(torch.complex(wind[:1], wind[:1]).dtype).repeat(2)[:, None] * fitted
        place = torch.as_tensor(self._order * size + self._offset, device=wind.device)
        turning, opening = (
            values.new_zeros(size * size, values.shape[1]).index_add(0, place, part).reshape(size, size, *shape)
            for part in values.tensor_split(2)
        )
        return turning, opening


def _pseudo_inverse(matrix: Array) -> Array:
    """[column, row] least squares, by the normal equations where columns are nearly orthogonal: 20 times as fast."""
    gram = matrix.T @ matrix
    try:
        diagonal = np.diag(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(matrix), np.float64)
    if diagonal.min() < 0.1 * diagonal.max():
        return np.asarray(np.linalg.pinv(matrix), np.float64)
    return np.asarray(np.linalg.solve(gram, matrix.T), np.float64)


def _next_even(number: float) -> int:
    return 2 * int(np.ceil(number / 2 - 1e-9))


def _smooth_even(least: int) -> int:
    """The smallest multiple of four at or above `least` without prime factors beyond five: its FFT is fast."""
    candidate = 4 * -(-least // 4)
    while True:
        rest = candidate
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
        candidate += 4
