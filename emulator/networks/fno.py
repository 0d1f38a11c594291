"""Fourier neural operators: weights for the longest waves of a field, and for each node by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.structured import zero
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class FNOConfig(NetworkConfig):
    """A Fourier neural operator (Li et al. 2021, arXiv:2010.08895); FNO 12 x 18 x 4 of APEBench (Koehler et al. 2024,
    arXiv:2411.00180).

    width: channels; num_layers: spectral layers.
    modes: waves that have weights, the mean among them.
    """

    kind: Literal["fno"] = "fno"
    width: int = 18
    num_layers: int = 4
    modes: int = 12


class Waves(Protocol):
    """A transform between values at nodes and coefficients, grouped by the weight they share.

    num_weights: groups.
    analysis: [batch, node, channel] to [group, member, 2 · channel], real parts before imaginary ones.
    synthesis: back, of those waves alone.
    """

    num_weights: int

    def analysis(self, values: Tensor) -> Tensor: ...

    def synthesis(self, coefficients: Tensor, batch: int) -> Tensor: ...


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
        zero(self.projection)

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
        with torch.autocast(values.device.type, enabled=False):
            wide = values.to(self.weight.dtype)
            real, imaginary = self.weight.unbind(-1)
            # (a + i b)(r + i s) for rows (a, b): one real product in place of complex ones.
            matrix = torch.cat([torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)], 1)
            spectral = waves.synthesis(torch.bmm(waves.analysis(wide), matrix), len(values))
        return nn.functional.gelu(spectral + self.bypass(values))


def waves_of(mesh: Mesh, modes: int) -> RingWaves:
    """The waves of a mesh that have weights."""
    return RingWaves(mesh.num_nodes, modes)


class RingWaves(nn.Module):
    """The first `modes` waves around a ring, c_m = (1/N) Σ_n x_n exp(-2πi m n / N).

    A matrix product: for a dozen of a hundred waves it takes a fifth of a fast transform's time.
    """

    forwards: Tensor
    backwards: Tensor

    def __init__(self, num_nodes: int, modes: int) -> None:
        super().__init__()
        if modes > num_nodes // 2 + 1:
            raise MeshcastError(
                f"A ring of {num_nodes} nodes carries {num_nodes // 2 + 1} waves, fewer than modes: {modes}."
            )
        self.num_weights = modes
        wave, node = np.arange(modes), np.arange(num_nodes)
        angle = 2.0 * np.pi * (wave[:, None] * node % num_nodes) / num_nodes  # exact for high waves too
        once = (wave == 0) | (2 * wave == num_nodes)  # others stand for their conjugates too
        share = np.where(once, 1.0, 2.0)[:, None]
        forwards = np.concatenate([np.cos(angle), -np.sin(angle)]) / num_nodes  # [2 · wave, node]
        backwards = np.concatenate([share * np.cos(angle), -share * np.sin(angle)]).T  # [node, 2 · wave]
        self.register_buffer("forwards", torch.from_numpy(forwards).float(), persistent=False)
        self.register_buffer("backwards", torch.from_numpy(np.ascontiguousarray(backwards)).float(), persistent=False)

    def analysis(self, values: Tensor) -> Tensor:
        parts = (self.forwards.to(values.dtype) @ values).unflatten(1, (2, self.num_weights))
        return parts.permute(2, 0, 1, 3).flatten(2)  # [wave, batch, 2 · channel]

    def synthesis(self, coefficients: Tensor, batch: int) -> Tensor:
        parts = coefficients.unflatten(2, (2, -1)).permute(1, 2, 0, 3).flatten(1, 2)  # [batch, 2 · wave, channel]
        return self.backwards.to(parts.dtype) @ parts
