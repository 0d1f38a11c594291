"""Products of many rows with a small matrix, by oneDNN in single precision on a CPU.

Torch takes them to MKL, which on an AMD processor reaches less than half of what the processor can do: 90 GFLOP/s for
2,048 rows of 128 and oneDNN 205, on one core of an EPYC with AVX-512. In other precisions and on other devices torch's
own products are used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 4096  # at a time where products are summed


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows [..., input] times the transpose of weight [output, input], plus bias [output]: [..., output]."""
    if not _by_onednn(rows) or rows.numel() == 0:
        return nn.functional.linear(rows, weight, bias)
    return _Linear.apply(rows, weight, bias)


class _Linear(torch.autograd.Function):
    """The product and its gradients, which are products too."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows.reshape(-1, rows.shape[-1]), weight, bias).view(*rows.shape[:-1], len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        of_rows = _product(flat, weight.T).view(rows.shape) if ctx.needs_input_grad[0] else None
        of_weight = _of_weight(flat, rows.reshape(-1, rows.shape[-1])) if ctx.needs_input_grad[1] else None
        return of_rows, of_weight, flat.sum(0) if ctx.needs_input_grad[2] else None


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight.contiguous(), bias, "none", [], "")


def _of_weight(gradient: Tensor, rows: Tensor) -> Tensor:
    """Return the transpose of gradient [row, output] times rows [row, input], some rows at a time.

    The first factor is copied to lie row by row, which is quick within the cache, and of two the narrower.
    """
    if gradient.shape[1] > rows.shape[1]:
        return _of_weight(rows, gradient).T
    parts = zip(gradient.split(ROWS), rows.split(ROWS), strict=True)
    products = (torch.ops.mkldnn._linear_pointwise(a.T, b.T, None, "none", [], "") for a, b in parts)
    return sum(products, start=next(products))


def _by_onednn(rows: Tensor) -> bool:
    return rows.dtype == torch.float32 and rows.device.type == "cpu" and _has_onednn()


@cache
def _has_onednn() -> bool:
    """Return whether this torch has oneDNN's product, which it keeps for compiled networks, with the arguments known
    here."""
    try:
        with torch.device("cpu"):
            return bool(_product(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)).eq(4.0).all())
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
