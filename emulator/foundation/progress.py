"""Progress of long work, as whoever waits for it wants it shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Takes what is done and how much it is in all; within, the callable is given how much is done so far."""


@contextmanager
def no_progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda done: None
