"""A time step longer than the data's: trained, forecast, and verified against the finer truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emulator.data.forecast_file import read_forecast
from tests.meshcast.command_line import done, refused
from tests.meshcast.conftest import weather_forecast
from training.runs.verify import verify_files


def test_a_longer_step_goes_through_training_forecast_and_verification(weather_world: Path) -> None:
    done("train", "weather.yaml", "name=three", "task.time_step=3h")
    start = weather_forecast("6h", "weather.zarr", run="runs/three")
    done(*start, "--init-times", "2019-03-03T01,2019-03-03T05", "-o", "three.nc")
    forecast = read_forecast("three.nc")
    assert str(forecast.time_step) == "3h" and forecast.lead_steps.tolist() == [1, 2]
    verified = verify_files([forecast], "weather.zarr")
    assert [scores.verified.all() for scores in verified.verification.emulators] == [True] * len(verified.forecasts)
    hours = (verified.forecasts[0].valid_time - forecast.init_time[:, None]) // 3600
    assert hours.tolist() == [[3, 6], [3, 6]]
    persistence = next(made for made in verified.forecasts if made.name == "persistence")
    np.testing.assert_array_equal(persistence.valid_time, forecast.valid_time[:1])  # kept for pictures


def test_a_step_that_the_data_do_not_divide_is_refused_with_the_nearest(weather_world: Path) -> None:
    says = ("task.time_step 90m is no multiple of the time step 1h", "Nearest: `1 steps` or `2 steps`")
    refused("train", "weather.yaml", "name=odd", "task.time_step=90m", says=says, leaves=("runs/odd",))
