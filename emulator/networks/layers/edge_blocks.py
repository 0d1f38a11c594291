"""A graph's edges taken in blocks that stay in a processor's cache.

An array on all edges does not fit in a cache, and memory as large as it is taken from the system and cleared anew at
each use: at 81,900 edges of width 128 to add two such arrays takes ten times as long as to add them block by block. So
what happens on edges is written as a function of one block, and `by_blocks` runs it block after block. For the
gradient it runs each block again and goes back through it at once, so that an update keeps what comes in and nothing
from within; on graphs where that is little, it is kept, unless activations are computed again. On a GPU all edges are
one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.aggregate import edge_weights
from emulator.networks.layers.constants import without_autocast
from emulator.networks.layers.recomputation import keeps_nothing
from graphs.graph import Graph

NUMBERS = 2**17  # on the edges of a block in an array of single precision, half a megabyte
MOST_KEPT = 2**24  # on all edges of one sample, for which each block's values are kept for its gradient


@dataclass(frozen=True, eq=False)
class EdgeBlock:
    """Some consecutive receivers and all the edges that reach them.

    edges, nodes: where they stand among the graph's.
    senders: [edge] among all. receivers: [edge] counted from the block's first. offsets: [receiver + 1] of the edges
        of each. order: [edge] 0, 1, 2, ...
    weights: [edge, 1, 1] what each edge counts; None where all count one.
    """

    edges: slice
    nodes: slice
    senders: Tensor
    receivers: Tensor
    offsets: Tensor
    order: Tensor
    weights: Tensor | None

    def at_receivers(self, values: Tensor) -> Tensor:
        """Return each edge's receiver's values, [receiver, ...] to [edge, ...]."""
        return _AtReceivers.apply(values, self)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum at each receiver, [edge, ...] to [receiver, ...], in order of edges; zero where none comes."""
        return _Sum.apply(values, self)

    def weighted(self, values: Tensor) -> Tensor:
        """Return values [edge, batch, channel] times what each edge counts."""
        return values if self.weights is None else values * self.weights.to(values.dtype)

    def softmax(self, values: Tensor) -> Tensor:
        """Return exp(values) [edge, batch, channel] over their sum at each receiver, an edge of weight w as w edges."""
        index = self.receivers[:, None, None].expand_as(values)
        highest = values.new_zeros(len(self.offsets) - 1, *values.shape[1:])
        highest = highest.scatter_reduce(0, index, values.detach(), "amax", include_self=False)
        exponentials = self.weighted((values - highest.index_select(0, self.receivers)).exp())
        return exponentials / (self.at_receivers(self.sum(exponentials)) + 1e-16)


class EdgeBlocks(nn.Module):
    """The edges of a graph as buffers that move with their module, and are no part of its state."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.num_senders, self.num_receivers = graph.num_senders, graph.num_receivers
        self.feature_names = graph.feature_names
        self.edge_index = nn.Buffer(graph.edge_index, persistent=False)
        self.features = nn.Buffer(graph.edge_features.double(), persistent=False)
        weights = edge_weights(graph, torch.float64)
        self.weights = None if weights is None else nn.Buffer(weights[:, :, None], persistent=False)
        self._offsets = graph.receiver_offsets.cpu().numpy()
        self._blocks: dict[int, list[EdgeBlock]] = {}

    def of(self, numbers_each: int) -> list[EdgeBlock]:
        """Return the blocks where each edge holds so many numbers: those of its channels, in all samples of a batch."""
        device = self.edge_index.device
        edges = len(self.features) if device.type == "cuda" else max(1, NUMBERS // numbers_each)
        if edges not in self._blocks:
            bounds = _bounds(self._offsets, edges)
            self._blocks[edges] = [self._block(*pair) for pair in pairwise(bounds)]
        return self._blocks[edges]

    def _block(self, first: int, last: int) -> EdgeBlock:
        edges = slice(int(self._offsets[first]), int(self._offsets[last]))
        senders, receivers = self.edge_index[:, edges]
        offsets = torch.as_tensor(self._offsets[first : last + 1] - edges.start, device=self.edge_index.device)
        weights = None if self.weights is None else self.weights[edges]
        order = torch.arange(len(senders), device=self.edge_index.device)
        return EdgeBlock(edges, slice(first, last), senders, receivers - first, offsets, order, weights)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._blocks = {}  # stale: the buffers move
        return super()._apply(fn, recurse)


# of a block, what its edges hold, their senders' and its receivers' values, and weights: the values of its receivers,
# and of its edges or None
BlockFunction = Callable[..., tuple[Tensor, Tensor | None]]


def by_blocks(
    function: BlockFunction,
    blocks: list[EdgeBlock],
    edges: Tensor,
    senders: Tensor,
    receivers: Tensor,
    *weights: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Return what `function` makes of all blocks: [receiver, batch, channel], and [edge, batch, channel] or None.

    function: (block, edges, senders, receivers, *weights) on the block's edges, [edge, batch, channel] both, and its
        receivers [receiver, batch, channel]. It must be the same each time it is run.
    edges: [edge, batch or 1, channel]; senders, receivers: [node, batch, channel].
    """
    with without_autocast(senders):
        return _ByBlocks.apply(function, blocks, edges, senders, receivers, *weights)


class _ByBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: BlockFunction, blocks: list[EdgeBlock], *inputs: Tensor) -> Any:
        ctx.function, ctx.blocks = function, blocks
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        edges, senders, receivers, *_ = inputs
        needed = ctx.needs_input_grad[2:]
        keep = any(needed) and len(edges) * senders.shape[-1] <= MOST_KEPT and not keeps_nothing()
        runs, at_nodes, on_edges = [], None, None
        for block in blocks:
            run = _Run.of(function, block, inputs, needed if keep else None)
            if keep:
                runs.append(run)
            nodes, state = (None if values is None else values.detach() for values in run.results)
            assert nodes is not None
            if at_nodes is None:
                at_nodes = nodes.new_empty(len(receivers), *nodes.shape[1:])
                on_edges = None if state is None else state.new_empty(len(edges), *state.shape[1:])
            at_nodes[block.nodes] = nodes
            if on_edges is not None and state is not None:
                on_edges[block.edges] = state
        ctx.runs = runs
        return at_nodes, on_edges

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        inputs: tuple[Tensor, ...] = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        if all(gradient is None for gradient in gradients):
            return None, None, *(None for _ in inputs)
        totals = [
            (torch.empty_like if number in (0, 2) else _zeros_like)(values) if need else None
            for number, (values, need) in enumerate(zip(inputs, needed, strict=True))
        ]
        runs, ctx.runs = ctx.runs, []  # which are gone through once; a second time they are run again
        for number, block in enumerate(ctx.blocks):
            run = runs[number] if runs else _Run.of(ctx.function, block, inputs, needed)
            run.add_gradients(block, gradients, totals)
        found = (
            None if total is None else total.to(values.dtype) for total, values in zip(totals, inputs, strict=True)
        )
        return None, None, *found


@dataclass(frozen=True, eq=False)
class _Run:
    """A function's run on one block: what it was given, as leaves of a graph of its own, and what it returned."""

    inside: list[Tensor]
    results: tuple[Tensor, Tensor | None]

    @classmethod
    def of(
        cls, function: BlockFunction, block: EdgeBlock, inputs: Sequence[Tensor], needed: Sequence[bool] | None
    ) -> _Run:
        """Run it; with a graph where it is said which inputs need gradients."""
        edges, senders, receivers, *weights = inputs
        inside = [edges[block.edges], senders.index_select(0, block.senders), receivers[block.nodes], *weights]
        if needed is None:
            return cls(inside, function(block, *inside))
        inside = [values.detach().requires_grad_(need) for values, need in zip(inside, needed, strict=True)]
        with torch.enable_grad(), without_autocast(senders):
            return cls(inside, function(block, *inside))

    def add_gradients(
        self, block: EdgeBlock, gradients: Sequence[Tensor | None], totals: Sequence[Tensor | None]
    ) -> None:
        """Put the gradients of edges and receivers in their places, and add those of senders and weights."""
        places = block.nodes, block.edges
        used = [
            (result, gradient[place])
            for result, gradient, place in zip(self.results, gradients, places, strict=True)
            if result is not None and gradient is not None
        ]
        results, given = zip(*used, strict=True)
        wanted = [values for values in self.inside if values.requires_grad]
        found = iter(torch.autograd.grad(results, wanted, given, materialize_grads=True))
        for number, total in enumerate(totals):
            if total is None:
                continue
            if number in (0, 2):
                total[block.edges if number == 0 else block.nodes] = next(found)
            elif number == 1:
                total.index_add_(0, block.senders, next(found).to(total.dtype))
            else:
                total += next(found)


class _AtReceivers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, block: EdgeBlock) -> Tensor:
        ctx.block = block
        return values.index_select(0, block.receivers)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _sums(gradient, ctx.block), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, block: EdgeBlock) -> Tensor:
        ctx.block = block
        return _sums(values, block)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.block.receivers), None


def _sums(values: Tensor, block: EdgeBlock) -> Tensor:
    """Return sums [receiver, ...] of [edge, ...]; a sum of embeddings, six times as fast as torch's sum of segments."""
    rows = values.flatten(1)
    rows = rows if rows.dtype == torch.float64 else rows.float()
    sums = nn.functional.embedding_bag(block.order, rows, block.offsets, mode="sum", include_last_offset=True)
    return sums.to(values.dtype).view(-1, *values.shape[1:])


def _zeros_like(values: Tensor) -> Tensor:
    """Return zeros to add to, in single precision at least."""
    return torch.zeros_like(values, dtype=torch.promote_types(values.dtype, torch.float32))


def _bounds(offsets: NDArray[np.int64], edges: int) -> list[int]:
    """Return the receivers [block + 1] where blocks begin, each of at most so many edges or of one receiver."""
    bounds = [0]
    while bounds[-1] < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[bounds[-1]] + edges, side="right")) - 1
        bounds.append(max(last, bounds[-1] + 1))
    return bounds
