"""A linear map from what surrounds each node to that node, the same everywhere: a convolution on a ring or a grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphs.edges.connect import neighbour_table, relative_positions, ring_hops, stencil
from graphs.edges.edge_features import edge_features
from graphs.errors import MeshcastError
from graphs.graph import Graph
from graphs.mesh import Mesh

BLOCK_VALUES = 250_000  # received at once: what stays in a processor's cache


class NeighbourhoodMap(nn.Module):
    """y_i = b + Σ_p W_p f_(i + p) + U g_i over the relative positions p within `radius` of node i.

    Features [batch, node, field + own] are fields f, received from every position, then features g of the node itself.
    A position beyond the edge of a limited area, or over a pole, receives the node itself.

    neighbours: [position, node] the sender at each position; distance: [position] hops, or rows and columns.
    weights: [position · field + own, output]; intercept: [output].
    """

    def __init__(self, mesh: Mesh, radius: int, num_fields: int, num_own: int, num_outputs: int) -> None:
        super().__init__()
        self.num_fields, self.num_own = num_fields, num_own
        neighbours, distance = surroundings(mesh, radius)
        self.neighbours = nn.Buffer(neighbours, persistent=False)
        self.distance = nn.Buffer(distance, persistent=False)
        num_features = len(neighbours) * num_fields + num_own
        self.weights = nn.Buffer(torch.zeros(num_features, num_outputs, dtype=torch.float64))
        self.intercept = nn.Buffer(torch.zeros(num_outputs, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Return [batch, node, output] from [batch, node, field + own]."""
        return self.combine(*features.split([self.num_fields, self.num_own], dim=-1))

    def combine(self, fields: Tensor, own: Tensor) -> Tensor:
        """Return [batch, node, output] from the features of every position, and those of the node alone."""
        weights = self.weights.to(fields.dtype)
        out = self.intercept.to(fields.dtype) + own @ weights[len(self.neighbours) * self.num_fields :]
        fields = fields.transpose(0, 1).contiguous()  # [node, batch, field]: a sender's values of all batches in a row
        received = torch.zeros((), dtype=fields.dtype, device=fields.device)
        for position, senders in enumerate(self.neighbours):  # one at a time: no array as large as all positions
            rows = slice(position * self.num_fields, (position + 1) * self.num_fields)
            received = received + fields.index_select(0, senders) @ weights[rows]
        return out + received.transpose(0, 1)

    def combine_blocks(self, fields: Tensor, own: Tensor) -> Tensor:
        """Return what `combine` does but for rounding, in a third of its time on a processor in float64.

        Some nodes at a time, from all positions at once.
        """
        weights = self.weights.to(fields.dtype)
        split = len(self.neighbours) * self.num_fields
        blocks = [
            senders.T.reshape(-1) for senders in self.neighbours.split(max(1, BLOCK_VALUES // max(split, 1)), dim=1)
        ]
        received = [
            row.index_select(0, senders).reshape(-1, split) @ weights[:split] for row in fields for senders in blocks
        ]
        around = torch.cat(received).reshape(*fields.shape[:2], -1)
        return self.intercept.to(fields.dtype) + own @ weights[split:] + around

    def regressors(self, features: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return what the map multiplies by its weights, [batch, node, position · field + own].

        memory: [batch, position · node, field] to write the fields to; fresh memory takes as long to get as to fill.
        """
        batch, node, _ = features.shape
        fields, own = features.split([self.num_fields, self.num_own], dim=-1)
        around = torch.index_select(fields, 1, self.neighbours.T.reshape(-1), out=memory)
        around = around.reshape(batch, node, -1)
        return torch.cat([around, own], dim=-1) if own.shape[-1] else around

    def columns_within(self, radius: int) -> Tensor:
        """Return the indices of the regressors that a smaller radius has, in its order."""
        positions = torch.nonzero(self.distance <= radius)
        around = positions * self.num_fields + torch.arange(self.num_fields)
        first_own = len(self.distance) * self.num_fields
        return torch.cat([around.reshape(-1), torch.arange(first_own, first_own + self.num_own)])


def surroundings(mesh: Mesh, radius: int) -> tuple[Tensor, Tensor]:
    """Return the sender [position, node] at each relative position within `radius`, and the position's distance
    [position].

    Distance counts hops on a ring, and on a grid the larger of rows and columns. Positions are sorted from west to
    east, within that from south to north, the node itself among them.
    """
    own = torch.arange(mesh.num_nodes)
    if radius == 0:
        return own[None], torch.zeros(1, dtype=torch.int64)
    if mesh.domain.kind == "ring":
        edge_index = torch.cat([ring_hops(mesh, range(1, radius + 1)), own.expand(2, -1)], dim=1)
    elif mesh.structured:
        edge_index = stencil(mesh, radius, self_edges=True)
    else:
        raise MeshcastError(
            f"Weights shared by relative position need a ring or a grid of latitudes and longitudes, but this is a "
            f"{mesh.describe()}. Use radii: [0], each node by itself, or remap the data to a grid."
        )
    features, names = edge_features(mesh, mesh, edge_index)
    graph = Graph.sorted(edge_index, features, mesh.num_nodes, mesh.num_nodes, names)
    classes, table = relative_positions(graph)
    neighbours = neighbour_table(graph, classes, len(table)).T.contiguous()
    scale = radius if mesh.domain.kind == "ring" else 1  # on a ring displacements come in units of the longest edge
    distance = (table.abs().amax(dim=1) * scale).round().long()
    return torch.where(neighbours == graph.num_senders, own, neighbours), distance
