"""A graph inside a module: saved with its weights, moved with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from graphs.graph import Graph


class GraphBuffers(nn.Module):
    """The tensors of a Graph as buffers; `graph` is the Graph on the device where the buffers now are."""

    edge_index: Tensor
    edge_features: Tensor

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.num_senders, self.num_receivers = graph.num_senders, graph.num_receivers
        self.feature_names = graph.feature_names
        self.register_buffer("edge_index", graph.edge_index)
        self.register_buffer("edge_features", graph.edge_features.float())
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        if self._graph is None:
            self._graph = Graph(
                self.edge_index, self.edge_features, self.num_senders, self.num_receivers, self.feature_names
            )
        return self._graph

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._graph = None  # stale: the buffers move
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any) -> None:
        self._graph = None
        super()._load_from_state_dict(*args)
