"""A thread that brings a run's history to one tracker, so that the training waits for none and fails with none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from graphs.errors import printable
from training.tracking.tracker import Outcome, RefusedError, Row, Tracker

ROWS_AT_ONCE = 500
SILENT = 60.0  # seconds without an answer, after which it is said


class Follower:
    """Follows the history of a run, row by row, up to the update that is published, however often the tracker fails.

    What failed is begun again at the next publication: the tracker says how far it has come, so that no row is missing
    or there twice.

    history: returns the rows after an update, up to another. lines: what the training is to say, once each.
    """

    def __init__(self, tracker: Tracker, history: Callable[[int, int], Sequence[Row]]) -> None:
        self.tracker, self._history = tracker, history
        self.lines: list[str] = []
        self.sent, self.complete = -1, False
        self.refused: RefusedError | None = None
        self._published = self._seen = -1
        self._outcome: Outcome | None = None
        self._due = threading.Condition()
        self._tried = threading.Event()
        self._busy_since: float | None = None
        self._told: set[str] = set()
        self._finishing = False
        self._thread = threading.Thread(target=self._follow, daemon=True, name=f"tracking with {tracker.name}")
        self._thread.start()

    def wait_until_open(self, seconds: float) -> None:
        """Wait for the first answer; raise RefusedError where it is one."""
        self._tried.wait(seconds)
        if self.refused is not None:
            raise self.refused

    def publish(self, update: int) -> None:
        """Have rows up to this update brought to the tracker some time soon."""
        with self._due:
            self._published = max(self._published, update)
            self._due.notify()
        if self._busy_since is not None and time.monotonic() - self._busy_since > SILENT:
            self._tell("silent", f"{self.tracker.name} has not answered for {SILENT:.0f} s. The training goes on.")

    def ask_to_finish(self, outcome: Outcome) -> None:
        """Have the record closed, once it holds what is published."""
        with self._due:
            self._outcome = outcome
            self._due.notify()

    def wait_until_finished(self, seconds: float) -> None:
        """Wait for the record to be closed; what it lacks after that time is among the lines."""
        self._thread.join(seconds)
        remedy = self.tracker.remedy()
        if not self.complete:
            lacks = "everything" if self.sent < 0 else f"what follows update {self.sent}"
            lacks = "the end" if self._finishing else lacks
            again = remedy or "Started again with resume=auto, the run brings it there."
            self._tell("end", f"{self.tracker.name} lacks {lacks} of this run. {again}")
        elif remedy:
            self.complete = False
            self._tell("end", f"{self.tracker.name}: {remedy}")

    def _follow(self) -> None:
        is_open = False
        while not self.complete:
            seen, outcome = self._next()
            self._busy_since = time.monotonic()
            try:
                if not is_open:
                    self.sent, is_open = self.tracker.open(), True
                    self._tried.set()
                rows = self._history(self.sent, seen)
                for first in range(0, len(rows), ROWS_AT_ONCE):
                    some = rows[first : first + ROWS_AT_ONCE]
                    self.tracker.log(some)
                    self.sent = some[-1].update
                if outcome is not None:
                    self._finishing = True
                    self.tracker.finish(outcome)
                    self.complete = True
            except BaseException as error:  # whatever a tracker raises, in a thread where nobody else catches it
                is_open = False
                self.refused = error if isinstance(error, RefusedError) else None
                goes_on = "" if outcome is not None else " The training goes on."
                self._tell("failed", f"{self.tracker.name} fails: {_reason(error)}{goes_on}")
            self._busy_since = None
            self._take_notices()
            self._tried.set()
            if outcome is not None:
                return

    def _next(self) -> tuple[int, Outcome | None]:
        """Wait until there is something to do; return up to which update, and the outcome once the run has ended."""
        with self._due:
            self._due.wait_for(lambda: not self._tried.is_set() or self._published > self._seen or self._outcome)
            self._seen = self._published
            return self._seen, self._outcome

    def _take_notices(self) -> None:
        for notice in self.tracker.notices:
            self._tell(notice, notice)
        self.tracker.notices.clear()

    def _tell(self, kind: str, line: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self.lines.append(line)


def _reason(error: BaseException) -> str:
    text = printable(str(error)).strip().split("\n", 1)[0][:300]
    return f"{text or type(error).__name__}".rstrip(".") + "."
