"""Trials on disk: one process a trial, whatever dies; and files that are no study are refused in words."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from graphs.errors import MeshcastError
from training.runs.study import Result
from training.tuning import trial_store
from training.tuning.space import space_of
from training.tuning.trial_store import OUTCOME, TrialStore

RATE = "training.learning_rate"
SPACE = space_of({RATE: "1e-4..1e-1 log"})


def propose(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    return {RATE: 1e-3 * (len(trials) + 1)}


def opened(folder: Path) -> TrialStore:
    return TrialStore(folder / "study.db", SPACE, {"seed": 0})


def result(status: Any = "done", rank: float | None = 0.5, **more: Any) -> Result:
    return Result("hash", "run", 0, status, "folder", {}, {}, validation_score=rank, rank=rank, seconds=1.0, **more)


def killed_in(work: Callable[[], None]) -> None:
    """Have a process do some work, which it ends by a signal of its own."""
    if (child := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_what_came_of_a_trial_is_read_by_the_next_process(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for ended in (result(), result("diverged"), result("failed", None, reason="no"), result(rank=None)):
        with store.next_trial(propose, 9) as begun:
            assert begun is not None
            store.tell(begun, ended, 10)
    with store.next_trial(propose, 9) as begun:
        assert begun is not None and begun.number == 4
        assert not store.report(begun, 5, math.inf, "median", 10)
        store.tell(begun, result("pruned", math.inf), 5)
    found = opened(tmp_path).trials
    assert [trial.params[RATE] for trial in found] == pytest.approx([1e-3, 2e-3, 3e-3, 4e-3, 5e-3])
    complete, failed, pruned = TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED
    assert [trial.state for trial in found] == [complete, complete, failed, complete, pruned]
    assert [trial.value for trial in found] == [0.5, math.inf, None, math.inf, math.inf]  # TPE keeps away from these
    assert found[2].user_attrs[OUTCOME]["reason"] == "no" and found[4].intermediate_values == {5: math.inf}


def test_no_more_trials_are_begun_than_asked_for(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.next_trial(propose, 1) as begun:
        assert begun is not None
        store.tell(begun, result(), 10)
    with store.next_trial(propose, 1) as begun:
        assert begun is None
    with store.next_trial(propose, 2) as begun:
        assert begun is not None and begun.number == 1


def test_a_trial_of_a_killed_process_is_taken_up_and_one_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    def work() -> None:
        with opened(tmp_path).next_trial(propose, 9):
            os.kill(os.getpid(), signal.SIGKILL)

    killed_in(work)
    first, second = opened(tmp_path), opened(tmp_path)
    with first.next_trial(propose, 9) as taken_up:
        assert taken_up is not None and (taken_up.number, taken_up.point) == (0, {RATE: 1e-3})
        if (child := os.fork()) == 0:
            with second.next_trial(propose, 9) as other:
                os._exit(7 if other is not None and other.number == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        first.tell(taken_up, result(), 10)
    with second.next_trial(propose, 9) as next_one:
        assert next_one is not None and next_one.number == 1


def test_a_process_killed_while_it_writes_leaves_a_study_that_goes_on(tmp_path: Path) -> None:
    places = [(trial_store.RDBStorage, "create_new_study"), (optuna.Study, "set_user_attr"),
              (optuna.Study, "add_trial"), (optuna.Study, "tell")]  # fmt: skip
    for cls, name in places:

        def work(cls: type = cls, name: str = name) -> None:
            does = getattr(cls, name)

            def dies_after(*arguments: Any, **options: Any) -> None:
                does(*arguments, **options)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(cls, name, dies_after)
            store = opened(tmp_path)
            with store.next_trial(propose, 9) as begun:
                assert begun is not None and begun.number == 0
                store.tell(begun, result(), 10)

        killed_in(work)
    store = opened(tmp_path)
    assert [trial.value for trial in store.trials] == [0.5]  # written by the last of them


def test_a_file_that_is_no_study_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_text("no database " * 100)
    with pytest.raises(MeshcastError, match=r"(?s)study\.db is no study that this version can read: .*not a database"):
        opened(tmp_path)
    assert path.read_text().startswith("no database")
    path.unlink()
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    optuna.create_study(storage=storage, study_name="meshcast").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(MeshcastError, match="did not make"):
        opened(tmp_path)


def test_a_truncated_study_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path).next_trial(propose, 9):
        pass
    path = tmp_path / "study.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MeshcastError, match="no study that this version can read"):
        opened(tmp_path).trials  # noqa: B018


def test_a_study_that_another_program_keeps_locked_is_waited_for_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path)
    monkeypatch.setattr(trial_store, "WAIT", 0.1)
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(MeshcastError, match="locked by another program"):
        opened(tmp_path)
    other.execute("ROLLBACK")
    assert opened(tmp_path).trials == []


def test_a_folder_whose_name_is_no_address_holds_a_study(tmp_path: Path) -> None:
    folder = tmp_path / "a {b}?c=d%20 #e"
    folder.mkdir()
    with opened(folder).next_trial(propose, 1) as begun:
        assert begun is not None
    assert [path.name for path in folder.iterdir()] == ["study.db"]
