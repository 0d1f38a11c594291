"""Fourier neural operators: weights for the longest waves of a field, and for each node by itself.

On a ring, on the sphere and in a limited area, with no fast transform where few waves count. A transform takes values
[batch, node, channel] at nodes to coefficients [group, member, 2 · channel], real parts before imaginary ones, in
`num_weights` groups by the weight they share; and back, of those waves alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.constants import constant, without_autocast
from emulator.networks.layers.mlp import zeroed
from emulator.networks.structured import StructuredConfig
from graphs.errors import MeshcastError
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian_latitudes


@dataclass(frozen=True, kw_only=True)
class FNOConfig(StructuredConfig):
    """A Fourier neural operator (Li et al. 2021, arXiv:2010.08895); FNO 12 x 18 x 4 of APEBench (Koehler et al. 2024,
    arXiv:2411.00180).

    width: channels; num_layers: spectral layers.
    modes: waves that have weights, the mean among them: around a ring; on the sphere degrees of spherical harmonics on
        a Gaussian grid (Bonev et al. 2023, arXiv:2306.03838); of a limited area along each side.
    """

    kind: Literal["fno"] = "fno"
    width: int = 18
    num_layers: int = 4
    modes: int = 12

    def in_words(self) -> str:
        size = f"{self.num_layers} spectral layers of {self.width} channels and {self.modes} waves"
        return f"a Fourier neural operator [@li2021] of {size}"

    def inside(self, num_inputs: int, num_outputs: int, mesh: Mesh) -> nn.Module:
        return FourierOperator(self, num_inputs, num_outputs, mesh)


class FourierOperator(nn.Module):
    """[batch, input, row, column] to [batch, output, row, column]: lift each node, spectral layers, project."""

    def __init__(self, config: FNOConfig, num_inputs: int, num_outputs: int, mesh: Mesh) -> None:
        super().__init__()
        self.waves = waves_of(mesh, config.modes)
        self.lifting = nn.Linear(num_inputs, config.width)
        self.layers = nn.ModuleList(
            SpectralLayer(config.width, self.waves.num_weights) for _ in range(config.num_layers)
        )
        self.projection = nn.Linear(config.width, num_outputs)
        zeroed(self.projection)

    def forward(self, values: Tensor) -> Tensor:
        shape = values.shape[2:]
        values = self.lifting(values.flatten(2).transpose(1, 2))  # [batch, node, channel]
        for layer in self.layers:
            values = layer(values, self.waves)
        return self.projection(values).transpose(1, 2).unflatten(2, shape)


class SpectralLayer(nn.Module):
    """gelu(F⁻¹(R F x) + W x + b): a complex matrix R for every wave kept, a real one W for all nodes.

    weight: [wave, input, output, 2] real and imaginary parts. In single precision at least, under autocast too.
    """

    def __init__(self, width: int, num_weights: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_weights, width, width, 2) / width**2)
        self.bypass = nn.Linear(width, width)

    def forward(self, values: Tensor, waves: Waves) -> Tensor:
        with without_autocast(values):
            wide = values.to(self.weight.dtype)
            real, imaginary = self.weight.unbind(-1)
            # (a + i b)(r + i s) for rows (a, b): one real product in place of complex ones.
            matrix = torch.cat([torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)], 1)
            spectral = waves.synthesis(torch.bmm(waves.analysis(wide), matrix), len(values))
        return nn.functional.gelu(spectral + self.bypass(values))


def waves_of(mesh: Mesh, modes: int) -> Waves:
    """Return the `modes` longest waves around a ring, of each degree on the sphere, or along each side of an area.

    Raises MeshcastError where the nodes do not carry so many, and on the sphere without a Gaussian grid.
    """
    if mesh.domain.kind == "ring":
        return RingWaves(mesh.num_nodes, modes)
    if mesh.domain.kind == "sphere":
        return SphereWaves(mesh, modes)
    rows, columns = mesh.shape
    return AreaWaves(rows, columns, modes)


class RingWaves(nn.Module):
    """The first `modes` waves around a ring, c_m = (1/N) Σ_n x_n exp(-2πi m n / N).

    A matrix product: for a dozen of a hundred waves it takes a fifth of a fast transform's time.
    """

    def __init__(self, num_nodes: int, modes: int) -> None:
        super().__init__()
        _refuse_modes(modes, num_nodes // 2 + 1, f"A ring of {num_nodes} nodes")
        self.num_weights = modes
        cosine, sine = _waves(np.arange(modes), num_nodes, num_nodes)  # [wave, node]
        share = _share(modes, num_nodes)[:, None]
        self.forwards = constant(np.concatenate([cosine, -sine]) / num_nodes)  # [2 · wave, node]
        self.backwards = constant(np.concatenate([share * cosine, -share * sine]).T)  # [node, 2 · wave]

    def analysis(self, values: Tensor) -> Tensor:
        parts = (self.forwards.to(values.dtype) @ values).unflatten(1, (2, self.num_weights))
        return parts.permute(2, 0, 1, 3).flatten(2)  # [wave, batch, 2 · channel]

    def synthesis(self, coefficients: Tensor, batch: int) -> Tensor:
        parts = coefficients.unflatten(2, (2, -1)).permute(1, 2, 0, 3).flatten(1, 2)  # [batch, 2 · wave, channel]
        return self.backwards.to(parts.dtype) @ parts


class AreaWaves(nn.Module):
    """Waves of a box half as wide and half as high again as a grid of rows and columns, whose remainder holds zeros, so
    that opposite edges are no neighbours.

        c_km = 1/(R C) Σ_rc x_rc exp(-2πi (k r / R + m c / C)),   0 <= m < modes,   |k| < modes,   R, C of the box
    """

    def __init__(self, rows: int, columns: int, modes: int) -> None:
        super().__init__()
        high, wide = rows + -(-rows // 2), columns + -(-columns // 2)
        _refuse_modes(modes, min((high + 1) // 2, wide // 2 + 1), f"An area of {rows} x {columns} nodes")
        self.shape, self.modes, self.num_rows = (rows, columns), modes, 2 * modes - 1
        self.num_weights = modes * self.num_rows
        cosine, sine = _waves(np.arange(modes), wide, columns)
        share = _share(modes, wide)[:, None]
        self.columns_forwards = constant(np.concatenate([cosine, -sine]) / wide)  # [2 · m, column]
        self.columns_backwards = constant(np.concatenate([share * cosine, -share * sine]).T)  # [column, 2 · m]
        cosine, sine = _waves(np.arange(1 - modes, modes), high, rows)
        self.rows_forwards = constant(np.concatenate([cosine, sine]) / high)  # [2 · k, row]
        self.rows_backwards = constant(np.concatenate([cosine, sine]))

    def analysis(self, values: Tensor) -> Tensor:
        batch, _, channels = values.shape
        along = self.columns_forwards.to(values.dtype) @ values.unflatten(1, self.shape)  # [batch, row, 2 · m, channel]
        across = self.rows_forwards.to(values.dtype) @ along.flatten(2)  # [batch, 2 · k, ...]
        parts = across.view(batch, 2, self.num_rows, 2, self.modes, channels)
        (cos_real, cos_imaginary), (sin_real, sin_imaginary) = (part.unbind(2) for part in parts.unbind(1))
        real, imaginary = cos_real + sin_imaginary, cos_imaginary - sin_real  # (cos - i sin)(a + i b)
        return torch.cat([real, imaginary], dim=-1).flatten(1, 2).transpose(0, 1)  # [k · m, batch, 2 · channel]

    def synthesis(self, coefficients: Tensor, batch: int) -> Tensor:
        parts = coefficients.transpose(0, 1).reshape(batch, self.num_rows, self.modes, 2, -1)
        real, imaginary = parts.transpose(2, 3).unbind(2)  # [batch, k, m, channel] each
        with_cosine = torch.stack([real, imaginary], dim=2).flatten(2)
        with_sine = torch.stack([-imaginary, real], dim=2).flatten(2)  # (cos + i sin)(a + i b)
        waves = torch.cat([with_cosine, with_sine], dim=1)  # [batch, 2 · k, 2 · m · channel]
        along = self.rows_backwards.to(parts.dtype).T @ waves
        along = along.unflatten(2, (2 * self.modes, -1))  # [batch, row, 2 · m, channel]
        return (self.columns_backwards.to(parts.dtype) @ along).flatten(1, 2)


class SphereWaves(nn.Module):
    """Spherical harmonics of degrees below `modes` on a Gaussian grid; a degree's orders share one weight.

    So no direction is special but by the imaginary part of a weight, which shifts waves along circles of latitude: the
    operator is that of spherical FNOs (Bonev et al. 2023, arXiv:2306.03838, eq. 10).
    """

    def __init__(self, mesh: Mesh, modes: int) -> None:
        super().__init__()
        rows, columns = self.shape = mesh.shape
        if not _is_gaussian(mesh):
            raise MeshcastError(
                f"fno on the sphere needs a Gaussian grid, but this grid of {rows} x {columns} is none. Give grid: "
                f"{{kind: gaussian, number: {max(2, rows // 2)}}}, which regrids there and back, or use kind: cnn."
            )
        _refuse_modes(modes, min(rows, (columns + 1) // 2), f"A Gaussian grid of {rows} x {columns}")
        if modes < 2:
            raise MeshcastError(f"On the sphere modes must be at least 2, the mean and a wave, but is {modes}.")
        self.num_weights = modes
        self.southward = bool(mesh.latitudes[0] > mesh.latitudes[-1])
        self.transform = SphericalTransform(modes - 1, rows, columns, torch.float32)
        # The transform's places are [order, offset], degree = order + offset; the groups' are [degree, order], order at
        # most degree. A place without a wave is read from one that is zero: the last, or degree 0 of the last order.
        first, second = np.arange(modes)[:, None], np.arange(modes)
        degree = first + second
        self.by_degree = constant(np.where(second <= first, second * modes + first - second, modes**2 - 1).ravel())
        self.by_offset = constant(np.where(degree < modes, degree * modes + first, modes - 1).ravel())

    def _on(self, device: torch.device) -> SphericalTransform:
        if self.transform.device != device:
            rows, columns = self.shape
            self.transform = SphericalTransform(self.num_weights - 1, rows, columns, torch.float32, device)
        return self.transform

    def analysis(self, values: Tensor) -> Tensor:
        batch, _, channels = values.shape
        rows = values.float().unflatten(1, self.shape)
        rows = rows.flip(1) if self.southward else rows
        fields = rows.permute(1, 0, 3, 2).flatten(1, 2)  # [latitude, batch · channel, longitude]
        found = torch.view_as_real(self._on(values.device).analysis(fields)).flatten(0, 1)
        size = self.num_weights
        parts = found.index_select(0, self.by_degree).view(size, size, batch, channels, 2)
        return parts.transpose(3, 4).reshape(size, size * batch, 2 * channels)  # [degree, order · batch, 2 · channel]

    def synthesis(self, coefficients: Tensor, batch: int) -> Tensor:
        size = self.num_weights
        parts = coefficients.view(size * size, batch, 2, -1).transpose(2, 3)
        parts = parts.index_select(0, self.by_offset).flatten(1, 2).unflatten(0, (size, size))
        fields = self._on(parts.device).synthesis(torch.view_as_complex(parts.contiguous()))
        rows = fields.unflatten(1, (batch, -1)).permute(1, 0, 3, 2)  # [batch, latitude, longitude, channel]
        return (rows.flip(1) if self.southward else rows).flatten(1, 2)


Waves = RingWaves | AreaWaves | SphereWaves


def _waves(wave: NDArray[np.int64], period: int, nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [wave, node] cosine and sine of 2π wave · node / period."""
    angle = 2.0 * np.pi * (wave[:, None] * np.arange(nodes) % period) / period  # exact for high waves too
    return np.cos(angle), np.sin(angle)


def _share(modes: int, period: int) -> NDArray[np.float64]:
    """Return [wave] 2 where a wave stands for its conjugate too."""
    wave = np.arange(modes)
    return np.where((wave == 0) | (2 * wave == period), 1.0, 2.0)


def _refuse_modes(modes: int, most: int, nodes: str) -> None:
    if modes > most:
        raise MeshcastError(f"{nodes} carries {most} waves, fewer than modes: {modes}.")


def _is_gaussian(mesh: Mesh) -> bool:
    rows, columns = mesh.shape
    latitudes = np.sort(mesh.latitudes.reshape(mesh.shape)[:, 0])
    steps = np.diff(mesh.longitudes.reshape(mesh.shape)[0]) % 360.0
    even = rows % 2 == 0 and np.allclose(steps, 360.0 / columns, atol=1e-3)
    return bool(even and np.abs(latitudes - gaussian_latitudes(rows)[0]).max() <= 1e-3)
