"""A follower brings every row once, whatever its tracker does; the training waits for none."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from tests.time_limits import HUNG
from tests.training.tracking.trackers import KeptTracker
from training.tracking import follower as following
from training.tracking.follower import Follower
from training.tracking.tracker import Outcome, RefusedError, Row

HISTORY = [Row(update, {"loss": 1 / (update + 1)}) for update in range(0, 2000, 10)]


def history(after: int, last: int) -> list[Row]:
    return [row for row in HISTORY if after < row.update <= last]


def closed(follower: Follower) -> Follower:
    follower.ask_to_finish(Outcome("finished"))
    follower.wait_until_finished(HUNG)
    return follower


def test_every_row_is_brought_once_in_order_and_the_record_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ROWS_AT_ONCE", 7)
    tracker = KeptTracker()
    follower = Follower(tracker, history)
    for update in range(100, 2100, 100):
        follower.publish(update)
    closed(follower)
    assert tracker.rows == HISTORY and tracker.outcome == Outcome("finished")
    assert follower.complete and follower.lines == []


class Flaky(KeptTracker):
    """Fails in every third call, once after it has taken the first of its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def log(self, rows: Sequence[Row]) -> None:
        self.calls += 1
        if self.calls % 3 == 0:
            super().log(rows[:1])
            raise ConnectionError("the line is cut\nTraceback and more")
        super().log(rows)


def test_a_tracker_that_fails_now_and_then_lacks_nothing_and_has_nothing_twice() -> None:
    tracker = Flaky()
    follower = Follower(tracker, history)
    for update in range(100, 2100, 100):
        follower.publish(update)
        limit = time.monotonic() + HUNG
        while follower._seen < update and time.monotonic() < limit:
            time.sleep(0.001)
    closed(follower)
    assert follower.complete and tracker.rows == HISTORY
    assert tracker.opened > 2
    assert follower.lines[0] == "a tracker fails: the line is cut. The training goes on."
    assert sum("fails" in line for line in follower.lines) == 1


def test_one_that_never_answers_costs_the_training_nothing_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENT", 0.05)
    released = threading.Event()

    class Silent(KeptTracker):
        def log(self, rows: Sequence[Row]) -> None:
            super().log(rows)
            if rows[0].update > 0:
                released.wait(HUNG)

    tracker = Silent()
    follower = Follower(tracker, history)
    follower.publish(0)
    limit = time.monotonic() + HUNG
    while follower.sent < 0 and time.monotonic() < limit:
        time.sleep(0.001)
    follower.publish(500)
    while not follower.lines and time.monotonic() < limit:
        follower.publish(500)
        time.sleep(0.01)
    follower.ask_to_finish(Outcome("finished"))
    follower.wait_until_finished(0.05)
    released.set()
    assert follower.lines == [
        "a tracker has not answered for 0 s. The training goes on.",
        "a tracker lacks what follows update 0 of this run. Started again with resume=auto, the run brings it there.",
    ]


def test_a_refusal_reaches_whoever_waits_for_it_and_no_other_fault_does() -> None:
    class Refusing(KeptTracker):
        fault: Exception = RefusedError("nobody of this name")

        def open(self) -> int:
            raise self.fault

    with pytest.raises(RefusedError, match="nobody of this name"):
        Follower(Refusing(), history).wait_until_open(HUNG)
    away = Refusing()
    away.fault = ConnectionError("no such host")
    follower = Follower(away, history)
    follower.wait_until_open(HUNG)
    closed(follower)
    assert not follower.complete
    assert follower.lines == [
        "a tracker fails: no such host. The training goes on.",
        "a tracker lacks everything of this run. Started again with resume=auto, the run brings it there.",
    ]
