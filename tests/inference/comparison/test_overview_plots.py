"""Pictures of a comparison show every row that means something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference.comparison.curves import spectrum_curves
from inference.comparison.family_panels import Scene
from inference.comparison.label_scores import LabelScores
from inference.comparison.overview_plots import ranking_plot
from inference.comparison.story import ComparisonStory, RowInfo
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth


def test_a_row_that_is_nearly_perfect_leaves_the_others_in_the_ranking() -> None:
    truth = ring_truth(32, 4, 9)
    forecasts = [ring_forecast(truth, "ridge", 1e-6, 0.0, 8), ring_forecast(truth, "persistence", 1.0, 0.0, 8)]
    verification = verify(forecasts, truth)
    rows = tuple(RowInfo(name, name, "done", members=(name,)) for name in ("ridge", "persistence"))
    scores = LabelScores.of(verification, story := ComparisonStory("two", "nrmse", "ridge", rows))
    values = {label: float(scores.ranking(label).value) for label in scores.labels}
    assert values["persistence"] > 1e3 * values["ridge"]
    low, high = ranking_plot(Scene.of(scores, story)).axes[0].get_xlim()
    assert low < values["ridge"] < values["persistence"] < high


def test_a_row_that_blew_up_leaves_the_others_their_spectra() -> None:
    truth = ring_truth(32, 4, 9)
    good = ring_forecast(truth, "ridge", 1e-3, 0.0, 8)
    wild = replace(good, name="wild", values=good.values * np.float32(1e6))
    verification = verify([good, wild], truth)
    rows = tuple(RowInfo(name, name, "done", members=(name,)) for name in ("ridge", "wild"))
    scores = LabelScores.of(verification, story := ComparisonStory("two", "nrmse", "ridge", rows))
    assert verification["ridge"].truth_power is not None
    _, high = spectrum_curves(Scene.of(scores, story), "u").axes[0].get_ylim()
    assert 1 < high / verification["ridge"].truth_power.max() < 1e3
