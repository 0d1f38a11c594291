"""Sums of messages at their receivers: torch_scatter where it is compiled, torch's own operations elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphs.graph import Graph

try:
    from torch_scatter import segment_csr
except (ImportError, OSError):  # not compiled on this machine, or compiled against another torch
    segment_csr = None

WEIGHT = "weight"  # the edge feature that says what a message counts


def sum_by_receiver(messages: Tensor, graph: Graph) -> Tensor:
    """Return the sum [..., receiver, channel] of the messages that reach each receiver; zero where none does.

    messages: [..., edge, channel], in the graph's edge order. On a CPU they add in that order, and their gradients are
    deterministic; on a GPU torch's own sum needs `torch.use_deterministic_algorithms` for that.
    """
    if backend_on(messages.device) == "torch_scatter":
        offsets = graph.receiver_offsets.expand(*messages.shape[:-2], -1)
        return segment_csr(messages, offsets, reduce="sum")
    return _IndexAdd.apply(messages, graph.receivers, graph.num_receivers)


class _IndexAdd(torch.autograd.Function):
    """Torch's own `index_add` without the messages, which it would keep for a gradient that needs none of them."""

    @staticmethod
    def forward(ctx: Any, messages: Tensor, receivers: Tensor, num_receivers: int) -> Tensor:
        ctx.save_for_backward(receivers)
        total = messages.new_zeros(*messages.shape[:-2], num_receivers, messages.shape[-1])
        return total.index_add_(-2, receivers, messages)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(-2, *ctx.saved_tensors), None, None


def backend_on(device: torch.device) -> str:
    """Return torch_scatter where it was compiled for the device, which for a GPU needs a CUDA compiler."""
    compiled = device.type == "cpu" or (device.type == "cuda" and _compiled_for_cuda())
    return "torch_scatter" if segment_csr is not None and compiled else "torch"


def _compiled_for_cuda() -> bool:
    return int(torch.ops.torch_scatter.cuda_version()) >= 0


def at_senders(features: Tensor, graph: Graph) -> Tensor:
    """Return the sender's features on each edge, [..., sender, channel] to [..., edge, channel].

    The gradient of `features[index]`, unlike that of `index_select`, depends on the order in which threads finish.
    """
    return features.index_select(-2, graph.senders)


def at_receivers(features: Tensor, graph: Graph) -> Tensor:
    """Return the receiver's features on each edge, [..., receiver, channel] to [..., edge, channel]."""
    return features.index_select(-2, graph.receivers)


def edge_weights(graph: Graph, dtype: torch.dtype) -> Tensor | None:
    """Return what a message counts in its receiver's sum [edge, 1]; None where all count one.

    Barycentric weights from mesh to grid; shares of area from grid to mesh, whose nodes crowd at the poles.
    """
    if WEIGHT not in graph.feature_names:
        return None
    column = graph.feature_names.index(WEIGHT)
    return graph.edge_features[:, column, None].to(dtype)


def zeros_beyond(features: Tensor) -> Tensor:
    """Return [..., node, channel] with one more node of zeros at the end: what an absent neighbour sends."""
    return torch.nn.functional.pad(features, (0, 0, 0, 1))
