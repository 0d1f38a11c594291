"""A limited area by its commands: one block in the YAML, a boundary for the forecast, scores of the interior."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.build import load_emulator
from emulator.data.datasets.create import create_dataset
from emulator.data.forecast_file import read_forecast
from tests.emulator.test_boundary import globe
from tests.meshcast.command_line import done, refused

EXPERIMENT = """\
name: area
data:
  window: {kind: cap, centre: [45, 10], radius_km: 4500, boundary_km: 2500}
  train: {source: globe.zarr, trajectories: [0, 2]}
  validation: {source: globe.zarr, trajectories: [2, 3]}
task: {prognostic: [h, u, v], partners: {u: v, v: u}}
emulator:
  kind: gnn
  processor: {kind: kernel, num_layers: 1, latent_size: 8, hidden_size: 8}
training: {updates: 4, batch_size: 4, warm_up: 2, accelerator: cpu}
validation: {every: 4, steps: 3, cases: 2}
"""
STARTS = ("--init-times", "1970-01-01T03", "--trajectories", "2:3")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """globe.zarr, the same 6-hourly and ending early, and an emulator of a window of it."""
    folder = tmp_path_factory.mktemp("area")
    with contextlib.chdir(folder):
        fields = globe(times=10, rows=3)
        for name, keep in (("globe", slice(None)), ("coarse", slice(None, None, 2)), ("short", slice(4))):
            values = fields.values[keep]
            create_dataset(
                Path(f"{name}.zarr"),
                xr.Dataset(
                    {
                        variable: (("time", "number", "cell"), values[..., column], {"units": units})
                        for column, (variable, units) in enumerate(zip(fields.variables, fields.units, strict=True))
                    },
                    {"time": fields.times[keep].astype("datetime64[s]"), "number": np.arange(3)},
                ),
                mesh=fields.mesh,
                time_step=fields.time_step if name != "coarse" else fields.time_step.times(2),
                ensemble_axis="trajectory",
                attributes={},
            )
        Path("area.yaml").write_text(EXPERIMENT)
        done("train", "area.yaml")
    return folder


@pytest.fixture(autouse=True)
def _there(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)


def test_a_window_is_trained_forecast_and_verified_in_its_interior() -> None:
    truth = globe(times=10, rows=3)
    trained = load_emulator("runs/area/emulator.safetensors")
    mesh = trained.emulator.mesh
    assert mesh.boundary is not None and trained.emulator.task.boundary
    done("forecast", "runs/area", "--initial", "globe.zarr", *STARTS, "--lead-time", "12h", "--boundary", "globe.zarr",
         "-o", "area.nc", "--overwrite")  # fmt: skip
    forecast = read_forecast("area.nc")
    assert forecast.attributes["boundary"] == "globe.zarr"
    nodes = np.array([np.argmin(np.linalg.norm(truth.mesh.positions - place, axis=1)) for place in mesh.positions])
    expected = truth.values[2:6, 2][:, nodes]
    np.testing.assert_array_equal(forecast.values[0, 0][:, mesh.boundary], expected[:, mesh.boundary])
    scores = done("verify", "area.nc", "--truth", "globe.zarr", "--json").json
    inside = ~mesh.boundary
    error = (forecast.values[0, 0, :, inside] - expected[:, inside].transpose(1, 0, 2)).astype(np.float64) ** 2
    weights = mesh.areas[inside] / mesh.areas[inside].sum()
    rmse = np.sqrt(np.einsum("ntv,n->tv", error, weights))
    assert f"{rmse[0, 0]:.4g}"[:4] in str(scores), (rmse, scores)


@pytest.mark.slow
def test_between_steps_the_boundary_is_the_one_given_at_that_time() -> None:
    done("train", "area.yaml", "name=between", "task.time_step=6h", "validation.steps=1", "between={share: 0.5}")
    done("forecast", "runs/between", "--initial", "globe.zarr", *STARTS, "--lead-time", "12h", "--every", "3h",
         "--boundary", "globe.zarr", "-o", "between.nc")  # fmt: skip
    forecast, truth = read_forecast("between.nc"), globe(times=10, rows=3)
    mesh = forecast.mesh
    assert mesh.boundary is not None and forecast.lead_steps.tolist() == [1, 2, 3, 4]
    nodes = np.array([np.argmin(np.linalg.norm(truth.mesh.positions - place, axis=1)) for place in mesh.positions])
    expected = truth.values[2:6, 2][:, nodes]
    np.testing.assert_array_equal(forecast.values[0, 0][:, mesh.boundary], expected[:, mesh.boundary])


def test_a_coarser_boundary_is_said_to_be_interpolated() -> None:
    outcome = done("forecast", "runs/area", "--initial", "globe.zarr", *STARTS, "--lead-time", "9h", "--boundary",
                   "coarse.zarr", "-o", "coarse.nc", "--overwrite")  # fmt: skip
    assert "linearly in time" in outcome.out + outcome.err


def test_a_limited_area_without_its_boundary_is_refused_before_anything_is_computed() -> None:
    command = ("forecast", "runs/area", "--initial", "globe.zarr", *STARTS, "--lead-time", "12h", "-o", "no.nc")
    refused(*command, says=("limited area", "--boundary SOURCE"))
    refused(*command, "--boundary", "short.zarr", says=("ends too early", "forecast 2 steps of 3h"))
    refused(*command, "--boundary", "absent.nc", says=("absent.nc",))


def test_inspection_says_that_a_boundary_is_needed() -> None:
    assert "--boundary" in str(done("inspect", "runs/area/emulator.safetensors", "--requirements", "--json").json)


def test_a_window_that_does_not_fit_is_refused() -> None:
    says = ("data.window", "boundary_km")
    refused("train", "area.yaml", "name=thin", "data.window.boundary_km=-3", says=says[1:])
    refused(
        "train", "area.yaml", "name=thin", "data.window.boundary_km=100", says=("100 km wide",), leaves=("runs/thin",)
    )
