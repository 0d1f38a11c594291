"""The graph: which node receives from which, and the features of the edges between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed edges from senders to receivers, sorted by receiver.

    Every layer is bipartite, `layer(graph, senders, receivers)`. Where both sides are one mesh the receivers are the
    first `num_receivers` senders, so that a shard (senders = own + halo, receivers = own) is an ordinary graph.

    edge_index: [2, edge] int64; row 0 sends, row 1 receives; row 1 never decreases.
    edge_features: [edge, feature] float64.
    num_senders, num_receivers: stated, never inferred from the largest index.
    feature_names: one name a column of `edge_features`.
    """

    edge_index: Tensor
    edge_features: Tensor
    num_senders: int
    num_receivers: int
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.edge_index.ndim != 2 or self.edge_index.shape[0] != 2 or self.edge_index.dtype != torch.int64:
            raise MeshcastError(
                f"edge_index must be [2, edge] of int64, but is {list(self.edge_index.shape)} of "
                f"{self.edge_index.dtype}."
            )
        if self.edge_features.ndim != 2 or self.edge_features.shape[0] != self.num_edges:
            raise MeshcastError(
                f"edge_features must be [{self.num_edges}, feature], but are {list(self.edge_features.shape)}."
            )
        if not all(isinstance(name, str) for name in self.feature_names):
            raise MeshcastError(f"Names of edge features are texts, but these are {self.feature_names}.")
        if self.feature_names and len(self.feature_names) != self.edge_features.shape[1]:
            raise MeshcastError(f"{self.edge_features.shape[1]} edge features but names {self.feature_names}.")
        if self.num_edges == 0 or self.edge_index.is_meta:  # a graph without content, to count memory by
            return
        for row, count, end in ((0, self.num_senders, "sender"), (1, self.num_receivers, "receiver")):
            low, high = int(self.edge_index[row].min()), int(self.edge_index[row].max())
            if low < 0 or high >= count:
                raise MeshcastError(f"Edges name {end}s {low} to {high}, but the graph has {count} (0 to {count - 1}).")
        if bool((self.edge_index[1].diff() < 0).any()):
            raise MeshcastError("Edges must be sorted by receiver; build the graph with Graph.sorted.")
        if not bool(torch.isfinite(self.edge_features).all()):
            raise MeshcastError("edge_features hold NaN or infinite values.")

    @classmethod
    def sorted(
        cls,
        edge_index: Tensor,
        edge_features: Tensor,
        num_senders: int,
        num_receivers: int,
        feature_names: tuple[str, ...] = (),
    ) -> Graph:
        """Return a graph from edges in any order; edges of one receiver come sorted by sender."""
        order = torch.argsort(edge_index[1] * max(num_senders, 1) + edge_index[0], stable=True)
        return cls(edge_index[:, order], edge_features[order], num_senders, num_receivers, feature_names)

    @property
    def senders(self) -> Tensor:
        return self.edge_index[0]

    @property
    def receivers(self) -> Tensor:
        return self.edge_index[1]

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @cached_property
    def receiver_offsets(self) -> Tensor:
        """Return the offsets [num_receivers + 1], int64, of each receiver's edges, as in the CSR format."""
        counts = self.receivers.new_zeros(self.num_receivers)
        counts.index_add_(0, self.receivers, torch.ones_like(self.receivers))
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    @property
    def in_degrees(self) -> Tensor:
        """Return the number of edges [num_receivers] that reach each receiver."""
        return self.receiver_offsets.diff()

    def renumbered(self, senders: Tensor | None, receivers: Tensor | None) -> Graph:
        """Return the same graph of nodes in another order: node i becomes senders[i] or receivers[i]; None keeps it."""
        ends = [
            row if numbers is None else numbers[row]
            for row, numbers in zip(self.edge_index, (senders, receivers), strict=True)
        ]
        return Graph.sorted(
            torch.stack(ends), self.edge_features, self.num_senders, self.num_receivers, self.feature_names
        )

    def to(self, device: torch.device | str) -> Graph:
        """Return the same graph on another device."""
        return replace(self, edge_index=self.edge_index.to(device), edge_features=self.edge_features.to(device))


@dataclass(frozen=True, eq=False)
class ModelGraphs:
    """The graphs of an encode-process-decode network.

    encoder: grid to mesh, or None where data live on the mesh itself.
    processor: mesh to mesh.
    decoder: mesh to grid, or None.
    mesh: where messages pass; None where that is the mesh of the data.
    """

    processor: Graph
    encoder: Graph | None = None
    decoder: Graph | None = None
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        if self.mesh is None and (self.encoder is not None or self.decoder is not None):
            raise MeshcastError("Graphs with an encoder or a decoder run between two meshes; give the hidden one too.")

    def named(self) -> dict[str, Graph]:
        """Return the graphs that exist, by name."""
        graphs = {"encoder": self.encoder, "processor": self.processor, "decoder": self.decoder}
        return {name: graph for name, graph in graphs.items() if graph is not None}

    def meshes(self, data: Mesh) -> dict[str, Mesh]:
        """Return the mesh of the data and, where messages pass on another, that one: `data` and `hidden`."""
        return {"data": data} if self.mesh is None else {"data": data, "hidden": self.mesh}

    def to(self, device: torch.device | str) -> ModelGraphs:
        """Return the same graphs on another device."""
        return ModelGraphs(mesh=self.mesh, **{name: graph.to(device) for name, graph in self.named().items()})


def ends(meshes: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the names of the meshes, out of `data` and `hidden`, from and to which each graph of a network leads."""
    if "hidden" not in meshes:
        return {"processor": ("data", "data")}
    return {"processor": ("hidden", "hidden"), "encoder": ("data", "hidden"), "decoder": ("hidden", "data")}
