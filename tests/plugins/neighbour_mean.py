"""A plug-in with a kind of its own: a network of each node and the mean of its two neighbours on a ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.mlp import mlp


@dataclass(frozen=True, kw_only=True)
class NeighbourMeanConfig(NetworkConfig):
    """width: of the hidden layer."""

    family = "convolutional, spectral"
    kind: Literal["neighbour_mean"] = "neighbour_mean"
    width: int = 16

    def build(self, layout, mesh, graphs=None) -> NeighbourMean:
        return NeighbourMean([2 * layout.num_inputs, self.width, layout.num_outputs])


class NeighbourMean(nn.Module):
    """[batch, node, input] to [batch, node, output]; its last layer starts at zero."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.layers = mlp(sizes, zero_last=True)

    def forward(self, features: Tensor) -> Tensor:
        around = (features.roll(1, dims=1) + features.roll(-1, dims=1)) / 2
        return self.layers(torch.cat([features, around], dim=-1))


EMULATORS = {"neighbour_mean": NeighbourMeanConfig}
