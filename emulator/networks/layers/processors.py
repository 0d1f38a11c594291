"""Message-passing layers: what a node learns from its neighbours.

A layer takes the senders' and the receivers' latent features, [batch, node, latent], and returns the receivers'; where
both are one mesh it is passed twice. Messages count by the graph's edge weights, where it has some. The first
num_vectors channels of a latent are eastward components and the next num_vectors northward ones, which every edge turns
from the sender's frame into the receiver's (parallel transport):

    u' = cos u - sin v,   v' = sin u + cos v
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.aggregate import at_receivers, at_senders, edge_weights, sum_by_receiver, zeros_beyond
from emulator.networks.layers.constants import constant
from emulator.networks.layers.mlp import mlp
from graphs.graph import Graph

LIMIT = 10.0  # of one factor of a product of what is heard


class PositionKernelLayer(nn.Module):
    """Kernel messages with one linear map per relative position, then a node MLP.

        h_i <- h_i + V σ(U h_i + Σ_k W_k h_j(i, k) + b)

    The message is linear in the sender and its weight knows where the sender sits, so that transport, which is linear
    in the field, is learned exactly. For graphs whose edges have few relative positions: rings and regular grids.
    """

    def __init__(self, latent_size: int, num_positions: int, hidden_size: int) -> None:
        super().__init__()
        self.own = nn.Linear(latent_size, hidden_size)
        self.neighbours = nn.Linear(num_positions * latent_size, hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, latent_size)

    def forward(self, table: Tensor, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent]. table: [receiver, position] senders, `num_senders` where there is none."""
        return receivers + self.out(nn.functional.silu(self.heard(table, senders, receivers)))

    def heard(self, table: Tensor, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return U h_i + Σ_k W_k h_j(i, k) + b as [batch, receiver, hidden]."""
        received = zeros_beyond(senders).index_select(-2, table.reshape(-1))
        received = received.reshape(*receivers.shape[:-1], -1)  # [batch, receiver, position * latent]
        return self.own(receivers) + self.neighbours(received)


class ProductKernelLayer(PositionKernelLayer):
    """Kernel messages whose sums are multiplied with one another in pairs.

        h_i <- h_i + V (a_i c tanh(b_i / c)),   a_i and b_i each U h_i + Σ_k W_k h_j(i, k) + b, of their own weights

    What is quadratic in the field and its neighbours, as u ∂u/∂x is, is such a product, to any precision where b is
    small beside the limit c. Without it n layers were a polynomial of degree 2ⁿ, which no learning rate holds.

    hops: of each position, where the nodes are a ring and all hear over the same hops; these layers are convolutions.
    """

    def __init__(self, latent_size: int, num_positions: int, hidden_size: int, hops: Sequence[int] | None) -> None:
        super().__init__(latent_size, num_positions, 2 * hidden_size)
        self.out = nn.Linear(hidden_size, latent_size)
        self.reach = max(map(abs, hops)) if hops else 0
        sparse = hops is None or self.reach > num_positions  # a kernel of mostly zeros
        self.slots = None if sparse or hops is None else constant(_slots(hops, self.reach))

    def forward(self, table: Tensor, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent]. table: as of `PositionKernelLayer`."""
        heard = self.heard(table, senders, receivers) if self.slots is None else self._convolved(receivers)
        one, other = heard.chunk(2, dim=-1)
        return receivers + self.out(one * (LIMIT * torch.tanh(other / LIMIT)))

    def _convolved(self, latent: Tensor) -> Tensor:
        """Return what `heard` does, in half of its time: no neighbour is copied."""
        assert self.slots is not None
        around, own = torch.cat([latent[:, -self.reach :], latent, latent[:, : self.reach]], dim=1), self.own.weight
        weights = torch.cat(
            [own[:, None], self.neighbours.weight.view(len(own), -1, own.shape[1]), torch.zeros_like(own)[:, None]], 1
        )
        kernel = weights.index_select(1, self.slots).transpose(1, 2)  # [hidden, latent, hop], latents next in memory
        heard = nn.functional.conv2d(around.transpose(1, 2).unsqueeze(2), kernel.unsqueeze(2), self.own.bias)
        return heard.squeeze(2).transpose(1, 2)


def _slots(hops: Sequence[int], reach: int) -> NDArray[np.int64]:
    """Return which weights stand at each hop from -reach to reach: 0 the node's own, 1 + position, then none."""
    slots = np.full(2 * reach + 1, len(hops) + 1)
    slots[reach] = 0
    slots[reach + np.array(hops)] = 1 + np.arange(len(hops))
    return slots


class InteractionLayer(nn.Module):
    """The interaction network of Battaglia et al. (2016), as GraphCast stacks it, without edge state.

        m_e = V σ(S h_j + R h_i + E x_e),   h_i <- h_i + MLP(h_i, Σ_e LayerNorm(m_e))

    The first linear map of the edge MLP is applied to nodes before the gather, not to each edge's concatenation.
    """

    def __init__(self, latent_size: int, num_edge_features: int, hidden_size: int, num_vectors: int = 0) -> None:
        super().__init__()
        self.num_vectors = num_vectors
        self.from_sender = nn.Linear(latent_size, hidden_size)
        self.from_receiver = nn.Linear(latent_size, hidden_size, bias=False)
        self.from_edge = nn.Linear(num_edge_features, hidden_size, bias=False)
        self.message = nn.Linear(hidden_size, latent_size)
        self.norm = nn.LayerNorm(latent_size)
        self.update = mlp([2 * latent_size, hidden_size, latent_size])

    def forward(self, graph: Graph, senders: Tensor, receivers: Tensor) -> Tensor:
        edge = (
            self._received(graph, senders)
            + at_receivers(self.from_receiver(receivers), graph)
            + self.from_edge(graph.edge_features.to(senders.dtype))
        )
        messages = self.norm(self.message(nn.functional.silu(edge)))
        if (share := edge_weights(graph, messages.dtype)) is not None:
            messages = messages * share
        return receivers + self.update(torch.cat([receivers, sum_by_receiver(messages, graph)], dim=-1))

    def _received(self, graph: Graph, senders: Tensor) -> Tensor:
        """Return S h_j [batch, edge, hidden] with the vectors of h_j turned: cos S h + sin S J h + S h's scalars.

        J is a quarter turn, so both products are taken once a node and not once an edge.
        """
        if self.num_vectors == 0:
            return at_senders(self.from_sender(senders), graph)
        count = self.num_vectors
        u, v, scalars = senders.split([count, count, senders.shape[-1] - 2 * count], dim=-1)
        weight = self.from_sender.weight
        as_sent = torch.cat([u, v], dim=-1) @ weight[:, : 2 * count].T
        quarter = torch.cat([-v, u], dim=-1) @ weight[:, : 2 * count].T
        rest = nn.functional.linear(scalars, weight[:, 2 * count :], self.from_sender.bias)
        cosine, sine = rotation(graph, senders.dtype)
        return cosine * at_senders(as_sent, graph) + sine * at_senders(quarter, graph) + at_senders(rest, graph)


def rotation(graph: Graph, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return [edge, 1] cosine and sine of the angle from each sender's frame to its receiver's."""
    columns = [graph.feature_names.index(name) for name in ("rotation_cos", "rotation_sin")]
    cosine, sine = graph.edge_features[:, columns].to(dtype).split(1, dim=1)
    return cosine, sine


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
