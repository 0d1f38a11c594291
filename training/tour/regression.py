"""Regression of a curve from noisy points by feed-forward networks, and depth against width at equal parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from emulator.networks.layers.mlp import mlp
from training.optimisation.descent import DescentConfig, Losses, descend, num_parameters, seeded
from training.tour.sampled_functions import grid_points, random_points, with_noise

CURVE = (1, 16, 16, 1)  # f(x), 321 parameters
SURFACE = (2, 16, 16, 1)  # f(x, t), 337 parameters
NOISE = 0.1
DESCENT = DescentConfig(epochs=2500, learning_rate=4e-2)  # full batch: an epoch is an update

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Regression:
    """A fitted curve or surface, from the unit interval or square to the real line.

    network: of points brought to [-1, 1]. points, values: the noisy samples [point, dimension] and [point, 1].
    losses: mean squared errors; the test's on the held-out grid, against the truth without noise.
    """

    truth: Function
    network: nn.Sequential
    points: Tensor
    values: Tensor
    losses: Losses

    @property
    def num_parameters(self) -> int:
        return num_parameters(self.network)

    @torch.no_grad()
    def __call__(self, points: Tensor) -> Tensor:
        """[point, 1] at points of the unit cube [point, dimension]."""
        return self.network(centred(points))

    def error(self) -> float:
        """Mean squared error on the held-out grid, against the truth without noise."""
        points = held_out(self.points.shape[1])
        return float((self(points) - self.truth(points)).square().mean())


def fit_regression(
    truth: Function,
    sizes: Sequence[int] = CURVE,
    num_points: int = 1000,
    noise: float = NOISE,
    seed: int = 0,
    descent: DescentConfig = DESCENT,
) -> Regression:
    """Fit a feed-forward network of the given layer sizes to noisy values at random points of the unit cube."""
    generator = torch.Generator().manual_seed(seed)
    points = random_points(num_points, sizes[0], generator)
    values = with_noise(truth(points), noise, generator)
    network = seeded(lambda: mlp(sizes), seed)
    grid = held_out(sizes[0])
    losses = descend(network, nn.functional.mse_loss, (centred(points), values), descent, (centred(grid), truth(grid)))
    return Regression(truth, network, points, values, losses)


def held_out(dimensions: int) -> Tensor:
    """[point, dimension] of the grid that judges: 401 points of an interval, 41 x 41 of a square."""
    return grid_points(401 if dimensions == 1 else 41, dimensions)


def centred(points: Tensor) -> Tensor:
    """The unit interval brought to [-1, 1], about which a network starts."""
    return 2 * points - 1


def equal_depths(budget: int, depths: Sequence[int] = (1, 2, 3, 4), dimensions: int = 1) -> list[tuple[int, ...]]:
    """Layer sizes of networks of several depths, each of the width whose parameters come closest to the budget."""
    sizes = []
    for depth in depths:
        rivals = [(dimensions, *[width] * depth, 1) for width in range(1, budget)]
        sizes.append(min(rivals, key=lambda layers: abs(_count(layers) - budget)))
    return sizes


def _count(sizes: Sequence[int]) -> int:
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
