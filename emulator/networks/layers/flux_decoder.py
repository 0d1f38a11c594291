"""A decoder in flux form: what leaves one node enters its neighbour."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.constants import constant
from graphs.errors import MeshcastError
from graphs.graph import Graph
from graphs.mesh import Mesh


class FluxDecoder(nn.Module):
    """Changes that conserve: [batch, node, latent] to [batch, node, output].

        F_ij = V (σ(S h_i + R h_j + A x_ij + B x_ji) - σ(S h_j + R h_i + A x_ji + B x_ij))
        Δ_i = - (1 / N a_i) Σ_j F_ij

    One flux passes along each undirected edge of the finest mesh, and F_ij = -F_ji by construction. So the area mean
    never changes, and what any set of nodes gains is what flows in along the edges that leave it. x_ij are the edge's
    features towards j, in j's frame; a_i are areas that sum to one, N the number of nodes, so that Δ is of the flux's
    size. V starts at zero.

    edges: [2, edge] the two nodes of each; a positive flux goes from the first to the second.
    """

    def __init__(self, latent_size: int, hidden_size: int, num_outputs: int, graph: Graph, mesh: Mesh) -> None:
        super().__init__()
        forward, backward = finest_edges(graph, mesh)
        self.edges = nn.Buffer(graph.edge_index[:, forward], persistent=False)
        self.towards = nn.Buffer(graph.edge_features[forward].float(), persistent=False)
        self.back = nn.Buffer(graph.edge_features[backward].float(), persistent=False)
        self.per_area = constant(1.0 / (mesh.num_nodes * mesh.areas)[:, None])
        num_features = graph.edge_features.shape[1]
        self.from_first = nn.Linear(latent_size, hidden_size)
        self.from_second = nn.Linear(latent_size, hidden_size, bias=False)
        self.from_edge = nn.Linear(2 * num_features, hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, num_outputs, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, latent: Tensor) -> Tensor:
        flux = self.fluxes(latent)
        first, second = self.edges
        gained = torch.zeros(*latent.shape[:-1], flux.shape[-1], dtype=flux.dtype, device=flux.device)
        gained = gained.index_add(-2, second, flux).index_add(-2, first, -flux)
        return gained * self.per_area

    def fluxes(self, latent: Tensor) -> Tensor:
        """Return [batch, edge, output] from each edge's first node to its second: N times the area times the change."""
        first, second = self.edges
        sent, received = self.from_first(latent), self.from_second(latent)
        there = self.from_edge(torch.cat([self.towards, self.back], dim=-1))  # [edge, hidden]
        here = self.from_edge(torch.cat([self.back, self.towards], dim=-1))
        out = sent.index_select(-2, first) + received.index_select(-2, second) + there
        back = sent.index_select(-2, second) + received.index_select(-2, first) + here
        return self.out(nn.functional.silu(out) - nn.functional.silu(back))


def finest_edges(graph: Graph, mesh: Mesh) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the mesh's sides, or all edges, stand in the graph, [edge] to the higher node, and [edge] back.

    Raises MeshcastError where an edge has no way back.
    """
    senders, receivers = graph.edge_index.cpu().numpy()
    codes = senders * graph.num_receivers + receivers
    order = np.argsort(codes)
    low, high = (senders[senders < receivers], receivers[senders < receivers])
    if mesh.faces is not None:
        sides = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
        sides = np.unique(sides, axis=0)
        if np.isin(sides[:, 0] * graph.num_receivers + sides[:, 1], codes).all():
            low, high = sides.T
    places = []
    for start, end in ((low, high), (high, low)):
        wanted = start * graph.num_receivers + end
        place = np.searchsorted(codes, wanted, sorter=order).clip(0, len(codes) - 1)
        if not np.array_equal(codes[order[place]], wanted):
            raise MeshcastError(
                "Fluxes pass both ways, but this graph has edges that go one way alone. Use edges that are symmetric, "
                "as multi_mesh or hops, or conserving: fixer."
            )
        places.append(order[place])
    return places[0], places[1]
