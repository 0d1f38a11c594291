"""A dry run: every part of a training counted as often as it comes, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator.between import BetweenConfig
from tests.training.worlds import experiment
from training.accounting import AccountingConfig
from training.optimisation import gradient_descent
from training.optimisation.long_rollout import LongRollout
from training.optimisation.machine import Rehearsal, Seconds
from training.preparation.first_guess import Untrained
from training.runs import dry_run as module
from training.runs import energy
from training.runs.dry_run import dry_run, lines_of
from training.runs.fit import TIMED_UPDATES, WARM_UP
from training.task_config import TaskConfig

SHORT = 0.05  # seconds that updates are timed


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Updates take as many seconds as the loss has steps, a validation ten; the unrolls that were rehearsed."""
    unrolls = []

    def rehearse(untrained: Untrained, updates: int, most: float) -> Rehearsal:
        unroll = untrained.config.training.unroll_at(0)
        unrolls.append(unroll)
        return Rehearsal((Seconds(99.0, 99.0),) * 2 + (Seconds(unroll, 2.0 * unroll),) * 5, Seconds(10.0, 20.0))

    monkeypatch.setattr(gradient_descent, "rehearse", rehearse)
    monkeypatch.setattr(energy, "package_counters", list)  # as where nothing is measured
    return unrolls


def parts_of(expected: dict) -> dict[str, float]:
    return expected["core seconds by part"]


def test_every_stage_and_every_validation_counts(tmp_path: Path, rehearsed: list[int]) -> None:
    training = {"updates": 1000, "curriculum": ((0.75, 1), (0.25, 4))}
    expected = dry_run(experiment(tmp_path, training=training, validation={"every": 300, "long_rollout": 0.0}))
    assert rehearsed == [1, 4]
    assert parts_of(expected)["updates"] == 750 * 1 + 250 * 4
    assert expected["validations"] == 5  # before the first update, at 300, 600 and 900, and after the last
    assert parts_of(expected)["validations"] == 50
    assert "long rollouts" not in parts_of(expected)
    whole = sum(parts_of(expected).values())
    assert expected["core minutes to expect"] == pytest.approx(whole / 60, rel=1e-3)
    assert expected["hours"] > 1.9 * whole / 3600  # the clock's seconds are twice as many
    assert expected["kWh"] == pytest.approx(whole * 10 / 3.6e6, rel=1e-3)


def test_validations_of_three_averages_count_three_times(tmp_path: Path, rehearsed: list[int]) -> None:
    training = {"updates": 1000, "average_last": 0.5}
    expected = dry_run(experiment(tmp_path, training=training, validation={"every": 250, "long_rollout": 0.0}))
    assert parts_of(expected)["validations"] == 10 * (3 + 2 * 3)  # 0, 250, 500; and 750, 1000 by three weights


def test_a_budget_of_minutes_is_spent_and_its_timing_comes_on_top(tmp_path: Path, rehearsed: list[int]) -> None:
    config = experiment(tmp_path, training={"minutes": 100.0}, validation={"every": 500, "long_rollout": 0.0})
    expected = dry_run(config)
    assert expected["updates"] == int(6000 / (1 + 10 / 500))
    assert parts_of(expected)["updates"] + parts_of(expected)["validations"] == pytest.approx(6000, rel=0.01)
    assert parts_of(expected)["timing of updates"] == TIMED_UPDATES + WARM_UP + 20


def test_a_long_rollout_counts_with_all_its_steps(
    tmp_path: Path, rehearsed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(LongRollout, "lived", lambda self, emulator: steps.append(self.steps))
    monkeypatch.setattr(module, "LONG_STEPS", 5)
    expected = dry_run(experiment(tmp_path, validation={"every": 8, "long_rollout": 1.0}))
    assert steps == [5] and "long rollouts" in parts_of(expected)


def test_processes_add_up(tmp_path: Path, rehearsed: list[int]) -> None:
    one, two = (dry_run(experiment(tmp_path, training={"devices": devices})) for devices in (1, 2))
    assert two["processes"] == 2 and two["core minutes to expect"] > 1.9 * one["core minutes to expect"]
    assert two["peak memory of all processes [MB]"] == pytest.approx(2 * two["peak memory [MB]"], abs=2)
    assert "exchange" in two["memory found by"]


def test_energy_is_counted_by_what_is_configured_or_by_what_is_said(tmp_path: Path, rehearsed: list[int]) -> None:
    assumed = dry_run(experiment(tmp_path))
    assert assumed["kg CO2"] == pytest.approx(assumed["kWh"] * 0.445, rel=1e-2)
    assert [text.partition("(")[2] for text in assumed["assumed"]] == [
        "accounting.watts_per_core)",
        "accounting.carbon_intensity)",
        "accounting.price)",
    ]
    accounting = AccountingConfig(carbon_intensity=100.0, price=0.3, currency="EUR", watts_per_core=20.0)
    known = dry_run(experiment(tmp_path, accounting=accounting))
    assert known["kWh"] == pytest.approx(known["core minutes to expect"] * 60 * 20 / 3.6e6, rel=1e-3)
    assert known["cost of electricity [EUR]"] == pytest.approx(known["kWh"] * 0.3, rel=1e-3)
    assert len(known["assumed"]) == 1  # the watts, which nothing measures here


def test_all_of_a_training_is_rehearsed_and_nothing_written(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"curriculum": ((0.5, 1), (0.5, 2))})
    before = sorted(tmp_path.rglob("*"))
    said: list[str] = []
    expected = dry_run(config, SHORT, said.append, Seconds(1000.0, 2000.0))
    assert list(parts_of(expected)) == ["start", "updates", "validations", "closed forms"]
    assert all(seconds > 0 for seconds in parts_of(expected).values()) and parts_of(expected)["start"] >= 1000
    assert expected["updates timed"] >= 2 * 6 and expected["peak memory [MB]"] > 100
    assert any("2 steps" in line for line in said)
    assert sorted(tmp_path.rglob("*")) == before
    assert any(line.startswith("core seconds by part: start 1,0") for line in lines_of(expected))


def test_states_between_steps_count_too(tmp_path: Path) -> None:
    sections = {"between": BetweenConfig(share=0.5), "task": TaskConfig(("u",), time_step="4 steps")}
    expected = dry_run(experiment(tmp_path, validation={"steps": 1}, **sections), SHORT)
    assert parts_of(expected)["between"] > 0
