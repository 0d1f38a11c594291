"""Teaching networks to name the kind of a sampled function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.optimisation.descent import DescentConfig, Losses, descend, seeded
from training.tour.sampled_functions import KINDS, random_functions, with_noise

NOISE = 0.1  # standard deviation in training
UNSEEN = 10_000  # seeds of unseen functions start here, beyond any of training
DESCENT = DescentConfig(epochs=8, batch_size=64, learning_rate=2e-3)


@dataclass(frozen=True)
class FittedClassifier:
    """A network [function, sample] to logits [function, kind], and its training history (cross-entropy)."""

    network: nn.Module
    losses: Losses


def fit_function_classifier(
    build: Callable[[], nn.Module], count: int = 2000, seed: int = 0, descent: DescentConfig = DESCENT
) -> FittedClassifier:
    """Train on functions with noise of standard deviation 0.1, drawn anew each time a function is shown."""
    functions, kinds = random_functions(count, torch.Generator().manual_seed(seed))
    network = seeded(build, seed)

    def noisy(batch: Tensor, generator: torch.Generator) -> Tensor:
        return with_noise(batch, NOISE, generator)

    test = unseen_functions(1000, NOISE, seed)
    losses = descend(network, nn.functional.cross_entropy, (functions, kinds), descent, test, noisy)
    return FittedClassifier(network, losses)


def unseen_functions(count: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy functions [function, sample] and their kinds, none of which any training saw."""
    generator = torch.Generator().manual_seed(UNSEEN + seed)
    functions, kinds = random_functions(count, generator)
    return with_noise(functions, noise, generator), kinds


@torch.no_grad()
def named_kinds(network: nn.Module, functions: Tensor) -> Tensor:
    """[function], the kind that a network thinks likeliest."""
    return network(functions).argmax(dim=1)


def accuracy_by_noise(
    network: nn.Module, noises: Sequence[float], count: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """[noise] share of unseen functions named rightly."""
    shares = []
    for noise in noises:
        functions, kinds = unseen_functions(count, noise, seed)
        shares.append(float((named_kinds(network, functions) == kinds).double().mean()))
    return np.array(shares)


def confusion(network: nn.Module, noise: float, count: int = 2000, seed: int = 0) -> NDArray[np.int64]:
    """[true kind, named kind] counts of unseen functions."""
    functions, kinds = unseen_functions(count, noise, seed)
    pairs = len(KINDS) * kinds + named_kinds(network, functions)
    return torch.bincount(pairs, minlength=len(KINDS) ** 2).reshape(len(KINDS), len(KINDS)).numpy()
