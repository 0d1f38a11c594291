"""The number of threads: as given, else the faster of one and all, and measured in bounded time."""

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


def work(alone: float, together: float, operations: int = 1):
    """A piece of operations with a gradient, each so long on one thread, and on all."""
    weight = torch.ones(2, requires_grad=True)

    def piece() -> None:
        for _ in range(operations):
            time.sleep(alone if torch.get_num_threads() == 1 else together)
            (weight * weight).sum().backward()

    return piece


@pytest.mark.parametrize(("alone", "together", "count"), [(0.03, 0.002, 4), (0.002, 0.03, 1)])
def test_the_faster_of_one_and_all_is_taken_and_said_in_one_line(alone: float, together: float, count: int) -> None:
    said: list[str] = []
    assert threads_given() is None
    assert faster_threads(work(alone, together), said.append) == count
    assert torch.get_num_threads() == 4
    (line,) = said
    assert line.startswith("Running on all 4 threads" if count == 4 else "Running on one of 4 threads")


def test_what_is_given_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_given(configured=3) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads_given() == 4
    assert threads_given(configured=3) == 3


def test_a_piece_that_stalls_on_all_threads_is_broken_off() -> None:
    begun = time.perf_counter()
    assert faster_threads(work(0.0, 0.1, operations=1_000)) == 1  # a hundred seconds, in one piece
    assert time.perf_counter() - begun < 10


def test_long_pieces_are_compared_by_as_much_of_them_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MOST_SECONDS", 0.2)
    begun = time.perf_counter()
    assert faster_threads(work(0.02, 0.005, operations=10_000)) == 4
    assert faster_threads(work(0.005, 0.02, operations=10_000)) == 1
    assert time.perf_counter() - begun < 10


def test_nothing_is_run_where_there_is_one_thread() -> None:
    with num_threads(1):
        assert faster_threads(lambda: pytest.fail("run")) == 1
