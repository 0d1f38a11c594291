"""Scores by hand on four numbers, and against the `scores` library."""

import numpy as np
import pytest
import torch
import xarray as xr

from emulator import scores

AREAS = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
TRUTH = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)[:, None]
FORECAST = torch.tensor([2.0, -2.0, 1.0, 1.5], dtype=torch.float64)[:, None]  # errors 1, 0, -2, 1


def test_scores_by_hand_on_four_numbers() -> None:
    assert scores.mse(FORECAST, TRUTH, AREAS).item() == pytest.approx(0.1 * 1 + 0.3 * 4 + 0.4 * 1)
    assert scores.mae(FORECAST, TRUTH, AREAS).item() == pytest.approx(0.1 + 0.6 + 0.4)
    assert scores.bias(FORECAST, TRUTH, AREAS).item() == pytest.approx(0.1 - 0.6 + 0.4)
    truth_square = 0.1 * 1 + 0.2 * 4 + 0.3 * 9 + 0.4 * 0.25
    assert scores.nrmse(FORECAST, TRUTH, AREAS).item() == pytest.approx((1.7 / truth_square) ** 0.5)
    product, square = 0.1 * 2 + 0.2 * 4 + 0.3 * 3 + 0.4 * 0.75, 0.1 * 4 + 0.2 * 4 + 0.3 * 1 + 0.4 * 2.25
    zero = torch.zeros_like(TRUTH)
    assert scores.acc(FORECAST, TRUTH, zero, AREAS).item() == pytest.approx(product / (square * truth_square) ** 0.5)
    square, mean = (1.0 + 4.0 + 1.0) / 4, (1.0 - 2.0 + 3.0 + 0.5) / 4
    spread = (1.0 + 4.0 + 9.0 + 0.25) / 4 - mean**2
    assert scores.vrmse(FORECAST, TRUTH, AREAS).item() == pytest.approx((square / (spread + 1e-7)) ** 0.5, rel=1e-12)
    mean = 0.1 - 0.4 + 0.9 + 0.2
    assert scores.variance(TRUTH, AREAS).item() == pytest.approx(truth_square - mean**2)


def test_a_masked_node_counts_neither_in_the_sum_nor_in_the_weights() -> None:
    masked = TRUTH.clone()
    masked[2] = torch.nan
    kept = [0, 1, 3]
    weights = AREAS[kept] / AREAS[kept].sum()
    for score in (scores.mse, scores.mae, scores.bias, scores.nrmse, scores.vrmse, scores.amplitude_ratio):
        assert score(FORECAST, masked, AREAS).item() == pytest.approx(
            score(FORECAST[kept], TRUTH[kept], weights).item()
        )
    climatology = torch.tensor(0.3, dtype=torch.float64)
    expected = scores.acc(FORECAST[kept], TRUTH[kept], climatology, weights).item()
    assert scores.acc(FORECAST, masked, climatology, AREAS).item() == pytest.approx(expected)
    ensemble = torch.stack([FORECAST, FORECAST + 1, FORECAST - 2])
    for score in (scores.crps, scores.fair_crps, scores.ensemble_variance):
        expected = score(ensemble[:, kept], TRUTH[kept], weights).item()
        assert score(ensemble, masked, AREAS).item() == pytest.approx(expected)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_one_nan_among_infinite_values_masks_its_node_alone(broken: float) -> None:
    truth, forecast = torch.ones(4, 3, dtype=torch.float64), torch.full((4, 3), 3.0, dtype=torch.float64)
    truth[0, 1], truth[1, 1], truth[2, 2] = torch.inf, -torch.inf, broken
    error = scores.mse(forecast, truth, AREAS)
    assert error[0] == 4.0 and torch.isinf(error[1]) and (error[2] == 4.0) == (broken != torch.inf)


def test_vrmse_counts_every_node_alike_but_those_without_area_and_is_one_for_the_mean_of_the_truth() -> None:
    truth, areas = torch.cat([TRUTH, torch.full((1, 1), 90.0)]), torch.cat([AREAS, torch.zeros(1)])
    forecast = torch.cat([FORECAST, torch.zeros(1, 1)])
    expected = scores.vrmse(FORECAST, TRUTH, torch.ones(4))
    assert scores.vrmse(forecast, truth, areas) == scores.vrmse(FORECAST, TRUTH, AREAS) == expected
    mean = TRUTH.mean().expand(4, 1)
    assert scores.vrmse(mean, TRUTH, AREAS).item() == pytest.approx(1.0, abs=1e-6)
    constant = torch.full((4, 1), 5.0, dtype=torch.float64)
    assert scores.vrmse(constant + 1e-3, constant, AREAS).item() == pytest.approx(1e-3 / 1e-7**0.5)


def test_a_masked_node_sends_no_nan_into_the_gradient() -> None:
    masked = TRUTH.clone()
    masked[2] = torch.nan
    for score in (scores.mse, scores.mae, scores.bias, scores.nrmse):
        forecast = FORECAST.clone().requires_grad_()
        score(forecast, masked, AREAS).sum().backward()
        assert torch.isfinite(forecast.grad).all() and forecast.grad[2] == 0
    ensemble = torch.stack([FORECAST, FORECAST + 1]).requires_grad_()
    scores.fair_crps(ensemble, masked, AREAS).sum().backward()
    assert torch.isfinite(ensemble.grad).all()


def test_a_forecast_that_failed_has_no_score() -> None:
    failed = FORECAST.clone()
    failed[1] = torch.nan
    assert torch.isnan(scores.mse(failed, TRUTH, AREAS)).all()
    assert torch.isnan(scores.crps(torch.stack([FORECAST, failed]), TRUTH, AREAS)).all()


def test_one_member_has_the_absolute_error_as_crps_and_no_fair_crps() -> None:
    assert scores.crps(FORECAST[None], TRUTH, AREAS).item() == pytest.approx(1.1)
    assert torch.isnan(scores.fair_crps(FORECAST[None], TRUTH, AREAS)).all()


def test_crps_by_hand_with_two_members() -> None:
    ensemble = torch.tensor([0.0, 3.0], dtype=torch.float64).reshape(2, 1, 1)
    truth, area = torch.tensor([[1.0]], dtype=torch.float64), torch.ones(1)
    assert scores.crps(ensemble, truth, area).item() == pytest.approx(1.5 - 0.5 * 6 / 4)
    assert scores.fair_crps(ensemble, truth, area).item() == pytest.approx(1.5 - 0.5 * 6 / 2)


def test_scores_agree_with_the_scores_library() -> None:
    from scores.continuous import additive_bias, correlation, mae, mse, rmse
    from scores.probability import crps_for_ensemble

    random = np.random.default_rng(0)
    shape = (3, 5, 40, 2)  # case, member, node, variable
    ensemble, truth = random.normal(size=shape), random.normal(size=(3, 40, 2))
    truth[random.random(truth.shape) < 0.1] = np.nan
    areas = random.random(40)
    areas /= areas.sum()
    x, y = (
        xr.DataArray(ensemble, dims=("case", "member", "node", "variable")),
        xr.DataArray(truth, dims=("case", "node", "variable")),
    )
    w = xr.DataArray(areas, dims="node")
    forecast = x.isel(member=0)
    a, t, f = (torch.from_numpy(v) for v in (areas, truth, ensemble[:, 0]))

    def same(ours: torch.Tensor, theirs: xr.DataArray) -> None:
        np.testing.assert_allclose(ours.numpy(), theirs.transpose("case", "variable").values, atol=1e-6)

    keep = ["case", "variable"]
    same(scores.mse(f, t, a), mse(forecast, y, preserve_dims=keep, weights=w))
    same(scores.mse(f, t, a).sqrt(), rmse(forecast, y, preserve_dims=keep, weights=w))
    same(scores.mae(f, t, a), mae(forecast, y, preserve_dims=keep, weights=w))
    same(scores.bias(f, t, a), additive_bias(forecast, y, preserve_dims=keep, weights=w))
    for ours, method in ((scores.crps, "ecdf"), (scores.fair_crps, "fair")):
        theirs = crps_for_ensemble(x, y, "member", method=method, preserve_dims=keep, weights=w)
        same(ours(torch.from_numpy(ensemble), t, a), theirs)
    # Of departures from the area mean the anomaly correlation is Pearson's.
    there = ~torch.isnan(t)
    even = torch.full((40,), 1 / 40, dtype=torch.float64)
    f, t = (x - scores.weighted_mean(x, even, there).unsqueeze(-2) for x in (f, t))
    same(scores.acc(f, t, torch.zeros((), dtype=f.dtype), even), correlation.pearsonr(forecast, y, preserve_dims=keep))


def test_anomaly_correlation_equals_ten_lines_of_numpy() -> None:
    random = np.random.default_rng(1)
    forecast, truth, climatology = random.normal(size=(3, 4, 40, 2))  # case, node, variable
    areas = random.random(40)
    expected = np.empty((4, 2))
    for case in range(4):
        for variable in range(2):
            f = forecast[case, :, variable] - climatology[case, :, variable]
            t = truth[case, :, variable] - climatology[case, :, variable]
            w = areas / areas.sum()
            expected[case, variable] = (w * f * t).sum() / np.sqrt((w * f**2).sum() * (w * t**2).sum())
    tensors = [torch.from_numpy(array) for array in (forecast, truth, climatology, areas)]
    np.testing.assert_allclose(scores.acc(*tensors).numpy(), expected, atol=1e-12)
