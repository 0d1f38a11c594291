"""Encode, process, decode (Battaglia et al. 2018, arXiv:1806.01261, section 4.3), for data on the mesh itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.graph_buffers import GraphBuffers
from emulator.networks.mlp import mlp
from emulator.networks.processors import BasisKernelLayer, InteractionLayer, PositionKernelLayer
from graphs.connect import neighbour_table, relative_positions
from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs

MOST_POSITIONS = 128  # a table of relative positions pays while they are few: rings and regular grids
LEAST_EDGES = 4  # an edge in four or more must share its relative position, or its weights learn one place by heart


@dataclass(frozen=True)
class ProcessorConfig:
    """The message passing.

    kind: `kernel` (linear in the sender, weights from the relative position) or `interaction` (an MLP on every edge).
    num_layers: rounds of messages, each with weights of its own.
    latent_size: features of a node between layers.
    hidden_size: width inside a layer.
    num_basis: basis functions of a kernel on a graph whose edges all differ.
    """

    kind: Literal["kernel", "interaction"] = "kernel"
    num_layers: int = 6
    latent_size: int = 32
    hidden_size: int = 32
    num_basis: int = 6

    def __post_init__(self) -> None:
        for name in ("num_layers", "latent_size", "hidden_size", "num_basis"):
            if getattr(self, name) < 1:
                raise MeshcastError(f"processor.{name} must be at least 1, but is {getattr(self, name)}.")


class EncodeProcessDecode(nn.Module):
    """A network on the nodes of one mesh: [batch, node, input] to [batch, node, output].

    The decoder starts at zero, so the untrained network adds nothing to its first guess.
    """

    table: Tensor

    def __init__(self, num_inputs: int, num_outputs: int, graphs: ModelGraphs, config: ProcessorConfig) -> None:
        super().__init__()
        latent, hidden = config.latent_size, config.hidden_size
        graph = graphs.processor
        self.processor_graph = GraphBuffers(graph)
        self.encoder = nn.Linear(num_inputs, latent)
        self.decoder = mlp([latent, latent, num_outputs], zero_last=True)
        positions = _position_table(graph) if config.kind == "kernel" else None
        self.on_positions = positions is not None
        if positions is not None:
            self.register_buffer("table", positions)
            layers: list[nn.Module] = [
                PositionKernelLayer(latent, positions.shape[1], hidden) for _ in range(config.num_layers)
            ]
        elif config.kind == "kernel":
            num_features = graph.edge_features.shape[1]
            layers = [
                BasisKernelLayer(latent, num_features, config.num_basis, hidden) for _ in range(config.num_layers)
            ]
        else:
            num_features = graph.edge_features.shape[1]
            layers = [InteractionLayer(latent, num_features, hidden) for _ in range(config.num_layers)]
        self.processor = nn.ModuleList(layers)

    def forward(self, features: Tensor) -> Tensor:
        edges = self.table if self.on_positions else self.processor_graph.graph
        latent = self.encoder(features)  # [batch, node, latent]
        for layer in self.processor:
            latent = layer(edges, latent, latent)
        return self.decoder(latent)


def _position_table(graph: Graph) -> Tensor | None:
    """[node, position] senders by relative position, or None where the positions are too many to have a map each."""
    classes, positions = relative_positions(graph)
    if len(positions) > min(MOST_POSITIONS, graph.num_edges // LEAST_EDGES):
        return None
    table = neighbour_table(graph, classes, len(positions))
    return torch.as_tensor(table)
