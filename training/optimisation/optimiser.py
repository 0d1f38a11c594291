"""Optimisers, AdamW and Muon, learning rates, and how fast averages of the weights forget."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
BETAS = (0.9, 0.95)
MOMENTUM = 0.95
THINNEST = 8  # a matrix with fewer rows or columns joins a few variables or edge features to the network: AdamW's


def optimiser_of(
    kind: Literal["adamw", "muon"], module: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimiser of a module's weights. Both kinds take the same learning rates."""
    if kind == "adamw":
        return torch.optim.AdamW(module.parameters(), lr=learning_rate, betas=BETAS, weight_decay=weight_decay)
    return Muon(module, learning_rate, weight_decay)


def warm_up_cosine(update: int, warm_up: int, updates: int) -> float:
    """Return the share of the peak learning rate: a linear rise over `warm_up` updates, then a cosine to zero.

    Loshchilov and Hutter (2017), arXiv:1608.03983, eq. 5, without restarts.
    """
    if update < warm_up:
        return (update + 1) / warm_up
    progress = (update - warm_up) / max(updates - warm_up, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def averaging_decay(ema_decay: float, update: int) -> float:
    """Return the share that the moving average of the weights keeps of itself after `update` updates, from 1.

    A short average at first, so that it does not drag the untrained weights along.
    """
    return min(ema_decay, (1 + update) / (10 + update))


class Muon(torch.optim.Optimizer):
    """Steps of equal size in every direction for the matrices inside a network, AdamW for all other weights.

        M <- μ M + G,   W <- W (1 - η λ) - 0.2 η √max(rows, columns) orthogonal(G + μ M)

    Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/; the factor 0.2 √max makes the root mean square of
    a step AdamW's (Liu et al. 2025, arXiv:2502.16982, eq. 4). Weights of more than two dimensions are matrices from
    what a node hears to what it makes of it: with all but the last flattened, or, of a convolution, whose outputs come
    first, with all but the first.
    """

    def __init__(self, module: nn.Module, learning_rate: float, weight_decay: float) -> None:
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        convolutions = {id(layer.weight) for layer in module.modules() if isinstance(layer, CONVOLUTIONS)}
        by_rows: dict[int | None, list[nn.Parameter]] = {-2: [], 0: [], None: []}
        for weight in weights:
            last_row = 0 if id(weight) in convolutions else -2
            by_rows[last_row if _is_matrix(weight, last_row) else None].append(weight)
        groups = [{"params": alike, "last_row": last_row} for last_row, alike in by_rows.items() if alike]
        super().__init__(groups, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, decay = group["lr"], 1 - group["lr"] * group["weight_decay"]
            last_row = group["last_row"]
            for weight in group["params"]:
                if weight.grad is not None:
                    step = self._adam if last_row is None else partial(self._muon, last_row=last_row)
                    weight.mul_(decay).sub_(rate * step(self.state[weight], weight.grad))
        return loss

    def _muon(self, state: dict[str, Any], gradient: Tensor, last_row: int) -> Tensor:
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].mul_(MOMENTUM).add_(gradient)
        matrix = _matrix(gradient + MOMENTUM * state["momentum"], last_row)
        return 0.2 * max(matrix.shape) ** 0.5 * orthogonal(matrix).view_as(gradient)

    def _adam(self, state: dict[str, Any], gradient: Tensor) -> Tensor:
        if not state:
            state |= {"count": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
        count = state["count"] = state["count"] + 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        mean, square = state["mean"] / (1 - BETAS[0] ** count), state["square"] / (1 - BETAS[1] ** count)
        return mean / (square.sqrt() + 1e-8)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return U Vᵀ of the matrix U S Vᵀ, roughly: singular values come out between 0.7 and 1.2.

    Newton-Schulz with the quintic of Jordan et al. (2024), which rises fastest from zero.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(iterations):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide is matrix else x.T


def _matrix(weight: Tensor, last_row: int) -> Tensor:
    """Return a weight as a matrix: dimensions up to `last_row` are its rows, the others its columns."""
    return weight.flatten(0, -2) if last_row == -2 else weight.flatten(1)


def _is_matrix(weight: Tensor, last_row: int) -> bool:
    return weight.ndim >= 2 and min(_matrix(weight, last_row).shape) >= THINNEST
