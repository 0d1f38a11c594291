"""Forecasts side by side can be compared by eye."""

from __future__ import annotations

from inference.comparison.samples import samples
from tests.inference.synthetic import isles_forecast, isles_truth


def test_samples_on_a_map_share_one_scale_with_the_truth() -> None:
    truth = isles_truth(days=1, rows=9, columns=7)
    rows = {"good": isles_forecast(truth, error=0.1, leads=3), "bad": isles_forecast(truth, error=3.0, leads=3)}
    figure = samples(rows, truth, "2t")
    panels = [axes for axes in figure.axes if axes.get_title("left")]
    assert [axes.get_title("left") for axes in panels] == ["truth", "good", "bad"]
    drawn = [
        next(item for item in [*axes.images, *axes.collections] if item.get_array() is not None) for axes in panels
    ]
    assert len({item.get_clim() for item in drawn}) == 1
