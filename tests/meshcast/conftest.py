"""Two small worlds, made once by the commands themselves: waves on a ring, and hourly weather on a grid of 4 x 6."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.meshcast.command_line import done

SIMULATION = """\
equation: {kind: advection, speed: 1.0}
time_step: 0.05
mesh: {num_nodes: 24, length: 1.0}
num_trajectories: 8
num_frames: 16
output: ring.zarr
"""
RING = """\
name: ring
data:
  train: {source: ring.zarr, trajectories: [0, 4]}
  validation: {source: ring.zarr, trajectories: [4, 6]}
  test: {source: ring.zarr, trajectories: [6, 8]}
task: {prognostic: [u]}
emulator:
  kind: gnn
  processor: {kind: kernel, num_layers: 1, latent_size: 8, hidden_size: 8}
training: {updates: 8, batch_size: 4, warm_up: 2, accelerator: cpu}
validation: {every: 4, steps: 3, cases: 2}
"""
WEATHER = """\
name: weather
data:
  train: {source: {dataset: weather.zarr, end: 2019-03-02T23:00:00}}
  validation: {source: {dataset: weather.zarr, start: 2019-03-02T22:00:00}}
  forcing_tables: [co2.csv]
task: {prognostic: [2t, msl], forcing: [cos_local_time, co2], history: 2}
emulator:
  kind: gnn
  processor: {kind: kernel, num_layers: 1, latent_size: 8, hidden_size: 8}
training: {updates: 4, batch_size: 4, warm_up: 2, accelerator: cpu}
validation: {every: 4, steps: 3, cases: 2}
"""
CO2 = "date,co2\n2019-01-01,400\n2020-01-01,410\n"


def weather(hours: int = 72, start: str = "2019-03-01") -> xr.Dataset:
    """2 m temperature with a daily round, and pressure, as a centre's NetCDF file has them."""
    times = np.datetime64(start, "ns") + np.timedelta64(1, "h") * np.arange(hours)
    where = {"time": times, "latitude": np.linspace(56, 50, 4), "longitude": np.linspace(-8, 2, 6)}
    daily = 5 * np.sin(2 * np.pi * np.arange(hours) / 24)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 0.3, (hours, 4, 6))
    warmth = (280 + daily + np.linspace(0, 3, 4)[:, None] + np.linspace(0, 2, 6) + noise).astype(np.float32)
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {"t2m": (dims, warmth, {"units": "K"}), "msl": (dims, 70_000 + 100 * warmth, {"units": "Pa"})},
        where,
        {"license": "CC-BY-4.0"},
    )


def hot_weather() -> xr.Dataset:
    """weather(), so hot that every forecast from it is stopped at its first step."""
    hot = weather()
    hot["t2m"] += 200.0
    return hot


def weather_forecast(lead_time: str, initial: str = "weather.nc", run: str = "runs/weather") -> tuple[str, ...]:
    """Return a forecast's command line in the world of weather, which lacks its --output."""
    return ("forecast", run, "--initial", initial, "--forcing", "co2.csv", "--lead-time", lead_time)


def comparison(name: str, rows: str) -> str:
    """Return the configuration of a comparison whose rows train on the data of RING, as its run does."""
    head, run = RING.replace("name: ring", f"name: {name}").split("emulator:")
    return f"{head}rows:\n{rows}training:{run.split('training:')[1]}forecast: {{steps: 4}}\n"


@pytest.fixture(scope="session")
def _ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ring")
    with contextlib.chdir(folder):
        Path("simulation.yaml").write_text(SIMULATION)
        Path("ring.yaml").write_text(RING)
        done("simulate", "simulation.yaml")
        done("train", "ring.yaml")
    return folder


@pytest.fixture(scope="session")
def _weather(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weather")
    with contextlib.chdir(folder):
        Path("weather.yaml").write_text(WEATHER)
        Path("co2.csv").write_text(CO2)
        weather().to_netcdf("weather.nc")
        done("dataset", "weather.nc", "--output", "weather.zarr")
        done("train", "weather.yaml")
    return folder


@pytest.fixture
def ring_world(_ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory holds simulation.yaml, ring.yaml, ring.zarr and the run of ring.yaml."""
    return _enter(_ring, tmp_path, monkeypatch)


@pytest.fixture
def weather_world(_weather: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory holds weather.yaml, co2.csv, weather.nc, weather.zarr and the run of weather.yaml."""
    return _enter(_weather, tmp_path, monkeypatch)


def _enter(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(world, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"
