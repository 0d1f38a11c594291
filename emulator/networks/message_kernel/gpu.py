"""A layer of kernel messages on a GPU: sums over edges by `triton_kernels`, products with rows alone by PyTorch."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from emulator.networks.message_kernel.edge_lists import EdgeLists

ROWS = COLUMNS = 64  # of a program that adds up rows
GATHERED = {torch.bfloat16: (64, 64), torch.float32: (32, 16)}  # rows of a program, columns it gathers at a time
MOST_CHUNKS, CHUNK_TILES = 32, 4  # gradients of weights are summed chunk by chunk
NUMBERS = 1024  # of a program that takes them one by one
LEAST = 16  # rows and columns of a product


@cache
def has_triton() -> bool:
    """Return whether Triton is installed, as it is with PyTorch for CUDA."""
    return importlib.util.find_spec("triton") is not None


@cache
def runs_on(device: torch.device) -> bool:
    """Return whether the kernels run on a GPU: one of NVIDIA's, from A100 on, as they were compiled for."""
    return torch.version.cuda is not None and has_triton() and torch.cuda.get_device_capability(device) >= (8, 0)


class Layer(NamedTuple):
    """The tensors of a layer, on one device: rows [node, batch, channel], weights as in `operator.Weights`, edges."""

    senders: Tensor
    receivers: Tensor
    neighbours: Tensor
    own: Tensor
    own_bias: Tensor
    out: Tensor
    out_bias: Tensor
    edges: EdgeLists
    num_vectors: int

    def lowered(self) -> Layer:
        """Return it with weights in the precision of the rows."""
        names = ("neighbours", "own", "own_bias", "out", "out_bias")
        return self._replace(**{name: getattr(self, name).to(self.senders.dtype) for name in names})


def forward(layer: Layer, keep: bool) -> tuple[Tensor, Tensor]:
    """Return the output [receiver, batch, channel], and what is under the nonlinearity where that is to be kept."""
    triton, layer = _kernels(), layer.lowered()
    rows, batch, hidden = layer.receivers.flatten(0, 1), layer.receivers.shape[1], len(layer.own)
    parts = _messages(layer)
    own = torch.addmm(layer.own_bias, rows, layer.own.T)
    activated = torch.empty_like(own)
    grid = (_tiles(len(rows), ROWS), _tiles(hidden, COLUMNS))
    triton.collected[grid](
        own, parts, own, activated, layer.edges.integers, layer.edges.table, len(rows), batch, hidden,
        OCTAVES=len(layer.neighbours), SENDERS=False, ACTIVATE=True, ROWS=ROWS, COLUMNS=COLUMNS,
    )  # fmt: skip
    output = torch.addmm(layer.out_bias, activated, layer.out.T).add_(rows)
    total = own.view(*layer.receivers.shape[:2], hidden) if keep else own.new_empty(0)
    return output.view(layer.receivers.shape), total


def backward(layer: Layer, gradient: Tensor, total: Tensor, same: bool) -> tuple[Tensor, ...]:
    """Return the gradients of senders, of receivers (none where they are the same) and of the weights, in float32."""
    triton, layer = _kernels(), layer.lowered()
    rows, batch = layer.receivers.flatten(0, 1), layer.receivers.shape[1]
    gradient, total = gradient.contiguous().flatten(0, 1), total.flatten(0, 1)
    activated, under = torch.empty_like(total), gradient @ layer.out  # `under` becomes the gradient of `total`
    triton.silu_back[(_tiles(total.numel(), NUMBERS),)](under, total, activated, under, total.numel(), COLUMNS=NUMBERS)
    weights = (
        _weights_back(layer, under),
        (under.T @ rows).float(),
        under.sum(0, dtype=torch.float32),
        (gradient.T @ activated).float(),
        gradient.sum(0, dtype=torch.float32),
    )
    own = torch.addmm(gradient, under, layer.own)
    parts = _messages_back(layer, under)
    to_senders = torch.empty_like(layer.senders)
    base = own if same else own.new_zeros(to_senders.shape).flatten(0, 1)
    count = to_senders.shape[0] * batch
    grid = (_tiles(count, ROWS), _tiles(rows.shape[1], COLUMNS))
    triton.collected[grid](
        base, parts, to_senders, base, layer.edges.integers, layer.edges.table, count, batch, rows.shape[1],
        OCTAVES=len(layer.neighbours), SENDERS=True, ACTIVATE=False, ROWS=ROWS, COLUMNS=COLUMNS,
    )  # fmt: skip
    return to_senders, own.new_empty(0) if same else own.view(layer.receivers.shape), *weights


def _messages(layer: Layer) -> Tensor:
    """Return what each octave sends to each row that it reaches [row of all octaves, hidden]."""
    octaves, kernels, channels, hidden = layer.neighbours.shape
    batch, counts = layer.senders.shape[1], layer.edges.counts[:octaves]
    rows, columns = GATHERED[layer.senders.dtype]
    parts = torch.empty(sum(counts) * batch, hidden, device=layer.senders.device)
    _kernels().messages[(_tiles(max(counts) * batch, rows), octaves)](
        layer.senders, layer.neighbours, parts, *layer.edges[:3], batch, channels, hidden,
        2 * layer.num_vectors, K=kernels, ROWS=rows, COLUMNS=_columns(channels - 2 * layer.num_vectors, columns),
        HIDDEN=_columns(hidden), VECTORS=_vectors(layer), num_warps=_warps(hidden),
    )  # fmt: skip
    return parts


def _messages_back(layer: Layer, under: Tensor) -> Tensor:
    """Return what flows back to each sender of each octave [row of all octaves, channel]."""
    octaves, kernels, channels, hidden = layer.neighbours.shape
    batch, counts = layer.senders.shape[1], layer.edges.counts[octaves:]
    rows, columns = GATHERED[under.dtype]
    parts = torch.empty(sum(counts) * batch, channels, device=under.device)
    _kernels().messages_back[(_tiles(max(counts) * batch, rows), octaves)](
        under, layer.neighbours, parts, *layer.edges[:3], batch, channels, hidden, 2 * layer.num_vectors,
        K=kernels, ROWS=rows, COLUMNS=_columns(hidden, columns), CHANNELS=_columns(channels), VECTORS=_vectors(layer),
        num_warps=_warps(channels),
    )  # fmt: skip
    return parts


def _weights_back(layer: Layer, under: Tensor) -> Tensor:
    """Return the gradient of the neighbours' weights [octave, kernel, channel, hidden]."""
    octaves, kernels, channels, hidden = layer.neighbours.shape
    batch, turned = layer.senders.shape[1], 2 * layer.num_vectors
    rows, most_columns = GATHERED[under.dtype]
    tiles = _tiles(max(layer.edges.counts[:octaves]) * batch, rows)
    chunks = max(1, min(MOST_CHUNKS, tiles // CHUNK_TILES))
    sums = torch.empty(chunks, octaves, kernels, channels + turned, hidden, device=under.device)
    triton = _kernels()
    for turn, first, columns, before in (
        (triton.COSINE, 0, turned, 0),
        (triton.NOT, turned, channels - turned, turned),
        (triton.SINE, 0, turned, channels),
    ):
        if columns == 0:
            continue
        each = _columns(columns, most_columns)
        triton.weights_back[(chunks, octaves * kernels, _tiles(columns, each))](
            layer.senders, under, sums, *layer.edges[:3], batch, channels, hidden, first, columns, before,
            chunks, channels + turned, TURN=turn, K=kernels, ROWS=rows, COLUMNS=each, HIDDEN=_columns(hidden),
            num_warps=_warps(hidden),
        )  # fmt: skip
    found = sums.sum(0)
    found, across = found[:, :, :channels], found[:, :, channels:]
    if turned:  # minus what the sines give to north for east, and what they give to east for north
        found[:, :, : turned // 2] -= across[:, :, turned // 2 :]
        found[:, :, turned // 2 : turned] += across[:, :, : turned // 2]
    return found.contiguous()


def _kernels() -> Any:
    from emulator.networks.message_kernel import triton_kernels  # Triton is there on machines with a GPU alone

    return triton_kernels


def _tiles(count: int, size: int) -> int:
    return -(-count // size)


def _columns(width: int, most: int | None = None) -> int:
    """Return the power of two that holds so many columns, at most `most` of them at a time."""
    columns = max(LEAST, 1 << (width - 1).bit_length())
    return columns if most is None else min(columns, most)


def _vectors(layer: Layer) -> int:
    """Return as many columns as hold the vectors' channels, none where there are none."""
    return _columns(2 * layer.num_vectors) if layer.num_vectors else 0


def _warps(width: int) -> int:
    return 8 if width > 64 else 4
