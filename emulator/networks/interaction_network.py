"""The textbook interaction network: a message on every edge, their sum at every node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.aggregate import at_receivers, at_senders, sum_by_receiver
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.message_passing import MessagePassing, data_graph
from emulator.networks.layers.mlp import mlp
from graphs.edges.build import GraphConfig
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class InteractionNetworkConfig(NetworkConfig):
    """The interaction network of Battaglia et al. (2016), without norms, residuals or other later additions.

    width: of a node's features, of a message and inside both networks; num_layers: rounds of messages.
    graph: the edges; as of the graph network where null, but without a mesh of their own.
    """

    family = "graph"
    kind: Literal["interaction_network"] = "interaction_network"
    width: int = 40
    num_layers: int = 4
    graph: GraphConfig | None = None

    def in_words(self) -> str:
        return f"an interaction network [@battaglia2016] of {self.num_layers} rounds of messages and width {self.width}"

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> MessagePassing:
        graph = data_graph(self.graph, mesh, graphs)
        num_features = graph.edge_features.shape[1]
        return MessagePassing(
            layout, mesh, graph, self.width, self.num_layers, lambda: Interaction(self.width, num_features)
        )


class Interaction(nn.Module):
    """A message on every edge, added at its receiver, and a network of each node.

        m_ij = φ(h_i, h_j, x_ij),   h_i <- ψ(h_i, Σ_j m_ij)        (Battaglia et al. 2016, arXiv:1612.00222, eq. 2)

    φ is shared by the edges and ψ by the nodes, x_ij are the edge's features: where its sender stands. Messages are
    added whole, whatever an edge weighs.

    φ is linear, SiLU, linear. So its first map is applied to nodes before they meet on edges, and its last to the sum
    of what edges hold, where d_i edges bring d_i times its constant: the same numbers, without a matrix on any edge.
    """

    def __init__(self, width: int, num_edge_features: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * width + num_edge_features, width)
        self.last = nn.Linear(width, width)
        self.update = mlp([2 * width, width, width])

    def start(self, edges_each: float) -> None:
        """Draw weights after Glorot and Bengio (2010), a message's divided by the root of the edges at a node, so
        that features keep their size from round to round; torch's own let them shrink five-fold in each."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        with torch.no_grad():
            self.last.weight.div_(edges_each**0.5)

    def forward(self, graph: Graph, latent: Tensor) -> Tensor:
        width = latent.shape[-1]
        receiver, sender, known = self.first.weight.split([width, width, graph.edge_features.shape[1]], dim=1)
        edges = at_receivers(nn.functional.linear(latent, receiver, self.first.bias), graph)
        edges = edges + at_senders(nn.functional.linear(latent, sender), graph)
        edges = edges + nn.functional.linear(graph.edge_features.to(latent.dtype), known)
        received = sum_by_receiver(nn.functional.silu(edges), graph)
        constant = graph.in_degrees.to(latent.dtype)[:, None] * self.last.bias
        summed = nn.functional.linear(received, self.last.weight) + constant
        return self.update(torch.cat([latent, summed], dim=-1))
