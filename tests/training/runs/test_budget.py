"""Budgets: counts that would never come follow them, and what never comes is said before it starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.worlds import experiment
from training.experiment import ExperimentConfig
from training.metrics_log import read_log
from training.runs import fit as fitting
from training.runs.budget import keep_budget, within_budget
from training.runs.fit import fit

LARGE = {"warm_up": 500, "ema_decay": 0.998}


def large_grid(folder: Path, minutes: float) -> ExperimentConfig:
    return experiment(folder, training={**LARGE, "minutes": minutes}, validation={"every": 2000})


def test_warm_up_averaging_and_validation_follow_a_budget_that_is_short_of_them(tmp_path: Path) -> None:
    config, said = large_grid(tmp_path, 10.0), []
    assert keep_budget(tmp_path, config, update=0.5, validation=20.0) == 1000  # five validations in 100 of the 600 s
    found = within_budget(config, tmp_path, said.append)
    assert (found.training.updates, found.validation.every) == (1000, 200)
    assert (found.training.warm_up, found.training.ema_decay) == (100, 0.99)
    (line,) = said
    assert (
        line.startswith("10 minutes are 1,000 updates of 0.51 s here") and "validation.every 2000 becomes 200" in line
    )
    assert within_budget(config, tmp_path, lambda text: None) == found  # a resumed run finds the same


def test_a_budget_that_holds_them_changes_no_count(tmp_path: Path) -> None:
    config, said = large_grid(tmp_path, 60.0), []
    updates = keep_budget(tmp_path, config, update=0.5, validation=20.0)
    assert updates == int(3600 / (0.5 + 20.0 / 2000))
    found = within_budget(config, tmp_path, said.append)
    assert found == replace(config, training=replace(config.training, updates=updates)) and not said


def test_validations_take_at_most_half_of_a_budget(tmp_path: Path) -> None:
    config = large_grid(tmp_path, 1.0)
    assert keep_budget(tmp_path, config, update=0.5, validation=12.0) == 72  # two of them, of 24 s
    assert within_budget(config, tmp_path, lambda text: None).validation.every == 36
    dear = large_grid(tmp_path / "dear", 1.0)
    (tmp_path / "dear").mkdir(exist_ok=True)
    assert keep_budget(tmp_path / "dear", dear, update=0.5, validation=1e4) == 60


def test_a_run_of_a_short_budget_says_so_before_it_starts_and_validates_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = large_grid(tmp_path, 0.002)
    folder, said = Path(config.output) / config.name, []
    monkeypatch.setattr(fitting, "time_parts", lambda *args: (0.006, 0.0))
    fit(config, progress=False, notice=lambda text: said.append((text, (folder / "metrics.csv").exists())))
    ((line, begun),) = [(text, begun) for text, begun in said if "minutes are" in text]
    assert "20 updates" in line and not begun
    rows = read_log(folder / "metrics.csv")
    assert [row["update"] for row in rows] == [0, 4, 8, 12, 16, 20]
    assert json.loads((folder / "budget.json").read_text())["validation_every"] == 4
    assert max(row["learning_rate"] for row in rows) > 0.8 * config.training.learning_rate  # warmed up


def test_counts_beyond_a_given_number_of_updates_are_said(tmp_path: Path) -> None:
    said: list[str] = []
    settings = {"updates": 2, "warm_up": 50}
    fit(experiment(tmp_path, training=settings, validation={"every": 9}), progress=False, notice=said.append)
    assert any("training.warm_up of 50 is not over within training.updates of 2" in text for text in said)
    assert any("validation.every of 9 lies beyond training.updates of 2" in text for text in said)
