"""An output that somebody else is writing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphs.output_lock import output_lock


@contextmanager
def held_by_another(output: Path, *, folder: bool = False) -> Iterator[None]:
    """Have another thread hold an output within a block, which for its lock is as good as another process."""
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with output_lock(output, folder=folder):
            held.set()
            released.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        released.set()
        thread.join()
