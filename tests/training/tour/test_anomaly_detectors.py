"""An LSTM autoencoder flags faults of a sensor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphs.errors import MeshcastError
from inference.detectors.plausibility import SequenceAutoencoder
from training.optimisation.descent import DescentConfig, num_parameters
from training.tour.anomaly_detectors import (
    ANOMALIES,
    anomalous_sequences,
    areas,
    auroc,
    calibrated,
    fit_autoencoder,
    moving_z_scores,
    normal_sequences,
    principal_components,
    scan,
    tuned_pca,
    tuned_z_score,
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def test_normal_sequences_have_amplitude_near_one() -> None:
    sequences = normal_sequences(500, generator())
    assert sequences.shape == (500, 48)
    assert 0.9 < float(sequences.abs().amax(dim=1).median()) < 1.15


def test_faults_are_as_large_as_they_say_and_no_larger() -> None:
    """Five standard deviations of the noise, against the same sequences without the fault."""
    for kind, largest in (("spike", 0.5), ("drift", 0.5)):
        faulty = anomalous_sequences(kind, 200, generator(), size=5.0)
        sound = anomalous_sequences(kind, 200, generator(), size=0.0)
        assert float((faulty - sound).abs().amax(dim=1).min()) == pytest.approx(largest, abs=1e-5)
        assert float((faulty - sound).abs().max()) == pytest.approx(largest, abs=1e-5)


def test_a_flat_line_is_one_value_kept_while_it_is_not_too_far_off() -> None:
    stuck = anomalous_sequences("flat line", 300, generator(), size=5.0)
    sound = anomalous_sequences("flat line", 300, generator(), size=0.0)  # let go at once
    changed = (stuck - sound).abs() > 1e-7
    assert 3 <= float(changed.sum(dim=1).double().mean()) <= 15
    for row in range(300):
        assert len(stuck[row][changed[row]].unique()) <= 1
    off = torch.where(changed, stuck - sound, 0.0).square().sum(dim=1) / changed.sum(dim=1).clamp(min=1)
    assert float(off.sqrt().quantile(0.9)) < 0.65  # 0.5, and the noise of both readings


def test_the_frequency_changes_by_no_more_than_a_quarter() -> None:
    """Crossings of the lower frequency's angle: a sequence without change is a normal one."""
    same = anomalous_sequences("frequency change", 20, generator(), change=0.0)
    other = anomalous_sequences("frequency change", 20, generator(), change=0.25)
    early = slice(0, 12)  # before any onset
    torch.testing.assert_close(same[:, early], other[:, early], atol=1e-4, rtol=0)
    assert float((same - other)[:, 36:].abs().max()) > 0.5


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(MeshcastError, match="spike, drift, frequency change, flat line"):
        anomalous_sequences("gremlin", 1, generator())


def test_the_whole_sequence_passes_through_its_code() -> None:
    torch.manual_seed(0)
    network = SequenceAutoencoder(num_channels=2, width=8, code=3)
    sequences = torch.randn(5, 9, 2)
    assert network.encode(sequences).shape == (5, 3)
    assert network(sequences).shape == sequences.shape
    network(sequences).square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert any(float(weight.grad.abs().max()) > 0 for weight in network.reader.parameters())


def test_the_autoencoder_has_27_thousand_parameters() -> None:
    reader = 2 * 4 * 32 * (1 + 32 + 2)
    writer = 2 * 4 * 32 * (6 + 32 + 2)
    assert num_parameters(SequenceAutoencoder()) == reader + (64 + 1) * 6 + writer + 64 + 1


def test_auroc_counts_pairs_in_the_right_order_and_ties_half() -> None:
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx(3.5 / 4)
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.0


def test_a_scan_finds_the_loudest_stretch_of_each_length() -> None:
    squares = np.array([[1.0, 1.0, 5.0, 3.0]])
    np.testing.assert_allclose(np.exp(scan(squares)), [[5.0, 4.0, 2.5]])


def test_a_detector_scores_a_fault_far_above_normal_sequences() -> None:
    draws = np.random.default_rng(0)
    detector = calibrated(lambda sequences: sequences, draws.standard_normal((400, 32)))
    usual = detector(draws.standard_normal((200, 32)))
    spiked = draws.standard_normal((200, 32))
    spiked[:, 7] += 8.0
    slow = draws.standard_normal((200, 32)) + 1.5
    assert auroc(usual, detector(spiked)) > 0.99
    assert auroc(usual, detector(slow)) > 0.99
    assert auroc(usual, detector(draws.standard_normal((200, 32)))) == pytest.approx(0.5, abs=0.08)


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


@pytest.mark.slow
def test_an_untrained_autoencoder_finds_less() -> None:
    fitted = fit_autoencoder(descent=DescentConfig(epochs=1, batch_size=512, learning_rate=1e-4))
    assert areas(fitted.detector, count=200)["pooled"] < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_faults_of_at_most_five_deviations_are_flagged_better_than_by_the_baselines(seed: int) -> None:
    found = areas(fit_autoencoder(seed=seed).detector, seed=seed)
    assert found["pooled"] >= 0.95
    assert all(found[kind] > 0.85 for kind in ANOMALIES)
    for baseline, _ in (tuned_z_score(seed=seed), tuned_pca(seed=seed)):
        assert found["pooled"] > areas(baseline, seed=seed)["pooled"] + 0.02
