"""The trials of a study on disk: Optuna's own SQLite file, which any number of processes work on together.

A trial is written whole once its settings are known. Whoever makes it holds a lock of the system until its outcome is
written: a trial that is running, but whose lock nobody holds, was broken off, and is taken up again at once.
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from graphs.atomic_file import refuse_unwritable
from graphs.errors import MeshcastError
from graphs.output_lock import InUseError, output_lock
from training.runs.study import Result
from training.tuning.proposals import STUDY, Propose, Pruning, decoded, distributions, encoded, pruner
from training.tuning.space import Space

WAIT = 30.0  # seconds for another process to let go of the file
_IDENTITY, OUTCOME = "meshcast study", "meshcast outcome"
_ENDED = {"done": TrialState.COMPLETE, "diverged": TrialState.COMPLETE, "pruned": TrialState.PRUNED,
          "failed": TrialState.FAIL}  # fmt: skip


@dataclass(frozen=True)
class Begun:
    """A trial to make: its number, from 0, and its point of the space."""

    number: int
    point: Mapping[str, Any]


class TrialStore:
    """Holds the trials of one study, in order of their numbers.

    identity: what makes it this study, in plain types; a file of another one is refused by `differences`.
    Raises MeshcastError where the file is none of Optuna's, or is damaged, or of another program that keeps it locked.
    """

    def __init__(self, path: Path, space: Space, identity: Mapping[str, Any]) -> None:
        self.path, self._space = path, space
        refuse_unwritable(path)
        with self._alone():
            self._study = self._opened()
            stored = self._study.user_attrs.get(_IDENTITY)
            if stored is None and self._study.get_trials(deepcopy=False):
                raise MeshcastError(f"{path} holds trials that `meshcast tune` did not make. Choose another --study.")
            if stored is None:
                self._study.set_user_attr(_IDENTITY, json.dumps(identity))
            self.identity: dict[str, Any] = identity if stored is None else json.loads(stored)  # type: ignore[assignment]

    @property
    def trials(self) -> Sequence[FrozenTrial]:
        """Return all trials so far, in Optuna's terms."""
        with self._alone():
            return self._trials()

    @contextmanager
    def next_trial(self, propose: Propose, most: int) -> Iterator[Begun | None]:
        """Yield a trial to make within the block: one that was broken off, else a new one; None where there is none.

        Others leave it alone as long as the block lasts. most: trials in all.
        """
        with ExitStack() as held:
            with self._alone():
                trials = self._trials()
                begun = next((found for trial in trials if (found := self._taken_up(trial, held))), None)
                if begun is None and len(trials) < most:
                    begun = self._proposed(propose, trials, held)
            yield begun

    def report(self, begun: Begun, update: int, rank: float, pruning: Pruning, updates: int) -> bool:
        """Note what a trial's emulator counts as after some of its updates; whether it is to end for that."""
        with self._alone():
            trial = self._trials()[begun.number]
            self._study._storage.set_trial_intermediate_value(trial._trial_id, update, float(rank))
            if pruning == "none" or update >= updates:
                return False
            return pruner(pruning, updates).prune(self._study, self._trials()[begun.number])

    def tell(self, begun: Begun, result: Result, updates: int) -> None:
        """Write what came of a trial. One that diverged is infinitely bad, so that others keep away from it."""
        state = _ENDED[result.status]
        rank = result.validation_score if result.rank is None else result.rank
        good = result.status == "done" and rank is not None and math.isfinite(rank)
        outcome = {
            "status": result.status,
            "reason": result.reason,
            "score": result.validation_score,
            "rank": rank,
            "seconds": result.seconds,
            "updates": updates,
            "hash": result.hash,
            "folder": result.folder,
        }
        with self._alone():
            trial = self._trials()[begun.number]
            self._study._storage.set_trial_user_attr(trial._trial_id, OUTCOME, outcome)
            value = (rank if good else math.inf) if state == TrialState.COMPLETE else None
            self._study.tell(begun.number, value, state)

    def _taken_up(self, trial: FrozenTrial, held: ExitStack) -> Begun | None:
        """Return a trial that was broken off, its lock from now on ours; None where it is none."""
        if trial.state != TrialState.RUNNING:
            return None
        try:
            held.enter_context(self._lock_of(trial.number))
        except InUseError:
            return None
        return Begun(trial.number, decoded(self._space, trial.params))

    def _proposed(self, propose: Propose, trials: Sequence[FrozenTrial], held: ExitStack) -> Begun:
        point = propose(trials)
        held.enter_context(self._lock_of(len(trials)))
        params, axes = encoded(self._space, point), distributions(self._space, point)
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=axes))
        return Begun(len(trials), point)

    def _lock_of(self, number: int) -> Any:
        return output_lock(self.path.with_name(f"trial-{number}"))

    def _trials(self) -> Sequence[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _opened(self) -> optuna.Study:
        def connect() -> sqlite3.Connection:
            return sqlite3.connect(self.path, timeout=WAIT)

        # A path as part of an address would need its special characters escaped twice.
        try:
            storage = RDBStorage("sqlite://", engine_kwargs={"creator": connect, "poolclass": NullPool})
        except RuntimeError as error:  # of another version of Optuna
            raise MeshcastError(self._explained(error)) from None
        with suppress(optuna.exceptions.DuplicatedStudyError):
            storage.create_new_study([StudyDirection.MINIMIZE], STUDY)
        return optuna.load_study(study_name=STUDY, storage=storage, sampler=optuna.samplers.RandomSampler(0))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Have the file for this process, and its faults in words."""
        deadline = time.monotonic() + WAIT
        with ExitStack() as held, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while True:
                try:
                    held.enter_context(output_lock(self.path))
                    break
                except InUseError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(random.uniform(0.01, 0.05))
            before = optuna.logging.get_verbosity()
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            try:
                yield
            except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError) as error:
                raise MeshcastError(self._explained(error)) from None
            finally:
                optuna.logging.set_verbosity(before)

    def _explained(self, error: Exception) -> str:
        cause: BaseException = error
        while (inner := getattr(cause, "orig", None) or cause.__cause__) is not None:
            cause = inner
        text = str(cause)
        if "locked" in text:
            return (
                f"{self.path} was locked by another program for {WAIT:.0f} seconds. Close it there, and start the same "
                "command again."
            )
        if any(words in text for words in ("readonly", "unable to open", "disk I/O", "disk is full")):
            return f"{self.path} cannot be written: {text}. See that there is room, and that you may write to it."
        return (
            f"{self.path} is no study that this version can read: {text}. Remove it and start the same command again: "
            "trials that are finished are found by their results, and not repeated."
        )
