"""Optimisers, AdamW and Muon, learning rates, and how fast averages of the weights forget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from emulator.foundation.low_precision import fast_in_bfloat16

Decayed = Literal["all", "matrices"]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
BETAS = (0.9, 0.95)
MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Newton-Schulz, Jordan et al. (2024)
GRAM_FROM = 2  # rows a column, from where iterating on the Gram matrix takes fewer operations
PRECISE_ITERATIONS = 2  # what bfloat16 rounds of the smallest singular values grows 3.4-fold in each that follows
THINNEST = 8  # a matrix with fewer rows or columns joins a few variables or edge features to the network: AdamW's


def optimiser_of(
    kind: Literal["adamw", "muon"],
    module: nn.Module,
    learning_rate: float,
    weight_decay: float,
    decayed: Decayed = "all",
) -> torch.optim.Optimizer:
    """Return the optimiser of a module's weights. Both kinds take the same learning rates.

    Weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, arXiv:1711.05101): an update takes its
    learning rate times `weight_decay` off each weight that `decays`.
    """
    if kind == "muon":
        return Muon(module, learning_rate, weight_decay, decayed)
    weights: list[nn.Parameter] = list(module.parameters())
    groups: list[dict[str, Any]] = [{"params": [weight for weight in weights if decays(weight, decayed)]}]
    if others := [weight for weight in weights if not decays(weight, decayed)]:
        groups.append({"params": others, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, weight_decay=weight_decay)


def decays(weight: Tensor, decayed: Decayed) -> bool:
    """Return whether weight decay pulls weights to zero: those of `matrices` are no biases, scales or other vectors."""
    return decayed == "all" or weight.ndim > 1


def updates_averaged(share: float, update: int, updates: int) -> int:
    """Return how many weights a uniform average over the last `share` of all updates holds after `update` of them."""
    return max(0, update - (updates - round(share * updates)))


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

    def __init__(self, module: nn.Module, learning_rate: float, weight_decay: float, decayed: Decayed = "all") -> None:
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        convolutions = {id(layer.weight) for layer in module.modules() if isinstance(layer, CONVOLUTIONS)}
        by_rows: dict[int | None, list[nn.Parameter]] = {-2: [], 0: [], None: []}
        for weight in weights:
            last_row = 0 if id(weight) in convolutions else -2
            by_rows[last_row if _is_matrix(weight, last_row) else None].append(weight)
        groups: list[dict[str, Any]] = []
        for rows, alike in by_rows.items():
            parts = [[weight for weight in alike if decays(weight, decayed) is whether] for whether in (True, False)]
            groups += [{"params": parts[0], "last_row": rows}] if parts[0] else []
            groups += [{"params": parts[1], "last_row": rows, "weight_decay": 0.0}] if parts[1] else []
        super().__init__(groups, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights, last_row = [weight for weight in group["params"] if weight.grad is not None], group["last_row"]
            if not weights:
                continue
            if last_row is None:
                steps = [self._adam(self.state[weight], weight.grad) for weight in weights]
            else:
                steps = self._muon(weights, last_row)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(weights, steps, alpha=group["lr"])
        return loss

    def _muon(self, weights: Sequence[Tensor], last_row: int) -> list[Tensor]:
        """Return the steps of weights that are matrices with rows up to the dimension `last_row`."""
        matrices = []
        for weight in weights:
            state, gradient = self.state[weight], weight.grad
            assert gradient is not None
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            state["momentum"].mul_(MOMENTUM).add_(gradient)
            matrices.append(_matrix(gradient + MOMENTUM * state["momentum"], last_row))
        return [
            0.2 * max(matrix.shape) ** 0.5 * matrix.view_as(weight)
            for matrix, weight in zip(orthogonal(matrices), weights, strict=True)
        ]

    def _adam(self, state: dict[str, Any], gradient: Tensor) -> Tensor:
        if not state:
            state |= {"count": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
        count = state["count"] = state["count"] + 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        mean, square = state["mean"] / (1 - BETAS[0] ** count), state["square"] / (1 - BETAS[1] ** count)
        return mean / (square.sqrt() + 1e-8)


def orthogonal(
    matrices: Sequence[Tensor], iterations: int = 5, large_products: torch.dtype | None = None
) -> list[Tensor]:
    """Return U Vᵀ of each matrix U S Vᵀ, roughly: singular values come out between 0.7 and 1.2.

    Newton-Schulz with the quintic of Jordan et al. (2024), which rises fastest from zero. Matrices of one shape, turned
    or not, are stacked, so that a product serves all of them.

    large_products: dtype of the products with the matrices themselves; by default bfloat16 where the matrices are no
        more precise than float32 and their device is fast in it, else the matrices' own.
    """
    stacks: dict[tuple[int, int, torch.dtype, torch.device], list[int]] = {}
    for index, matrix in enumerate(matrices):
        columns, rows = sorted(matrix.shape)
        stacks.setdefault((rows, columns, matrix.dtype, matrix.device), []).append(index)
    found: list[Tensor] = list(matrices)
    for (rows, columns, dtype, device), members in stacks.items():
        tall = torch.stack([_tall(matrices[index]) for index in members])  # [matrix, row, column]
        tall = tall.to(torch.promote_types(dtype, torch.float32))
        tall /= torch.linalg.matrix_norm(tall, keepdim=True) + 1e-7
        products = large_products
        if products is None:
            in_bfloat16 = tall.dtype == torch.float32 and fast_in_bfloat16(device)
            products = torch.bfloat16 if in_bfloat16 else tall.dtype
        iterated = _by_gram_matrices if rows >= GRAM_FROM * columns else _by_matrices
        for index, result in zip(members, iterated(tall, iterations, products).to(dtype), strict=True):
            found[index] = result if matrices[index].shape[0] == rows else result.mT
    return found


def _by_matrices(tall: Tensor, iterations: int, products: torch.dtype) -> Tensor:
    """Return p(... p(X)) of the stacked matrices X, p(X) = a X + b X XᵀX + c X (XᵀX)²."""
    linear, cubic, quintic = QUINTIC
    x = tall
    for iteration in range(iterations):
        if iteration == PRECISE_ITERATIONS:
            x = x.to(products)
        square = x.mT @ x
        x = torch.baddbmm(x, x, torch.baddbmm(square, square, square, beta=cubic, alpha=quintic), beta=linear)
    return x


def _by_gram_matrices(tall: Tensor, iterations: int, products: torch.dtype) -> Tensor:
    """Return the same with two products by X in place of ten: iterated are the Gram matrix XᵀX and what multiplies X.

    These are as precise as `tall`: the smallest singular values, squared, would drown in bfloat16.
    """
    linear, cubic, quintic = QUINTIC
    square = tall.mT @ tall
    identity = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    factor = identity.expand_as(square)
    for iteration in range(iterations):
        power = torch.baddbmm(square, square, square, beta=cubic, alpha=quintic) + linear * identity
        factor = factor @ power if iteration else power
        if iteration < iterations - 1:
            square = power @ square @ power
    return tall.to(products) @ factor.to(products)


def _tall(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT


def _matrix(weight: Tensor, last_row: int) -> Tensor:
    """Return a weight as a matrix: dimensions up to `last_row` are its rows, the others its columns."""
    return weight.flatten(0, -2) if last_row == -2 else weight.flatten(1)


def _is_matrix(weight: Tensor, last_row: int) -> bool:
    return weight.ndim >= 2 and min(_matrix(weight, last_row).shape) >= THINNEST
