"""Progress as plain lines, for a log file or a batch system, where a bar says nothing until it ends."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

FIRST, EVERY = 10.0, 60.0  # seconds of the clock until the first line, and between lines


class ProgressLines:
    """Writes a line to standard error now and then, at once: update, loss, updates a second, time left.

    updates: of the whole run. start: those behind it.
    """

    def __init__(self, updates: int, start: int = 0) -> None:
        self.updates, self.start = updates, start
        self.score = ""
        self._began = self._last = time.perf_counter()

    def validated(self, update: int, score: float) -> None:
        """Take note of a validation, which further lines mention."""
        self.score = f", validation score {score:.4g} at update {update:,}"

    def passed(self, update: int, loss: Callable[[], float]) -> None:
        """Write a line where it is time for one; the loss is read only then, since a device must be waited for."""
        now = time.perf_counter()
        if now - self._last < (EVERY if self._last > self._began else FIRST):
            return
        self._last = now
        rate = (update - self.start) / max(now - self._began, 1e-9)
        left = _in_words((self.updates - update) / rate) if rate > 0 else "unknown"
        line = f"update {update:,} of {self.updates:,}, loss {loss():.4g}, {rate:.3g} updates/s, time left {left}"
        print(line + self.score, file=sys.stderr, flush=True)


def _in_words(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
