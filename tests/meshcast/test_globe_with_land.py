"""A globe with all a task can have, on a grid and a mesh that differ: trained, resumed, forecast and verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.build import load_emulator
from emulator.checkpoint import read
from emulator.data.forecast_file import read_forecast
from tests.meshcast.command_line import done, interrupting, meshcast
from training.optimisation.module import EmulatorModule
from training.runs.verify import verify_files

EXPERIMENT = """
name: globe
data:
  train: {source: {dataset: globe.zarr, end: 2003-12-01}}
  validation: {source: {dataset: globe.zarr, start: 2003-11-01}}
task:
  prognostic: [sst]
  diagnostic: [tprate]
  forcing: [cos_julian_day, ci]
  static: [orog, sin_latitude]
  history: 2
  bounds: {sst: [-1.9, 40], tprate: [0, null]}
emulator:
  kind: gnn
  graph: {processor: {kind: multi_mesh}, mesh: {kind: icosphere, level: 1}}
  processor: {kind: kernel, num_layers: 2, latent_size: 8, hidden_size: 8}
  first_guess: {kind: persistence}
  node_statistics: true
  departures: {period: month, recent: 2, shown: 2}
training: {updates: 24, batch_size: 4, learning_rate: 1.0e-2, warm_up: 2, ema_decay: 0.8, noise: 0.1}
validation: {every: 6, steps: 3, cases: 4}
"""
FORECAST = "forecast runs/globe --initial globe.nc --forcing globe.zarr --init-times 2004-02-01/2004-05-01/1month "
LATITUDES, LONGITUDES = np.arange(75.0, -90.0, -15.0), np.arange(0.0, 360.0, 22.5)


def land() -> np.ndarray:
    """[latitude, longitude] two continents, each larger than a triangle of the mesh, and the southern cap."""
    is_land = np.zeros((len(LATITUDES), len(LONGITUDES)), dtype=bool)
    is_land[1:8, 2:6] = is_land[3:7, 11:13] = True
    is_land[-1] = True
    return is_land


def write_globe(path: Path) -> None:
    """Five years of monthly sea surface temperature, rain, sea ice and orography."""
    rng = np.random.default_rng(0)
    time = np.arange("2000-01", "2005-01", dtype="datetime64[M]").astype("datetime64[ns]")
    shape = (len(time), len(LATITUDES), len(LONGITUDES))
    sine = np.sin(np.radians(LATITUDES))[:, None]
    season = np.cos(2 * np.pi * (np.arange(len(time)) - 1) / 12)[:, None, None]
    noise = rng.normal(size=shape)
    for t in range(1, len(time)):
        noise[t] = 0.3 * noise[t - 1] + noise[t]
    sst = np.maximum(28 * (1 - sine**2) - 3 * season * sine + noise, -1.8)
    ice = np.clip((2.0 - sst) / 4.0, 0.0, 1.0)
    rain = np.maximum(1e-5 * (2.0 + noise + rng.normal(size=shape)), 0.0)
    height = np.broadcast_to(np.where(land(), 500.0 * rng.random(shape[1:]), 0.0), shape)
    for sea in (sst, ice):
        sea[:, land()] = np.nan
    units = {"sst": (sst, "degC"), "ci": (ice, "1"), "tprate": (rain, "kg m-2 s-1"), "orog": (height, "m")}
    coordinates = {"time": time, "lat": LATITUDES, "lon": LONGITUDES}
    xr.Dataset(
        {
            name: xr.DataArray(values.astype(np.float32), coordinates, attrs={"units": unit})
            for name, (values, unit) in units.items()
        }
    ).to_netcdf(path)


def weights(path: str) -> dict[str, np.ndarray]:
    return {name: array.numpy() for name, array in read(path)[0].items()}


def test_a_globe_with_history_diagnostic_forcing_static_and_mask_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_globe(tmp_path / "globe.nc")
    (tmp_path / "globe.yaml").write_text(EXPERIMENT)
    done("dataset", "globe.nc", "--output", "globe.zarr")
    done("train", "globe.yaml", "output=whole")
    with monkeypatch.context() as patch:
        patch.setattr(EmulatorModule, "training_step", interrupting(EmulatorModule.training_step, 15))
        assert meshcast("train", "globe.yaml").code == 130
    done("train", "globe.yaml", "resume=auto")
    whole, resumed = (weights(f"{output}/globe/emulator.safetensors") for output in ("whole", "runs"))
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(array, whole[name], equal_nan=True) for name, array in resumed.items())

    trained = load_emulator("runs/globe/emulator.safetensors")
    assert trained.metadata["update"] > 0  # a weight that never moved would resume as well
    assert trained.emulator.network.graphs.mesh.num_nodes == 42  # type: ignore[attr-defined]

    done(*FORECAST.split(), "--lead-time", "3month", "--output", "F.nc")
    with xr.open_dataset("F.nc") as file:
        assert file.sst.shape == file.tprate.shape == (4, 1, 3, len(LATITUDES), len(LONGITUDES))
        np.testing.assert_array_equal(np.isnan(file.sst.values), np.broadcast_to(land(), file.sst.shape))
        assert np.isfinite(file.tprate.values).all() and float(file.tprate.min()) >= 0
        assert float(file.sst.min()) >= -1.9
        assert [str(month)[:7] for month in file.valid_time.values[1]] == ["2004-04", "2004-05", "2004-06"]
    verified = verify_files([read_forecast("F.nc")], "globe.zarr")
    assert not verified.notices, verified.notices
    verification = verified.verification
    assert verification.variables == ("sst", "tprate")
    for scores in verification.emulators:
        if scores.label not in ("persistence", "anomaly persistence"):  # which have no idea of rain
            assert np.isfinite(scores.values["rmse"]).all(), scores.label
    mse = {scores.label: scores.values["rmse"][..., 0].mean() for scores in verification.emulators}
    assert mse["globe"] < mse["persistence"]
