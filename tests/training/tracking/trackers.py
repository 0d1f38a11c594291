"""Trackers that tests make, and runs that they are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from training.experiment import ExperimentConfig
from training.optimisation.module import EmulatorModule
from training.runs.fit import fit
from training.tracking.tracker import Outcome, Row


class KeptTracker:
    """A tracker in memory, which lasts from start to start as a server does."""

    name = "a tracker"
    key = "kept"

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.rows: list[Row] = []
        self.opened = 0
        self.outcome: Outcome | None = None

    def open(self) -> int:
        self.opened += 1
        return self.rows[-1].update if self.rows else -1

    def log(self, rows: Sequence[Row]) -> None:
        self.rows += rows

    def finish(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def remedy(self) -> str:
        return ""


class CrashError(RuntimeError):
    """What ends a training in its middle."""


def crash(config: ExperimentConfig, at: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Begin a run, or go on with it, and have it crash in the update after `at`."""
    step = EmulatorModule.training_step

    def failing(module: EmulatorModule, *args: Any) -> Any:
        if module.global_step == at:
            raise CrashError("the machine fails")
        return step(module, *args)

    with monkeypatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(EmulatorModule, "training_step", failing)
        fit(config, progress=False, resume="auto", **options)


def picture_names(folder: Path) -> list[str]:
    """The pictures of a run folder."""
    return sorted(path.name for path in (folder / "pictures").iterdir())
