"""What a user lets `forecast` write, and what becomes of a forecast that holds nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from emulator.data.forecast_file import read_forecast
from tests.meshcast.command_line import contents, done, meshcast, refused
from tests.meshcast.conftest import hot_weather, weather_forecast

FORECAST = (*weather_forecast("6h"), "--output")


def test_a_forecast_that_never_begins_is_not_written_and_ends_as_one_that_stops(weather_world: Path) -> None:
    hot_weather().to_netcdf("hot.nc")
    Path("new.nc").write_text("the forecast of yesterday")
    before = contents()
    for ending in (".nc", ".zarr", ".grib"):
        command = (*weather_forecast("6h", "hot.nc"), "--output", f"new{ending}")
        outcome = meshcast(*command, "--overwrite", "--json", "--plots")
        assert outcome.code == 3 and "Wrote" not in outcome.err
        assert "stopped at step 1" in outcome.err and f"so that new{ending} was not written" in outcome.err
        assert outcome.json["output"] is None and len(outcome.json["stops"]) == 1
    assert contents() == before, "nothing new, nothing lost, nothing half-written"


def test_a_part_of_the_forecast_is_that_part_of_the_whole_in_every_format(weather_world: Path) -> None:
    done(*FORECAST, "whole.nc")
    whole = read_forecast("whole.nc")
    choice = ("--every", "2h", "--variables", "msl", "--area", "54.9/-7/50/2")
    for name in ("part.nc", "part.zarr", "part.grib"):
        done(*FORECAST, name, *choice)
        part = read_forecast(name)
        assert part.variables == ("msl",) and part.values.shape == (1, 1, 3, 15, 1)
        tolerance = 0.02 if name == "part.grib" else 0
        columns = (whole.mesh.longitudes + 7) % 360 <= 9
        expected = whole.values[:, :, 1::2, columns & (whole.mesh.latitudes < 54.9)][..., [1]]
        np.testing.assert_allclose(part.values, expected, atol=tolerance, rtol=0)
        assert part.time_step.count * part.lead_steps[-1] == 6 * 3600
    with xr.open_dataset("weather.nc") as truth:
        start = truth["msl"][-1].values.ravel()
        assert np.array_equal(read_forecast("whole.nc").initial[0, 0, :, 1], start)


def test_a_whole_forecast_that_was_not_converted_yet_is_taken_up(weather_world: Path) -> None:
    choice, output, left = ("--every", "3h", "--variables", "2t"), "f.grib", "f.grib.nc"
    done(*FORECAST, left, *choice)
    done(*FORECAST, "whole.grib", *choice)
    before = contents()
    refused(*FORECAST, output, *choice, says=(f"{left} exists", "--resume"))
    for other, differs in (
        (("--every", "3h"), "output_choice, variables"),
        (("--every", "2h", "--variables", "2t"), "output_choice, lead_step"),
        ((*choice, "--seed", "3"), "its seed differ"),
        ((*choice, "--init-times", "2019-03-03T06"), "init_time"),
        ((*choice, "--lead-time", "3h"), "lead_step"),
    ):
        refused(*FORECAST, output, *other, "--resume", says=("of another forecast", differs))
    assert contents() == before
    Path(f"{left}.part").write_bytes(b"of a process that died before it could remove it")
    outcome = done(*FORECAST, output, *choice, "--resume")
    assert f"Wrote {output}" in outcome.err and not Path(left).exists() and not Path(f"{left}.part").exists()
    first, second = read_forecast(output), read_forecast("whole.grib")
    np.testing.assert_array_equal(first.values, second.values)


def test_the_precision_is_in_the_forecast_and_in_what_is_said_of_it(weather_world: Path) -> None:
    done(*FORECAST, "exact.nc", "--init-times", "2019-03-03T06")
    done(*FORECAST, "low.nc", "--init-times", "2019-03-03T06", "--precision", "bfloat16")
    exact, low = read_forecast("exact.nc"), read_forecast("low.nc")
    assert (exact.attributes["precision"], low.attributes["precision"]) == ("float32", "bfloat16")
    assert not np.array_equal(low.values, exact.values)
    spread = exact.values.std(axis=3, keepdims=True)
    assert np.abs((low.values - exact.values) / spread).max() < 0.05
    assert done("inspect", "low.nc", "--lineage", "--json").json["precision"] == "bfloat16"
    done("verify", "low.nc", "--truth", "weather.nc", "--output", "report")
    assert "precision: bfloat16" in Path("report/report.html").read_text()
    refused(*FORECAST, "half.nc", "--precision", "half", says=("--precision", "half", "bfloat16"))


def test_a_part_in_zarr_is_verified_and_drawn(weather_world: Path) -> None:
    done(*FORECAST, "part.zarr", "--every", "3h", "--init-times", "2019-03-03T06", "--variables", "2t")
    found = done("verify", "part.zarr", "--truth", "weather.nc", "--json").json
    assert found
    done("plot", "part.zarr", "--output", "pictures")
    assert Path("pictures/maps_2t.png").is_file()


def test_choices_that_cannot_be_written_are_refused_before_the_rollout(weather_world: Path) -> None:
    for option, value, words in (
        ("--every", "4h", ("6 steps has no output at its end when written every 4 steps",)),
        ("--every", "90m", ("interval --every 90m is no multiple of the time step 1h",)),
        ("--variables", "t2m", ("no variable t2m to be written; there are 2t, msl",)),
        ("--area", "60/50", ("--area takes NORTH/WEST/SOUTH/EAST", "60/50")),
        ("--area", "10/0/-10/10", ("holds 0 nodes",)),
        ("--accumulate", "tp", ("no variable tp to be accumulated",)),
    ):
        refused(*FORECAST, "new.nc", option, value, says=words)


def test_sums_are_not_scored_against_a_truth_of_another_kind(weather_world: Path) -> None:
    sums = ("--every", "2h", "--accumulate", "msl", "--init-times", "2019-03-03T06")
    done(*FORECAST, "sums.nc", *sums)
    says = ("holds msl as sums since the output before", "Forecast without --accumulate")
    refused("verify", "sums.nc", "--truth", "weather.nc", says=says)


def test_series_at_places_are_written_beside_the_forecast(weather_world: Path) -> None:
    done(*FORECAST, "new.nc", "--place", "51.2,-0.1", "--place", "56,-8", "--variables", "2t")
    table = pd.read_csv("new-series.csv")
    assert len(table) == 2 * 7 and table["latitude"].unique().tolist() == [52, 56]
    refused(*FORECAST, "other.nc", "--place", "10,10", says=("lies outside", "nearest node"))
    refused(*FORECAST, "other.nc", "--place", "56,-8", "--area", "53/-8/50/2", says=("56 N, -8 E lies outside",))
    refused(*FORECAST, "other.nc", "--series", "s.csv", says=("of no place", "--place LAT,LON"))
    refused(*FORECAST, "other.nc", "--place", "56,-8", "--series", "new-series.csv", says=("new-series.csv exists",))
    for name in ("./other.nc", "weather.nc"):
        given = ("--place", "56,-8", "--series", name, "--overwrite")
        refused(*FORECAST, "other.nc", *given, says=(f"series cannot go into {Path(name)}",))
    done("plot", "new.nc", "-o", "pictures", "--contours", "--place", "56,-8", "--variables", "2t")
    refused("plot", "new.nc", "-o", "pictures", "--variables", "t2m", says=("no variable t2m", "2t"))
