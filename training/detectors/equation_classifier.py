"""Fit of the classifier that names the equation of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.physics.ring_equations import APEBENCH, Difficulty
from emulator.physics.simulate import RingConfig, SimulationConfig, simulate_arrays
from inference.detectors.equation_classifier import (
    EQUATIONS,
    EquationClassifier,
    TrajectoryCNN,
    pieces_of,
    standardised,
)
from training.optimisation.descent import DescentConfig, descend, seeded

TASKS = dict(zip(EQUATIONS, ("diff_adv", "diff_burgers", "diff_kdv", "diff_ks"), strict=True))
SPAN = (0.7, 1.3)  # factors on each difficulty number
UNSEEN = 10_000  # seeds of unseen trajectories start here, beyond any of training
NUM_PIECE_FRAMES = 4
LARGEST_NOISE = 0.05  # in standard deviations of the piece
DESCENT = DescentConfig(epochs=6, batch_size=64, learning_rate=6e-3)


@dataclass(frozen=True)
class TrajectoryConfig:
    """Trajectories to tell apart: APEBench's four tasks, each difficulty number times a random factor.

    variants: draws of the factors, uniform in `SPAN`; in every other variant advection runs backwards.
    per_variant: trajectories of each, from new initial states of at most five waves.
    num_frames: 51, from the initial state on; Kuramoto-Sivashinsky from 0 to 200 frames later, a variant at a time.
    """

    num_nodes: int = 160
    num_frames: int = 51
    variants: int = 10
    per_variant: int = 6


def fit_equation_classifier(
    config: TrajectoryConfig | None = None, seed: int = 0, descent: DescentConfig = DESCENT
) -> EquationClassifier:
    """Train on pieces of simulated trajectories, with noise of up to a twentieth of a piece's standard deviation."""
    config = config or TrajectoryConfig()
    pieces, equations = _pieces(*equation_trajectories(config, seed))
    test = _pieces(*equation_trajectories(replace(config, variants=2), UNSEEN // 2 + seed))
    network = seeded(lambda: TrajectoryCNN(NUM_PIECE_FRAMES, len(EQUATIONS)), seed)

    def noisy(batch: Tensor, generator: torch.Generator) -> Tensor:
        amount = LARGEST_NOISE * torch.rand(len(batch), 1, 1, generator=generator)
        return standardised(batch) + amount * torch.randn(batch.shape, generator=generator)

    descend(network, nn.functional.cross_entropy, (pieces, equations), descent, test, noisy)
    training = {
        "tasks": TASKS,
        "difficulty": f"each number times a factor in [{SPAN[0]}, {SPAN[1]}]",
        "trajectories": len(EQUATIONS) * config.variants * config.per_variant,
        "frames": config.num_frames,
        "seed": seed,
    }
    return EquationClassifier(network, config.num_nodes, training)


def equation_trajectories(config: TrajectoryConfig, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return trajectories [trajectory, frame, node] of all equations in turn, and places of these in `EQUATIONS`."""
    draws = np.random.default_rng(seed)
    values = []
    for place, equation in enumerate(EQUATIONS):
        for variant in range(config.variants):
            factors = draws.uniform(*SPAN, size=8)
            difficulty = _varied(APEBENCH[TASKS[equation]], factors, backwards=place == 0 and variant % 2 == 1)
            warm_up = int(draws.integers(201)) if equation == "Kuramoto-Sivashinsky" else 0
            values.append(_simulated(difficulty, config, warm_up, int(draws.integers(2**31))))
    return np.concatenate(values), np.repeat(np.arange(len(EQUATIONS)), config.variants * config.per_variant)


def benchmark_trajectories(
    count: int, seed: int, num_frames: int = 51
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return `count` trajectories of each of APEBench's four tasks; Kuramoto-Sivashinsky warms up for 500 steps."""
    config = TrajectoryConfig(num_frames=num_frames, per_variant=count)
    values = [
        _simulated(APEBENCH[task], config, 500 if task == "diff_ks" else 0, UNSEEN + seed + place)
        for place, task in enumerate(TASKS.values())
    ]
    return np.concatenate(values), np.repeat(np.arange(len(EQUATIONS)), count)


def accuracy(classifier: EquationClassifier, values: NDArray[np.float64], equations: NDArray[np.int64]) -> float:
    """Return the share of trajectories named rightly."""
    return float((classifier.probabilities(values).argmax(axis=1) == equations).mean())


def confusion(
    classifier: EquationClassifier, values: NDArray[np.float64], equations: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return counts [true equation, named equation]."""
    counts = np.zeros((len(EQUATIONS), len(EQUATIONS)), dtype=np.int64)
    np.add.at(counts, (equations, classifier.probabilities(values).argmax(axis=1)), 1)
    return counts


def _varied(task: Difficulty, factors: NDArray[np.float64], backwards: bool) -> Difficulty:
    sign = -1.0 if backwards else 1.0
    gamma = tuple(sign * number * float(factor) for number, factor in zip(task.gamma, factors, strict=False))
    delta = tuple(number * float(factor) for number, factor in zip(task.delta, factors[4:], strict=False))
    return Difficulty(gamma=gamma, delta=delta)


def _simulated(equation: Difficulty, config: TrajectoryConfig, warm_up: int, seed: int) -> NDArray[np.float64]:
    return simulate_arrays(
        SimulationConfig(
            equation=equation,
            time_step=1.0,
            mesh=RingConfig(num_nodes=config.num_nodes),
            num_trajectories=config.per_variant,
            num_frames=config.num_frames,
            warm_up=warm_up,
            substeps=4,
            seed=seed,
        )
    )


def _pieces(values: NDArray[np.float64], equations: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    pieces = pieces_of(torch.as_tensor(values, dtype=torch.float32), NUM_PIECE_FRAMES)
    return pieces.flatten(0, 1), torch.as_tensor(equations).repeat_interleave(pieces.shape[1])
