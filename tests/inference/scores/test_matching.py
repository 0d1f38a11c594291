"""Matching: each forecast meets the truth of its own valid time and trajectory."""

from dataclasses import replace

import numpy as np
import pytest

from graphs.errors import MeshcastError
from inference.scores.matching import common_variables, match, without_truth
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth


def test_the_truth_read_is_that_of_the_valid_time_and_the_trajectory() -> None:
    truth = ring_truth(num_nodes=16, trajectories=3, times=6)
    order = np.array([2, 0])
    forecast = ring_forecast(truth, leads=4)
    forecast = replace(
        forecast, values=forecast.values[order], init_time=np.array([1, 0]), trajectory=forecast.trajectory[order]
    )
    found = match(forecast, "GNN", truth, ("u",))
    assert found.time_index.tolist() == [[1, 2, 3, 4, 5], [0, 1, 2, 3, 4]] and found.has_truth.all()
    read = found.read(slice(None), slice(None))  # [case, lead, node, variable]
    np.testing.assert_array_equal(read[0], truth.values[2:6, 2])
    np.testing.assert_array_equal(read[1], truth.values[1:5, 0])
    np.testing.assert_array_equal(found.initial(slice(0, 1))[0], truth.values[1, 2])
    np.testing.assert_array_equal(found.read(slice(1, 2), slice(2, 4)), read[1:, 2:])


def test_times_without_truth_are_nan_and_named_as_ranges() -> None:
    truth = isles_truth(days=1, rows=5, columns=5)
    forecast = isles_forecast(isles_truth(days=2, rows=5, columns=5), leads=6, every=21)
    known = replace(truth, missing=frozenset({2}))
    found = match(forecast, "GNN", known, ("2t",))
    assert found.has_truth[0].tolist() == [True, False, True, True, True, True]
    assert np.isnan(found.read(slice(0, 1), slice(1, 2))).all()
    assert without_truth(forecast, found.has_truth) == [
        "no truth at step 2 of 2019-03-25T00:00:00",
        "no truth at steps 4 to 6 of 2019-03-25T21:00:00",
        "no truth at all leads of 2019-03-26T18:00:00",
    ]


def test_variables_in_other_units_or_absent_are_left_out_by_name() -> None:
    truth = ring_truth(num_nodes=16, trajectories=2, times=3)
    forecast = ring_forecast(truth, leads=2)
    two = replace(truth, values=np.repeat(truth.values, 2, -1), variables=("u", "v"), units=("m s-1", "K"))
    both = replace(forecast, values=np.repeat(forecast.values, 2, -1), variables=("u", "v"), units=("m s**-1", "degC"))
    left_out: list[str] = []
    assert common_variables([both], ["GNN"], two, left_out) == (("u",), ("m s-1",))
    assert left_out == ["variable v: the truth is in K, GNN in degC"]
    with pytest.raises(MeshcastError, match="No variable can be verified: variable x: the truth"):
        common_variables([replace(forecast, variables=("x",))], ["GNN"], truth, [])
