"""The number of threads: as said, else the faster of one and all, and measured in bounded time."""

from __future__ import annotations

import time

import pytest
import torch

from emulator.foundation import threads
from emulator.foundation.threads import faster_threads, num_threads, threads_given


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with num_threads(4):
        yield


def seconds(alone: float, together: float):
    """A piece of work that takes so long on one thread, and on all."""
    return lambda: time.sleep(alone if torch.get_num_threads() == 1 else together)


@pytest.mark.parametrize(("alone", "together", "count"), [(0.02, 0.002, 4), (0.002, 0.02, 1)])
def test_the_faster_of_one_and_all_is_taken(alone: float, together: float, count: int) -> None:
    assert threads_given() is None
    assert faster_threads(seconds(alone, together)) == count
    assert torch.get_num_threads() == 4


def test_what_is_said_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_given(configured=3) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads_given() == 4
    assert threads_given(configured=3) == 3


def test_work_that_stalls_on_all_threads_is_left_after_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    piece = seconds(0.001, 0.1)
    assert faster_threads(lambda: (calls.append(torch.get_num_threads()), piece())) == 1
    assert calls == [1, 1, 1, 1, 1, 1, 4]
    monkeypatch.setattr(threads, "MOST_SECONDS", 0.001)
    begun = time.perf_counter()
    faster_threads(seconds(0.05, 0.05))
    assert time.perf_counter() - begun < 1.0
