"""What a command says as lines of JSON on standard error, for whoever runs it every night."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

OPTION = "--log-json"
BETWEEN = 5.0  # seconds from one line of progress to the next
EVENTS = {"Wrote": "wrote", "Error:": "error", "Guard:": "warning", "Warning:": "warning"}  # by the first word


class JsonLog(io.TextIOBase):
    """Standard error on which every line is one JSON object; what others write there becomes a `message` each line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._line = ""

    def event(self, event: str, **facts: Any) -> None:
        """Write one line: what happened, when (UTC), and what there is to say of it."""
        content = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        self.stream.write(json.dumps(content, default=str) + "\n")
        self.stream.flush()

    def say(self, text: str, **facts: Any) -> None:
        """Write a notice of a command as the event that it is: wrote, warning, error or notice."""
        event = facts.pop("event", None) or EVENTS.get(text.split(" ", 1)[0], "notice")
        if event == "error":
            facts.setdefault("code", 2)
        self.event(event, message=text.removeprefix("Error: "), **facts)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield what writes how much is done: at the start, at the end, and every five seconds between."""
        last = time.monotonic()
        self.event("progress", label=label, done=0, total=total)

        def show(done: int) -> None:
            nonlocal last
            if done >= total or time.monotonic() - last >= BETWEEN:
                last = time.monotonic()
                self.event("progress", label=label, done=done, total=total)

        yield show

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                self.event("message", message=line.rstrip())
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return False


def json_log() -> JsonLog | None:
    """Return the log that standard error is, None where it is for people."""
    return sys.stderr if isinstance(sys.stderr, JsonLog) else None


@contextmanager
def logged(arguments: Sequence[str], version: str) -> Iterator[JsonLog]:
    """Make standard error a log while a command runs, from its start to its exit code."""
    log, begun = JsonLog(sys.stderr), time.monotonic()
    facts = {"version": version, "host": socket.gethostname(), "pid": os.getpid()}
    log.event("start", command=next(iter(arguments), ""), arguments=list(arguments), **facts)
    before, sys.stderr = sys.stderr, log
    code: Any = 1
    try:
        yield log
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
        raise
    finally:
        sys.stderr = before
        log.write("\n")
        log.event("end", code=code, seconds=round(time.monotonic() - begun, 3))
