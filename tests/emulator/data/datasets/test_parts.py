"""A dataset written part by part: a killed process costs the part it was at, and nothing else changes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulator.data.convert import convert
from emulator.data.datasets import create
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from tests.emulator.data.datasets.test_create import left_over, series, write
from tests.locks import held_by_another
from tests.stores import digests

COUNT = 12  # times, in four parts


@pytest.fixture(autouse=True)
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create, "PART_BYTES", 1)
    monkeypatch.setattr(create, "MAX_CHUNK_DATES", 3)


class Parts:
    """Counts the parts that are written, and breaks off at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[int] = []
        self.at, self.error = -1, BaseException()
        write_part = create.write_part

        def counting(part: Any) -> Any:
            if part.first == self.at:
                raise self.error
            self.written.append(part.first)
            return write_part(part)

        monkeypatch.setattr(create, "write_part", counting)

    def break_off(self, at: int, error: BaseException) -> None:
        self.at, self.error = at, error

    def again(self) -> None:
        self.at, self.written = -1, []


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(monkeypatch)


class KilledError(BaseException):
    """Stands for what ends a process in the middle."""


def make(folder: Path, inputs: str = "a", **options: Any) -> list[str]:
    """Write the dataset a.zarr; return what was said."""
    said: list[str] = []
    write(
        folder / "a.zarr", series(TimeStep(60), count=COUNT), TimeStep(60), inputs=inputs, notice=said.append, **options
    )
    return said


def broken_off(folder: Path, parts: Parts, at: int = 6) -> None:
    parts.break_off(at, KilledError())
    with pytest.raises(KilledError):
        make(folder)
    assert left_over(folder) == ["a.zarr.parts"]
    parts.again()


def test_a_killed_dataset_goes_on_with_the_missing_parts_to_the_same_bytes(tmp_path: Path, parts: Parts) -> None:
    make(tmp_path)
    whole = digests(tmp_path / "a.zarr")
    os.rename(tmp_path / "a.zarr", tmp_path.parent / f"{tmp_path.name}.zarr")
    broken_off(tmp_path, parts)
    assert "Going on with the parts" in make(tmp_path)[0]
    assert parts.written == [6, 9] and left_over(tmp_path) == ["a.zarr"]
    assert digests(tmp_path / "a.zarr") == whole


def test_a_damaged_part_is_written_again(tmp_path: Path, parts: Parts) -> None:
    broken_off(tmp_path, parts)
    (chunk,) = (tmp_path / "a.zarr.parts" / "a.zarr" / "data").glob("1.*")
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 255
    chunk.write_bytes(content)
    make(tmp_path)
    assert parts.written == [3, 6, 9]
    found = digests(tmp_path / "a.zarr")
    make(tmp_path, overwrite=True)
    assert digests(tmp_path / "a.zarr") == found


def test_other_inputs_start_anew_and_it_is_said(tmp_path: Path, parts: Parts) -> None:
    broken_off(tmp_path, parts)
    assert "made of another input" in make(tmp_path, inputs="b")[0]
    assert parts.written == [0, 3, 6, 9] and left_over(tmp_path) == ["a.zarr"]


def test_a_disk_that_fills_in_the_middle_keeps_the_parts_that_are_done(tmp_path: Path, parts: Parts) -> None:
    parts.break_off(6, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(MeshcastError, match=r"disk is full.*parts that are done stay in .*a\.zarr\.parts"):
        make(tmp_path)
    parts.again()
    make(tmp_path)
    assert parts.written == [6, 9]


def test_another_process_on_the_same_output_is_refused_and_its_parts_stay(tmp_path: Path, parts: Parts) -> None:
    broken_off(tmp_path, parts)
    with held_by_another(tmp_path / "a.zarr"), pytest.raises(MeshcastError, match="is being written by process"):
        make(tmp_path, inputs="b")
    assert left_over(tmp_path) == ["a.zarr.parts"]
    make(tmp_path)
    assert parts.written == [6, 9]


def test_a_source_that_changed_between_two_commands_is_read_anew(
    tmp_path: Path, parts: Parts, write_netcdf: Callable[..., Path]
) -> None:
    times = np.arange("2000-01-01", "2000-01-13", dtype="datetime64[D]").astype("datetime64[ns]")
    path, said = write_netcdf("source.nc", times=times), []
    parts.break_off(6, KilledError())
    with pytest.raises(KilledError):
        convert([path], tmp_path / "a.zarr")
    parts.again()
    content = path.read_bytes()
    path.unlink()
    write_netcdf("source.nc", times=times + np.timedelta64(1, "D"))
    assert path.read_bytes() != content
    convert([path], tmp_path / "a.zarr", notice=said.append)
    assert "made of another input" in said[0] and parts.written == [0, 3, 6, 9]
