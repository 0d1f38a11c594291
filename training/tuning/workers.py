"""Processes that make the trials of one study together on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from emulator.plugins import load_plugins
from graphs.errors import MeshcastError
from training.early_end import stop_requests
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.tuning.tune import Say, SearchConfig, Tuned, make_trials, outcome, planned

# Seconds in which processes may end by themselves where this one is ended: schedulers and terminals signal all of them,
# and a second signal would have them keep nothing.
ASIDE = 5.0


def tune_together(
    config: ExperimentConfig,
    asked: SearchConfig,
    *,
    workers: int,
    study: str | None = None,
    timeout: float | None = None,
    say: Say = lambda text: None,
    plugins: Sequence[Path] = (),
    start_method: str = "spawn",
) -> Tuned:
    """Make the trials of a study as `tune` does, in several processes that share the threads of this one.

    A process that dies leaves its trial to the others. A signal that asks this one to end is handed on, and each keeps
    what its trial has learned.

    plugins: files that each process runs first. start_method: of `multiprocessing`; a fork of a process that has used
        its threads may hang.
    Raises MeshcastError as `tune` does, and where a process ends in an error.
    """
    if workers < 1:
        raise MeshcastError(f"--workers must be at least 1, but is {workers}.")
    plan = planned(config, asked, PreparedData(), study)
    plan.open()  # so that another study is refused here, and the file is there
    context: Any = multiprocessing.get_context(start_method)
    threads, processes = max(1, torch.get_num_threads() // workers), dict[Connection, BaseProcess]()
    try:
        with stop_requests():
            for number in range(min(workers, plan.count)):
                here, there = context.Pipe(duplex=False)
                options = (config, asked, study, timeout, tuple(plugins), threads, there, os.getpid())
                process = context.Process(target=_worker, args=options, name=f"worker {number + 1}")
                process.start()
                there.close()
                processes[here] = process
            faults = _listen(dict(processes), say)
    finally:
        told = time.monotonic() + ASIDE
        for process in processes.values():
            process.join(max(0.0, told - time.monotonic()))
            if process.is_alive():
                process.terminate()
        for process in processes.values():
            process.join()
    if faults and len(faults) == len(processes):
        raise MeshcastError("\n".join(dict.fromkeys(faults)))
    for fault in faults:
        say(fault)
    return outcome(plan)


def _listen(open_pipes: dict[Connection, BaseProcess], say: Say) -> list[str]:
    """Hand on what the processes say until all have ended; why those that failed did."""
    faults = []
    while open_pipes:
        for pipe in wait(list(open_pipes)):
            assert isinstance(pipe, Connection)
            process = open_pipes[pipe]
            try:
                kind, text = pipe.recv()
            except EOFError:
                open_pipes.pop(pipe)
                process.join()
                if process.exitcode:
                    faults.append(f"{process.name} {_ended_by(process.exitcode)}")
                continue
            if kind == "fault":
                faults.append(text)
            else:
                say(f"{process.name}: {text}")
    return faults


def _ended_by(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}."
    return f"was ended by {signal.Signals(-code).name}; its trial goes on when the same command is started again."


def _worker(
    config: ExperimentConfig,
    asked: SearchConfig,
    study: str | None,
    timeout: float | None,
    plugins: Sequence[Path],
    threads: int,
    pipe: Connection,
    parent: int,
) -> None:
    """Make trials in a process of its own until there are none left, or its parent is gone."""

    def say(text: str) -> None:
        if os.getppid() != parent:
            raise SystemExit(1)  # who started this one was killed: the next start goes on
        pipe.send(("line", text))

    torch.set_num_threads(threads)
    try:
        load_plugins(plugins)
        data = PreparedData()
        plan = planned(config, asked, data, study)
        make_trials(plan, data, timeout=timeout, progress=False, say=say)
    except (MeshcastError, OSError) as error:
        pipe.send(("fault", str(error)))
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
