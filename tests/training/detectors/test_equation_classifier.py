"""Equations are named rightly on trajectories that trained nothing."""

from __future__ import annotations

import numpy as np
import pytest

from inference.detectors.equation_classifier import EQUATIONS
from training.detectors.equation_classifier import (
    UNSEEN,
    TrajectoryConfig,
    accuracy,
    benchmark_trajectories,
    equation_trajectories,
    fit_equation_classifier,
)
from training.optimisation.descent import DescentConfig

FEW = TrajectoryConfig(num_frames=12, variants=2, per_variant=2)


def test_trajectories_are_of_every_equation_and_differ_by_seed() -> None:
    values, equations = equation_trajectories(FEW, 0)
    assert values.shape == (16, 12, 160)
    assert np.bincount(equations).tolist() == [4, 4, 4, 4]
    assert not np.allclose(values, equation_trajectories(FEW, 1)[0])
    np.testing.assert_array_equal(values, equation_trajectories(FEW, 0)[0])


def test_advection_runs_both_ways_and_keeps_its_shape() -> None:
    values, equations = equation_trajectories(FEW, 0)
    for trajectory in values[equations == 0]:
        power = np.abs(np.fft.rfft(trajectory))
        np.testing.assert_allclose(power - power[:1], 0.0, atol=1e-9)
    phase = [np.angle(np.fft.rfft(t)[:, 1][1] / np.fft.rfft(t)[:, 1][0]) for t in values[equations == 0]]
    assert min(phase) < 0 < max(phase)


def test_a_short_training_already_names_most() -> None:
    config = TrajectoryConfig(num_frames=21, variants=4, per_variant=3)
    classifier = fit_equation_classifier(config, descent=DescentConfig(epochs=3, batch_size=64, learning_rate=1e-2))
    share = accuracy(classifier, *benchmark_trajectories(5, seed=1, num_frames=21))
    assert share >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equations_of_unseen_trajectories_are_named(seed: int) -> None:
    """APEBench's own, from the initial state on, over 200 frames, and late; and with difficulties drawn anew."""
    classifier = fit_equation_classifier(seed=seed)
    values, equations = benchmark_trajectories(25, seed=seed, num_frames=201)
    assert accuracy(classifier, values, equations) >= 0.95
    assert accuracy(classifier, values[:, :51], equations) >= 0.95
    assert accuracy(classifier, *equation_trajectories(TrajectoryConfig(variants=5), UNSEEN + seed)) >= 0.95
    assert len(EQUATIONS) == 4
