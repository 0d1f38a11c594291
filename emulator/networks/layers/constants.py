"""What a network keeps beside its weights and moves with them: arrays and graphs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphs.graph import Graph


def constant(values: NDArray[Any]) -> nn.Buffer:
    """Return an array that moves with its module and is no part of its state, floats in single precision."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return nn.Buffer(tensor.float() if tensor.is_floating_point() else tensor, persistent=False)


def without_autocast(values: Tensor) -> AbstractContextManager[object]:
    """Return a context in which no precision is lowered on the device of the values; `meta` has none to lower."""
    return nullcontext() if values.is_meta else torch.autocast(values.device.type, enabled=False)


class GraphBuffers(nn.Module):
    """The tensors of a Graph as buffers; `graph` is the Graph on the device where the buffers now are.

    Edge features stay in float64 unless the module is cast: a network in double precision knows its geometry as well.
    A checkpoint holds the graphs once, as graphs (`graphs.storage`), so the buffers are no part of the state.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.num_senders, self.num_receivers = graph.num_senders, graph.num_receivers
        self.feature_names = graph.feature_names
        self.edge_index = nn.Buffer(graph.edge_index, persistent=False)
        self.edge_features = nn.Buffer(graph.edge_features.double(), persistent=False)
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

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("edge_index", "edge_features"):  # in the state of earlier checkpoints
            if isinstance(stored := state_dict.pop(f"{prefix}{name}", None), Tensor):
                getattr(self, name).copy_(stored)
                self._graph = None
        super()._load_from_state_dict(state_dict, prefix, *args)
