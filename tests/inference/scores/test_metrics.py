"""Metrics: one more of them reaches every table and file, and what it cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from emulator import scores
from emulator.plugins import load_plugins
from graphs.errors import MeshcastError
from inference.comparison.row_scores import RowScores
from inference.report.report import write_report
from inference.scores.metrics import METRICS, Metric, case_scores, shown_in
from inference.scores.tables import tidy_table
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth, sphere_forecast, sphere_truth

PLUGIN = Path(__file__).parents[2] / "plugins/largest_error.py"


@pytest.fixture
def plugin() -> Iterator[None]:
    before = dict(METRICS)
    load_plugins([PLUGIN])
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.mark.usefixtures("plugin")
def test_a_metric_from_a_file_stands_in_every_table_file_and_comparison(tmp_path: Path) -> None:
    truth = ring_truth(num_nodes=32, trajectories=4, times=7)
    forecasts = [ring_forecast(truth, "GNN", leads=6), ring_forecast(truth, "slow", lag=0.3, leads=6)]
    found = verify(forecasts, truth, baselines=["slow"], num_resamples=100)
    error = np.abs(forecasts[0].values[:, 0, :, :, 0] - truth.values[1:, :, :, 0].swapaxes(0, 1)).max(-1)
    expected = error.mean(0)  # [lead]
    page = write_report(found, tmp_path).read_text()
    assert "Largest error of u" in page and "Largest error against lead time." in page
    assert (tmp_path / "largest_error.png").exists()
    content = json.loads((tmp_path / "scores.json").read_text())["emulators"]["GNN"]["metrics"]
    np.testing.assert_allclose(content["largest_error"]["u"]["value"], expected, rtol=1e-6)
    assert "vector_rmse" not in content, "no wind blows on a ring"
    with xr.open_dataset(tmp_path / "scores.nc") as dataset:
        np.testing.assert_allclose(dataset.largest_error.sel(emulator="GNN", variable="u"), expected, rtol=1e-6)
        assert (dataset.largest_error_lower < dataset.largest_error).all()
    assert {"largest_error", "largest_error_upper"} <= set(tidy_table(found).metric)
    seeds = RowScores(found, {"GNN": [found["GNN"]], "slow": [found["slow"]]}, "nrmse", 100)
    assert (seeds.contrast("GNN", "slow", "largest_error").ratio.value < 0.5).all()


@pytest.mark.usefixtures("plugin")
def test_a_metric_of_the_wind_holds_for_both_components_and_nothing_else() -> None:
    truth = sphere_truth(times=4)
    found = verify([sphere_forecast(truth)], truth, num_resamples=50)["GNN"]
    vector, rmse = found.mean("vector_rmse"), found.mean("rmse")  # [lead, (h, u, v)]
    assert np.isnan(vector[:, 0]).all()
    np.testing.assert_allclose(vector[:, 1], np.hypot(rmse[:, 1], rmse[:, 2]), rtol=1e-9)
    np.testing.assert_array_equal(vector[:, 1], vector[:, 2])
    assert found.flow is not None
    np.testing.assert_allclose(found.flow.vector_rmse, vector[:, 1], rtol=1e-9)


def test_a_metric_says_which_unit_its_scores_have() -> None:
    assert METRICS["rmse"].with_unit("K", "2t") == "RMSE of 2t [K]" and METRICS["rmse"].with_unit("1") == "RMSE"
    assert METRICS["acc"].with_unit("K") == "anomaly correlation"
    assert replace(METRICS["acc"], unit="%").with_unit("K") == "anomaly correlation [%]"


def test_scores_by_hand_on_four_numbers() -> None:
    """Members 2 -2 1 1.5 and 0 -2 5 -0.5 of the truth 1 -2 3 0.5: their mean is the truth."""
    truth = torch.tensor([1.0, -2.0, 3.0, 0.5])[None, None, :, None]  # [case, lead, node, variable]
    first = torch.tensor([2.0, -2.0, 1.0, 1.5])[None, None, :, None]
    areas = torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = case_scores(torch.stack([first, 2 * truth - first], dim=1), truth, areas)
    assert found["rmse"].item() == found["mae"].item() == found["bias"].item() == 0.0
    assert found["spread"].item() == pytest.approx(2 * (0.1 * 1 + 0.3 * 4 + 0.4 * 1))
    assert found["fair_crps"].item() == pytest.approx(0.0, abs=1e-12)
    single = case_scores(first[:, None], truth, areas)
    assert single["rmse"].item() == pytest.approx(1.7) and "crps" not in single and "acc" not in single


def test_only_what_a_forecast_allows_is_scored() -> None:
    truth = ring_truth(num_nodes=16, trajectories=2, times=3)
    METRICS["polar"] = Metric("polar", scores.mae, whole_sphere=True)
    try:
        assert "polar" not in verify([ring_forecast(truth, leads=2)], truth)["GNN"].metrics
        on_sphere = sphere_truth(times=3)
        assert "polar" in verify([sphere_forecast(on_sphere)], on_sphere)["GNN"].metrics
    finally:
        del METRICS["polar"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": lambda prediction, truth: truth}, "has argument prediction; there are forecast, ensemble, truth"),
        ({"better": "higher"}, "has better higher; there are smaller, larger, nearest"),
        ({"shown": ("tables",)}, "has shown tables; there are table, curve, comparison"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_where_it_is_made(options: dict, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        Metric(**{"title": "mine", "function": scores.mae, **options})


def test_a_metric_that_keeps_the_nodes_or_fails_is_refused_by_name() -> None:
    truth = ring_truth(num_nodes=16, trajectories=2, times=3)
    for function, message in (
        (lambda forecast, truth: forecast - truth, r"metric mine must return .* here \[2, 2, 1\], but returned"),
        (lambda forecast: forecast.nothing, "metric mine fails: AttributeError"),
    ):
        METRICS["mine"] = Metric("mine", function)
        try:
            with pytest.raises(MeshcastError, match=message):
                verify([ring_forecast(truth, leads=2)], truth)
        finally:
            del METRICS["mine"]


def test_a_plug_in_does_not_replace_a_metric_of_the_package(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.read_text().replace('"largest_error": M', '"rmse": M'))
    with pytest.raises(MeshcastError, match="names one of its METRICS 'rmse', as the package does"):
        load_plugins([path])
    path.write_text("METRICS = {'mine': max}")
    with pytest.raises(MeshcastError, match="'mine' of METRICS must be a Metric, not a builtin_function"):
        load_plugins([path])
        case_scores(torch.zeros(1, 1, 1, 4, 1), torch.zeros(1, 1, 4, 1), torch.ones(4))
    del METRICS["mine"]


def test_the_first_metric_shown_is_the_rmse() -> None:
    assert shown_in("table") == ["rmse", "bias", "nrmse", "acc", "crps", "wet_area_bias", "csi"]
    assert shown_in("comparison") == ["rmse", "acc"]
