"""The records of a run with all trackers that its configuration names, fed from the logs of its folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator.foundation.configuration import resolve
from emulator.foundation.threads import Notice
from graphs.errors import MeshcastError
from training.early_end import PrunedError, Stopped
from training.experiment import ExperimentConfig
from training.metrics_log import MetricsLog
from training.processes import is_first_process
from training.tracking.follower import Follower
from training.tracking.mlflow_tracker import MlflowTracker
from training.tracking.tensorboard_tracker import TensorBoardTracker
from training.tracking.tracker import Outcome, RefusedError, Row, TrackedRun, Tracker, TrackingFile
from training.tracking.wandb_tracker import WandbTracker

OPENS_WITHIN = 20.0  # seconds that a new run waits for an answer, so that a refusal ends it before it has begun
ENDS_WITHIN = 120.0  # seconds that a finished run waits for its records
STOPS_WITHIN = 10.0  # seconds that one does which a signal or an error ends


class RunRecord:
    """What is tracked of a run, by nobody where `followers` is empty.

    Whatever is added, the training waits for no tracker and fails with none; lines go to `notice`, each once.
    """

    def __init__(self, folder: Path, notice: Notice, memory: TrackingFile | None = None) -> None:
        self.followers: list[Follower] = []
        self._folder, self._notice, self._memory = folder, notice, memory
        self._log: MetricsLog | None = None
        self._seen, self._undrawn = 0, False
        self._outcome = Outcome("failed")

    def __bool__(self) -> bool:
        return bool(self.followers)

    def follow(self, log: MetricsLog, update: int) -> None:
        """Have what the log holds up to an update, if anything new, brought to the trackers."""
        if not self.followers or (self._log is log and log.writes == self._seen):
            return
        self._log, self._seen = log, log.writes
        for follower in self.followers:
            follower.publish(update)
        self._say()

    def draw(self, update: int, write: Callable[[Path], object]) -> None:
        """Have the picture of a validation written under the name that it is given; a fault of that is only said."""
        if not self.followers:
            return
        try:
            self._picture(update).parent.mkdir(exist_ok=True)
            write(self._picture(update).with_suffix(""))
        except Exception as error:  # a picture is worth no training
            if not self._undrawn:
                self._notice(f"The trackers lack pictures: {error}. The training goes on.")
            self._undrawn = True

    def finished(self, scores: Mapping[str, Any], model: Path, files: tuple[Path, ...] = ()) -> None:
        """Say that the run is finished, with what the records are to keep of it."""
        numbers = {f"final/{name}": float(value) for name, value in scores.items() if _is_number(value)}
        self._outcome = Outcome("finished", numbers, model, tuple(path for path in files if path.is_file()))

    def close(self, stopped: bool) -> None:
        """Finish the records, and say what they lack."""
        outcome = Outcome("stopped") if stopped else self._outcome
        seconds = ENDS_WITHIN if outcome.status == "finished" else STOPS_WITHIN
        ends = time.monotonic() + seconds
        if self._log is not None:  # what a signal, or the end, has left
            for follower in self.followers:
                follower.publish(self._log.validated)
        for follower in self.followers:
            follower.ask_to_finish(outcome)
        for follower in self.followers:
            follower.wait_until_finished(max(0.0, ends - time.monotonic()))
        self._say()
        if outcome.status == "finished" and self._memory is not None:
            try:
                self._memory.keep(**{f"{one.tracker.key}_complete": int(one.complete) for one in self.followers})
            except MeshcastError as error:  # a full disk: the run itself is whole
                self._notice(f"Nobody will know that the trackers have it all: {error}")

    def rows(self, after: int, last: int) -> list[Row]:
        """Return what the log holds of the updates after one up to another, with the pictures that were drawn."""
        if self._log is None:
            return []
        found = []
        for update, values in self._log.between(after, last).items():
            picture = self._picture(update)
            numbers = {name: value for name, value in values.items() if math.isfinite(value)}
            found.append(Row(update, numbers, picture if picture.is_file() else None))
        return found

    def _picture(self, update: int) -> Path:
        return self._folder / "pictures" / f"forecast-{update:08d}.png"

    def _say(self) -> None:
        for follower in self.followers:
            while follower.lines:
                self._notice(follower.lines.pop(0))


@contextmanager
def tracked(
    config: ExperimentConfig, folder: Path, facts: Callable[[], Mapping[str, Any]], resumed: bool, notice: Notice
) -> Iterator[RunRecord]:
    """Yield the record of a run; it is closed with the block, as finished where that was said, else stopped or failed.

    facts: what identifies the run beside its configuration. resumed: whether it goes on from a checkpoint: then
        nothing but a missing package ends it.
    Raises MeshcastError at once where a new run is refused by a tracker: a package or a login is missing, for example.
    """
    if not config.tracking.is_on or not is_first_process():
        yield RunRecord(folder, notice)
        return
    memory, output = TrackingFile(folder), Path(config.output)
    run = TrackedRun(config.name, config.tracking.project, folder, output, resolve(config), facts(), memory, resumed)
    record = RunRecord(folder, notice, memory)
    record.followers = [Follower(tracker, record.rows) for tracker in trackers_of(config, run)]
    stopped = False
    try:
        if not resumed:
            for follower in record.followers:
                _wait(follower)
        yield record
    except (Stopped, PrunedError, KeyboardInterrupt):
        stopped = True
        raise
    finally:
        record.close(stopped)


def is_behind(config: ExperimentConfig, folder: Path) -> bool:
    """Return whether a finished run has records that lack something, or none of a tracker that is on."""
    tracking = config.tracking
    if not tracking.is_on or not is_first_process():
        return False
    on = {"wandb": tracking.wandb != "off", "mlflow": tracking.mlflow != "off", "tensorboard": tracking.tensorboard}
    memory = TrackingFile(folder)
    return any(not memory.get(f"{key}_complete", 0) for key, is_on in on.items() if is_on)


def trackers_of(config: ExperimentConfig, run: TrackedRun) -> list[Tracker]:
    """Return the trackers of a run; raise MeshcastError where one cannot be used as it is configured."""
    tracking = config.tracking
    found: list[Tracker] = []
    if tracking.wandb != "off":
        found.append(WandbTracker(run, tracking.wandb))
    if tracking.mlflow != "off":
        found.append(MlflowTracker(run, tracking.mlflow, tracking.registered_model))
    if tracking.tensorboard:
        found.append(TensorBoardTracker(run))
    return found


def _wait(follower: Follower) -> None:
    try:
        follower.wait_until_open(OPENS_WITHIN)
    except RefusedError as refusal:
        raise MeshcastError(
            f"{follower.tracker.name} refuses this run: {refusal}. Correct the section tracking or the login, or turn "
            "it off; a run that goes on from a checkpoint is not ended by this."
        ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
