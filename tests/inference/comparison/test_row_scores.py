"""Rows with several seeds: means, ratios and tests with a known answer."""

import numpy as np
import pytest

from inference.comparison.row_scores import RowScores, ranking_score
from tests.inference.comparisons import ring_comparison


@pytest.fixture(scope="module")
def scores() -> RowScores:
    return ring_comparison(("GNN", "CNN", "UNet", "Keras CNN", "graph convolution", "persistence"), 3, 12, 16, 32)[
        0
    ].scores


def test_a_row_is_the_geometric_mean_of_its_seeds(scores: RowScores) -> None:
    members = scores.members["CNN"]
    expected = np.exp(np.mean([np.log(member.mean("rmse")) for member in members], axis=0))
    found = scores.mean("CNN", "rmse")
    np.testing.assert_allclose(found.value, expected)
    assert (found.lower < expected).all() and (expected < found.upper).all()
    arithmetic = np.mean([member.mean("amplitude_ratio") for member in members], axis=0)
    np.testing.assert_allclose(scores.mean("CNN", "amplitude_ratio").value, arithmetic)
    seeds = [float(ranking_score(member, scores.verification.scale, "nrmse")) for member in members]
    assert scores.ranking("CNN").value == pytest.approx(np.exp(np.mean(np.log(seeds))))


def test_a_far_worse_row_is_found_worse_and_like_rows_are_not(scores: RowScores) -> None:
    """Three seeds that differ by a third bear out a factor of a hundred, not one of one and a half."""
    far = scores.contrast("graph convolution", "GNN", "rmse")
    assert far.worse[2:].all() and not far.better.any()
    back = scores.contrast("GNN", "graph convolution", "rmse")
    np.testing.assert_allclose(back.ratio.value, 1 / far.ratio.value)
    assert (back.better == far.worse).all()
    like = scores.contrast("Keras CNN", "CNN", "rmse")
    assert not (like.better | like.worse).any()
    assert (like.adjusted >= like.ratio.p).all()


def test_a_row_of_which_a_seed_failed_has_no_score_and_is_stable_in_part(scores: RowScores) -> None:
    assert np.isnan(scores.ranking("UNet").value)
    steps, share = scores.share_stable("UNet")
    assert steps[0] == 0 and share[0] == 1.0 and share[-1] < 1.0 and (np.diff(share[:, 0]) <= 0).all()


def test_equal_members_have_a_ratio_of_one(scores: RowScores) -> None:
    same = scores.ranking_ratio("CNN", "CNN")
    assert same.value == 1.0 and same.p == 1.0


def test_every_estimate_and_every_draw_is_made_once(scores: RowScores) -> None:
    assert scores.mean("CNN", "rmse") is scores.mean("CNN", "rmse")
    assert scores.contrast("CNN", "GNN", "rmse") is scores.contrast("CNN", "GNN", "rmse")
    assert scores.ranking_ratio("CNN", "GNN") is scores.ranking_ratio("CNN", "GNN")
    assert scores.draws_of("CNN", "GNN") is scores.draws_of("CNN", "GNN")


def test_estimates_asked_for_by_name_are_those_of_their_names(scores: RowScores) -> None:
    one, other = (scores.mean("CNN", metric=metric) for metric in ("rmse", "nrmse"))
    assert not np.array_equal(one.value, other.value)
    np.testing.assert_array_equal(other.value, scores.mean("CNN", "nrmse").value)
