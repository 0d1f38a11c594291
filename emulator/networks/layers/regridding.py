"""Fields from a mesh to a structured grid and back, inside a network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphs.geometry import parallel_transport
from graphs.interpolation.bilinear import bilinear
from graphs.mesh import Mesh


class Regridding(nn.Module):
    """[batch, source node, channel] to [batch, target node, channel] by bilinear weights, constant and differentiable.

    A wind is carried along the great circle from each source node to the target, from one east-north frame to the
    other, so that a flow across a pole stays whole.

    winds: (eastward, northward) channels.
    """

    senders: Tensor
    receivers: Tensor
    weights: Tensor

    def __init__(self, source: Mesh, target: Mesh, winds: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__()
        entries = bilinear(source, target).matrix.tocoo()
        self.num_targets = target.num_nodes
        self._keep("senders", entries.col.astype(np.int64))
        self._keep("receivers", entries.row.astype(np.int64))
        turn = parallel_transport(source.positions[entries.col], target.positions[entries.row])
        weights = np.stack([np.ones_like(entries.data), *turn]) * entries.data  # for scalars, cosine, sine
        self._keep("weights", weights[:, :, None].astype(np.float32))  # [3, entry, 1]
        self._keep("east", np.array([east for east, _ in winds], np.int64))
        self._keep("north", np.array([north for _, north in winds], np.int64))
        self.num_winds = len(winds)

    def _keep(self, name: str, values: NDArray[np.generic]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        values = values.to(torch.promote_types(values.dtype, torch.float32))  # whole values under autocast too
        heard = values.index_select(1, self.senders)
        scalar, cosine, sine = self.weights.to(values.dtype)
        sent = heard * scalar
        if self.num_winds:
            east, north = self.get_buffer("east"), self.get_buffer("north")
            u, v = heard.index_select(2, east), heard.index_select(2, north)
            sent = sent.index_copy(2, east, cosine * u - sine * v).index_copy(2, north, sine * u + cosine * v)
        target = values.new_zeros(len(values), self.num_targets, values.shape[2])
        return target.index_add(1, self.receivers, sent)
