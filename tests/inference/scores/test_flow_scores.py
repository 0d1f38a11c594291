"""Scores of a wind on the whole sphere: its vector error, its energy, and its energy by degree."""

from dataclasses import replace

import numpy as np

from inference.scores.flow_scores import FlowScores
from inference.scores.verification import verify
from tests.inference.synthetic import sphere_forecast, sphere_truth


def found(**options: float) -> FlowScores:
    truth = sphere_truth()
    flow = verify([sphere_forecast(truth, **options)], truth, num_resamples=20).emulators[0].flow
    assert flow is not None
    return flow


def test_the_vector_error_is_the_length_of_the_winds_difference() -> None:
    truth = sphere_truth()
    exact = sphere_forecast(truth, lag=0)
    shifted = replace(exact, values=exact.values + np.array([0.0, 3.0, 4.0], np.float32))
    scores = verify([exact, shifted], truth, num_resamples=20).emulators
    np.testing.assert_allclose(scores[0].flow.vector_rmse, 0.0)
    np.testing.assert_allclose(scores[1].flow.vector_rmse, 5.0, rtol=1e-5)


def test_a_wind_that_fades_loses_energy_at_every_degree_alike() -> None:
    flow, leads = found(lag=0, fade=0.1), np.arange(1, 9)
    np.testing.assert_allclose(flow.energy_ratio, np.exp(-0.2 * leads), rtol=1e-5)
    expected = np.exp(-0.2 * leads)[:, None] * flow.truth_spectrum[:, 1:6]
    np.testing.assert_allclose(flow.spectrum[:, 1:6], expected, rtol=1e-4)


def test_available_energy_counts_depth_and_wind() -> None:
    flow = found(lag=0)
    forecast, truth = flow.available_change
    assert forecast[0] == truth[0] == 0.0
    np.testing.assert_allclose(forecast, truth, atol=1e-12)
    assert found(lag=0, fade=0.2).available_change[0][-1] < -0.5  # most of it is in the wind: 10 km of depth times |v|²


def test_there_is_no_flow_without_a_wind() -> None:
    truth = sphere_truth()
    forecast = sphere_forecast(truth)
    only = replace(forecast, values=forecast.values[..., :1], variables=("h",), units=("m",))
    assert verify([only], truth, num_resamples=20).emulators[0].flow is None
