"""Feed-forward networks: of the whole field at once, or of a node and its surroundings, shared by all nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.features import FeatureLayout
from emulator.networks.mlp import mlp
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class FFNNConfig(NetworkConfig):
    """A feed-forward network.

    scope: `whole`, all nodes' features at once, weights bound to the mesh; `local`, a node and its neighbours, shared.
    width: of every hidden layer; num_layers: hidden layers.
    """

    kind: Literal["ffnn"] = "ffnn"
    scope: Literal["whole", "local"] = "whole"
    width: int = 64
    num_layers: int = 3


class WholeFFNN(nn.Module):
    """All nodes' features at once: [batch, node, input] to [batch, node, output]; knows where, but not who is near."""

    def __init__(self, config: FFNNConfig, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        self.shape = (mesh.num_nodes, layout.num_outputs)
        inside = [config.width] * config.num_layers
        self.layers = mlp(
            [mesh.num_nodes * layout.num_inputs, *inside, mesh.num_nodes * layout.num_outputs], zero_last=True
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features.flatten(1)).unflatten(1, self.shape)
