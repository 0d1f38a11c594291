"""Fourier neural operators: weights for the longest waves of a field, and for each node by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.layers.constants import without_autocast
from emulator.networks.layers.mlp import zeroed
from emulator.networks.layers.waves import Waves, waves_of
from emulator.networks.structured import StructuredConfig
from graphs.mesh import Mesh


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
