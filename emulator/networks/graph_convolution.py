"""The textbook graph layer: a node is what the sum of its neighbours is taken to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.aggregate import at_senders, sum_by_receiver
from emulator.networks.layers.cartesian_winds import CartesianWinds
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.graph_buffers import GraphBuffers
from emulator.networks.layers.message_graphs import data_graphs
from emulator.networks.layers.zero_start import zeroed
from graphs.edges.build import GraphConfig
from graphs.graph import ModelGraphs
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

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> nn.Module:
        return GraphConvolution(self, layout, mesh, graphs)


class GraphConvolution(nn.Module):
    """Linear encoder, textbook layers, linear decoder that starts at zero: [batch, node, input] to [.., output].

        h_i <- σ(W Σ_j h_j + b)        over the neighbours j of node i, and i itself

    The graph layer as it is taught (Hamilton 2020, Graph Representation Learning, section 5.1.4), to the letter; only
    W starts smaller, by the root of the mean number of terms, so that activations keep their size from layer to layer.
    All neighbours count the same: exchange them and a node hears the same. On a ring with undirected edges the mirrored
    field therefore gives the mirrored answer, and no weights whatever make it move a wave to the right and not to the
    left; only a history of two or more tells it which way a wave goes.

    Winds go in and come out as Cartesian vectors, whose components are added as scalars.
    """

    def __init__(
        self, config: GraphConvolutionConfig, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None
    ) -> None:
        super().__init__()
        self.graph = GraphBuffers(data_graphs(config.graph, mesh, graphs).processor)
        self.winds = CartesianWinds(layout, mesh)
        inside, width = self.winds.inside, config.width
        self.encoder = nn.Linear(inside.num_inputs, width)
        layers = [nn.Linear(width, width) for _ in range(config.num_layers)]
        self.layers = nn.ModuleList(layers)
        self.decoder = nn.Linear(width, inside.num_outputs)
        terms = self.graph.graph.num_edges / mesh.num_nodes + 1
        with torch.no_grad():
            for layer in layers:
                layer.weight.div_(terms**0.5)
        zeroed(self.decoder)

    def forward(self, features: Tensor) -> Tensor:
        graph = self.graph.graph
        latent = self.encoder(self.winds.enter(features))
        for layer in self.layers:
            heard = latent + sum_by_receiver(at_senders(latent, graph), graph)
            latent = nn.functional.silu(layer(heard))
        return self.winds.leave(self.decoder(latent))

    @property
    def graphs(self) -> ModelGraphs:
        """The graph it was built from, as a checkpoint keeps it."""
        return ModelGraphs(self.graph.graph)
