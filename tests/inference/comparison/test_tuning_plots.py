"""Pictures of a study show every trial once a setting, and what each counts as."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from inference.comparison.record import Status, Trial
from inference.comparison.tuning_plots import TriedAxis, importance_bars, slices, write_pictures

AXES = (
    TriedAxis("training.learning_rate", log=True),
    TriedAxis("emulator.kind", values=("gnn", "fno")),
    TriedAxis("gnn:processor.num_layers", whole=True),
)


def trial(number: int, score: float | None, status: Status = "done", rank: float | None = None) -> Trial:
    return Trial("run", {}, 10, score, 1.0, status, rank=score if rank is None else rank, chosen=number == 1)


TRIALS = [trial(0, 0.5), trial(1, 0.1), trial(2, None, "pruned", 0.4), trial(3, None, "diverged"), trial(4, 90.0)]
POINTS = [
    {"training.learning_rate": 10.0 ** -(n % 3 + 1), "emulator.kind": "gnn", "gnn:processor.num_layers": n + 1}
    if n < 3
    else {"training.learning_rate": 1e-2, "emulator.kind": "fno"}
    for n in range(5)
]


def test_every_trial_stands_over_each_setting_that_it_has() -> None:
    figure = slices(AXES, TRIALS, POINTS, range(5))
    rate, kind, layers = figure.axes
    heights = {n: [line.get_ydata()[0] for line in panel.lines] for n, panel in enumerate((rate, kind, layers))}
    assert len(heights[0]) == len(heights[1]) == 6 and len(heights[2]) == 4  # the chosen one twice, by its ring
    assert sorted(heights[2]) == [0.1, 0.1, 0.4, 0.5]
    assert max(heights[0]) == pytest.approx(3.0) and heights[0].count(max(heights[0])) == 2  # at the upper edge
    assert rate.get_xscale() == "log" and [text.get_text() for text in kind.get_xticklabels()] == ["gnn", "fno"]
    assert layers.get_xlabel() == "gnn: processor.num_layers" and rate.get_xlabel() == "learning_rate"


def test_importances_are_bars_from_the_largest_down() -> None:
    panel = importance_bars({"training.learning_rate": 0.75, "training.noise": 0.25, "a:b": 0.0}, 9).axes[0]
    assert [patch.get_width() for patch in panel.patches] == [0.0, 0.25, 0.75]  # from below
    assert "75%" in [text.get_text() for text in panel.texts] and "9 trials" in panel.get_xlabel()


def test_pictures_are_written_where_there_is_something_to_see(tmp_path: Path) -> None:
    lost = [trial(0, None, "diverged"), trial(2, 0.3)]
    assert not any(map(math.isfinite, (lost[0].counts_as,)))
    assert write_pictures(AXES, lost, POINTS[:2], (0, 2), {}, tmp_path) == []
    paths = write_pictures(AXES, TRIALS, POINTS, range(5), {"training.learning_rate": 1.0}, tmp_path)
    assert [path.name for path in paths] == ["slices.png", "importance.png"] and all(path.is_file() for path in paths)
