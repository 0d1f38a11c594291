"""The tool that names a trajectory's equation: what it refuses, and how it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emulator import checkpoint
from graphs.errors import MeshcastError
from inference.detectors.equation_classifier import (
    EQUATIONS,
    EquationClassifier,
    TrajectoryCNN,
    pieces_of,
    standardised,
)
from training.optimisation.descent import seeded


@pytest.fixture
def classifier() -> EquationClassifier:
    network = seeded(lambda: TrajectoryCNN(4, len(EQUATIONS), width=8), 0)
    return EquationClassifier(network.eval(), 40, {"seed": 0})


def waves(count: int = 3, frames: int = 9, nodes: int = 40) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, frames, nodes))


def test_probabilities_sum_to_one_and_come_by_name(classifier: EquationClassifier) -> None:
    probabilities = classifier.probabilities(waves())
    assert probabilities.shape == (3, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    named = classifier.name(waves()[1])
    assert set(named) == set(EQUATIONS)
    assert list(named.values()) == sorted(named.values(), reverse=True)
    assert named[EQUATIONS[2]] == pytest.approx(probabilities[1, 2], rel=1e-5)


def test_neither_the_unit_nor_the_place_on_the_ring_matters(classifier: EquationClassifier) -> None:
    expected = classifier.probabilities(waves())
    np.testing.assert_allclose(classifier.probabilities(waves() * 250.0 + 7.0), expected, atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(np.roll(waves(), 13, axis=2)), expected, atol=1e-5)
    assert np.abs(classifier.probabilities(waves()[:, ::-1]) - expected).max() > 1e-5  # time's arrow does


def test_a_saved_classifier_says_the_same(classifier: EquationClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "classifier.safetensors")
    again = EquationClassifier.load(tmp_path / "classifier.safetensors")
    np.testing.assert_array_equal(again.probabilities(waves()), classifier.probabilities(waves()))
    assert again.training == {"seed": 0}


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "other.safetensors", {"weight": torch.zeros(2)}, {"tool": "another"})
    with pytest.raises(MeshcastError, match="not of an equation classifier"):
        EquationClassifier.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (waves(nodes=41), r"\[trajectory, frame, 40\] with at least 4 frames, but an array of shape \[3, 9, 41\]"),
        (waves(frames=3), r"shape \[3, 3, 40\]"),
        (waves()[0], r"shape \[9, 40\]"),
        (np.where(waves() > 2, np.nan, waves()), "no finite numbers"),
        (np.concatenate([waves(), np.full((1, 9, 40), 3.0)]), "Trajectory 3 is one constant"),
    ],
)
def test_what_is_no_trajectory_is_refused(classifier: EquationClassifier, values: np.ndarray, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        classifier.probabilities(values)


def test_one_trajectory_is_asked_for_by_its_shape(classifier: EquationClassifier) -> None:
    with pytest.raises(MeshcastError, match=r"\[frame, node\], but an array of shape \[3, 9, 40\]"):
        classifier.name(waves())


def test_pieces_reach_from_the_first_frame_to_the_last() -> None:
    frames = torch.arange(30.0).reshape(1, 30, 1)
    pieces = pieces_of(frames, 4, most=5)
    assert pieces.shape == (1, 5, 4, 1)
    assert pieces[0, 0, 0, 0] == 0
    assert pieces[0, -1, -1, 0] == 29
    assert pieces_of(frames[:, :5], 4).shape == (1, 2, 4, 1)


def network() -> TrajectoryCNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TrajectoryCNN(num_frames=3, num_equations=2, width=8)


def travelling(speed: float, count: int = 8, nodes: int = 32) -> torch.Tensor:
    """Waves [piece, frame, node] that move by `speed` nodes a frame."""
    x = 2 * torch.pi * (torch.arange(nodes) - speed * torch.arange(3)[:, None]) / nodes
    return torch.stack([torch.cos(2 * x + phase) for phase in torch.arange(count)])


def test_pieces_are_freed_of_their_mean_and_unit() -> None:
    pieces = torch.randn(4, 3, 16)
    found = standardised(pieces)
    torch.testing.assert_close(found.mean(dim=(1, 2)), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.square().mean(dim=(1, 2)), torch.ones(4))
    torch.testing.assert_close(network()(pieces), network()(5.0 + 20.0 * pieces), atol=1e-4, rtol=1e-4)


def test_a_turned_trajectory_has_the_same_logits() -> None:
    pieces = torch.randn(4, 3, 16)
    torch.testing.assert_close(network()(pieces), network()(pieces.roll(5, dims=-1)), atol=1e-5, rtol=1e-4)


def test_the_order_of_frames_matters() -> None:
    pieces = travelling(2.0)
    assert (network()(pieces) - network()(pieces.flip(1))).abs().max() > 1e-3


def test_waves_that_move_are_told_from_waves_that_rest() -> None:
    classifier = network()
    pieces = torch.cat([travelling(2.0), travelling(0.0)])
    which = torch.arange(2).repeat_interleave(8)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(classifier(pieces), which).backward()
        optimiser.step()
    assert (classifier(pieces).argmax(1) == which).all()
