"""What is left of a comparison: seconds an update of each row takes, and the time that the runs to come need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from emulator.build import is_closed_form
from emulator.foundation.configuration import resolve
from emulator.foundation.threads import num_threads
from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig
from training.preparation.first_guess import initial_network
from training.preparation.prepared import Prepared, PreparedData, windows_of
from training.runs.budget import TIMED_UPDATES, threads_of, time_parts
from training.runs.run_hash import PLACES
from training.runs.study import Progress, Run

FEW_UPDATES = 20  # of a run that takes no longer than measuring it would
TIMED = 4  # enough to tell a minute from an hour; where minutes become updates, more are timed


@dataclass(frozen=True)
class Effort:
    """What is left to do.

    runs, left: of the comparison in all, and unfinished, trials among them.
    seconds: of one core for the networks left; closed forms and forecasts come on top.
    unknown: labels whose updates could not be timed, and why.
    """

    runs: int
    left: int
    seconds: float
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.left:
            return f"All {self.runs} runs are finished"
        amount = f"{self.seconds / 60:.0f} core-minutes" if self.seconds >= 90 else f"{self.seconds:.0f} core-seconds"
        time = f"about {amount}" if self.seconds >= 1 else "a moment each"
        unknown = "".join(f"; not timed: {text}" for text in self.unknown)
        return f"{self.left} of {self.runs} runs left, {time}{unknown}"


class Timings:
    """Seconds an update of a network takes, kept in RESULTS/timings so that nothing is timed twice.

    A budget of minutes thus becomes the same number of updates for every seed, and again on resume.
    """

    def __init__(self, results: Path | str, data: PreparedData, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder, self.data, self.say = Path(results) / "timings", data, say

    def seconds_per_update(self, label: str, experiment: ExperimentConfig) -> float:
        """Of one core, validation's share included."""
        updates = TIMED if experiment.training.minutes is None else TIMED_UPDATES
        path = self.folder / f"{_key(experiment, updates)}.json"
        if (kept := _read(path)) is None:
            self.say(f"timing {label} ...")
            kept = measured(self.data.prepare(experiment), updates)
            with atomic_file(path) as part:
                content = {"label": label, "update": kept[0], "validation": kept[1]}
                part.write_text(json.dumps(content) + "\n", encoding="utf-8")
        update, validation = kept
        return float(update + validation / experiment.validation.every)

    def of_run(self, run: Run) -> float:
        """As a study asks for it."""
        return self.seconds_per_update(run.label, run.config)


def measured(prepared: Prepared, updates: int) -> tuple[float, float]:
    """Return the seconds an update and a validation take, by some updates of a copy that is thrown away."""
    with torch.random.fork_rng(devices=[]):
        windows, starts = windows_of(prepared)
        with num_threads(threads_of(prepared, windows)):
            emulator, section = initial_network(prepared, windows)
            config = replace(prepared.config, emulator=section)
            return time_parts(config, emulator, windows, starts, updates)


def effort_of(runs: Sequence[Progress], timings: Timings) -> Effort:
    """The time that unfinished runs take; networks of few updates are not worth timing."""
    left = [progress for progress in runs if progress.result is None]
    seconds, unknown = 0.0, {}
    for progress in left:
        label, config = progress.run.label, progress.run.config
        if is_closed_form(config.emulator) or label in unknown:
            continue
        if config.training.minutes is None and config.training.updates <= FEW_UPDATES:
            continue
        try:
            per_update = timings.seconds_per_update(label, config)
        except Exception as error:  # whatever it is, the run itself will fail of it and be reported
            unknown[label] = str(error) if isinstance(error, MeshcastError) else f"{type(error).__name__}: {error}"
            continue
        done = progress.updates * per_update
        whole = (
            config.training.updates * per_update if config.training.minutes is None else config.training.minutes * 60
        )
        seconds += max(whole - done, 0.0)
    return Effort(len(runs), len(left), seconds, tuple(f"{label} ({reason})" for label, reason in unknown.items()))


def _read(path: Path) -> tuple[float, float] | None:
    """Seconds of an update and of a validation; None where they are not there, or not readable any more."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return float(kept["update"]), float(kept["validation"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _key(experiment: ExperimentConfig, updates: int) -> str:
    """A hash of what the times depend on: not the seed, the rates, nor how many updates and validations there are."""
    alike: dict[str, Any] = {"seed": 0, "minutes": None, "learning_rate": 1.0, "warm_up": 0}
    training = replace(experiment.training, updates=updates, noise=0.0, weight_decay=0.0, **alike)
    validation = replace(experiment.validation, every=1)
    plain = resolve(replace(experiment, training=training, validation=validation))
    content = {name: value for name, value in plain.items() if name not in PLACES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
