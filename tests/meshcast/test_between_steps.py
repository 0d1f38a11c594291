"""Maps between the steps of an emulator, from training to verification, as a user has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from emulator.data.forecast_file import read_forecast
from tests.meshcast.command_line import done, refused
from tests.meshcast.conftest import weather_forecast

BETWEEN = "between={network: {kind: gnn, processor: {num_layers: 1, latent_size: 8, hidden_size: 8}}}"


@pytest.mark.slow
def test_hourly_maps_of_a_longer_step_are_written_drawn_and_verified(weather_world: Path) -> None:
    outcome = done("train", "weather.yaml", "name=three", "task.time_step=3h", BETWEEN)
    assert "States between steps err by" in outcome.err + outcome.out
    assert "any whole fraction of 3h" in done("inspect", "runs/three").out
    start = weather_forecast("6h", "weather.zarr", run="runs/three")
    starts = ("--init-times", "2019-03-03T01,2019-03-03T05")
    done(*start, *starts, "-o", "whole.nc")
    whole = read_forecast("whole.nc")
    choice = (*starts, "--every", "1h", "--variables", "2t")
    for name in ("hourly.nc", "hourly.zarr", "hourly.grib"):
        written = done(*start, *choice, "--place", "52,0", "-o", name, "--series", f"{name}.csv")
        assert "2 cases, 2 steps of 3h, 6 lead times every 1h" in written.err + written.out
        hourly = read_forecast(name)
        assert str(hourly.time_step) == "1h" and hourly.lead_steps.tolist() == [1, 2, 3, 4, 5, 6]
        tolerance = 0.02 if name == "hourly.grib" else 0
        np.testing.assert_allclose(hourly.values[:, :, 2::3, :, 0], whole.values[..., 0], atol=tolerance, rtol=0)
        assert len(pd.read_csv(f"{name}.csv")) == 2 * (6 if name == "hourly.grib" else 7)
    with xr.open_dataset("hourly.nc", decode_timedelta=False) as file:
        assert file["interpolated"].values.tolist() == [1, 1, 0, 1, 1, 0]
        assert file["lead_time"].values.tolist() == [1, 2, 3, 4, 5, 6]
    done("verify", "hourly.nc", "--truth", "weather.zarr", "--output", "report")
    assert sorted(pd.read_csv("report/table.csv")["lead"].dropna().unique()) == [1, 2, 3, 4, 5, 6]
    with xr.open_dataset("weather.nc") as truth:
        truth.isel(time=slice(1, None, 3)).to_netcdf("rare.nc")
    outcome = done("verify", "hourly.nc", "--truth", "rare.nc", "--variable", "2t", "--json")
    assert "three comes every 1h and is verified every 3h, as the truth comes" in outcome.err + outcome.out
    json.loads(outcome.out)
    refused(*start, *choice, "--accumulate", "2t", "-o", "sums.nc", says=("2t cannot be accumulated between steps",))
    refused(*start, *choice[:2], "--every", "2h", "-o", "two.nc", says=("2h is no whole fraction of the time step 3h",))
    refused(*start, *starts, "-o", "hourly.nc", "--every", "1h", "--lead-time", "4h", says=("no multiple",))


def test_an_emulator_without_such_a_network_writes_whole_steps_alone(weather_world: Path) -> None:
    start = weather_forecast("6h", "weather.zarr")
    says = ("steps by 1h, and has no network for states between its steps", "cannot be written every 30m")
    refused(*start, "--every", "30m", "-o", "half.nc", says=says)
    refused(
        "train", "weather.yaml", "name=b", BETWEEN, says=("comes every 1h, as the emulator steps",), leaves=("runs/b",)
    )
