"""Threads: on how many of them a network or a solver runs, measured once where nobody has said.

On a busy machine two threads wait for each other so long that a small network is many times slower than on one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

log = logging.getLogger(__name__)

PIECES = 5  # of work timed with one thread, and with all
MOST_SECONDS = 5.0  # after which no further piece is begun


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Run a block on so many threads of PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_given(configured: int | None = None) -> int | None:
    """Return the threads that somebody has said, by configuration or OMP_NUM_THREADS; None where both are silent."""
    if configured is not None or not os.environ.get("OMP_NUM_THREADS"):
        return configured
    log.info("Running on %d threads, as OMP_NUM_THREADS says; nothing is measured.", torch.get_num_threads())
    return torch.get_num_threads()


def faster_threads(piece: Callable[[], object]) -> int:
    """Return one or all, whichever runs a small piece of the work, such as one update, in less time of the clock."""
    every = torch.get_num_threads()
    if every == 1:
        return 1
    with num_threads(1):
        piece()  # the first one is slow: memory is allocated, kernels are chosen
    alone = _seconds(piece, 1, MOST_SECONDS)
    together = _seconds(piece, every, min(MOST_SECONDS, PIECES * alone))
    count = every if together < alone else 1
    log.info("Running on %d of %d threads: a piece takes %.3g s on one, %.3g s on all.", count, every, alone, together)
    return count


def _seconds(piece: Callable[[], object], count: int, most: float) -> float:
    """Return the mean wall-clock seconds of a piece of work, of as many as begin within a limit, at least one."""
    with num_threads(count):
        pieces, start = 0, time.perf_counter()
        while pieces < PIECES and (pieces == 0 or time.perf_counter() - start < most):
            piece()
            pieces += 1
        return (time.perf_counter() - start) / pieces
