"""Threads: on how many of them a network or a solver runs, measured where nobody has said.

On a busy machine two threads wait for each other so long that a small network is many times slower than on one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

log = logging.getLogger(__name__)

Notice = Callable[[str], None]
PIECES = 5  # of work that are timed
MOST_SECONDS = 3.0  # that they may take


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
    """Return the threads that the configuration gives, else OMP_NUM_THREADS; None where both are silent."""
    if configured is not None or not os.environ.get("OMP_NUM_THREADS"):
        return configured
    return torch.get_num_threads()


def faster_threads(piece: Callable[[], object], notice: Notice = log.info, pieces: int = PIECES) -> int:
    """Return one or all, whichever runs some pieces of the work, such as an update each, in less time of the clock.

    The time is bounded though a piece may be long, or stall: after MOST_SECONDS a piece is broken off between two
    operations of PyTorch, and all threads get no more time for what one thread has done than that took.

    notice: takes a line that says what was found.
    """
    every = torch.get_num_threads()
    if every == 1:
        return 1
    with num_threads(1):
        _Measured(MOST_SECONDS).run(piece, 1)  # the first piece is slow: memory is allocated, kernels are chosen
        alone = _Measured(MOST_SECONDS)
        alone.run(piece, pieces)
    with num_threads(every):
        together = _Measured(alone.seconds, alone.operations)
        together.run(piece, pieces)
    if together.operations < alone.operations:
        notice(f"Running on one of {every} threads: what took {alone.seconds:.2g} s on one takes longer on all.")
        return 1
    notice(f"Running on all {every} threads: what took {alone.seconds:.2g} s on one takes {together.seconds:.2g} s.")
    return every


class _OutOfTimeError(Exception):
    pass


class _Measured(TorchDispatchMode):
    """Counts the operations of PyTorch within a block and their seconds, up to a limit of each."""

    def __init__(self, most_seconds: float, most_operations: float = float("inf")) -> None:
        super().__init__()
        self.most_seconds, self.most_operations = most_seconds, most_operations
        self.operations, self.seconds = 0, 0.0

    def run(self, piece: Callable[[], object], pieces: int) -> None:
        self.begun = time.perf_counter()
        with suppress(_OutOfTimeError), self:
            for _ in range(pieces):
                piece()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if self.operations >= self.most_operations or self.seconds >= self.most_seconds:
            raise _OutOfTimeError
        result = operation(*args, **(kwargs or {}))
        self.seconds = time.perf_counter() - self.begun
        if self.seconds < self.most_seconds:
            self.operations += 1
        return result
