"""Processes of one training, forked from this one, in which all libraries are loaded."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

PATIENCE = 120.0  # seconds, after which a training hangs


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def environment(rank: int, per_node: int, nodes: int, port: int) -> dict[str, str]:
    """What torchrun sets for a rank."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank % per_node),
        "GROUP_RANK": str(rank // per_node),
        "WORLD_SIZE": str(per_node * nodes),
        "LOCAL_WORLD_SIZE": str(per_node),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }


def on_ranks(folder: Path, run: Callable[[int], int | None], per_node: int, nodes: int = 1) -> tuple[list[int], str]:
    """Run a function of the rank in so many processes; their exit codes, and what they said, each line by its rank."""
    folder.mkdir(parents=True, exist_ok=True)
    count, port = per_node * nodes, free_port()
    logs = [folder / f"rank-{rank}.log" for rank in range(count)]
    waiting = {_forked(logs[rank], run, rank, environment(rank, per_node, nodes, port)): rank for rank in range(count)}
    codes, until = [124] * count, time.monotonic() + PATIENCE
    while waiting:
        for pid in list(waiting):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                codes[waiting.pop(pid)] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            for pid in waiting:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    said = [f"{rank}: {line}" for rank, log in enumerate(logs) for line in log.read_text().splitlines()]
    return codes, "\n".join(said)


def _forked(log: Path, run: Callable[[int], int | None], rank: int, variables: dict[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if (pid := os.fork()) != 0:
        return pid
    code = 1
    try:
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115, not pytest's
        os.environ |= variables
        code = run(rank) or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
