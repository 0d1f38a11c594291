"""Sums over an octave's edges as products with constant sparse matrices, wherever the fused kernel does not run.

They are many times faster than gathering edges, and the only way in double precision and on other devices.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from emulator.networks.layers.constants import constant, without_autocast
from emulator.networks.message_kernel.edge_lists import OctaveEdges


class Octave(nn.Module):
    """The edges of one octave, which receivers it reaches, and the sparse matrices of its sums.

    The matrices are made when they are first asked for, and take many times the memory of the edges.
    """

    def __init__(self, edges: OctaveEdges, num_senders: int) -> None:
        super().__init__()
        self.num_senders = num_senders
        self.receivers = constant(edges.receivers)
        self.leading = bool(np.array_equal(edges.receivers, np.arange(len(edges.receivers))))  # a slice will do
        self.places, self.senders, self.kernels, self.cosine, self.sine = (
            nn.Buffer(torch.from_numpy(getattr(edges, name)), persistent=False)
            for name in ("places", "senders", "kernels", "cosine", "sine")
        )
        self._matrices: dict[tuple[str, torch.dtype], tuple[Tensor, Tensor]] = {}

    def take(self, values: Tensor) -> Tensor:
        """Return the rows of this octave's receivers."""
        return values[: len(self.receivers)] if self.leading else values.index_select(0, self.receivers)

    def put(self, values: Tensor, rows: Tensor) -> Tensor:
        """Return `values` with those rows in place of its own."""
        if not self.leading:
            return values.index_copy(0, self.receivers, rows)
        return rows if len(rows) == len(values) else torch.cat([rows, values[len(rows) :]])

    def scalar_sums(self, values: Tensor) -> Tensor:
        """Return sums [kernel · receiver, column] of values [sender, column]."""
        return self._product("scalars", values)

    def vector_sums(self, values: Tensor) -> Tensor:
        """Return sums [kernel · receiver · 2, column] of values [sender · 2, column], turned on each edge.

        East and north of one node are rows 2 i and 2 i + 1.
        """
        return self._product("vectors", values)

    def _product(self, kind: str, dense: Tensor) -> Tensor:
        dense = dense.float() if dense.dtype in (torch.bfloat16, torch.float16) else dense
        if dense.is_meta:  # where memory is counted, and matrices have no content
            rows = self.kernels.shape[1] * len(self.receivers) * (2 if kind == "vectors" else 1)
            return dense.new_empty(rows, dense.shape[1]) + 0 * dense.sum()
        with without_autocast(dense):
            return _Product.apply(dense.contiguous(), *self._pair(kind, dense.dtype))

    def _pair(self, kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the matrix and its transpose as torch's CSR tensors."""
        if (kind, dtype) not in self._matrices:
            matrix = self._vectors() if kind == "vectors" else self._scalars()
            device = self.kernels.device
            self._matrices[kind, dtype] = _csr(matrix, dtype, device), _csr(matrix.T.tocsr(), dtype, device)
        return self._matrices[kind, dtype]

    def _entries(self) -> tuple[Any, Any, Any]:
        places, senders, kernels = (each.cpu().numpy() for each in (self.places, self.senders, self.kernels))
        number = kernels.shape[1]
        rows = np.concatenate([k * len(self.receivers) + places for k in range(number)])
        return rows, np.tile(senders, number), kernels.T.ravel()

    def _scalars(self) -> csr_matrix:
        rows, columns, values = self._entries()
        return csr_matrix((values, (rows, columns)), (self.kernels.shape[1] * len(self.receivers), self.num_senders))

    def _vectors(self) -> csr_matrix:
        rows, columns, values = self._entries()
        c, s = (np.tile(part.cpu().numpy(), self.kernels.shape[1]) * values for part in (self.cosine, self.sine))
        rows = np.concatenate([2 * rows, 2 * rows, 2 * rows + 1, 2 * rows + 1])
        columns = np.concatenate([2 * columns, 2 * columns + 1] * 2)
        shape = 2 * self.kernels.shape[1] * len(self.receivers), 2 * self.num_senders
        return csr_matrix((np.concatenate([c, -s, s, c]), (rows, columns)), shape)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._matrices = {}  # stale: the buffers move
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_matrices": {}}  # sparse tensors cannot be copied


def _csr(matrix: csr_matrix, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix.sort_indices()
    rows, columns = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    values = torch.from_numpy(matrix.data).to(dtype)
    with warnings.catch_warnings():  # torch calls its CSR support beta, once a process
        warnings.filterwarnings("ignore", "Sparse", UserWarning)
        return torch.sparse_csr_tensor(rows, columns, values, matrix.shape, check_invariants=False).to(device)


class _Product(torch.autograd.Function):
    """matrix @ dense for a constant sparse matrix; its gradient is the transpose's product."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transpose @ gradient.contiguous(), None, None
