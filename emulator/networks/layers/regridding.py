"""Fields from a mesh to a structured grid and back, inside a network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from emulator.networks.layers.constants import constant
from graphs.geometry import parallel_transport
from graphs.interpolation.interpolate import bilinear
from graphs.mesh import Mesh


class Regridding(nn.Module):
    """[batch, source node, channel] to [batch, target node, channel] by bilinear weights, constant and differentiable.

    A wind is carried along the great circle from each source node to the target, from one east-north frame to the
    other, so that a flow across a pole stays whole.

    winds: (eastward, northward) channels.
    """

    def __init__(self, source: Mesh, target: Mesh, winds: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__()
        entries = bilinear(source, target).matrix.tocoo()
        self.num_targets = target.num_nodes
        self.senders = constant(entries.col.astype(np.int64))
        self.receivers = constant(entries.row.astype(np.int64))
        turn = parallel_transport(source.positions[entries.col], target.positions[entries.row])
        weights = np.stack([np.ones_like(entries.data), *turn]) * entries.data  # for scalars, cosine, sine
        self.weights = constant(weights[:, :, None])  # [3, entry, 1]
        self.east = constant(np.array([east for east, _ in winds], np.int64))
        self.north = constant(np.array([north for _, north in winds], np.int64))
        self.num_winds = len(winds)

    def forward(self, values: Tensor) -> Tensor:
        values = values.to(torch.promote_types(values.dtype, torch.float32))  # whole values under autocast too
        received = values.index_select(1, self.senders)
        scalar, cosine, sine = self.weights.to(values.dtype)
        sent = received * scalar
        if self.num_winds:
            east, north = self.east, self.north
            u, v = received.index_select(2, east), received.index_select(2, north)
            sent = sent.index_copy(2, east, cosine * u - sine * v).index_copy(2, north, sine * u + cosine * v)
        target = values.new_zeros(len(values), self.num_targets, values.shape[2])
        return target.index_add(1, self.receivers, sent)
