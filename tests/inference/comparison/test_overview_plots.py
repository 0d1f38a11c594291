"""Pictures of a comparison show every row that means something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphs.errors import MeshcastError
from inference.comparison.overview_plots import cost_plot, ranking_plot, relative_errors
from tests.inference.comparisons import pair_of, ring_comparison
from tests.inference.synthetic import ring_forecast, ring_truth


def test_a_row_that_is_nearly_perfect_leaves_the_others_in_the_ranking() -> None:
    truth = ring_truth(32, 4, 9)
    comparison = pair_of(
        truth, ring_forecast(truth, "ridge", 1e-6, 0.0, 8), ring_forecast(truth, "persistence", 1.0, 0.0, 8)
    )
    values = {row.label: row.score.value for row in comparison.rows}
    assert values["persistence"] > 1e3 * values["ridge"]  # type: ignore[operator]
    low, high = ranking_plot(comparison).axes[0].get_xlim()
    assert low < values["ridge"] < values["persistence"] < high  # type: ignore[operator]


def test_relative_errors_stand_in_the_order_of_the_ranking() -> None:
    comparison, _ = ring_comparison(("GNN", "CNN", "graph convolution", "persistence"), 2, 6, 12, 32)
    axes = relative_errors(comparison, "u").axes[0]
    names = [row.label for row in comparison.ranked if row.label != "GNN" and row.forecast_seeds]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    logs = np.asarray(axes.collections[0].get_array()).reshape(3, -1)
    assert logs[names.index("graph convolution")].min() > 0.2  # in every lead time far worse than the reference
    with pytest.raises(MeshcastError, match="no row beside"):
        relative_errors(ring_comparison(("GNN",), 1, 2, 4, 16)[0], "u")


def test_a_row_without_a_cost_is_not_drawn_against_it() -> None:
    comparison, _ = ring_comparison(("GNN", "CNN", "their_forecast_2024"), 1, 4, 6, 32)
    weights, training, inference = cost_plot(comparison).axes
    assert [axes.get_xlabel().split(" ")[0] for axes in (weights, training, inference)] == [
        "weights,", "training", "inference"
    ]  # fmt: skip
    for axes in (weights, training, inference):
        assert {text.get_text() for text in axes.texts} == {"GNN", "CNN"}
    bare = replace(comparison, rows=tuple(replace(row, seeds=()) for row in comparison.rows))
    with pytest.raises(MeshcastError, match="No row has a score and costs"):
        cost_plot(bare)
