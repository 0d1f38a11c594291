"""The plausibility of histories: what it flags, what it refuses, and how it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emulator import checkpoint
from graphs.errors import MeshcastError
from inference.detectors.plausibility import Plausibility
from training.detectors.plausibility import PlausibilityConfig, fit_plausibility, histories
from training.optimisation.descent import DescentConfig


def moving_waves(count: int, seed: int, speed: float = 2.0) -> np.ndarray:
    """[trajectory, time, node, variable] of a wave and its opposite that travel a few nodes a step."""
    draws = np.random.default_rng(seed)
    x = np.arange(16) - speed * np.arange(18)[:, None]
    phase = draws.uniform(0, 2 * np.pi, (count, 1, 1))
    wave = 280.0 + 5.0 * np.sin(2 * np.pi * x / 16 + phase)
    return np.stack([wave, 10.0 - 0.1 * wave], axis=-1)


@pytest.fixture(scope="module")
def judge() -> Plausibility:
    config = PlausibilityConfig(
        length=6, stride=3, num_modes=2, width=12, code=4,
        descent=DescentConfig(epochs=25, batch_size=32, learning_rate=2e-2),
    )  # fmt: skip
    return fit_plausibility(moving_waves(60, 0), config, ("t", "s"))


def unseen(speed: float = 2.0) -> np.ndarray:
    return histories(moving_waves(20, 9, speed), 6, 6).numpy()


def test_normal_histories_are_rarely_flagged(judge: Plausibility) -> None:
    found = judge.score(unseen())
    assert found.score.shape == found.p_value.shape == (60,)
    assert (found.p_value <= 0.05).mean() <= 0.2


def test_impossible_histories_are_flagged(judge: Plausibility) -> None:
    normal = unseen()
    stuck = normal.copy()
    stuck[:, :, 3] = stuck[:, :1, 3]
    order = np.random.default_rng(0).permutation(6)
    for name, history in {
        "shuffled": normal[:, order],
        "louder": normal.mean(axis=(0, 1, 2)) + 1.6 * (normal - normal.mean(axis=(0, 1, 2))),
        "stuck": stuck,
        "backwards": normal[:, ::-1],
        "faster": unseen(speed=3.0),
    }.items():
        assert (judge.score(history).p_value <= 0.05).mean() > 0.8, name


def test_a_stuck_node_is_a_fault_of_the_pattern_and_disorder_one_of_the_course(judge: Plausibility) -> None:
    stuck = unseen()
    stuck[:, :, 3] += 2.0
    assert judge.score(stuck[0]).worst[0].startswith("pattern")
    assert judge.score(unseen()[0][::-1].copy()).worst[0].startswith("course")


def test_the_share_of_normal_histories_is_never_zero(judge: Plausibility) -> None:
    found = judge.score(unseen() * 3.0)
    assert found.p_value.max() == pytest.approx(1 / (1 + len(judge.normal)))


def test_a_saved_judge_says_the_same(judge: Plausibility, tmp_path: Path) -> None:
    judge.save(tmp_path / "judge.safetensors")
    again = Plausibility.load(tmp_path / "judge.safetensors")
    np.testing.assert_array_equal(again.score(unseen()).score, judge.score(unseen()).score)
    checkpoint.save(tmp_path / "other.safetensors", {"weight": torch.zeros(2)}, {})
    with pytest.raises(MeshcastError, match="not of the plausibility of histories"):
        Plausibility.load(tmp_path / "other.safetensors")


def test_histories_of_another_shape_are_refused(judge: Plausibility) -> None:
    with pytest.raises(MeshcastError, match=r"6 times, 16 nodes, 2 variables\] \(t, s\), but came as \[60, 5, 16, 2\]"):
        judge.score(unseen()[:, :5])
    broken = unseen()
    broken[3, 2, 1, 0] = np.inf
    with pytest.raises(MeshcastError, match="no finite numbers"):
        judge.score(broken)


def test_too_few_trajectories_are_refused() -> None:
    with pytest.raises(MeshcastError, match=r"at least 4 of 12 frames, but came \[3, 18, 16, 2\]"):
        fit_plausibility(moving_waves(3, 0))


def test_histories_are_runs_of_consecutive_frames() -> None:
    trajectory = np.arange(2 * 7).reshape(2, 7, 1, 1)
    runs = histories(trajectory, 3, 2)[..., 0, 0]
    assert runs.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [7, 8, 9], [9, 10, 11], [11, 12, 13]]
