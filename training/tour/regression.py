"""Regression of a curve from noisy points by feed-forward networks, and depth against width at equal parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from emulator.networks.layers.mlp import mlp
from training.optimisation.descent import DescentConfig, Losses, descend, num_parameters, seeded

CURVE = (1, 16, 16, 1)  # f(x), 321 parameters
SURFACE = (2, 16, 16, 1)  # f(x, t), 337 parameters
NUM_POINTS, NOISE = 1000, 0.1
DESCENT = DescentConfig(epochs=2500, learning_rate=4e-2)  # full batch: an epoch is an update

Function = Callable[[Tensor], Tensor]


def two_waves(points: Tensor) -> Tensor:
    """Return [point, 1] of f(x) = sin 2πx + 0.3 sin 6πx; points [point, 1] in [0, 1]."""
    return torch.sin(2 * torch.pi * points) + 0.3 * torch.sin(6 * torch.pi * points)


def decaying_wave(points: Tensor) -> Tensor:
    """Return [point, 1] of f(x, t) = sin(2π (x - t)) exp(-4π² ν t), which solves u_t + u_x = ν u_xx with ν = 0.02.

    points: [point, 2], x and t in [0, 1].
    """
    x, t = points[:, :1], points[:, 1:]
    return torch.sin(2 * torch.pi * (x - t)) * torch.exp(-4 * torch.pi**2 * 0.02 * t)


def grid_points(count: int, dimensions: int) -> Tensor:
    """Return [point, dimension], `count` along each dimension of the unit cube, its ends included."""
    axes = [torch.linspace(0.0, 1.0, count)] * dimensions
    return torch.cartesian_prod(*axes).reshape(-1, dimensions)


@dataclass(frozen=True)
class Regression:
    """A fitted curve or surface, from the unit interval or square to the real line.

    network: of points brought to [-1, 1]. points, values: the noisy samples [point, dimension] and [point, 1].
    losses: mean squared errors; the test's on an even grid, against the truth without noise.
    """

    network: nn.Sequential
    points: Tensor
    values: Tensor
    losses: Losses

    @property
    def num_parameters(self) -> int:
        return num_parameters(self.network)

    @property
    def error(self) -> float:
        """Return the mean squared error on an even grid after the last update, against the truth without noise."""
        return self.losses.test[-1]

    @torch.no_grad()
    def __call__(self, points: Tensor) -> Tensor:
        """Return [point, 1] at points of the unit cube [point, dimension]."""
        return self.network(_centred(points))


def fit_regression(
    truth: Function, sizes: Sequence[int] = CURVE, seed: int = 0, descent: DescentConfig = DESCENT
) -> Regression:
    """Fit a feed-forward network of the given layer sizes to noisy values at random points of the unit cube."""
    dimensions = sizes[0]
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(NUM_POINTS, dimensions, generator=generator)
    values = truth(points) + NOISE * torch.randn(NUM_POINTS, 1, generator=generator)
    grid = grid_points(401 if dimensions == 1 else 41, dimensions)
    network = seeded(lambda: mlp(sizes), seed)
    samples, test = (_centred(points), values), (_centred(grid), truth(grid))
    return Regression(network, points, values, descend(network, nn.functional.mse_loss, samples, descent, test))


def equal_depths(budget: int, depths: Sequence[int]) -> list[tuple[int, ...]]:
    """Return layer sizes of networks of several depths, each of the width whose parameters come closest to a budget."""
    sizes = []
    for depth in depths:
        of_any_width = [(1, *[width] * depth, 1) for width in range(1, budget)]
        sizes.append(min(of_any_width, key=lambda layers: abs(_num_weights(layers) - budget)))
    return sizes


def depth_against_width(depths: Sequence[int] = (1, 2, 3, 4), seeds: Sequence[int] = (0, 1, 2)) -> pd.DataFrame:
    """Return a row for each depth: errors of a regression of `two_waves` by networks of about 321 parameters each."""
    rows = []
    for sizes in equal_depths(321, depths):
        errors = [fit_regression(two_waves, sizes, seed).error for seed in seeds]
        rows.append(
            {
                "layers": "-".join(map(str, sizes)),
                "parameters": _num_weights(sizes),
                "median error": float(np.median(errors)),
                "largest error": max(errors),
            }
        )
    return pd.DataFrame(rows)


def _centred(points: Tensor) -> Tensor:
    return 2 * points - 1  # [-1, 1], about which a network starts


def _num_weights(sizes: Sequence[int]) -> int:
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
