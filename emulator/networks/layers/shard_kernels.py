"""Kernel messages over one shard's portion of a graph: what hears its own nodes alone, then what hears other shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from emulator.foundation.shard_group import ShardGroup
from emulator.networks.layers.angular_kernels import AngularKernels, octaves_of
from emulator.networks.layers.halo_exchange import HaloExchange
from emulator.networks.message_kernel.edge_lists import OctaveEdges
from graphs.graph import Graph
from graphs.partition import Ends, ShardEdges

Message = Callable[[AngularKernels, Tensor, Tensor], Tensor]


class ShardKernels(nn.Module):
    """The constant part of kernel messages over one shard's portion of a graph, shared by all layers that use it.

    The kernels are those of the whole graph, scaled over all of its edges.

    interior: over the edges to the interior nodes; rim: over those to the nodes at the rim.
    """

    def __init__(
        self,
        graph: Graph,
        edges: ShardEdges,
        group: ShardGroup,
        num_harmonics: int,
        num_vectors: int,
        most_octaves: int | None,
    ) -> None:
        super().__init__()
        octaves = octaves_of(graph, num_harmonics, most_octaves)
        self.interior, self.rim = (
            AngularKernels(ends, num_harmonics, num_vectors, octaves=[_of_ends(each, ends) for each in octaves])
            for ends in (edges.interior, edges.rim)
        )
        self.exchange = HaloExchange(edges.halo, edges.near, self.interior.num_receivers, group)

    @property
    def octaves(self) -> nn.ModuleList:
        return self.rim.octaves

    @property
    def num_kernels(self) -> int:
        return self.rim.num_kernels

    def passed(self, message: Message, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return a layer's output [own receiver, batch, latent] from the rows of its own senders and receivers.

        The halo is on its way while the interior is computed; backward, its gradient is.
        """
        sent, first = self.exchange.start(senders), self.interior.num_receivers
        inside, at_rim = (sent.interior, sent.rim) if receivers is senders else receivers.tensor_split([first])
        if first:
            inside = message(self.interior, sent.senders, inside)
        halo = sent.arrived()
        if len(at_rim) == 0:  # the others wait for the gradient of what they sent, also where it is of nothing
            return torch.cat([inside, halo.to(inside.dtype)])
        at_rim = message(self.rim, torch.cat([sent.near, halo]), at_rim)
        return torch.cat([inside, at_rim]) if first else at_rim

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it holds no weight, and all copies of a network are of the same graph


def _of_ends(octave: OctaveEdges, ends: Ends) -> OctaveEdges:
    """Return those edges of an octave whose receivers are among the ends, by their numbers there."""
    receivers = ends.receivers[octave.receivers[octave.places]]
    (chosen,) = np.nonzero(receivers >= 0)
    senders = ends.senders[octave.senders[chosen]]
    order = np.lexsort((senders, receivers[chosen]))
    chosen = chosen[order]
    reached, places = np.unique(receivers[chosen], return_inverse=True)
    return OctaveEdges(
        reached, places, senders[order], octave.kernels[chosen], octave.cosine[chosen], octave.sine[chosen]
    )
