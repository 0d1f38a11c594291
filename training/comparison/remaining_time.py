"""The time that the runs left of a comparison take, from the seconds that an update of each row takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emulator.build import is_closed_form
from emulator.foundation.configuration import resolve
from graphs.atomic_file import write_text
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig
from training.preparation.prepared import Prepared, PreparedData
from training.runs.fit import TIMED_UPDATES, time_parts, untrained_on_threads
from training.runs.run_hash import PLACES
from training.runs.study import Progress, Run

FEW_UPDATES = 20  # of a run that takes no longer than measuring it would
TIMED = 4  # enough to tell a minute from an hour; where minutes become updates, more are timed


@dataclass(frozen=True)
class RemainingTime:
    """Describes what is left of a comparison.

    runs, left: in all, and unfinished, trials among them.
    seconds: of one core for the networks left; closed forms and forecasts come on top.
    unknown: why updates could not be timed, by the run's label.
    """

    runs: int
    left: int
    seconds: float
    unknown: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.left:
            return f"All {self.runs} runs are finished"
        amount = f"{self.seconds / 60:.0f} core-minutes" if self.seconds >= 90 else f"{self.seconds:.0f} core-seconds"
        time = f"about {amount}" if self.seconds >= 1 else "a moment each"
        unknown = "".join(f"; not timed: {', '.join(labels)} ({why})" for why, labels in self._reasons().items())
        return f"{self.left} of {self.runs} runs left, {time}{unknown}"

    def _reasons(self) -> dict[str, list[str]]:
        labels: dict[str, list[str]] = {}
        for label, why in self.unknown.items():
            labels.setdefault(why, []).append(label)
        return labels


class Timings:
    """Gives the seconds an update of a network takes, kept in RESULTS/timings so that nothing is timed twice.

    A budget of minutes thus becomes the same number of updates for every seed, and again on resume.
    """

    def __init__(self, results: Path | str, data: PreparedData, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder, self.data, self.say = Path(results) / "timings", data, say

    def seconds_per_update(self, run: Run) -> float:
        """Return the seconds of one core that an update of a run takes, its share of the validations included."""
        update, validation = self.parts(run)
        return update + validation / run.config.validation.every

    def parts(self, run: Run) -> tuple[float, float]:
        """Return the seconds of one core that an update of a run takes, and a validation."""
        updates = TIMED if run.config.training.minutes is None else TIMED_UPDATES
        path = self.folder / f"{_key(run.config, updates)}.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            update, validation = float(stored["update"]), float(stored["validation"])
        except (OSError, ValueError, TypeError, KeyError):  # not timed yet, or the file is damaged
            self.say(f"timing {run.label} ...")
            update, validation = measure(self.data.prepare(run.config), updates)
            content = {"label": run.label, "update": update, "validation": validation}
            write_text(path, json.dumps(content) + "\n")
        return update, validation


def measure(prepared: Prepared, updates: int) -> tuple[float, float]:
    """Return the seconds an update and a validation take, by some updates of a copy that is thrown away."""
    with untrained_on_threads(prepared) as untrained:
        return time_parts(untrained, updates)


def remaining_time(runs: Sequence[Progress], timings: Timings) -> RemainingTime:
    """Return the time that unfinished runs take; networks of few updates are not worth timing."""
    left = [progress for progress in runs if progress.result is None]
    seconds = 0.0
    unknown: dict[str, str] = {}
    for progress in left:
        label, config = progress.run.label, progress.run.config
        minutes, updates = config.training.minutes, config.training.updates
        if is_closed_form(config.emulator) or label in unknown or (minutes is None and updates <= FEW_UPDATES):
            continue
        try:
            per_update = timings.seconds_per_update(progress.run)
        except Exception as error:  # whatever it is, the run itself will fail of it and be reported
            unknown[label] = str(error) if isinstance(error, MeshcastError) else f"{type(error).__name__}: {error}"
            continue
        whole = updates * per_update if minutes is None else 60 * minutes
        seconds += max(whole - progress.updates * per_update, 0.0)
    return RemainingTime(len(runs), len(left), seconds, unknown)


def _key(experiment: ExperimentConfig, updates: int) -> str:
    """Return a hash of what the times depend on: not the seed, the rates, nor how often is updated and validated."""
    alike: dict[str, Any] = {"seed": 0, "minutes": None, "learning_rate": 1.0, "warm_up": 0}
    noise = 0.0 if experiment.training.members == 1 else 1.0  # which several members cannot do without
    training = replace(experiment.training, updates=updates, noise=noise, weight_decay=0.0, **alike)
    validation = replace(experiment.validation, every=1)
    plain = resolve(replace(experiment, training=training, validation=validation))
    content = {name: value for name, value in plain.items() if name not in PLACES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
