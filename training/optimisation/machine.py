"""The machine an update runs on: its clock."""

from __future__ import annotations

import time


def working_seconds(on_gpu: bool) -> float:
    """Return seconds of the processor since some moment, all threads together, which a busy machine does not change.

    on_gpu: of the wall clock instead, since the processor only waits there.
    """
    return time.perf_counter() if on_gpu else time.process_time()
