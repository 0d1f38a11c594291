"""Several processes of torch.distributed, forked from this one: cheaper than new interpreters, which import it all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from traceback import format_exc
from typing import Any

import torch
import torch.distributed as dist


def in_processes(count: int, function: Callable[[int], Any], seconds: float = 100.0) -> list[Any]:
    """What a function of the rank returns in each of so many processes; raises where one fails or none answers."""
    fork = get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pairs = [fork.Pipe(duplex=False) for _ in range(count)]
        started = [
            fork.Process(target=_run, args=(rank, count, f"{folder}/store", function, pairs[rank][1]), daemon=True)
            for rank in range(count)
        ]
        for process, (_, writing) in zip(started, pairs, strict=True):
            process.start()
            writing.close()
        try:
            found = [_answer(reading, seconds) for reading, _ in pairs]
        finally:
            for process in started:
                process.kill()
                process.join()
    if faults := [text for ok, text in found if not ok]:
        raise AssertionError("\n".join(faults))
    return [value for _, value in found]


def _answer(reading: Any, seconds: float) -> tuple[bool, Any]:
    if not reading.poll(seconds):
        return False, f"no answer after {seconds} seconds"
    try:
        return reading.recv()  # type: ignore[no-any-return]
    except EOFError:
        return False, "a process ended without an answer"


def _run(rank: int, count: int, store: str, function: Callable[[int], Any], writing: Any) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=Path(store).as_uri(),
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=60),
        )
        writing.send((True, function(rank)))
        dist.destroy_process_group()
    except BaseException:
        writing.send((False, f"process {rank}:\n{format_exc()}"))
