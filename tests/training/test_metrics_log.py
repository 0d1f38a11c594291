"""The logs of a run: a row a validation, the loss every ten updates, and both the same after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphs.errors import MeshcastError
from inference.pictures.score_curves import loss_curves
from training.metrics_log import MetricsLog, losses_beside, read_log

LOSSES = np.linspace(2.0, 0.1, 50)


def run(path: Path, start: int, end: int) -> None:
    """Validations every 25 updates, of 8 windows each, in a stream of 100."""
    log = MetricsLog(path, samples_per_epoch=100, start=start)
    if not start:
        log.append(0, 0, [], 3.0, 3.0, 1e-3)
    for update in range(start + 25, end + 1, 25):
        log.append(update, 8 * update, LOSSES[update - 25 : update], 1.0, 1.0, 1e-3)


def test_the_loss_is_kept_every_ten_updates(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run(path, 0, 50)
    validations, losses = read_log(path), read_log(losses_beside(path))
    assert [row["update"] for row in validations] == [0, 25, 50]
    assert math.isnan(validations[0]["loss"])
    assert validations[2]["loss"] == pytest.approx(LOSSES[25:].mean())
    assert [row["update"] for row in losses] == [10, 20, 25, 35, 45, 50]
    assert losses[2]["loss"] == pytest.approx(LOSSES[20:25].mean())
    assert [row["epoch"] for row in losses] == pytest.approx([0.8, 1.6, 2.0, 2.8, 3.6, 4.0])


def test_an_interrupted_log_goes_on_as_if_it_never_stopped(tmp_path: Path) -> None:
    (tmp_path / "halves").mkdir()
    whole, halves = tmp_path / "metrics.csv", tmp_path / "halves" / "metrics.csv"
    run(whole, 0, 50)
    run(halves, 0, 50)
    run(halves, 25, 50)  # the checkpoint was of update 25: what was logged beyond it is dropped
    assert losses_beside(halves).read_bytes() == losses_beside(whole).read_bytes()


def test_a_log_of_validations_alone_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run(path, 0, 25)
    losses_beside(path).unlink()
    run(path, 25, 50)
    assert [row["update"] for row in read_log(path)] == [0, 25, 50]
    assert [row["update"] for row in read_log(losses_beside(path))] == [35, 45, 50]


def test_the_curve_shows_every_logged_loss(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run(path, 0, 50)
    upper, _ = loss_curves(path).axes
    assert len(upper.lines[0].get_xdata()) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) - 7],  # cut off within its last row
        lambda text: text.replace(",3,", ",3x,", 1),
        lambda text: text.replace("update", "\x00pdate"),
        lambda text: text + '"never closed',
        lambda text: text.replace("\n2", "\n2.5", 1),
        lambda text: "",
    ],
)
def test_a_damaged_log_is_refused_by_name_with_what_to_do(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = tmp_path / "metrics.csv"
    run(path, 0, 50)
    path.write_bytes(damage(path.read_bytes().decode()).encode())
    with pytest.raises(MeshcastError, match=r"metrics\.csv is damaged after \d rows: .* Remove it"):
        run(path, 25, 50)
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(MeshcastError, match="damaged"):
        read_log(path)
