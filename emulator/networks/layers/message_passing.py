"""What the textbook graph networks share: rounds of messages between the nodes of the data, without another mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emulator.networks.layers.constants import GraphBuffers
from emulator.networks.layers.feature_layout import CartesianWinds, FeatureLayout
from emulator.networks.layers.mlp import zeroed
from graphs.edges.build import GraphConfig, build_graphs, default_config, estimate
from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh


class MessagePassing(nn.Module):
    """Linear encoder, layers, linear decoder that starts at zero: [batch, node, input] to [batch, node, output].

    Winds go in and come out as Cartesian vectors, whose components are scalars to the layers.
    width: features of a node; num_layers: rounds of messages, each a `layer` of (graph, [batch, node, width]) to the
    same, whose `start(edges_each)` sets its first weights from the mean number of edges that meet at a node.
    """

    def __init__(
        self, layout: FeatureLayout, mesh: Mesh, graph: Graph, width: int, num_layers: int, layer: Callable[[], Any]
    ) -> None:
        super().__init__()
        self.graph = GraphBuffers(graph)
        self.winds = CartesianWinds(layout, mesh)
        self.encoder = nn.Linear(self.winds.inside.num_inputs, width)
        layers = [layer() for _ in range(num_layers)]
        self.layers = nn.ModuleList(layers)
        for each in layers:
            each.start(graph.num_edges / mesh.num_nodes)
        self.decoder = nn.Linear(width, self.winds.inside.num_outputs)
        zeroed(self.decoder)

    def forward(self, features: Tensor) -> Tensor:
        latent = self.encoder(self.winds.enter(features))
        for layer in self.layers:
            latent = layer(self.graph.graph, latent)
        return self.winds.leave(self.decoder(latent))

    @property
    def graphs(self) -> ModelGraphs:
        """Return the graph it was built from, as a checkpoint keeps it."""
        return ModelGraphs(self.graph.graph)


def data_graph(config: GraphConfig | None, mesh: Mesh, graphs: ModelGraphs | None) -> Graph:
    """Return the graph of a checkpoint, else that of the configuration, which must have no mesh of its own."""
    if config is not None and config.mesh is not None:
        raise MeshcastError(
            "The textbook graph networks pass messages between the nodes of the data themselves, but graph.mesh asks "
            f"for a mesh of kind {config.mesh.kind}. Leave out graph.mesh, or use kind: gnn."
        )
    return (graphs or graphs_on(mesh, config)).processor


def graphs_on(mesh: Mesh, config: GraphConfig | None) -> ModelGraphs:
    """Return the graphs of a configuration, or the mesh's default. Raises MeshcastError if too large for memory."""
    config = config or default_config(mesh)
    if mesh.domain.kind == "sphere":  # the mesh of a limited area is trimmed to what the area reaches
        estimate(config, mesh.num_nodes).refuse_too_large()
    with torch.device("cpu"):  # also where a network is built on `meta`: edges follow from content
        return build_graphs(config, mesh)
