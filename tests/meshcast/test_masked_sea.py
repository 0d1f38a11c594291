"""Sea surface temperature, absent on land: from the file to the scores, month by month."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.data.forecast_file import read_forecast
from tests.meshcast.command_line import meshcast
from training.runs.verify import verify_files

EXPERIMENT = """
name: sea
data:
  train: {source: {dataset: sea.zarr, end: 2003-12-01}}
  validation: {source: {dataset: sea.zarr, start: 2003-12-01}}
task:
  prognostic: [sst]
  forcing: [cos_julian_day, sin_julian_day]
  static: [sin_latitude]
  history: 2
  bounds: {sst: [-1.9, 40]}
emulator:
  kind: gnn
  processor: {kind: kernel, num_layers: 1, latent_size: 4, hidden_size: 4}
  first_guess: {kind: ridge, radii: [1], penalties: [1.0e-4]}
training: {updates: 4, batch_size: 2, warm_up: 1}
validation: {every: 2, steps: 2, cases: 3}
"""


def write_sea(path: Path) -> np.ndarray:
    """Five years of monthly means on a coarse globe, north first; returns the land [latitude, longitude]."""
    rng = np.random.default_rng(0)
    lat, lon = np.linspace(60, -60, 7), np.arange(0, 360, 30.0)
    time = np.arange("2000-01", "2005-01", dtype="datetime64[M]").astype("datetime64[ns]")
    season = np.cos(2 * np.pi * np.arange(len(time)) / 12)[:, None, None] * np.sin(np.radians(lat))[:, None]
    values = 27 * np.cos(np.radians(lat))[:, None] - 4 * season + 0.3 * rng.normal(size=(len(time), 7, 12))
    land = np.zeros((7, 12), dtype=bool)
    land[1:4, 3:6] = land[4:, 9] = True
    values[:, land] = np.nan
    sst = xr.DataArray(values.astype(np.float32), {"time": time, "lat": lat, "lon": lon}, attrs={"units": "degC"})
    sst.to_dataset(name="sst").to_netcdf(path)
    return land


def test_a_sea_between_continents_is_learned_forecast_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    land = write_sea(tmp_path / "sea.nc")
    (tmp_path / "sea.yaml").write_text(EXPERIMENT)
    for command in (
        "dataset sea.nc --output sea.zarr",
        "train sea.yaml",
        "forecast runs/sea/emulator.safetensors --initial sea.nc --init-times 2004-01-01/2004-03-01/1month "
        "--lead-time 4month --output F.nc",
    ):
        outcome = meshcast(*command.split())
        assert outcome.code == 0, outcome.err
    with xr.open_dataset("F.nc") as file:
        assert file.sst.shape == (3, 1, 4, 7, 12)
        np.testing.assert_array_equal(np.isnan(file.sst.values), np.broadcast_to(land, file.sst.shape))
        assert [str(month)[:10] for month in file.valid_time.values[0]] == [f"2004-{m:02d}-01" for m in range(2, 6)]
    verified = verify_files([read_forecast("F.nc")], "sea.zarr")
    assert [notice.split(" (")[0] for notice in verified.notices] == [
        "sea.zarr: the nodes go around the globe but leave 5% of it without any"
    ]
    labels = [emulator.label for emulator in verified.verification.emulators]
    assert labels[0] == "sea" and {"persistence", "climatology", "damped anomaly", "ridge"} <= set(labels)
    for emulator in verified.verification.emulators:
        assert np.isfinite(emulator.values["rmse"]).all(), emulator.label
    with xr.open_dataset("F.nc") as file, xr.open_dataset("sea.nc") as truth:
        error = file.sst[0, 0, 0].values - truth.sst.sel(time="2004-02-01").values
        by_hand = np.average(error[~land] ** 2, weights=file.area.values[~land])
    assert verified.verification["sea"].values["rmse"][0, 0, 0] == pytest.approx(by_hand, rel=1e-5)
