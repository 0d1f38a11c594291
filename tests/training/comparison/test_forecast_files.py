"""Forecasts of others meet ours by date, name, unit and place, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.data.arrays import ArrayFields
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from tests.training.comparisons import config_in, write_source
from training.comparison.compare import compare
from training.comparison.configuration import RowConfig
from training.comparison.forecast_files import at_starts, common_starts, read_row
from training.comparison.starts import Starts
from training.task_config import TaskConfig

HOUR = 3600
LATITUDES, LONGITUDES = np.linspace(54, 50, 5), np.linspace(0, 5, 6)


def truth(times: np.ndarray, latitudes: np.ndarray, longitudes: np.ndarray) -> np.ndarray:
    """[time, latitude, longitude] a plane that rises by one kelvin a day, which bilinear interpolation keeps."""
    return (
        280 + times[:, None, None] / 86_400 + 0.5 * (latitudes[:, None] - 52) + 0.1 * longitudes
    )  # fmt: skip


@pytest.fixture
def test_split() -> ArrayFields:
    times = 6 * HOUR * np.arange(40)
    mesh = latlon(LATITUDES, LONGITUDES)
    values = truth(times, LATITUDES, LONGITUDES).reshape(40, 1, -1, 1).astype(np.float32)
    return ArrayFields(values, ("2t",), ("K",), mesh, TimeStep(6 * HOUR), times, "member")


def weatherbench(path: Path, inits: np.ndarray, leads: np.ndarray, **grid: np.ndarray) -> Path:
    """A file as WeatherBench has them: 2 m temperature in °C, a degree too warm, by time and prediction_timedelta."""
    latitudes, longitudes = grid.get("latitudes", LATITUDES), grid.get("longitudes", LONGITUDES)
    valid = (inits[:, None] + leads[None]).ravel()
    values = truth(valid, latitudes, longitudes).reshape(len(inits), len(leads), len(latitudes), -1) + 1 - 273.15
    dims = ("time", "prediction_timedelta", "latitude", "longitude")
    epoch = np.datetime64("1970-01-01", "ns")
    xr.Dataset(
        {"2m_temperature": (dims, values.astype(np.float32), {"units": "degC"})},
        {
            "time": epoch + inits * np.timedelta64(1, "s"),
            "prediction_timedelta": leads * np.timedelta64(1, "s"),
            "latitude": latitudes,
            "longitude": longitudes,
        },
    ).to_netcdf(path)
    return path


def starts_at(times: list[int], steps: int) -> Starts:
    init = np.array(times, dtype=np.int64)
    return Starts(init, np.full(len(init), -1), np.arange(1, steps + 1))


def test_a_forecast_in_other_names_units_and_order_is_scored_on_common_starts_and_leads(
    test_split: ArrayFields, tmp_path: Path
) -> None:
    inits = 24 * HOUR * np.array([4, 0, 1, 2])  # out of order, each day
    path = weatherbench(tmp_path / "theirs.nc", inits, 12 * HOUR * np.arange(1, 5))
    task = TaskConfig(("2t",)).build(test_split)
    forecast, notices = read_row("theirs", RowConfig(forecast_file=str(path)), test_split, task)
    assert notices == ["theirs: 2t was converted from degC to K"] and "regridding" not in forecast.attributes
    ours = starts_at([12 * HOUR * step for step in range(6)], steps=5)
    met, notices = common_starts([forecast], ours, task.time_step)
    assert met.init_time.tolist() == [0, 24 * HOUR, 48 * HOUR]
    assert met.lead_steps.tolist() == [2, 4]  # 12 and 24 h, in steps of six
    assert notices == ["theirs has 3 of 6 starts and 2 of 5 lead times: every row is scored on those"]
    forecast = at_starts(forecast, met, task.time_step)
    expected = truth(forecast.valid_time.ravel(), LATITUDES, LONGITUDES).reshape(3, 2, -1) + 1
    assert np.allclose(forecast.values[:, 0, :, :, 0], expected, atol=1e-3)
    assert (forecast.time_step, forecast.units) == (task.time_step, ("K",))


def test_a_forecast_on_other_nodes_is_interpolated_and_says_so(test_split: ArrayFields, tmp_path: Path) -> None:
    grid = {"latitudes": np.linspace(56, 48, 5), "longitudes": np.linspace(-2, 8, 6)}
    path = weatherbench(tmp_path / "theirs.nc", np.array([0]), 6 * HOUR * np.arange(1, 3), **grid)
    task = TaskConfig(("2t",)).build(test_split)
    forecast, _ = read_row("theirs", RowConfig(forecast_file=str(path)), test_split, task)
    assert forecast.attributes["regridding"].startswith("bilinear from a")
    expected = truth(np.array([6 * HOUR]), LATITUDES, LONGITUDES).ravel() + 1
    assert np.allclose(forecast.values[0, 0, 0, :, 0], expected, atol=0.02)
    narrow = {"latitudes": np.linspace(53, 51, 3)}
    path = weatherbench(tmp_path / "narrow.nc", np.array([0]), 6 * HOUR * np.arange(1, 3), **narrow)
    with pytest.raises(MeshcastError, match="theirs cannot come to the nodes of the test data"):
        read_row("theirs", RowConfig(forecast_file=str(path)), test_split, task)


def test_dates_that_do_not_meet_are_named_on_both_sides(test_split: ArrayFields, tmp_path: Path) -> None:
    task = TaskConfig(("2t",)).build(test_split)
    path = weatherbench(tmp_path / "theirs.nc", 3 * HOUR + 24 * HOUR * np.arange(3), 6 * HOUR * np.arange(1, 5))
    forecast, _ = read_row("theirs", RowConfig(forecast_file=str(path)), test_split, task)
    message = (
        r"theirs do not meet ours: its forecasts begin 1970-01-01T03:00:00 to 1970-01-03T03:00:00 every 24h \(3 times\)"
        r".* 6 to 24 hours, the comparison's 1970-01-01T00:00:00 to 1970-01-02T00:00:00 every 12h.*; 0 of 3 starts meet"
    )
    with pytest.raises(MeshcastError, match=message):
        common_starts([forecast], starts_at([0, 12 * HOUR, 24 * HOUR], 4), task.time_step)
    path = weatherbench(tmp_path / "hourly.nc", 24 * HOUR * np.arange(3), HOUR * np.arange(1, 5))
    forecast, _ = read_row("theirs", RowConfig(forecast_file=str(path)), test_split, task)
    with pytest.raises(MeshcastError, match="2 of 2 starts meet, but no lead time from them"):
        common_starts([forecast], starts_at([0, 24 * HOUR], 4), task.time_step)


def test_names_and_units_that_cannot_be_ours_are_refused(test_split: ArrayFields, tmp_path: Path) -> None:
    path = weatherbench(tmp_path / "theirs.nc", np.array([0]), 6 * HOUR * np.arange(1, 3))
    task = TaskConfig(("2t",)).build(test_split)
    with xr.open_dataset(path) as file:
        file = file.load()
    file.rename({"2m_temperature": "warmth"}).to_netcdf(tmp_path / "warmth.nc")
    with pytest.raises(MeshcastError, match=r"holds warmth, none of 2t.*rename"):
        read_row("theirs", RowConfig(forecast_file=str(tmp_path / "warmth.nc")), test_split, task)
    renamed = RowConfig(forecast_file=str(tmp_path / "warmth.nc"), rename={"warmth": "2t"})
    assert read_row("theirs", renamed, test_split, task)[0].variables == ("2t",)
    file["2m_temperature"].attrs["units"] = "Pa"
    file.to_netcdf(tmp_path / "pressure.nc")
    with pytest.raises(MeshcastError, match=r"has 2t in Pa, which cannot become K\. Correct the file's units"):
        read_row("theirs", RowConfig(forecast_file=str(tmp_path / "pressure.nc")), test_split, task)


def test_a_forecast_file_is_a_row_among_the_others(
    test_split: ArrayFields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs is a degree too warm at every lead, persistence too cold by a quarter of a degree a step."""
    monkeypatch.setattr("training.experiment.open_fields", lambda *arguments, **options: test_split)
    monkeypatch.setattr("training.comparison.compare.write_comparison", lambda *given, **options: None)
    # One series is every part here.
    monkeypatch.setattr("training.comparison.compare.refuse_scores_of_learned", lambda *given: None)
    path = weatherbench(tmp_path / "theirs.nc", 24 * HOUR * np.arange(1, 8), 6 * HOUR * np.arange(1, 5))
    rows = f"rows={{theirs: {{forecast_file: {path}}}}}"
    overrides = [rows, "task.prognostic=[2t]", "validation.score=rmse"]
    config = config_in(tmp_path, write_source(tmp_path), *overrides, "forecast={steps: 4, every: 2}")
    said: list[str] = []
    comparison = compare(config, progress=False, say=said.append)
    assert said[0] == "theirs has 7 of 18 starts and 4 of 4 lead times: every row is scored on those."
    rmse = {e.label: e.mean("rmse")[:, 0] for e in comparison.verification.emulators}
    assert np.allclose(rmse["theirs"], 1, atol=1e-3)
    assert np.allclose(rmse["persistence"], [0.25, 0.5, 0.75, 1], atol=1e-3)
    assert comparison.verification.emulators[1].init_time.tolist() == (24 * HOUR * np.arange(1, 8)).tolist()
    assert [(row.label, row.status) for row in comparison.ranked] == [("persistence", "done"), ("theirs", "loaded")]
