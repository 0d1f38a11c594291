"""A command in a fork of the preloaded process: limited in memory and time, its output kept, its end told."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphs import temporary_files
from tests.torture.faults import Order, arm

MEMORY = 2 * 2**30  # bytes a command may take beyond what the preloaded process has
PATIENCE = 20.0  # seconds of processor time after which a command hangs
JUDGE_FAILED = 99
CLOCK = 3 * PATIENCE  # and by the clock, where others use the machine too


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    code: its exit code, or minus the signal that ended it.
    text: all it said.
    seconds: processor time.
    peak: the most memory it held, that of the preloaded process included [bytes].
    hung: whether it had to be ended after PATIENCE.
    """

    code: int
    text: str
    seconds: float
    peak: int
    hung: bool


class Process:
    """A command that runs in `folder`/work, with `folder`/tmp as its TMPDIR.

    before, after: what is done in the same process, undisturbed by `order`; what they raise is the process's end.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        order: Order | None = None,
        name: str = "log",
        before: Callable[[], None] | None = None,
        after: Callable[[int, str], None] | None = None,
    ) -> None:
        self.log = folder / name
        self.log.unlink(missing_ok=True)
        self._since = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(folder, arguments, order, self.log, before, after)
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)

    def wait(self) -> Ended:
        """Return how it ended; a command that hangs is ended."""
        handle = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        hung = False
        while not poll.poll(500):
            if _processor_seconds(self.pid) > PATIENCE or time.monotonic() - self._since > CLOCK:
                hung = True
                os.kill(self.pid, signal.SIGABRT)  # faulthandler says where it was
                poll.poll(2000)
                break
        self._end_group()
        os.close(handle)
        _, status, usage = os.wait4(self.pid, 0)
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        seconds = usage.ru_utime + usage.ru_stime
        return Ended(os.waitstatus_to_exitcode(status), text, seconds, usage.ru_maxrss * 1024, hung)

    def stopped(self) -> bool:
        """Wait until it stops or ends, and return whether it stopped."""
        while time.monotonic() - self._since < CLOCK:
            found = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                return found.si_code == os.CLD_STOPPED
            time.sleep(0.002)
        return False

    def go_on(self) -> None:
        """Continue it where it was stopped."""
        os.killpg(self.pid, signal.SIGCONT)

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _run(
    folder: Path,
    arguments: Sequence[str],
    order: Order | None,
    log: Path,
    before: Callable[[], None] | None,
    after: Callable[[int, str], None] | None,
) -> None:
    """Run the command in this process, which ends with it."""
    code = JUDGE_FAILED
    try:
        _enter(folder, log)
        if before is not None:
            before()
        sys.stderr.flush()
        os.truncate(log, 0)
        _limit_memory()
        sys.argv = ["meshcast", *arguments]
        arm(order)
        code = _command()
        arm(None)
        sys.stdout.flush()
        sys.stderr.flush()
        if after is not None:
            after(code, log.read_text(errors="replace"))
    except BaseException:
        arm(None)
        code = JUDGE_FAILED
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _enter(folder: Path, log: Path) -> None:
    os.setpgid(0, 0)
    os.chdir(folder / "work")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    temporary_files._searched.clear()  # which a new process has not done
    sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1, encoding="utf-8") for n in (1, 2))
    warnings.simplefilter("ignore", ResourceWarning)  # makes the preloaded process's warnings new ones again
    faulthandler.enable(sys.stderr, all_threads=True)


def _command() -> int:
    from meshcast.main import run

    try:
        run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        arm(None)
        traceback.print_exc()
        return 1
    return 0


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
