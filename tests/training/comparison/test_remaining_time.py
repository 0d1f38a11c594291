"""What is left is counted, and timed once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from graphs.errors import MeshcastError
from tests.training.comparisons import config_in, study_runs, write_source
from training.comparison.remaining_time import RemainingTime, Timings, remaining_time
from training.preparation.prepared import Prepared, PreparedData
from training.runs.study import Progress, Result, Run, progress_of, run_study, updates_taken

MODULE = "training.comparison.remaining_time"


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return study_runs(
        config_in(tmp_path, write_source(tmp_path), "training.updates=100", "rows.convolution.training={}")
    )


def timings_in(results: Path) -> Timings:
    return Timings(results, PreparedData())


def finished(run: Run) -> Progress:
    return Progress(run, Result("hash", run.label, run.seed, "done", "folder", {}, {}))


def test_updates_left_are_counted_and_timed_once(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measure(prepared: Prepared, updates: int) -> tuple[float, float]:
        asked.append(prepared.config.emulator.kind)
        return {"gnn": (1.5, 1.0), "plugin": (1.0, 0.0)}[asked[-1]]

    monkeypatch.setattr(f"{MODULE}.measure", measure)
    progress = [finished(runs[0]), Progress(runs[1], None, 40), *(Progress(run, None) for run in runs[2:])]
    said: list[str] = []
    found = remaining_time(progress, Timings(tmp_path, PreparedData(), said.append))
    # A validation every second update; closed forms take none.
    assert (found.runs, found.left, found.seconds) == (7, 6, 60 * 2.0 + 2 * 100 * 1.0)
    assert str(found) == "6 of 7 runs left, about 5 core-minutes"
    assert asked == ["gnn", "plugin"] and said == ["timing gnn ...", "timing convolution ..."]
    again = remaining_time(progress, timings_in(tmp_path))
    assert again == found and asked == ["gnn", "plugin"]
    damaged = sorted((tmp_path / "timings").iterdir())[0]
    damaged.write_text(damaged.read_text()[:9])
    assert remaining_time(progress, timings_in(tmp_path)) == found and len(asked) == 3  # timed again, and whole again
    assert remaining_time(progress, timings_in(tmp_path)) == found and len(asked) == 3
    assert str(remaining_time([finished(run) for run in runs], timings_in(tmp_path))) == "All 7 runs are finished"


@pytest.mark.parametrize(
    ("error", "reason"), [(MeshcastError("too large."), "too large."), (RuntimeError("shapes"), "RuntimeError: shapes")]
)
def test_a_row_that_cannot_be_timed_is_named_and_fails_alone(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def measure(prepared: Prepared, updates: int) -> tuple[float, float]:
        raise error

    monkeypatch.setattr(f"{MODULE}.measure", measure)
    timings = timings_in(tmp_path)
    found = remaining_time([Progress(run, None) for run in runs[:2]], timings)
    assert found == RemainingTime(2, 2, 0.0, {"gnn": reason})
    other = replace(runs[0], label="wider gnn")
    found = remaining_time([Progress(runs[0], None), Progress(other, None)], timings)
    assert str(found) == f"2 of 2 runs left, a moment each; not timed: gnn, wider gnn ({reason})"
    minutes = replace(runs[0].config, training=replace(runs[0].config.training, minutes=0.1))
    results = run_study([replace(runs[0], config=minutes), runs[-1]], tmp_path, progress=False, timed=timings.parts)
    assert [(result.status, result.reason) for result in results] == [("failed", reason), ("done", "")]


def test_minutes_become_the_same_updates_for_every_seed(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = [
        replace(run, config=replace(run.config, training=replace(run.config.training, minutes=0.001)))
        for run in runs
        if run.label == "convolution"
    ]
    measurements = iter([(0.02, 0.0), (0.5, 0.0)])  # 0.06 s are three updates; a second measurement would say otherwise
    monkeypatch.setattr(f"{MODULE}.measure", lambda prepared, updates: next(measurements))
    found = run_study(timed, tmp_path / "results", progress=False, timed=timings_in(tmp_path / "results").parts)
    budgets = [json.loads((r.emulator_path(tmp_path / "results").parent / "budget.json").read_text()) for r in found]
    assert [budget["updates"] for budget in budgets] == [3, 3]
    assert [updates_taken(result, tmp_path / "results") for result in found] == [3, 3]  # where the runs ask for 100
    assert all(p.result is not None for p in progress_of(timed, tmp_path / "results", PreparedData()))


def test_a_timing_is_of_the_processor_and_trains_nothing(runs: list[Run], tmp_path: Path) -> None:
    seconds = timings_in(tmp_path / "results").seconds_per_update(runs[-3])
    assert 0 < seconds < 5
    (stored,) = (tmp_path / "results" / "timings").iterdir()
    assert json.loads(stored.read_text())["label"] == "convolution"
    assert not (tmp_path / "runs").exists()


def test_a_row_of_members_is_timed_though_noise_takes_no_time(runs: list[Run], tmp_path: Path) -> None:
    training = replace(runs[0].config.training, loss="crps", members=2, noise=0.1)
    timings = timings_in(tmp_path)
    (tmp_path / "timings").mkdir(exist_ok=True)
    run = replace(runs[0], config=replace(runs[0].config, training=training))
    found = timings.parts(run)
    assert found[0] > 0
    other = replace(run, config=replace(run.config, training=replace(training, noise=0.2)))
    assert timings.parts(other) == found  # from what was kept
