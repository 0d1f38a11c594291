"""Kernel messages with fixed angular kernels: what a node receives from each direction, at each distance.

A graph's edges are sorted into octaves of their length: on a multi-mesh these are its levels. In each octave the
neighbours' features are summed with the weights 1, r cos kθ, r sin kθ of the direction θ and relative length r in which
they stand, which is all that the six neighbours of an icosphere's node can tell for k <= 2 but one number. A learned
matrix for each weight then mixes the channels. A layer without learned edge weights has nothing else to differentiate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.aggregate import WEIGHT
from emulator.networks.layers.sparse_products import Octave
from emulator.networks.message_kernel.edge_lists import EdgeLists, OctaveEdges, edge_lists
from emulator.networks.message_kernel.operator import Weights, is_fused, kernel_messages
from graphs.errors import MeshcastError
from graphs.graph import Graph
from graphs.partition import Ends

Array = NDArray[np.float64]
Places = NDArray[np.int64]
FEWEST_EDGES = 24  # of an octave; fewer would learn their few places by heart


class AngularKernels(nn.Module):
    """The constant part of kernel messages over one graph, shared by all layers that use it.

    num_harmonics: highest k; an octave has 2 k + 1 kernels.
    num_vectors: vectors among the senders' channels, as in `processors`, which are turned on each edge.
    most_octaves: the shortest edges join the last; 1 for links between a grid and a mesh, which are all of one scale.
    octaves: those of the graph, where it is some edges of another, whose kernels these are.

    Each kernel is scaled so that the squares of its weights at a receiver sum to one on average.
    """

    def __init__(
        self,
        graph: Graph | Ends,
        num_harmonics: int = 2,
        num_vectors: int = 0,
        most_octaves: int | None = None,
        octaves: Sequence[OctaveEdges] | None = None,
    ) -> None:
        super().__init__()
        self.num_vectors, self.num_kernels = num_vectors, 2 * num_harmonics + 1
        self.num_senders, self.num_receivers = graph.num_senders, graph.num_receivers
        if octaves is None:
            assert isinstance(graph, Graph)
            octaves = octaves_of(graph, num_harmonics, most_octaves)
        self.octaves = nn.ModuleList(Octave(edges, graph.num_senders) for edges in octaves)
        lists = edge_lists(octaves, graph.num_senders, graph.num_receivers)
        self.integers, self.floats, self.table = (nn.Buffer(each, persistent=False) for each in lists[:3])
        self.counts = lists.counts

    @property
    def edges(self) -> EdgeLists:
        """Return the edges of all octaves as the fused operator reads them."""
        return EdgeLists(self.integers, self.floats, self.table, self.counts)

    def received(self, octave: Octave, senders: Tensor) -> Tensor:
        """Return sums [kernel, receiver · batch, channel] over an octave's edges of senders [node, batch, channel]."""
        num_receivers, batch, count = len(octave.receivers), senders.shape[1], self.num_vectors
        still = senders[..., 2 * count :]
        received = octave.scalar_sums(still.flatten(1)).view(self.num_kernels, num_receivers * batch, -1)
        if count == 0:
            return received
        # East and north of one node are rows 2 i and 2 i + 1 of a matrix that turns as it sums.
        winds = senders[..., : 2 * count].unflatten(2, (2, count)).transpose(1, 2)  # [node, 2, batch, vector]
        turned = octave.vector_sums(winds.reshape(2 * self.num_senders, -1))
        turned = turned.view(self.num_kernels, num_receivers, 2, batch, count).transpose(2, 3)
        return torch.cat([turned.reshape(self.num_kernels, num_receivers * batch, 2 * count), received], dim=-1)


class AnyKernels(Protocol):
    """The kernels that a layer's weights are for, of a graph or of a shard's portion of it."""

    @property
    def octaves(self) -> nn.ModuleList: ...

    @property
    def num_kernels(self) -> int: ...


class AngularKernelLayer(nn.Module):
    """Kernel messages over octaves and directions, then a node MLP.

        h_i <- h_i + V σ(U h_i + Σ_o Σ_k W_ok Σ_{e: j -> i in octave o} φ_k(e) T_e h_j + b)

    φ: the angular kernels; T: parallel transport of vectors into the receiver's frame. Linear in the senders, as
    transport is linear in the field. In one pass by the fused operator of `emulator.networks.message_kernel` where it
    is available, else by sparse products, which give the same to rounding.
    """

    def __init__(self, latent_size: int, kernels: AnyKernels, hidden_size: int) -> None:
        super().__init__()
        self.own = nn.Linear(latent_size, hidden_size)
        shape = (len(kernels.octaves), kernels.num_kernels, latent_size, hidden_size)
        self.neighbours = nn.Parameter(torch.randn(shape) * (0.5 / (kernels.num_kernels * latent_size)) ** 0.5)
        self.out = nn.Linear(hidden_size, latent_size)

    @property
    def weights(self) -> Weights:
        """Return its weights as the fused operator takes them."""
        return Weights(self.neighbours, self.own.weight, self.own.bias, self.out.weight, self.out.bias)

    def forward(self, kernels: AngularKernels, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent] from senders [batch, sender, latent] and receivers alike."""
        sent = senders.transpose(0, 1)
        return self.nodewise(kernels, sent, sent if receivers is senders else receivers.transpose(0, 1)).transpose(0, 1)

    def nodewise(self, kernels: AngularKernels, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [receiver, batch, latent] from senders [sender, batch, latent] and receivers alike."""
        device = senders.device.type
        lowered = device != "meta" and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if lowered else senders.dtype
        weights, edges = self.weights, kernels.edges
        if not is_fused(dtype, weights, edges):
            sent = senders.contiguous()
            return self._by_sparse_products(kernels, sent, sent if receivers is senders else receivers.contiguous())
        sent = senders.to(dtype).contiguous()
        own = sent if receivers is senders else receivers.to(dtype).contiguous()
        return kernel_messages(sent, own, weights, edges, kernels.num_vectors)

    def _by_sparse_products(self, kernels: AngularKernels, sent: Tensor, own: Tensor) -> Tensor:
        total = self.own(own)  # [receiver, batch, hidden]
        for octave, weights in zip(kernels.octaves, self.neighbours, strict=True):
            assert isinstance(octave, Octave)
            if len(octave.receivers) == 0:  # in a shard that none of its edges lead to
                continue
            mine = octave.take(total).flatten(0, 1)
            mixed = torch.addbmm(mine, kernels.received(octave, sent).to(mine.dtype), weights.to(mine.dtype))
            total = octave.put(total, mixed.unflatten(0, (-1, own.shape[1])))
        return own + self.out(nn.functional.silu(total))


def octaves_of(graph: Graph, num_harmonics: int, most_octaves: int | None) -> list[OctaveEdges]:
    """Return the edges of each octave of length, with the weight of each kernel."""
    east, north = (_column(graph, f"displacement_{name}") for name in ("east", "north"))
    length, angle = np.hypot(east, north), np.arctan2(north, east)
    octave = _octave_numbers(length)
    if most_octaves is not None:
        octave = np.minimum(octave, octave.min(initial=0) + most_octaves - 1)
    cosine, sine = (_column(graph, f"rotation_{name}") for name in ("cos", "sin"))
    share = _column(graph, WEIGHT) if WEIGHT in graph.feature_names else np.ones(graph.num_edges)
    senders, receivers = (row.cpu().numpy() for row in graph.edge_index)
    parts = []
    for number in np.unique(octave):
        chosen = octave == number
        reached, row = np.unique(receivers[chosen], return_inverse=True)
        relative = length[chosen] / max(length[chosen].mean(), 1e-300)
        kernels = [np.ones(len(row))]
        for k in range(1, num_harmonics + 1):
            kernels += [relative * np.cos(k * angle[chosen]), relative * np.sin(k * angle[chosen])]
        kernels = [share[chosen] * kernel for kernel in kernels]
        kernels = [kernel * np.sqrt(len(reached) / max(np.sum(kernel**2), 1e-300)) for kernel in kernels]
        parts.append(
            OctaveEdges(reached, row, senders[chosen], np.stack(kernels, axis=1), cosine[chosen], sine[chosen])
        )
    return parts


def _octave_numbers(length: Array) -> Places:
    """Return how often the longest length halves to each edge's [edge]; too small a class joins the nearest."""
    number = np.zeros(length.shape, dtype=np.int64)
    some = length > 0
    number[some] = np.round(np.log2(length.max(initial=0.0) / length[some]))
    number[~some] = number.max(initial=0)  # a grid point on a mesh node stands with its nearest company
    classes, counts = np.unique(number, return_counts=True)
    home, kept = {}, classes[counts >= FEWEST_EDGES]
    for one in classes:
        home[int(one)] = int(kept[np.abs(kept - one).argmin()]) if kept.size else int(classes[0])
    return np.array([home[int(one)] for one in classes])[np.searchsorted(classes, number)]


def _column(graph: Graph, name: str) -> Array:
    if name not in graph.feature_names:
        raise MeshcastError(
            f"Angular kernels need the edge feature {name}, but the graph has {', '.join(graph.feature_names)}. Use "
            "them on a sphere; a ring's positions are few enough to have a map each."
        )
    return graph.edge_features[:, graph.feature_names.index(name)].cpu().numpy()
