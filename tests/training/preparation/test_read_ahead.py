"""Reading ahead: the same batches in the same order, faults where they are taken, no thread left behind."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from emulator.data.arrays import ArrayFields
from graphs.errors import MeshcastError
from tests.emulator.worlds import wave_fields
from training.preparation.read_ahead import BATCHES, ReadAhead, loader_of


class Counted(Dataset[torch.Tensor]):
    """Samples that are their own place; counts those that were read, and has none at some place."""

    def __init__(self, absent: int = -1) -> None:
        self.absent, self.read = absent, 0

    def __len__(self) -> int:
        return 20

    def __getitem__(self, place: int) -> torch.Tensor:
        self.read += 1
        if place == self.absent:
            raise MeshcastError("The file is gone.")
        return torch.tensor(place)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "reads ahead"]


def test_the_batches_are_those_of_no_reading_ahead_in_the_same_order() -> None:
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    loaders = [kind(Counted(), batch_size=3, sampler=order) for kind in (DataLoader, ReadAhead)]
    plain, ahead = ([batch.tolist() for batch in loader] for loader in loaders)
    assert ahead == plain and len(plain) == 7 and threads() == []


def test_no_more_is_read_ahead_than_is_said_and_who_stops_leaves_no_thread() -> None:
    samples = Counted()
    batches = iter(ReadAhead(samples, batch_size=1, shuffle=False))
    next(batches)
    batches.close()
    assert samples.read <= 1 + BATCHES + 1 and threads() == []


def test_a_fault_is_raised_where_its_batch_is_taken() -> None:
    batches, taken = iter(ReadAhead(Counted(absent=4), batch_size=2)), []
    with pytest.raises(MeshcastError, match="The file is gone"):
        taken.extend(batch.tolist() for batch in batches)
    assert threads() == []


def test_fields_in_memory_are_not_read_ahead() -> None:
    fields = wave_fields(seed=0)
    assert isinstance(fields, ArrayFields) and loader_of(fields) is DataLoader
