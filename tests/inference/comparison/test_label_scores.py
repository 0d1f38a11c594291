"""Rows with several seeds: means, ratios and tests with a known answer."""

import numpy as np
import pytest

from inference.comparison.families import MOST, family_of, panels_of, row_styles
from inference.comparison.label_scores import LabelScores
from inference.pictures.direct_labels import spread
from tests.inference.comparisons import ring_comparison


@pytest.fixture(scope="module")
def scores() -> LabelScores:
    verification, story, _, _ = ring_comparison(
        ("GNN", "CNN", "UNet", "Keras CNN", "graph convolution", "persistence"), 3, 12, 16, 32
    )
    return LabelScores.of(verification, story)


def test_a_row_is_the_geometric_mean_of_its_seeds(scores: LabelScores) -> None:
    members = scores.members["CNN"]
    expected = np.exp(np.mean([np.log(member.mean("rmse")) for member in members], axis=0))
    found = scores.mean("CNN", "rmse")
    np.testing.assert_allclose(found.value, expected)
    assert (found.lower < expected).all() and (expected < found.upper).all()
    arithmetic = np.mean([member.mean("amplitude_ratio") for member in members], axis=0)
    np.testing.assert_allclose(scores.mean("CNN", "amplitude_ratio").value, arithmetic)
    assert scores.ranking("CNN").value == pytest.approx(np.exp(np.log(scores.by_seed("CNN")).mean()))


def test_a_far_worse_row_is_found_worse_and_like_rows_are_not(scores: LabelScores) -> None:
    """Three seeds that differ by a third bear out a factor of a hundred, not one of one and a half."""
    far = scores.contrast("graph convolution", "GNN")
    assert far.worse[2:].all() and not far.better.any()
    back = scores.contrast("GNN", "graph convolution")
    np.testing.assert_allclose(back.ratio.value, 1 / far.ratio.value)
    assert (back.better == far.worse).all()
    like = scores.contrast("Keras CNN", "CNN")
    assert not (like.better | like.worse).any()
    assert (like.adjusted >= like.ratio.p).all()


def test_a_row_of_which_a_seed_failed_has_no_score_and_ranks_last(scores: LabelScores) -> None:
    assert np.isnan(scores.ranking("UNet").value) and scores.ranked()[-1] == "UNet"
    steps, share = scores.share_stable("UNet")
    assert steps[0] == 0 and share[0] == 1.0 and share[-1] < 1.0 and (np.diff(share[:, 0]) <= 0).all()


def test_equal_members_have_a_ratio_of_one(scores: LabelScores) -> None:
    same = scores.ranking_ratio("CNN", "CNN")
    assert same.value == 1.0 and same.p == 1.0


def test_rows_of_a_family_share_a_panel_and_never_a_style() -> None:
    _, story, _, _ = ring_comparison(seeds=1, trajectories=1, leads=2, num_nodes=16)
    shown = [row.label for row in story.rows if row.members]
    panels = panels_of(story.rows, shown)
    assert sorted(label for panel in panels for label in panel.labels) == sorted(shown)
    assert max(len(panel.labels) for panel in panels) <= MOST
    styles = row_styles(panels, story.reference)
    for panel in panels:
        looks = [str(vars(styles[label])) for label in {*panel.labels, story.reference}]
        assert len(set(looks)) == len(looks)
    assert family_of("keras_lstm") == "TensorFlow" and family_of("checkpoint") == "others"


def test_labels_move_apart_and_keep_their_order() -> None:
    wished = np.array([0.5, 0.52, 0.1, 0.51])
    placed = spread(wished, 0.1)
    assert (np.argsort(placed) == np.argsort(wished)).all() and np.diff(np.sort(placed)).min() > 0.0999
    assert placed[2] == pytest.approx(0.1) and spread(np.array([0.99, 1.0]), 0.1).max() <= 1.0
