"""Transforms between the coefficients of spherical harmonics and a Gaussian grid."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import pad

from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.harmonics.basis import Degrees, epsilon, legendre
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian_latitudes
from graphs.meshes.latlon import latlon

TABLES = 6  # of Legendre functions that a transform holds at the peak, of both parities together


class SphericalTransform:
    """Transforms between coefficients and a Gaussian grid, in any number of columns at once; differentiable.

    Grid values are [latitude, column, longitude], latitudes from south to north. The default grid, 3 T + 1 longitudes
    rounded up to a product of small primes and half as many latitudes, is free of aliasing in quadratic products.

    truncation: T; coefficients of derivatives reach T + 1, which the tables allow for.
    dtype: of the grid values, float64 or float32.
    rows: latitudes [degrees], from south to north and as many on either side of the equator, and their weights for
        quadrature, see `latitude_weights`; Gaussian ones by default.
    """

    def __init__(
        self,
        truncation: int,
        num_latitudes: int | None = None,
        num_longitudes: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        rows: tuple[Array, Array] | None = None,
    ) -> None:
        if truncation < 1:
            raise MeshcastError(f"The truncation must be at least 1, but is {truncation}.")
        least = 3 * truncation + 1
        # a multiple of four without prime factors beyond five: its Fourier transform is fast
        smooth = 4 * next_fast_len(-(-least // 4), real=True)
        self.num_longitudes = smooth if num_longitudes is None else num_longitudes
        self.num_latitudes = 2 * -(-self.num_longitudes // 4) if num_latitudes is None else num_latitudes
        if rows is not None:
            self.num_latitudes = len(rows[0])
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
        self.latitudes, weights = gaussian_latitudes(self.num_latitudes) if rows is None else rows
        self.weights = weights  # [latitude], one in all
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
        """Return the grid as a mesh, its areas the quadrature weights."""
        mesh = latlon(self.latitudes, self.longitudes, periodic=True)
        areas = np.repeat(self.weights / self.num_longitudes, self.num_longitudes)
        return Mesh(mesh.positions, areas / areas.sum(), mesh.shape, mesh.domain)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return grid values [latitude, column, longitude] of coefficients [order, T + 1 or T + 2 offsets, column]."""
        assert coefficients.shape[1] <= self.truncation + 2
        columns = torch.view_as_real(coefficients).flatten(2)  # [order, offset, column * 2]
        even, odd = (
            torch.bmm(table[:, :, : columns[:, parity::2].shape[1]], columns[:, parity::2])
            for parity, table in enumerate(self._synthesis)
        )
        fourier = torch.cat([(even - odd).flip(1), even + odd], dim=1)  # [order, latitude, column * 2]
        orders = torch.view_as_complex(fourier.unflatten(2, (-1, 2))).permute(1, 2, 0)  # [latitude, column, order]
        return torch.fft.irfft(orders, n=self.num_longitudes, norm="forward")

    def analysis(self, values: Tensor, offsets: int | None = None, divided: bool = False) -> Tensor:
        """Return coefficients [order, offset, column] of values [latitude, column, longitude] by Gaussian quadrature.

        offsets: T + 1 by default, T + 2 for what a derivative is made of.
        divided: of the values over cos²(latitude).
        """
        offsets = self.truncation + 1 if offsets is None else offsets
        fourier = torch.fft.rfft(values, norm="forward")[..., : self.truncation + 1]  # [latitude, column, order]
        columns = torch.view_as_real(fourier).permute(2, 0, 1, 3).flatten(2)  # [order, latitude, column * 2]
        half = self.num_latitudes // 2
        north, south = columns[:, half:], columns[:, :half].flip(1)
        even, odd = self._divided_analysis if divided else self._analysis
        # Interleave the parities: offsets 0, 2, ... are even, 1, 3, ... odd.
        result = columns.new_empty(columns.shape[0], self.truncation + 2, columns.shape[2])
        result[:, 0::2], result[:, 1::2] = torch.bmm(even, north + south), torch.bmm(odd, north - south)
        result = result[:, :offsets]
        if offsets == self.truncation + 1:
            result = result * self.kept
        return torch.view_as_complex(result.unflatten(2, (-1, 2)).contiguous())

    @cached_property
    def kept(self) -> Tensor:
        """Return 1 up to degree T and 0 beyond [order, offset, 1]."""
        return torch.as_tensor(Degrees(self.truncation).kept, device=self.device, dtype=self.dtype)[..., None]

    @cached_property
    def laplacian(self) -> Tensor:
        """Return the Laplacian's eigenvalues [order, offset, 1], -l (l + 1), on the unit sphere, zero where unused."""
        degrees = Degrees(self.truncation)
        return self._tensor(-(degrees.degree * (degrees.degree + 1.0)) * degrees.kept)[..., None]

    @cached_property
    def inverse_laplacian(self) -> Tensor:
        """Return the inverse [order, offset, 1], zero for the mean."""
        values = self.laplacian
        return torch.where(values == 0, torch.zeros_like(values), 1.0 / torch.where(values == 0, 1.0, values))

    @cached_property
    def _recurrence(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return i m [order, 1, 1], and what l sends to l + 1 and l - 1 in (1 - μ²) dP/dμ [order, offset of l, 1]."""
        degrees = Degrees(self.truncation)
        degree, order = degrees.degree.astype(np.float64), degrees.order.astype(np.float64)
        up = -degree * epsilon(degree + 1.0, order)
        down = (degree + 1.0) * epsilon(degree, order)
        return (
            1j * self._tensor(order.astype(np.float64))[..., None],
            self._tensor(up * degrees.kept)[..., None],
            self._tensor(down * degrees.kept)[..., None],
        )

    def wind(self, vorticity: Tensor, divergence: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients [order, T + 2 offsets, column] of u cos φ and v cos φ, on the sphere of radius one.

        u cos φ = ∂χ/∂λ - cos φ ∂ψ/∂φ, v cos φ = ∂ψ/∂λ + cos φ ∂χ/∂φ, ψ = ∇⁻² ζ, χ = ∇⁻² δ; in units of the
        vorticity, so multiply by the radius.
        """
        imaginary, up, down = self._recurrence
        stream, potential = self.inverse_laplacian * vorticity, self.inverse_laplacian * divergence
        both = torch.cat([stream, potential], dim=-1)
        slope = pad(up * both, (0, 0, 1, 0)) + pad((down * both)[:, 1:], (0, 0, 0, 2))  # cos φ ∂/∂φ [order, T + 2, ...]
        turn = pad(imaginary * both, (0, 0, 0, 1))
        count = vorticity.shape[-1]
        return turn[..., count:] - slope[..., :count], turn[..., :count] + slope[..., count:]

    def divergence_and_curl(self, east: Tensor, north: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients of div and curl of a vector times cos φ [latitude, column, longitude], for radius one."""
        return self.differentiated(self.analysis(torch.cat([east, north], dim=1), self.truncation + 2, divided=True))

    def differentiated(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients [order, offset, column] of div and curl of a vector, on the sphere of radius one.

        both: coefficients [order, T + 2 offsets, column · 2] of its east, then its north component over cos φ.

        div = (1 / cos² φ) (∂A/∂λ + cos φ ∂B/∂φ), integrated by parts in μ, so that its mean is zero exactly.
        """
        count = both.shape[-1] // 2
        imaginary, up, down = self._recurrence
        width = self.truncation + 1
        lower = pad(both[:, : width - 1], (0, 0, 1, 0))  # degree l - 1 at the place of l
        slope = -(up * both[:, 1:] + down * lower)  # -∫ X (1 - μ²) dP_lm/dμ
        turn = imaginary * both[:, :width] * self.kept
        return turn[..., :count] + slope[..., count:], turn[..., count:] - slope[..., :count]
