"""The command line as a user has it: what it was told, its exit code, what it said and what it left behind."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from meshcast.main import run
from tests.time_limits import HUNG

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "from meshcast.main import run; run()"


@dataclass(frozen=True)
class Outcome:
    """How a command ended; out and err are standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output alone, as a machine reads it; NaN and Infinity are no JSON."""
        return json.loads(self.out, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def meshcast(*arguments: object) -> Outcome:
    """Run a command in this process. What `run` does not catch, a traceback for a user, fails the test."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["meshcast", *map(str, arguments)]),
        mock.patch.dict(os.environ, {"COLUMNS": "120"}),
    ):
        try:
            run()
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int | None), code
    return Outcome(code or 0, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Outcome:
    """A command that must succeed."""
    outcome = meshcast(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def refused(*arguments: object, says: tuple[str, ...], leaves: tuple[str, ...] = ()) -> str:
    """The message of a command that must end in exit code 2 and leave the working directory as it was.

    says: what the message must hold; leaves: folders the command may write to all the same.
    """
    before = contents()
    outcome = meshcast(*arguments)
    assert outcome.code == 2, (outcome.code, outcome.err)
    assert "Traceback" not in outcome.err
    absent = [words for words in says if words not in " ".join(outcome.err.split())]
    assert not absent, f"{absent} not in: {outcome.err}"
    assert contents(leaves) == {path: digest for path, digest in before.items() if not path.startswith(leaves or "\0")}
    return outcome.err


def contents(but: tuple[str, ...] = ()) -> dict[str, str]:
    """A digest of every file below the working directory."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path().rglob("*"))
        if path.is_file() and not str(path).startswith(but or "\0")
    }


def start(*arguments: object, before: str = "") -> subprocess.Popen[str]:
    """The command in a process of its own; `before` is Python to run first."""
    command = [sys.executable, "-c", f"{before}\n{PROGRAM}", *map(str, arguments)]
    return subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m meshcast` to its end in a process of its own."""
    command = [sys.executable, "-m", "meshcast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HUNG, env=_environment())


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def interrupting(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    """`function`, but Ctrl-C is pressed at its `call`-th call."""
    count = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return interrupted


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """A disk with so little room: the system refuses to write a file beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
