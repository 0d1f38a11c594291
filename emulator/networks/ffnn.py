"""Feed-forward networks: of the whole field at once, or of a node and its surroundings, shared by all nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.mlp import mlp
from emulator.networks.layers.surroundings import Surroundings
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class FFNNConfig(NetworkConfig):
    """A feed-forward network.

    scope: `whole`, all nodes' features at once, weights bound to the mesh; `local`, a node and its neighbours, shared.
    width: of every hidden layer; num_layers: hidden layers.
    radius: of the neighbours seen: hops on a ring or a mesh of triangles, rows and columns on a grid. On a mesh of
        triangles, whose neighbours have no order, angular moments of each hop's values. Of no meaning to scope `whole`.
    """

    family = "feed-forward, recurrent, attention"
    kind: Literal["ffnn"] = "ffnn"
    scope: Literal["whole", "local"] = "whole"
    width: int = 64
    num_layers: int = 3
    radius: int = 1

    def in_words(self) -> str:
        of = "all nodes at once" if self.scope == "whole" else "a node and its neighbours"
        return f"a feed-forward network of {of} with {self.num_layers} hidden layers of width {self.width}"

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> nn.Module:
        return (WholeFFNN if self.scope == "whole" else LocalFFNN)(self, layout, mesh)


class WholeFFNN(nn.Module):
    """All nodes' features at once: [batch, node, input] to [batch, node, output]; knows where, but not who is near."""

    def __init__(self, config: FFNNConfig, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        self.shape = (mesh.num_nodes, layout.num_outputs)
        inside, nodes = [config.width] * config.num_layers, mesh.num_nodes
        self.layers = mlp([nodes * layout.num_inputs, *inside, nodes * layout.num_outputs], zero_last=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features.flatten(1)).unflatten(1, self.shape)


class LocalFFNN(nn.Module):
    """A node's features and its surroundings', weights shared by all: [batch, node, input] to [batch, node, output]."""

    def __init__(self, config: FFNNConfig, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        self.surroundings = Surroundings(mesh, config.radius, layout.winds)
        inside = [config.width] * config.num_layers
        sizes = [self.surroundings.num_received * layout.num_inputs, *inside, layout.num_outputs]
        self.layers = mlp(sizes, zero_last=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(self.surroundings(features))
