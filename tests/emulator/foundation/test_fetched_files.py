"""What a user names as a file, wherever it is: standard input, an address, a pattern, a request, fields in memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from emulator.data.files import read_files
from emulator.data.sources import open_fields
from emulator.foundation.fetched_files import local_files, restored_address
from graphs.atomic_file import output_folder, refuse_existing, refuse_unwritable
from graphs.errors import MeshcastError


def fields(hours: int = 3) -> xr.Dataset:
    values = np.random.default_rng(hours).normal(280, 5, (hours, 3, 4)).astype(np.float32)
    time = np.datetime64("2020-01-01", "ns") + np.timedelta64(1, "h") * np.arange(hours)
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {
            "time": time,
            "latitude": ("latitude", [60.0, 50.0, 40.0], {"units": "degrees_north"}),
            "longitude": ("longitude", [0.0, 10.0, 20.0, 30.0], {"units": "degrees_east"}),
        },
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fields().to_netcdf("day.nc", engine="netcdf4")
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def same(read: xr.Dataset) -> None:
    np.testing.assert_array_equal(read["2t"].values[:, 0], fields()["t2m"].values.reshape(3, 12))


def test_an_address_a_pattern_and_standard_input_are_read_like_the_file(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    same(read_files("day.nc"))
    same(read_files(f"{address}/day.nc"))
    same(read_files("d?y.n*"))
    for source in (lambda: open_fields("-"), lambda: open_fields(["-"])):
        content = io.BytesIO((folder / "day.nc").read_bytes())
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=content, isatty=lambda: False))
        assert source().source == "standard input" and source is not None
    assert open_fields(f"{address}/day.nc").source == f"{address}/day.nc"


def test_a_request_in_yaml_is_read_and_says_what_is_missing(folder: Path, address: str) -> None:
    (folder / "request.yaml").write_text(f"source: url\nurl: {address}/day.nc\n")
    same(read_files("request.yaml"))
    (folder / "cds.yaml").write_text("source: cds\ndataset: reanalysis-era5-single-levels\n")
    with pytest.raises(MeshcastError, match=r"source cds of cds\.yaml needs the package cdsapi.*: pip install cdsapi"):
        read_files("cds.yaml")
    (folder / "none.yaml").write_text("dataset: reanalysis-era5-single-levels\n")
    with pytest.raises(MeshcastError, match="must say its `source`, one of mars, cds"):
        read_files("none.yaml")


def test_fields_of_xarray_and_earthkit_are_taken_as_they_are(folder: Path) -> None:
    import earthkit.data

    same(read_files(fields()))
    assert open_fields(fields()).source == "a Dataset in memory"
    same(read_files(earthkit.data.from_source("file", "day.nc")))
    with pytest.raises(MeshcastError, match="Fields are a path, an earthkit FieldList or an xarray Dataset, but int"):
        read_files(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("http://127.0.0.1:1/day.nc", "Cannot fetch http://127.0.0.1:1/day.nc: .*refused"),
        ("s3://bucket/day.nc", "needs the package s3fs, which is not installed: pip install s3fs"),
        ("gopher://host/day.nc", "only https, http and s3 are known"),
        ("none-*.nc", "No file is named like none-"),
    ],
)
def test_what_cannot_be_fetched_is_refused_in_one_line(folder: Path, source: str, says: str) -> None:
    with pytest.raises(MeshcastError, match=says) as error:
        read_files(source)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_and_one_that_breaks_off_are_refused(folder: Path, address: str) -> None:
    with pytest.raises(MeshcastError, match=r"Cannot fetch .*: .*(404|not found|Not Found)"):
        read_files(f"{address}/none.nc")
    with local_files([f"{address}/day.nc"]) as (file,):
        assert file.is_file()
    assert not file.exists(), "what was fetched is removed"


@pytest.mark.parametrize("output", ["s3://bucket/x.nc", "https://host/x.zarr"])
def test_an_output_elsewhere_is_refused_and_makes_no_folder_of_that_name(folder: Path, output: str) -> None:
    for refuse in (refuse_existing, refuse_unwritable, output_folder):
        with pytest.raises(MeshcastError, match="Outputs are written on this machine"):
            refuse(Path(output))
    assert [path.name for path in folder.iterdir()] == ["day.nc"]
    assert restored_address(Path(output)) == output
