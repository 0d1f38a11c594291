"""Damaged datasets and forecasts are refused by name, whatever a library makes of them."""

from __future__ import annotations

import errno
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from emulator.data.datasets.dataset_fields import open_dataset_fields
from emulator.data.forecast_file import read_forecast
from graphs import errors
from graphs.atomic_file import system_errors
from graphs.errors import MeshcastError
from tests.meshcast.command_line import done, meshcast
from tests.meshcast.conftest import weather_forecast

FORECAST = ("forecast", "runs/ring", "--initial", "ring.zarr", "--lead-time", "1 steps", "--trajectories", "0:1",
            "--init-times", "0", "--output", "new.nc")  # fmt: skip


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("data/.zarray", lambda content: content.update(compressor={"id": "None"})),
        ("data/.zarray", lambda content: content.update(shape=content["shape"][:1])),
        ("data/.zarray", lambda content: content.update(dtype="<f2")),
        ("longitudes/.zarray", lambda content: content.update(filters=[{"id": "absent"}])),
        ("dates/.zarray", lambda content: content.update(dtype=["a", "b"])),
        (".zattrs", lambda content: content.update(variables_metadata=["u"])),
        (".zattrs", lambda content: content.update(mesh="{")),
        (".zattrs", lambda content: content.update(time_step=[1])),
    ],
)
def test_a_dataset_whose_description_is_damaged_is_refused(ring_world, file, change):
    edit(Path("ring.zarr") / file, change)
    with pytest.raises(MeshcastError, match=r"ring\.zarr"):
        open_dataset_fields("ring.zarr").read(slice(3), ["u"])


def test_a_dataset_whose_values_are_damaged_is_refused(ring_world):
    Path("ring.zarr/data/0.0.0.0").write_bytes(b"hello")
    with pytest.raises(MeshcastError, match=r"ring\.zarr is damaged or truncated: .*Fetch it again"):
        open_dataset_fields("ring.zarr").read(slice(3), ["u"])


@pytest.mark.parametrize("name", ["longitude", "u", "lead_step", "area"])
def test_a_forecast_without_one_of_its_variables_is_refused(ring_world, name):
    done(*FORECAST)
    with netCDF4.Dataset("new.nc", "a") as file:
        file.renameVariable(name, "other")
    with pytest.raises(MeshcastError, match=rf"new\.nc is damaged or truncated: .*{name}"):
        read_forecast("new.nc")


@pytest.mark.parametrize("name", ["init_time", "latitude"])
def test_a_forecast_whose_times_or_places_are_no_numbers_is_refused(ring_world, name):
    done(*FORECAST)
    with xr.open_dataset("new.nc", decode_times=False) as file:
        lost = file.load()
    lost[name] = (lost[name].dims, np.full(lost[name].shape, np.nan), lost[name].attrs)
    lost.to_netcdf("lost.nc")
    with pytest.raises(MeshcastError, match=r"no whole number|no number"):
        read_forecast("lost.nc")


@pytest.mark.parametrize("command", [("inspect", "new.grib"), ("dataset", "new.grib", "--output", "new.zarr")])
def test_grib_of_a_month_that_does_not_exist_is_refused(weather_world, capfd, command):
    done(*weather_forecast("1h"), "--output", "new.grib")
    file = bytearray(Path("new.grib").read_bytes())
    assert file[28:31] == bytes((7, 227, 3))  # 2019-03, after section 0 of 16 bytes
    file[30] = 35
    Path("new.grib").write_bytes(file)
    outcome = meshcast(*command)
    assert outcome.code == 2 and "new.grib is damaged" in outcome.err, outcome.err
    assert "ECCODES" not in capfd.readouterr().err


def test_what_the_system_refuses_is_no_damage():
    said = r"Cannot read a\.nc: Input/output error"
    with pytest.raises(MeshcastError, match=said) as refused, errors.refuse_damaged("a.nc"):
        raise OSError(errno.EIO, "Input/output error")
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, "Input/output error", "ring.yaml"), "Input/output error at ring.yaml. The disk or its"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device"), "Free some space"),
        (OSError(errno.ENOENT, "No such file or directory", "gone"), "No such file or directory at gone"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "used up (DefaultCPUAllocator"),
        (MemoryError("Unable to allocate 8 GiB"), "used up (Unable to allocate 8 GiB)"),
    ],
)
def test_what_the_system_refuses_ends_a_command_in_one_message(monkeypatch, error, words):
    def refusing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("meshcast.main.app", refusing)
    outcome = meshcast("inspect", "gone")
    assert outcome.code == 2 and words in " ".join(outcome.err.split())


def test_a_disk_that_fails_once_under_a_library_is_told_as_such(ring_world, monkeypatch):
    """HDF5 says `HDF error` and zarr `KeyError`, whatever the system said, and a probe finds room again."""
    with pytest.raises(OSError, match="HDF error, or the disk was full or failing"), system_errors("new.nc", 10):
        raise RuntimeError("NetCDF: HDF error")

    def failing(*_: object, **__: object) -> None:
        raise KeyError("_build/shapes/.zarray")

    monkeypatch.setattr("anemoi.datasets.create.tasks.run_task", failing)
    outcome = meshcast("simulate", "simulation.yaml", "output=new.zarr")
    assert outcome.code == 2 and "KeyError" in outcome.err and "full or failing" in outcome.err
    assert not Path("new.zarr").exists() and not list(Path().glob(".new*"))


def test_no_library_warns_beside_a_message(ring_world, monkeypatch, recwarn):
    def warning(*_: object, **__: object) -> None:
        warnings.warn("invalid value encountered in cast", RuntimeWarning, stacklevel=1)
        raise MeshcastError("refused")

    monkeypatch.setattr("meshcast.main.app", warning)
    monkeypatch.setattr("sys.warnoptions", [])
    assert meshcast("inspect", "gone").code == 2 and not recwarn.list
