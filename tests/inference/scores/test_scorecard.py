"""The scorecard: means over cases, steps within a threshold and paired contrasts, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from graphs.errors import MeshcastError
from inference.scores.scorecard import ForecastScores, common_cases
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth

SQUARES = np.array([[1.0, 4.0, 9.0, 16.0], [9.0, 4.0, 1.0, np.nan]])[..., None]  # [case, lead, variable]


def scores(verified: np.ndarray | None = None) -> ForecastScores:
    return ForecastScores(
        label="GNN",
        name="GNN",
        seed="",
        init_time=np.array([0, 1]),
        trajectory=np.array([-1, -1]),
        lead_steps=np.array([1, 2, 4, 8]),
        values={"rmse": SQUARES, "nrmse": np.sqrt(SQUARES)},
        verified=np.ones(SQUARES.shape, dtype=bool) if verified is None else verified,
        member_mse=None,
        power=None,
        truth_power=None,
    )


def test_the_rmse_is_the_root_of_the_mean_square_and_of_a_case_the_root_of_its_own() -> None:
    found = scores()
    np.testing.assert_allclose(found.mean("rmse")[:3, 0], np.sqrt([5.0, 4.0, 5.0]))
    np.testing.assert_allclose(found.mean("nrmse")[:3, 0], [2.0, 2.0, 2.0])
    np.testing.assert_allclose(found.case_values("rmse")[0, :, 0], [1.0, 2.0, 3.0, 4.0])
    drawn = found.mean("rmse", np.array([[2.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_allclose(drawn[:, :3, 0], [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])


def test_a_case_that_failed_is_counted_and_leaves_no_mean() -> None:
    found = scores()
    assert found.failed[:, 0].tolist() == [0, 0, 0, 1] and np.isnan(found.mean("rmse")[3, 0])
    without = scores(np.isfinite(SQUARES))  # no truth there, so that nothing failed
    assert without.failed.sum() == 0 and without.mean("rmse")[3, 0] == 4.0


def test_a_forecast_is_stable_until_its_error_first_passes_the_threshold() -> None:
    found = scores().with_stable_steps(np.array([1.0]), 2.5)
    assert found.stable_steps[:, 0].tolist() == [2.0, 0.0] and not found.censored.any()
    found = scores(np.isfinite(SQUARES)).with_stable_steps(np.array([1.0]), 3.5)
    assert found.stable_steps[:, 0].tolist() == [4.0, 4.0] and found.censored[:, 0].tolist() == [False, True]
    assert found.mean_stable_steps.tolist() == [4.0]


def test_the_score_is_the_geometric_mean_over_lead_times() -> None:
    found = scores(np.isfinite(SQUARES))
    assert found.score()[0] == pytest.approx((2.0 * 2.0 * 2.0 * 4.0) ** 0.25)
    assert found.score(steps=4)[0] == pytest.approx(2.0)


def test_emulators_without_a_case_in_common_are_refused() -> None:
    with pytest.raises(MeshcastError, match="GNN and GNN have no case and lead in common"):
        common_cases(scores(), replace(scores(), init_time=np.array([2, 3])))


def test_skill_and_difference_of_a_forecast_twice_as_good() -> None:
    truth = ring_truth(num_nodes=32, trajectories=5, times=5)
    good, bad = ring_forecast(truth, lag=0.0, leads=4), ring_forecast(truth, "bad", lag=0.0, leads=4)
    values = truth.values[1:].swapaxes(0, 1)[:, None]  # [case, member, lead, node, variable]
    found = verify(
        [replace(good, values=values + 1), replace(bad, values=values + 2)], truth, baselines=["bad"], num_resamples=50
    )
    np.testing.assert_allclose(found.skill("GNN", "bad").estimate, 0.5, rtol=1e-5)
    np.testing.assert_allclose(found.difference("GNN", "bad").upper, -1.0, rtol=1e-5)
    assert found.difference("GNN", "bad").significant.all()
    with pytest.raises(MeshcastError, match="No scores of 'worse'; there are GNN, bad"):
        found["worse"]
