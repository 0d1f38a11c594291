"""The dataset of scores: every number where its labels say it is."""

from dataclasses import replace

import numpy as np

from inference.scores.dataset import case_names, to_dataset
from inference.scores.metrics import METRICS
from inference.scores.verification import verify
from tests.inference.synthetic import (
    isles_forecast,
    isles_truth,
    ring_forecast,
    ring_truth,
    sphere_forecast,
    sphere_truth,
)


def test_cases_and_leads_are_the_union_and_hold_nothing_where_an_emulator_has_none() -> None:
    truth = ring_truth(num_nodes=32, trajectories=4, times=9)
    whole, some = ring_forecast(truth, leads=8, members=2), ring_forecast(truth, "slow", lag=0.3, leads=5)
    kept = np.array([3, 1])  # in an order of its own
    some = replace(some, values=some.values[kept], init_time=some.init_time[kept], trajectory=some.trajectory[kept])
    found = verify([whole, some], truth, baselines=["slow"], num_resamples=100)
    dataset = to_dataset(found)
    slow = dataset.sel(emulator="slow", variable="u")
    assert dataset.sizes["case"] == 4 and dataset.sizes["lead"] == 8 and dataset.sizes["member"] == 2
    np.testing.assert_array_equal(slow.case_rmse[[3, 1], :5], found["slow"].case_values("rmse")[..., 0])
    assert np.isnan(slow.case_rmse[[0, 2]]).all() and np.isnan(slow.rmse[5:]).all() and np.isnan(slow.crps).all()
    skill = found.skill("GNN", "slow")
    np.testing.assert_array_equal(dataset["skill"].sel(emulator="GNN", baseline="slow")[:5, 0], skill.estimate[:, 0])
    assert np.isnan(dataset["skill"].sel(emulator="GNN")[..., 5:, :]).all()
    assert np.isnan(dataset["skill"].sel(emulator="slow")).all(), "none is measured against itself"
    assert dataset.num_starts.values.tolist() == [4, 2]


def test_every_array_says_what_it_is() -> None:
    truth = sphere_truth(times=4)
    dataset = to_dataset(verify([sphere_forecast(truth)], truth, num_resamples=50))
    assert all(array.attrs["long_name"] for array in dataset.data_vars.values())
    assert dataset.units.values.tolist() == ["m", "m s-1", "m s-1"] and dataset.vector_rmse.attrs["units"] == "m s-1"
    assert dataset.rmse.attrs == {"long_name": "RMSE", "better": "smaller", "perfect": 0.0}
    assert dataset.nrmse.attrs["units"] == "1" and METRICS["nrmse"].unit == "1"
    assert dataset.energy_by_degree.dims == ("emulator", "lead", "degree")


def test_cases_are_named_by_time_or_trajectory() -> None:
    truth = isles_truth(days=1)
    forecast = isles_forecast(truth, leads=6, every=12)
    names = case_names(forecast.init_time, forecast.trajectory, truth.time_step)
    assert names == ["2019-03-25T00:00:00", "2019-03-25T12:00:00"]
    step = ring_truth().time_step
    assert case_names(np.array([3]), np.array([-1]), step) == ["step 3"]
    assert case_names(np.array([3]), np.array([2]), step) == ["trajectory 2, step 3"]
