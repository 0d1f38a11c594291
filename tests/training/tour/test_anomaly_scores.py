"""Anomalies in sequences are scored by errors of a reconstruction."""

from __future__ import annotations

import numpy as np
import pytest

from graphs.errors import MeshcastError
from training.tour.anomaly_scores import Detector, auroc, moving_z_scores, principal_components, scan


def test_auroc_counts_pairs_in_the_right_order_and_ties_half() -> None:
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx(3.5 / 4)
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.0


def test_a_scan_finds_the_loudest_stretch_of_each_length() -> None:
    squares = np.array([[1.0, 1.0, 5.0, 3.0]])
    np.testing.assert_allclose(np.exp(scan(squares)), [[5.0, 4.0, 2.5]])


def test_a_detector_scores_a_fault_far_above_normal_sequences() -> None:
    draws = np.random.default_rng(0)
    detector = Detector.calibrated(lambda sequences: sequences, draws.standard_normal((400, 32)))
    usual = detector.score(draws.standard_normal((200, 32)))
    spiked = draws.standard_normal((200, 32))
    spiked[:, 7] += 8.0
    slow = draws.standard_normal((200, 32)) + 1.5
    assert auroc(usual, detector.score(spiked)) > 0.99
    assert auroc(usual, detector.score(slow)) > 0.99
    assert auroc(usual, detector.score(draws.standard_normal((200, 32)))) == pytest.approx(0.5, abs=0.08)


def test_a_moving_z_score_compares_with_the_samples_before_or_around() -> None:
    sequence = np.array([[0.0, 2.0, 5.0, 2.0, 0.0]])
    before = moving_z_scores(2, "before", "fixed")(sequence)
    around = moving_z_scores(2, "around", "fixed")(sequence)
    np.testing.assert_allclose(before, [[0.0, 0.0, 4.0, -1.5, -3.5]])
    np.testing.assert_allclose(around, [[0.0, -0.5, 3.0, -0.5, 0.0]])
    np.testing.assert_allclose(moving_z_scores(2, "before", "moving")(sequence)[0, 2], 4.0 / np.sqrt(2.0))


def test_a_window_that_fits_no_sequence_is_refused() -> None:
    with pytest.raises(MeshcastError, match="even window"):
        moving_z_scores(3, "before", "fixed")
    with pytest.raises(MeshcastError, match="longer sequences than the 6"):
        moving_z_scores(6, "before", "fixed")(np.zeros((2, 6)))


def test_principal_components_reconstruct_what_lies_in_their_plane() -> None:
    draws = np.random.default_rng(1)
    plane = draws.standard_normal((2, 12))
    errors = principal_components(draws.standard_normal((50, 2)) @ plane + 3.0, 2)
    inside = draws.standard_normal((5, 2)) @ plane + 3.0
    np.testing.assert_allclose(errors(inside), 0.0, atol=1e-9)
    assert np.abs(errors(inside + np.eye(12)[:5])).max() > 0.1
