"""The wet area and the critical success index, by hand on a few places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphs.errors import MeshcastError
from inference.scores.metrics import case_scores
from inference.scores.verification import verify
from inference.scores.wet_area import WET_RATE, wet_from
from tests.inference import synthetic

AREAS = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def scores(forecast: list[float], truth: list[float]) -> dict[str, float]:
    ours, theirs = (torch.tensor(values, dtype=torch.float64)[None, None, :, None] for values in (forecast, truth))
    found = case_scores(ours[:, None], theirs, AREAS, wet=torch.tensor([1.0], dtype=torch.float64))
    return {name: found[name].item() for name in ("wet_area_bias", "csi", "truth_wet_area", "wet_in_either")}


def test_shares_of_the_area_are_those_counted_by_hand():
    found = scores([2.0, 1.0, 0.9, 0.0], [0.0, 3.0, 1.0, 0.2])
    assert found == pytest.approx({"wet_area_bias": 0.3 - 0.5, "csi": 0.2, "truth_wet_area": 0.5, "wet_in_either": 0.6})
    masked = scores([2.0, 1.0, 0.9, 0.0], [0.0, 3.0, 1.0, float("nan")])
    assert masked["truth_wet_area"] == pytest.approx(0.5 / 0.6) and masked["csi"] == pytest.approx(0.2 / 0.6)
    assert np.isnan(scores([2.0, 1.0, float("nan"), 0.0], [0.0, 3.0, 1.0, 0.0])["csi"])


def test_without_a_variable_that_is_rain_nothing_is_scored():
    field = torch.zeros(1, 1, 1, 4, 1)
    assert "csi" not in case_scores(field, field[:, 0], AREAS)


def test_who_is_rain_and_from_where_on_is_named_or_told_by_the_units():
    found = wet_from({"tp*": 0.001}, ("t", "tp", "tp6", "pr"), ("K", "m", "m", "kg m-2 s-1"))
    assert found is not None
    np.testing.assert_array_equal(found.numpy(), [np.nan, 0.001, 0.001, WET_RATE])
    assert wet_from({}, ("t",), ("K",)) is None
    for given, message in (({"tp": 0.1}, "wet names tp"), ({"t": 0.0}, "positive"), ({"q*": 1.0}, "matches none")):
        with pytest.raises(MeshcastError, match=message):
            wet_from(given, ("t",), ("K",))


def test_shares_are_summed_over_cases_before_they_are_divided():
    truth = synthetic.ring_truth()
    forecast = synthetic.ring_forecast(truth, lag=1.0, leads=4)
    found = verify([forecast], truth, wet={"u": 0.5}, spectra=False).emulators[0]
    ours = forecast.values[:, 0, :, :, 0] >= 0.5
    theirs = truth.values[1:5, :, :, 0].swapaxes(0, 1) >= 0.5
    both, either = (ours & theirs).sum((0, 2)), (ours | theirs).sum((0, 2))
    np.testing.assert_allclose(found.mean("csi")[:, 0], both / either)
    np.testing.assert_allclose(found.mean("wet_area_bias")[:, 0], ours.sum((0, 2)) / theirs.sum((0, 2)) - 1)
    each = (ours & theirs).sum(2) / (ours | theirs).sum(2)
    np.testing.assert_allclose(found.case_values("csi")[..., 0], each)
    again = found.mean("csi", np.array([[2.0, 0, 0, 0, 0, 0]]))[0, :, 0]
    np.testing.assert_allclose(again, each[0])
