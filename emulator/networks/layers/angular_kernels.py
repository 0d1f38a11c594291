"""Kernel messages with fixed angular kernels: what a node receives from each direction, at each distance.

A graph's edges are sorted into octaves of their length: on a multi-mesh these are its levels. In each octave the
neighbours' features are summed with the weights 1, r cos kθ, r sin kθ of the direction θ and relative length r in which
they stand, which is all that the six neighbours of an icosphere's node can tell for k <= 2 but one number. A learned
matrix for each weight then mixes the channels. The sums are products with constant sparse matrices, many times faster
than gathering edges, and a layer without learned edge weights has nothing else to differentiate.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from emulator.networks.layers.aggregate import WEIGHT
from emulator.networks.layers.constants import constant, without_autocast
from graphs.errors import MeshcastError
from graphs.graph import Graph

Array = NDArray[np.float64]
Places = NDArray[np.int64]
FEWEST_EDGES = 24  # of an octave; fewer would learn their few places by heart


class AngularKernels(nn.Module):
    """The constant part of kernel messages over one graph, shared by all layers that use it.

    num_harmonics: highest k; an octave has 2 k + 1 kernels.
    num_vectors: vectors among the senders' channels, as in `processors`, which are turned on each edge.
    most_octaves: the shortest edges join the last; 1 for links between a grid and a mesh, which are all of one scale.

    Each kernel is scaled so that the squares of its weights at a receiver sum to one on average.
    """

    def __init__(
        self, graph: Graph, num_harmonics: int = 2, num_vectors: int = 0, most_octaves: int | None = None
    ) -> None:
        super().__init__()
        self.num_vectors, self.num_kernels = num_vectors, 2 * num_harmonics + 1
        self.num_senders, self.num_receivers = graph.num_senders, graph.num_receivers
        octaves = _octaves(graph, num_harmonics, num_vectors, most_octaves)
        self.octaves = nn.ModuleList(_Octave(*matrices) for matrices in octaves)

    def received(self, octave: _Octave, senders: Tensor) -> Tensor:
        """Return sums [kernel, receiver · batch, channel] over an octave's edges of senders [node, batch, channel]."""
        num_receivers, batch, count = len(octave.receivers), senders.shape[1], self.num_vectors
        still = senders[..., 2 * count :]
        received = _times(octave.scalars, still.flatten(1)).view(self.num_kernels, num_receivers * batch, -1)
        if octave.vectors is None:
            return received
        # East and north of one node are rows 2 i and 2 i + 1 of a matrix that turns as it sums.
        winds = senders[..., : 2 * count].unflatten(2, (2, count)).transpose(1, 2)  # [node, 2, batch, vector]
        turned = _times(octave.vectors, winds.reshape(2 * self.num_senders, -1))
        turned = turned.view(self.num_kernels, num_receivers, 2, batch, count).transpose(2, 3)
        return torch.cat([turned.reshape(self.num_kernels, num_receivers * batch, 2 * count), received], dim=-1)


class AngularKernelLayer(nn.Module):
    """Kernel messages over octaves and directions, then a node MLP.

        h_i <- h_i + V σ(U h_i + Σ_o Σ_k W_ok Σ_{e: j -> i in octave o} φ_k(e) T_e h_j + b)

    φ: the angular kernels; T: parallel transport of vectors into the receiver's frame. Linear in the senders, as
    transport is linear in the field.
    """

    def __init__(self, latent_size: int, kernels: AngularKernels, hidden_size: int) -> None:
        super().__init__()
        self.own = nn.Linear(latent_size, hidden_size)
        shape = (len(kernels.octaves), kernels.num_kernels, latent_size, hidden_size)
        self.neighbours = nn.Parameter(torch.randn(shape) * (0.5 / (kernels.num_kernels * latent_size)) ** 0.5)
        self.out = nn.Linear(hidden_size, latent_size)

    def forward(self, kernels: AngularKernels, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent] from senders [batch, sender, latent] and receivers alike.

        Works node by node, batch inside, as the sparse products want it; from the second layer on transposes are views.
        """
        sent, own = senders.transpose(0, 1).contiguous(), receivers.transpose(0, 1).contiguous()
        total = self.own(own)  # [receiver, batch, hidden]
        for octave, weights in zip(kernels.octaves, self.neighbours, strict=True):
            assert isinstance(octave, _Octave)
            mine = octave.take(total).flatten(0, 1)
            mixed = torch.addbmm(mine, kernels.received(octave, sent).to(mine.dtype), weights.to(mine.dtype))
            total = octave.put(total, mixed.unflatten(0, (-1, own.shape[1])))
        return (own + self.out(nn.functional.silu(total))).transpose(0, 1)


class _Octave(nn.Module):
    """The sparse matrices of one octave, and which receivers it reaches."""

    def __init__(self, receivers: Places, scalars: csr_matrix, vectors: csr_matrix | None) -> None:
        super().__init__()
        self.receivers = constant(receivers)
        self.leading = bool(np.array_equal(receivers, np.arange(len(receivers))))  # a slice will do
        self.scalars = _Sparse(scalars)
        self.vectors = None if vectors is None else _Sparse(vectors)

    def take(self, values: Tensor) -> Tensor:
        """Return the rows of this octave's receivers."""
        return values[: len(self.receivers)] if self.leading else values.index_select(0, self.receivers)

    def put(self, values: Tensor, rows: Tensor) -> Tensor:
        """Return `values` with those rows in place of its own."""
        if not self.leading:
            return values.index_copy(0, self.receivers, rows)
        return rows if len(rows) == len(values) else torch.cat([rows, values[len(rows) :]])


class _Sparse(nn.Module):
    """A constant sparse matrix and its transpose, moved and cast with the module; not part of its state."""

    def __init__(self, matrix: csr_matrix) -> None:
        super().__init__()
        self.shape = matrix.shape
        for name, part in (("forward", matrix), ("backward", matrix.T.tocsr())):
            part.sort_indices()
            self.register_buffer(f"{name}_rows", torch.from_numpy(part.indptr.astype(np.int64)), persistent=False)
            self.register_buffer(f"{name}_columns", torch.from_numpy(part.indices.astype(np.int64)), persistent=False)
            self.register_buffer(f"{name}_values", torch.from_numpy(part.data), persistent=False)
        self._tensors: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def pair(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the matrix and its transpose as torch's CSR tensors."""
        if dtype not in self._tensors:
            shape = self.shape
            self._tensors[dtype] = self._csr("forward", shape, dtype), self._csr("backward", shape[::-1], dtype)
        return self._tensors[dtype]

    def _csr(self, name: str, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        rows, columns, values = (getattr(self, f"{name}_{part}") for part in ("rows", "columns", "values"))
        with warnings.catch_warnings():  # torch calls its CSR support beta, once a process
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            return torch.sparse_csr_tensor(rows, columns, values.to(dtype), shape, check_invariants=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._tensors = {}  # stale: the buffers move
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tensors": {}}  # sparse tensors cannot be copied


class _Product(torch.autograd.Function):
    """matrix @ dense for a constant sparse matrix; its gradient is the transpose's product."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose
        if dense.is_meta:  # where memory is counted, and torch has no sparse product
            return dense.new_empty(matrix.shape[0], dense.shape[1])
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transpose @ gradient.contiguous(), None, None


def _times(matrix: _Sparse, dense: Tensor) -> Tensor:
    dense = dense.float() if dense.dtype in (torch.bfloat16, torch.float16) else dense
    with without_autocast(dense):
        return _Product.apply(dense.contiguous(), *matrix.pair(dense.dtype))


def _octaves(
    graph: Graph, num_harmonics: int, num_vectors: int, most_octaves: int | None
) -> list[tuple[Places, csr_matrix, csr_matrix | None]]:
    """Return, for each octave of edge length, its receivers, and the matrices that sum scalars and, if any, vectors.

    Rows are [kernel, receiver], columns senders.
    """
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
        rows = np.concatenate([k * len(reached) + row for k in range(len(kernels))])
        columns, values = np.tile(senders[chosen], len(kernels)), np.concatenate(kernels)
        shape = len(kernels) * len(reached), graph.num_senders
        scalars = csr_matrix((values, (rows, columns)), shape)
        vectors = None
        if num_vectors:
            c, s = (np.tile(part[chosen], len(kernels)) * values for part in (cosine, sine))
            rows = np.concatenate([2 * rows, 2 * rows, 2 * rows + 1, 2 * rows + 1])
            columns = np.concatenate([2 * columns, 2 * columns + 1] * 2)
            vectors = csr_matrix((np.concatenate([c, -s, s, c]), (rows, columns)), (2 * shape[0], 2 * shape[1]))
        parts.append((reached.astype(np.int64), scalars, vectors))
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
