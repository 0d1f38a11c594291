"""A file that crashes its library, or keeps it busy for ever, is refused; nothing else changes."""

from __future__ import annotations

import os
import signal
import struct
import time
from pathlib import Path

import netCDF4
import pytest

from emulator.data.files import read_files
from emulator.foundation import trial
from emulator.foundation.trial import tried
from graphs.errors import MeshcastError


def test_what_a_check_raises_is_raised_here(tmp_path: Path) -> None:
    def refusing(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    with pytest.raises(OSError, match="Input/output error") as error:
        tried(refusing, tmp_path / "a.nc")
    assert error.value.errno == 5 and error.value.filename == str(tmp_path / "a.nc")
    tried(lambda path: None, tmp_path)


def test_a_crash_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match="ends this process"):
        tried(lambda path: os.kill(os.getpid(), signal.SIGSEGV), tmp_path / "a.nc")


def test_a_check_that_waits_is_made_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trial, "CLOCK", 0.2)
    here, checked = os.getpid(), []

    def waiting(path: Path) -> None:
        if os.getpid() != here:
            time.sleep(60)
        checked.append(path)

    tried(waiting, tmp_path)
    assert checked == [tmp_path]


def test_a_heap_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HDF5 passes over an object of a global heap by its size, and never gets beyond a free one of size zero."""
    monkeypatch.setattr(trial, "PATIENCE", 1)
    path = tmp_path / "endless.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", 3)
        file.createVariable("x", "f4", ("x",))[:] = 1.0
        file.createVariable("y", "f4", ("x",))[:] = 1.0
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    while struct.unpack_from("<H", content, at)[0]:  # objects, each 16 bytes and its content in eights
        at += 16 + (struct.unpack_from("<Q", content, at + 8)[0] + 7) // 8 * 8
    struct.pack_into("<Q", content, at + 8, 0)  # the free space at the end
    path.write_bytes(content)
    with pytest.raises(MeshcastError, match="does not end when it opens the file"):
        read_files(path)
