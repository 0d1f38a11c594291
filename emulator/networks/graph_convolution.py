"""The textbook graph layer: a node is what the sum of its neighbours is taken to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.aggregate import at_senders, sum_by_receiver
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.message_passing import MessagePassing, data_graph
from graphs.edges.build import GraphConfig
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class GraphConvolutionConfig(NetworkConfig):
    """The graph layer of textbooks, without edge features: h_i <- σ(W Σ_j h_j), j the neighbours and i itself.

    width: of a node's features; num_layers: rounds of messages, each with weights of its own.
    graph: the edges; as of the graph network where null, but without a mesh of their own.
    """

    family = "graph"
    kind: Literal["graph_convolution"] = "graph_convolution"
    width: int = 64
    num_layers: int = 6
    graph: GraphConfig | None = None

    def in_words(self) -> str:
        return f"a graph convolution of {self.num_layers} rounds of messages and width {self.width}"

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> MessagePassing:
        graph, width = data_graph(self.graph, mesh, graphs), self.width
        return MessagePassing(layout, mesh, graph, width, self.num_layers, lambda: GraphConvolution(width, width))


class GraphConvolution(nn.Linear):
    """The graph layer as it is taught (Hamilton 2020, Graph Representation Learning, section 5.1.4), to the letter.

        h_i <- σ(W Σ_j h_j + b)        over the neighbours j of node i, and i itself

    All neighbours count the same. On a ring with undirected edges the mirrored field therefore gives the mirrored
    answer, and no weights make it move a wave to the right and not to the left; only a history of two or more does.
    """

    def start(self, edges_each: float) -> None:
        """Divide W by the root of the mean number of terms, so that activations keep their size between layers."""
        with torch.no_grad():
            self.weight.div_((edges_each + 1) ** 0.5)

    def forward(self, graph: Graph, latent: Tensor) -> Tensor:  # type: ignore[override]
        return nn.functional.silu(super().forward(latent + sum_by_receiver(at_senders(latent, graph), graph)))
