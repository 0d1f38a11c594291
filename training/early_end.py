"""What ends a training early: a signal, after which all that was learned is kept, or numbers that are not finite."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from torch import Tensor

from emulator.foundation.time_step import to_datetime
from graphs.errors import MeshcastError

TO_BE_GONE_ON_WITH = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start it again
# What schedulers and terminals send: Slurm and Kubernetes before they end a job, a connection that breaks.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))


Watch = Callable[[int, int, float], None]


class DivergedError(MeshcastError):
    """A loss or weights that are no longer finite."""


class PrunedError(MeshcastError):
    """A trial that ends before its time, since others are better at the same point."""


class Stopped(SystemExit):
    """Ends the process with exit code 128 + signal, or 75 where its time was up.

    update: the last one, which is kept; None where the training had nothing new to keep.
    cause: what ended it, in words.
    """

    def __init__(self, number: int, update: int | None = None) -> None:
        time_is_up = number == getattr(signal, "SIGALRM", None)
        super().__init__(TO_BE_GONE_ON_WITH if time_is_up else 128 + number)
        self.update = update
        self.cause = "training.max_time" if time_is_up else signal.Signals(number).name


class StopRequest:
    """Whether a signal has asked this training to end.

    number: of the signal, 0 as long as none came. A second one ends the process at once.
    waits: the training must come to a state that can be kept first; otherwise the signal ends it where it stands.
    watch: takes, at each validation before the last, the updates done, those in all, and what the best emulator so far
        counts as; it may raise PrunedError. Nobody watches by default.
    """

    def __init__(self) -> None:
        self.number = 0
        self.waits = False
        self.watch: Watch = lambda update, updates, rank: None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        if hasattr(signal, "SIGCHLD"):  # processes that read data may have died of the same signal, which is no fault
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not self.waits:
            raise Stopped(number)


@contextmanager
def stop_requests(max_time: str | None = None) -> Iterator[StopRequest]:
    """Yield what the signals of `SIGNALS` set within the block; those that are ignored, as under nohup, stay so.

    max_time: such as `11h50m`, after which the alarm of the system is such a signal too.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    if max_time is not None:
        if not hasattr(signal, "setitimer"):
            raise MeshcastError("training.max_time needs the alarm of a Unix system. Leave it away here.")
        before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM) or signal.SIG_DFL
    try:
        for number in before:
            signal.signal(number, request)
        if max_time is not None:
            signal.setitimer(signal.ITIMER_REAL, seconds_of(max_time))
        yield request
    finally:
        if max_time is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def seconds_of(max_time: str) -> float:
    """Return the seconds of a time such as `11h50m`, `90m` or `1d12h`; raise MeshcastError where it is none."""
    units = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    found = re.fullmatch(r"(?=.)" + "".join(rf"(?:(\d{{1,9}}){unit})?" for unit in units), max_time.replace(" ", ""))
    seconds = (
        sum(int(count or 0) * unit for count, unit in zip(found.groups(), units.values(), strict=True)) if found else 0
    )
    if seconds <= 0:
        raise MeshcastError(
            f"training.max_time is {max_time!r}, but says how long a training may take, as 11h50m, 90m, 45s or 1d12h."
        )
    return float(seconds)


def not_finite(update: int, loss: Tensor, times: Tensor) -> str:
    """Return which batch had a loss that is not finite."""
    samples = ", ".join(str(time) for time in to_datetime(times.cpu().numpy()[:8]))
    further = f" and {len(times) - 8} more" if len(times) > 8 else ""
    return f"The loss of update {update} is {float(loss):g}, on the samples from {samples}{further}."


def diverged(fault: str, folder: Path) -> str:
    """Return why a training ends whose numbers are not finite, and what to do."""
    return (
        f"{fault} The training has diverged and ends; {folder} keeps the best emulator before it and the last good "
        "checkpoint. Lower training.learning_rate, or raise training.warm_up, and train under another name: name=NAME."
    )
