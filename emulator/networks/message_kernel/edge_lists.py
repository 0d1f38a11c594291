"""The edges of kernel messages, octave by octave, and as the lists that message_kernel.cpp reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TABLE_COLUMNS = 18


@dataclass(frozen=True, eq=False)
class OctaveEdges:
    """The edges of one octave of length, sorted by receiver.

    receivers: [reached] int64, the nodes that it reaches, in order.
    places: [edge] int64, where among these an edge's receiver stands.
    senders: [edge] int64.
    kernels: [edge, K] float64, what each kernel weighs an edge with.
    cosine, sine: [edge] float64, of the turn from the sender's frame to the receiver's.
    """

    receivers: NDArray[np.int64]
    places: NDArray[np.int64]
    senders: NDArray[np.int64]
    kernels: NDArray[np.float64]
    cosine: NDArray[np.float64]
    sine: NDArray[np.float64]


class EdgeLists(NamedTuple):
    """The edges of all octaves as message_kernel.cpp and triton_kernels.py read them.

    integers: all lists of nodes and edges, int32. floats: all weights, float32.
    table: [octave, 18] int64, the number of receivers that an octave reaches, then where its lists begin [bytes], of
        weights among the floats and of all others among the integers: `place`; `start`, `sender`, `weights` and `pairs`
        of its edges by receiver; `start`, `receiver`, `weights` and `pairs` of the same by sender; `back_place`. Then
        twice, for the receivers that it reaches and for the senders that reach one: their number, how many stand in
        the octaves before, and the list of these nodes; at last `place` of senders.
    counts: the number of receivers that each octave reaches, and then of senders: for a GPU's table is far away.
    """

    integers: Tensor
    floats: Tensor
    table: Tensor
    counts: tuple[int, ...]


def edge_lists(octaves: Sequence[OctaveEdges], num_senders: int, num_receivers: int) -> EdgeLists:
    """Return the lists of a graph's octaves."""
    integers: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    floats: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    table = np.zeros((len(octaves), TABLE_COLUMNS), dtype=np.int64)

    def kept(values: NDArray[np.int64] | NDArray[np.int32]) -> int:
        integers.append(values.astype(np.int32))
        return 4 * sum(part.size for part in integers[:-1])

    def kept_weights(values: NDArray[np.float64]) -> int:
        floats.append(values.ravel().astype(np.float32))
        return 4 * sum(part.size for part in floats[:-1])

    def kept_edges(
        nodes: NDArray[np.int64], others: NDArray[np.int64], weights: NDArray[np.float64], count: int
    ) -> tuple[int, int, int, int]:
        pairs = _pairs(weights[:, :-2].astype(np.float32), nodes).ravel()
        return kept(_starts(nodes, count)), kept(others), kept_weights(weights), kept(pairs.view(np.int32))

    before = np.zeros(2, dtype=np.int64)
    for row, octave in zip(table, octaves, strict=True):
        sending = np.unique(octave.senders)
        receivers = octave.receivers[octave.places]
        weights = np.column_stack([octave.kernels, octave.cosine, octave.sine])
        back = np.argsort(octave.senders, kind="stable")
        row[:] = (
            len(octave.receivers),
            kept(_places(octave.receivers, num_receivers)),
            *kept_edges(receivers, octave.senders, weights, num_receivers),
            *kept_edges(octave.senders[back], receivers[back], weights[back], num_senders),
            kept(octave.places[back]),
            *(len(octave.receivers), before[0], kept(octave.receivers)),
            *(len(sending), before[1], kept(sending)),
            kept(_places(sending, num_senders)),
        )
        before += len(octave.receivers), len(sending)
    counts = (*table[:, 0].tolist(), *table[:, 14].tolist())
    lists = torch.from_numpy(np.concatenate(integers)), torch.from_numpy(np.concatenate(floats))
    return EdgeLists(*lists, torch.from_numpy(table), counts)


def _places(nodes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return where each of `count` nodes stands in a list, -1 where it does not."""
    place = np.full(count, -1)
    place[nodes] = np.arange(len(nodes))
    return place


def _pairs(kernels: NDArray[np.float32], nodes: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return [edge, K] kernels in bfloat16, and in the upper half those of the next edge where it is the same node's.

    nodes: [edge] in order, the node at the end that the edges are sorted by.
    """
    bits = kernels.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to the nearest, ties to even
    pairs = rounded.astype(np.uint32)
    pairs[:-1] |= np.where(nodes[:-1, None] == nodes[1:, None], rounded[1:] << 16, 0).astype(np.uint32)
    return pairs


def _starts(sorted_numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return where each of `count` numbers begins in a sorted list [count + 1]."""
    return np.searchsorted(sorted_numbers, np.arange(count + 1))
