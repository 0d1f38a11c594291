"""Networks that name the kind of a sampled function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.mlp import mlp
from training.optimisation.descent import DescentConfig, Losses, descend, seeded

KINDS = ("sine-like", "Gaussian", "polynomial", "square wave")
NUM_SAMPLES = 50
DEGREE = 3  # of the polynomials
NOISE = 0.1  # standard deviation in training
UNSEEN = 10_000  # seeds of unseen functions start here, beyond any of training
DESCENT = DescentConfig(epochs=8, batch_size=64, learning_rate=2e-3)


def sample_points() -> Tensor:
    """Return [sample], where `random_functions` are sampled."""
    return torch.linspace(-1.0, 1.0, NUM_SAMPLES)


def random_functions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return [function, sample] without noise, of amplitude one, and which of `KINDS` each is.

    Sine-like: sin(π f x + φ), 1.5 to 4 waves on the interval. Gaussian: ± exp(-(x - c)² / 2 s²), c in [-0.6, 0.6], s in
    [0.08, 0.25]. Polynomial: of degree 3, its coefficients of Legendre's polynomials normal, divided by its largest
    value. Square wave: the sign of such a sine.
    """
    x = sample_points()
    kinds = torch.randint(len(KINDS), (count,), generator=generator)
    drawn = torch.rand(count, 3, 1, generator=generator)
    sine = torch.sin(torch.pi * (1.5 + 2.5 * drawn[:, 0]) * x + 2 * torch.pi * drawn[:, 1])
    centre, width = 1.2 * drawn[:, 0] - 0.6, 0.08 + 0.17 * drawn[:, 1]
    bump = torch.exp(-((x - centre) ** 2) / (2 * width**2)) * (drawn[:, 2] - 0.5).sign()
    coefficients = torch.randn(count, DEGREE, generator=generator)
    polynomial = coefficients @ torch.stack([x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2])
    polynomial = polynomial / polynomial.abs().amax(dim=1, keepdim=True)
    every = torch.stack([sine, bump, polynomial, torch.where(sine >= 0, 1.0, -1.0)], dim=1)
    return every[torch.arange(count), kinds], kinds


class FunctionCNN(nn.Module):
    """1 x 50 → 16 x 50 → 32 x 50 = 1600 → 128 → 4: two convolutions of five points, then two full layers.

    [function, sample] to the logits [function, kind].
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 32, 5, padding=2), nn.ReLU()
        )
        self.layers = nn.Sequential(nn.Linear(32 * NUM_SAMPLES, 128), nn.ReLU(), nn.Linear(128, len(KINDS)))

    def forward(self, functions: Tensor) -> Tensor:
        channels = self.convolutions(functions.unsqueeze(1))  # [function, channel, sample]
        return self.layers(channels.flatten(1))


def function_ffnn() -> nn.Sequential:
    """Return the baseline without convolutions, whose width 429 gives it the CNN's number of weights, to 0.03 %."""
    return mlp((NUM_SAMPLES, 429, 429, len(KINDS)))


@dataclass(frozen=True)
class FittedClassifier:
    """A network [function, sample] to logits [function, kind], and its training history (cross-entropy)."""

    network: nn.Module
    losses: Losses


def fit_function_classifier(
    build: Callable[[], nn.Module], seed: int = 0, descent: DescentConfig = DESCENT
) -> FittedClassifier:
    """Train on functions with noise of standard deviation 0.1, drawn anew each time a function is shown."""
    samples = random_functions(2000, torch.Generator().manual_seed(seed))
    network = seeded(build, seed)
    test = unseen_functions(1000, NOISE, seed)
    losses = descend(
        network, nn.functional.cross_entropy, samples, descent, test, lambda batch, draws: _noisy(batch, NOISE, draws)
    )
    return FittedClassifier(network, losses)


def unseen_functions(count: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return noisy functions [function, sample] and their kinds, none of which any training saw."""
    generator = torch.Generator().manual_seed(UNSEEN + seed)
    functions, kinds = random_functions(count, generator)
    return _noisy(functions, noise, generator), kinds


@torch.no_grad()
def named_kinds(network: nn.Module, functions: Tensor) -> Tensor:
    """Return the kind that a network finds likeliest, [function]."""
    return network(functions).argmax(dim=1)


def accuracy_by_noise(network: nn.Module, noises: Sequence[float], count: int = 2000) -> NDArray[np.float64]:
    """Return the share of unseen functions named rightly, [noise]."""
    counts = (confusion(network, noise, count) for noise in noises)
    return np.array([table.trace() / count for table in counts])


def confusion(network: nn.Module, noise: float, count: int = 2000) -> NDArray[np.int64]:
    """Return [true kind, named kind] counts of unseen functions."""
    functions, kinds = unseen_functions(count, noise)
    pairs = len(KINDS) * kinds + named_kinds(network, functions)
    return torch.bincount(pairs, minlength=len(KINDS) ** 2).reshape(len(KINDS), len(KINDS)).numpy()


def _noisy(values: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return values + deviation * torch.randn(values.shape, generator=generator)
