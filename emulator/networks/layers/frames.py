"""Winds in a network: components in each node's own east-north frame, turned on the way to another node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from emulator.networks.layers.constant import constant
from graphs.graph import Graph


def rotation(graph: Graph, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return [edge, 1] cosine and sine of the angle from each sender's frame to its receiver's."""
    columns = [graph.feature_names.index(name) for name in ("rotation_cos", "rotation_sin")]
    cosine, sine = graph.edge_features[:, columns].to(dtype).split(1, dim=1)
    return cosine, sine


def has_frames(graph: Graph) -> bool:
    """Return whether the nodes have frames that differ; those of a ring do not."""
    return "rotation_cos" in graph.feature_names


class NodeEmbedding(nn.Module):
    """A node's features as its first latent: scalars from all features, vectors from winds alone.

    A vector is a weighted sum of winds, each stretched and turned by the same for every node: in complex numbers
    z = Σ_k w_k (u_k + i v_k). No constant is added, so that still air gives no vector, and no direction is special.

    winds: (eastward, northward) columns of the features.
    num_vectors: the latent's first num_vectors channels are eastward components, the next northward ones.
    """

    def __init__(self, num_inputs: int, latent_size: int, winds: Sequence[tuple[int, int]], num_vectors: int) -> None:
        super().__init__()
        self.columns = constant(np.array(winds, dtype=np.int64).reshape(-1, 2).T)
        self.scalars = nn.Linear(num_inputs, latent_size - 2 * num_vectors)
        self.along = nn.Linear(len(winds), num_vectors, bias=False)
        self.across = nn.Linear(len(winds), num_vectors, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return [batch, node, latent] from [batch, node, input]."""
        u, v = (features.index_select(-1, column) for column in self.columns)
        east, north = self.along(u) - self.across(v), self.across(u) + self.along(v)
        return torch.cat([east, north, self.scalars(features)], dim=-1)
