"""Weights of latitudes: integrals of harmonics to rounding, and none where rows cannot have them."""

from __future__ import annotations

import numpy as np
import pytest

from graphs.harmonics.quadrature import latitude_weights
from graphs.meshes.gaussian import gaussian_latitudes

ROWS = {
    "The Well's planetswe": np.linspace(-1.0, 1.0, 256) * (90.0 - 90.0 / 257),
    "ERA5's inside the poles": np.arange(1, 720) * 0.25 - 90.0,
    "half a spacing from the poles": np.arange(256) * 180.0 / 256 - 90.0 + 90.0 / 256,
    "few": np.array([-60.0, -20.0, 20.0, 60.0]),
}


@pytest.mark.parametrize("name", ROWS)
def test_positive_weights_integrate_every_degree_that_is_asked_for(name: str) -> None:
    rows = ROWS[name]
    least = min(172, len(rows) - 2)
    weights = latitude_weights(rows, least)
    assert weights is not None and weights.min() > 0
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-9)
    sums = np.polynomial.legendre.legvander(np.sin(np.radians(rows)), least).T @ weights
    np.testing.assert_allclose(sums, np.eye(least + 1)[0], atol=1e-11)


def test_weights_of_gaussian_rows_reach_as_far_as_their_number_tells() -> None:
    rows, expected = gaussian_latitudes(32)
    found = latitude_weights(rows, 30)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_rows_that_are_too_few_or_not_alike_in_both_hemispheres_have_none() -> None:
    rows = ROWS["few"]
    assert latitude_weights(rows, 3) is None
    assert latitude_weights(rows + 1.0, 2) is None
    assert latitude_weights(np.array([-80.0, -79.9, -79.8, 79.8, 79.9, 80.0]), 4) is None  # negative ones alone
