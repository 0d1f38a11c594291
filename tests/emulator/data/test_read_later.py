"""Files that are read part by part become the dataset that they become read whole."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.data import convert as converting
from emulator.data import read_later as reading
from emulator.data.convert import convert
from emulator.data.datasets import create, store_parts
from emulator.data.files import read_files
from emulator.data.read_later import is_read_later
from emulator.harmonic_fields import HarmonicsConfig
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh
from tests.stores import digests


@pytest.fixture
def piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every file read later, in pieces of one time, and every dataset written in parts of one chunk."""
    monkeypatch.setattr(converting, "STREAMED_BYTES", 0)
    monkeypatch.setattr("emulator.data.netcdf_file.BLOCK_BYTES", 1)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1)
    monkeypatch.setattr(create, "PART_BYTES", 1)
    monkeypatch.setattr(create, "MAX_CHUNK_DATES", 3)


def whole_and_in_pieces(
    monkeypatch: pytest.MonkeyPatch, folder: Path, sources: list[Path], **options: object
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the bytes of the dataset of sources that are read part by part, and of those that are read whole."""
    convert(sources, folder / "d.zarr", **options)  # type: ignore[arg-type]
    parts = digests(folder / "d.zarr")
    monkeypatch.setattr(converting, "STREAMED_BYTES", 2**60)
    monkeypatch.setattr(create, "PART_BYTES", store_parts.PART_BYTES)
    convert(sources, folder / "d.zarr", overwrite=True, **options)  # type: ignore[arg-type]
    return parts, digests(folder / "d.zarr")


@pytest.mark.usefixtures("piece_by_piece")
def test_several_netcdf_files_out_of_order_with_gaps_and_packing(
    write_netcdf: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [np.array([f"2000-01-0{day}T{hour:02d}" for hour in (0, 6, 12, 18)], "datetime64[ns]") for day in (3, 1, 5)]
    files = [write_netcdf(f"{number}.nc", times=times) for number, times in enumerate(days)]
    with xr.open_dataset(files[0]) as first:
        name = next(iter(first.data_vars))
        changed = first.load().copy()
    changed[name][1, 0, 0] = np.nan
    changed.to_netcdf(files[0], encoding={name: {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -999}})
    found = read_files(files, later=True)
    assert all(is_read_later(array.data) for array in found.data_vars.values())
    pickle.dumps(found)  # what a worker is sent
    xr.testing.assert_identical(found.compute(), read_files(files))
    parts, whole = whole_and_in_pieces(monkeypatch, tmp_path, files)
    assert parts == whole


@pytest.mark.slow
@pytest.mark.usefixtures("piece_by_piece")
def test_grib_with_members_and_levels(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = data_folder / "era5-levels-members.grib"
    xr.testing.assert_identical(read_files(path, later=True).compute(), read_files(path))
    parts, whole = whole_and_in_pieces(monkeypatch, tmp_path, [path], select=["z_500", "t_850"])
    assert parts == whole


@pytest.mark.slow
@pytest.mark.usefixtures("piece_by_piece")
def test_fields_taken_to_other_nodes(
    write_netcdf: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latitude, longitude = np.arange(-87.5, 90.0, 5.0), np.arange(0.0, 360.0, 5.0)
    field = np.sin(np.radians(latitude))[:, None] * np.cos(np.radians(longitude))
    values = 280.0 + np.arange(5)[:, None, None] + field
    coordinates = {
        "time": np.arange("2000-01-01", "2000-01-06", dtype="datetime64[D]").astype("datetime64[ns]"),
        "lat": ("lat", latitude, {"units": "degrees_north"}),
        "lon": ("lon", longitude, {"units": "degrees_east"}),
    }
    xr.Dataset({"t": (("time", "lat", "lon"), values, {"units": "K"})}, coordinates).to_netcdf(tmp_path / "t.nc")
    config = HarmonicsConfig(4, IcosphereMesh(level=2), beyond="cut")
    parts, whole = whole_and_in_pieces(monkeypatch, tmp_path, [tmp_path / "t.nc"], harmonics=config)
    assert parts == whole


@pytest.mark.usefixtures("piece_by_piece")
def test_a_file_that_was_cut_short_is_named_damaged_and_nothing_is_written(
    write_netcdf: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_netcdf("cut.nc")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(MeshcastError, match="damaged or truncated"):
        convert([path], tmp_path / "d.zarr")
    assert not (tmp_path / "d.zarr").exists()
