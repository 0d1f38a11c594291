"""Small feed-forward networks draw a curve and a surface from noisy points."""

from __future__ import annotations

import pytest

from emulator.networks.layers.mlp import mlp
from training.optimisation.descent import DescentConfig, num_parameters
from training.tour.regression import (
    CURVE,
    DESCENT,
    SURFACE,
    decaying_wave,
    depth_against_width,
    equal_depths,
    fit_regression,
    grid_points,
    two_waves,
)


def test_the_networks_have_321_and_337_parameters() -> None:
    assert num_parameters(mlp(CURVE)) == 321
    assert num_parameters(mlp(SURFACE)) == 337


def test_a_curve_is_learned_from_noisy_points_to_a_thousandth() -> None:
    fitted = fit_regression(two_waves, seed=1)
    assert fitted.error <= 1e-3
    grid = grid_points(401, 1)
    assert float((fitted(grid) - two_waves(grid)).square().mean()) == pytest.approx(fitted.error)
    assert 0.008 < fitted.losses.training[-1] < 0.012  # the noise's variance remains, 0.01: it is not learned


def test_too_little_training_does_not_reach_a_thousandth() -> None:
    fitted = fit_regression(two_waves, descent=DescentConfig(epochs=20, learning_rate=DESCENT.learning_rate))
    assert fitted.error > 0.01


def test_the_same_seed_gives_the_same_curve() -> None:
    short = DescentConfig(epochs=5)
    first, second = (fit_regression(two_waves, seed=3, descent=short) for _ in range(2))
    assert first.losses == second.losses
    assert fit_regression(two_waves, seed=4, descent=short).losses != first.losses


def test_networks_of_several_depths_have_nearly_equal_parameters() -> None:
    sizes = equal_depths(321, (1, 2, 3, 4))
    assert CURVE in sizes
    assert all(abs(num_parameters(mlp(layers)) - 321) <= 32 for layers in sizes)


def test_the_wave_of_two_variables_solves_its_equation() -> None:
    """u_t + c u_x = ν u_xx by central differences."""
    points, step = grid_points(9, 2).double(), 1e-4
    right, left, later, sooner = (points.clone() for _ in range(4))
    right[:, 0] += step
    left[:, 0] -= step
    later[:, 1] += step
    sooner[:, 1] -= step
    here = decaying_wave(points)
    u_t = (decaying_wave(later) - decaying_wave(sooner)) / (2 * step)
    u_x = (decaying_wave(right) - decaying_wave(left)) / (2 * step)
    u_xx = (decaying_wave(right) - 2 * here + decaying_wave(left)) / step**2
    assert float((u_t + u_x - 0.02 * u_xx).abs().max()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2, 3, 4])
def test_curves_and_surfaces_are_learned_whatever_the_seed(seed: int) -> None:
    assert fit_regression(two_waves, seed=seed).error <= 1e-3
    assert fit_regression(decaying_wave, SURFACE, seed=seed).error <= 1e-3


@pytest.mark.slow
def test_depth_helps_at_equal_parameters() -> None:
    table = depth_against_width(depths=(1, 2))
    assert table.layers.tolist()[1] == "1-16-16-1"
    assert table["median error"][1] < table["median error"][0] / 3
