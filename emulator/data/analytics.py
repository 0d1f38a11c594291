"""What anemoi-datasets tells its makers, where a user has allowed it, told from a thread."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor


def report_from_a_thread() -> None:
    """Have anemoi-datasets report opened stores from a thread instead of a process.

    It forks one at the first store it opens, whether reports are allowed or not. A fork of a process that holds torch
    and its threads may hang, and outlives a run that is killed.
    """
    from anemoi.datasets.usage import analytics

    executor: Executor | None = getattr(analytics, "_executor", None)
    if isinstance(executor, ProcessPoolExecutor):
        analytics._executor = ThreadPoolExecutor(max_workers=1)  # type: ignore[assignment]
