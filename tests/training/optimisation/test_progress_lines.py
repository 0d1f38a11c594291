"""What a run shows where its standard error is a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.training.worlds import experiment
from training.metrics_log import losses_beside, read_log
from training.optimisation import callbacks, progress_lines
from training.runs.fit import fit

LINE = re.compile(
    r"update (\d+) of 24, loss \S+, \S+ updates/s, time left \d+ min(, validation score \S+ at update \d+)?"
)


def test_lines_and_losses_come_while_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_lines, "FIRST", -1.0)
    monkeypatch.setattr(progress_lines, "EVERY", -1.0)
    monkeypatch.setattr(callbacks, "LOSSES_AFTER", -1.0)
    seen: list[int] = []
    config = experiment(tmp_path, validation={"every": 24})
    metrics = Path(config.output) / config.name / "metrics.csv"
    write = callbacks.MetricsLog.write_losses

    def written(log, *args) -> None:
        write(log, *args)
        seen.append(len(read_log(losses_beside(metrics))))

    monkeypatch.setattr(callbacks.MetricsLog, "write_losses", written)
    fit(config)
    lines = capsys.readouterr().err.splitlines()
    matches = [match for line in lines if (match := LINE.fullmatch(line))]
    assert [int(match[1]) for match in matches] == list(range(1, 25)) and len(matches) == len(lines)
    assert set(seen) == {0, 1, 2}  # whole tens, before the validation at 24
    assert [row["update"] for row in read_log(losses_beside(metrics))] == [10, 20, 24]


def test_a_short_run_writes_no_line_and_a_long_one_hours(capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress_lines.ProgressLines(100_000, start=50)
    lines.passed(51, lambda: 1.0)
    assert capsys.readouterr().err == ""
    lines._began -= 100.0
    lines._last -= 100.0
    lines.validated(50, 0.25)
    lines.passed(150, lambda: 0.5)
    expected = (
        "update 150 of 100,000, loss 0.5, 1 updates/s, time left 27 h 45 min, validation score 0.25 at update 50\n"
    )
    assert capsys.readouterr().err == expected
