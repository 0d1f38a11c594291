"""What must hold of everything that chooses its number of threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from emulator.foundation.threads import Notice, num_threads


def assert_threads_given_or_measured(
    monkeypatch: pytest.MonkeyPatch, given: int | None, run: Callable[[Callable[..., None], Notice], object]
) -> None:
    """Three threads are given and taken without a word, or those taken are what the one line of a measurement says.

    run: takes what is called at every step, and what a line is said to.
    """
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    said: list[str] = []
    seen: set[int] = set()
    with num_threads(4):
        run(lambda *done: seen.add(torch.get_num_threads()), said.append)
        assert torch.get_num_threads() == 4
    if given is None:
        (line,) = said
        assert seen == {4 if line.startswith("Running on all 4 threads") else 1}
    else:
        assert not said and seen == {given}
