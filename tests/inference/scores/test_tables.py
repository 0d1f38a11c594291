"""Tables: what stands in the files is what was found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from inference.scores import bootstrap
from inference.scores.dataset import to_dataset
from inference.scores.scorecard import Verification
from inference.scores.tables import tidy_table, to_json, write_tables
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth


@pytest.fixture(scope="module")
def found() -> Verification:
    truth = ring_truth(trajectories=4, times=13)
    stopped = ring_forecast(truth, "slow", lag=0.3, leads=10)
    stopped.values[1, :, 7:] = np.nan
    stopped = replace(stopped, attributes={"seed": "5"})
    forecasts = [ring_forecast(truth, "GNN", leads=12, members=2), stopped]
    return verify(forecasts, truth, climatology=np.zeros(1), baselines=["slow"], num_resamples=200)


def test_the_tidy_table_holds_every_case_and_every_mean(found: Verification) -> None:
    table = tidy_table(found)
    assert list(table) == ["emulator", "seed", "case", "member", "lead", "variable", "metric", "value"]
    gnn = table[(table.emulator == "GNN") & (table.metric == "rmse")]
    whole = gnn[gnn.case.isna()].sort_values("lead")
    np.testing.assert_allclose(whole.value, found["GNN"].mean("rmse")[:, 0])
    cases = gnn[gnn.case.notna() & gnn.member.isna()]
    assert len(cases) == 4 * 12 and set(cases.case) == {f"trajectory {k}, step 0" for k in range(4)}
    by_lead = np.sqrt((cases.value**2).groupby(cases.lead).mean())
    np.testing.assert_allclose(by_lead, whole.value)
    members = gnn[gnn.member.notna()]
    assert len(members) == 4 * 2 * 12 and set(members.member) == {0, 1}
    assert {"skill_vs_slow", "rmse_minus_slow_upper", "score", "stable_steps", "rmse_lower"} <= set(table.metric)
    assert set(table.seed) == {"3", "5"}


def test_files_read_back_equal(found: Verification, tmp_path: Path) -> None:
    paths = write_tables(found, tmp_path)
    assert sorted(path.name for path in paths) == ["scores.json", "scores.nc", "table.csv", "table.parquet"]
    table = tidy_table(found)
    parquet, csv = pd.read_parquet(tmp_path / "table.parquet"), pd.read_csv(tmp_path / "table.csv")
    np.testing.assert_array_equal(parquet.value, table.value)
    np.testing.assert_allclose(csv.value, table.value, rtol=1e-6)
    with xr.open_dataset(tmp_path / "scores.nc") as dataset:
        np.testing.assert_array_equal(dataset.rmse.sel(emulator="GNN"), found["GNN"].mean("rmse"))
        assert dataset.power.dims == ("emulator", "lead", "wavenumber", "variable")
        assert np.isnan(dataset.rmse.sel(emulator="slow", lead=11)).all()
        assert (dataset.num_failed.sel(emulator="slow", lead=8) == 1).all()


def test_tables_and_json_draw_cases_once_an_emulator_and_once_a_pair(
    found: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, drawn, draw = replace(found, level=0.9), [], bootstrap.resample_cases
    monkeypatch.setattr(bootstrap, "resample_cases", lambda *a, **k: drawn.append(a) or draw(*a, **k))
    tidy_table(fresh)
    assert len(drawn) == 3  # GNN, GNN against slow, slow
    to_json(fresh)
    assert len(drawn) == 3


def test_another_level_gives_other_intervals(found: Verification) -> None:
    (low, high), (lower, upper) = (
        part.interval("GNN", "rmse") for part in (found, replace(found, level=0.5, block_cases=1))
    )
    assert (upper - lower < high - low).all()


def test_json_has_no_nan_and_says_how_intervals_were_made(found: Verification) -> None:
    content = json.loads(json.dumps(to_json(found), allow_nan=False))
    slow = content["emulators"]["slow"]["metrics"]["rmse"]["u"]["value"]
    assert slow[7] is None and slow[6] == pytest.approx(found["slow"].mean("rmse")[6, 0])
    assert "whole trajectories" in content["intervals"]["method"]
    assert content["emulators"]["GNN"]["skill"]["slow"]["lead_steps"] == list(range(1, 11))


def test_the_dataset_labels_cases_by_time_and_trajectory(found: Verification) -> None:
    dataset = to_dataset(found)
    assert dataset.trajectory.values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(dataset.lead_time, 0.1 * np.arange(1, 13))
