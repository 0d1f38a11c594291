"""The ranking of a comparison by hand: scores of seeds and rows, and what they differ by."""

from __future__ import annotations

import numpy as np
import pytest

from inference.comparison.record import Comparison
from inference.comparison.row_scores import ranking_score
from tests.inference.comparisons import ring_comparison


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return ring_comparison(("GNN", "CNN", "UNet", "graph convolution", "persistence"), 3, 6, 8, 32)[0]


def test_a_row_scores_the_geometric_mean_of_its_seeds(comparison: Comparison) -> None:
    row = comparison["CNN"]
    seeds = [seed.score.value for seed in row.seeds]
    assert row.score.value == pytest.approx(np.exp(np.mean(np.log(seeds))))  # type: ignore[arg-type]
    assert (row.score.lowest, row.score.highest) == (min(seeds), max(seeds))  # type: ignore[type-var]
    assert row.score.lowest < row.score.median < row.score.highest  # type: ignore[operator]
    reference = comparison["GNN"].score
    assert row.score.ratio == pytest.approx(row.score.value / reference.value)  # type: ignore[operator]
    assert (reference.ratio, reference.p, reference.compared) == (None, None, 0)


def test_a_seed_is_measured_against_the_first_of_the_reference(comparison: Comparison) -> None:
    first, second = comparison["GNN"].seeds[:2]
    assert first.label == "GNN (seed 0)" and first.score.difference is None
    assert second.score.difference == pytest.approx(second.score.value - first.score.value)  # type: ignore[operator]
    lower, upper = second.score.difference_interval  # type: ignore[misc]
    assert lower < second.score.difference < upper  # type: ignore[operator]
    scores = comparison.scores.members["GNN"][1]
    assert second.score.value == float(ranking_score(scores, comparison.verification.scale, "nrmse"))


def test_rows_stand_best_first_and_those_without_a_score_last(comparison: Comparison) -> None:
    values = [row.score.value for row in comparison.ranked]
    assert values[-2:] == [None, None] and values[:-2] == sorted(values[:-2])  # type: ignore[type-var]
    assert [row.label for row in comparison.ranked[-2:]] == ["UNet", "plain RNN & more_%"]
    seeds = [seed.label for seed in comparison.ranked_seeds]
    assert len(seeds) == 4 * 3 + 1 + 1 and seeds[-1] == "plain RNN & more_%"  # after those that blew up
    assert seeds[-2] == "UNet (seed 1)" and comparison["UNet"].score.lowest is None


def test_lead_times_are_counted_where_the_difference_is_significant(comparison: Comparison) -> None:
    far = comparison["graph convolution"].score
    assert far.compared == 8 and far.worse >= 6 and far.better == 0
    assert far.ratio_interval is not None and far.ratio_interval[0] > 1 and far.p < 0.05  # type: ignore[operator]
