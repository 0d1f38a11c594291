"""A file tried in a process of its own first: a library that crashes on it, or never ends, takes no other along."""

from __future__ import annotations

import faulthandler
import os
import pickle
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from graphs.errors import MeshcastError

PATIENCE = 10  # seconds of processor time; what is tried takes milliseconds of it
CLOCK = 30.0  # seconds by the clock, after which a trial that computed nothing waits for a disk, or a lock


def tried(check: Callable[[Path], None], path: Path) -> None:
    """Run a check of a file in a fork of this process, then raise here what it raised there.

    Where the fork waits for longer than `CLOCK`, and where there is none, the check runs in this process.
    Raises MeshcastError where the fork crashes, and where it takes more than `PATIENCE` of processor time.
    """
    reading, writing = os.pipe()
    try:
        child = _fork()
    except OSError:  # no memory for another process, or too many
        os.close(reading)
        os.close(writing)
        return check(path)
    if child == 0:
        _try(check, path, writing)
    os.close(writing)
    since, said = time.monotonic(), b""
    try:
        while select.select([reading], [], [], max(0.0, since + CLOCK - time.monotonic()))[0]:
            if not (more := os.read(reading, 2**16)):
                break
            said += more
        else:
            os.kill(child, signal.SIGKILL)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if os.waitstatus_to_exitcode(status) == 0:
        if (raised := pickle.loads(said)) is not None:
            raise raised
    elif time.monotonic() - since >= CLOCK and seconds < PATIENCE / 2:
        check(path)
    else:
        why = "does not end" if seconds >= PATIENCE / 2 else "ends this process"
        raise MeshcastError(
            f"{path} is damaged, or its disk fails: the library that reads it {why} when it opens the file. Fetch it "
            "again, or make it anew."
        )


def _fork() -> int:
    if sys.platform != "linux":
        raise OSError("only Linux forks safely beside threads")
    with warnings.catch_warnings():  # of Python 3.12 and of JAX: threads do not live on in a fork; this one needs none
        warnings.simplefilter("ignore")
        return os.fork()


def _try(check: Callable[[Path], None], path: Path, writing: int) -> NoReturn:
    """Run the check in this fork, send what it raised, and end."""
    import resource

    try:
        faulthandler.disable()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a library says before it crashes
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, most) if most < 0 else (min(PATIENCE, most), most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        raised = None
        try:
            check(path)
        except Exception as error:
            raised = error
        content = pickle.dumps(raised)
        while content:
            content = content[os.write(writing, content) :]
        os._exit(0)
    finally:
        os._exit(1)
