"""Forcings: the sun where the almanac has it, tables between their rows, datasets at their own times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.data.forcing_sources import forcings_of
from emulator.forcings import STATIC_FEATURES, ComputedForcings, Forcings, GivenForcings, TabulatedForcings
from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.state import State
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from tests.emulator.worlds import HOUR, weather_fields


def seconds(*moments: str) -> np.ndarray:
    return to_seconds(np.array(moments, dtype="datetime64[s]"))


def at(moment: str, latitude: float, longitude: float) -> dict[str, float]:
    """Computed forcings at one moment and place."""
    mesh = points([latitude, 0.0, 10.0, -40.0], [longitude, 100.0, 200.0, 300.0], whole_sphere=False)
    source = ComputedForcings(mesh)
    return dict(zip(source.names, source.at(seconds(moment))[0, 0], strict=True))


def test_the_sun_stands_overhead_on_the_equator_at_equinox_noon() -> None:
    # 20 March 2019: the equation of time is -7.5 min, so that at 12:07 UTC the sun crosses Greenwich.
    assert at("2019-03-20T12:07", 0.0, 0.0)["insolation"] == pytest.approx(1.0, abs=1e-4)
    assert at("2019-03-20T12:07", 60.0, 0.0)["insolation"] == pytest.approx(0.5, abs=5e-3)
    assert at("2019-03-20T00:07", 0.0, 0.0)["insolation"] == 0.0
    assert at("2019-03-20T12:07", 0.0, 180.0)["insolation"] == 0.0


def test_midsummer_has_no_night_beyond_the_polar_circle_and_midwinter_no_day() -> None:
    for hour in range(0, 24, 3):
        assert at(f"2019-06-21T{hour:02d}:00", 70.0, 25.0)["insolation"] > 0
        assert at(f"2019-12-21T{hour:02d}:00", 70.0, 25.0)["insolation"] == 0


def test_declination_at_the_solstice_is_the_tilt_of_the_earth() -> None:
    noon = max(at(f"2019-06-21T12:{minute:02d}", 0.0, 0.0)["insolation"] for minute in range(0, 10))
    assert np.degrees(np.arccos(noon)) == pytest.approx(23.44, abs=0.1)


def test_insolation_agrees_with_the_astronomical_almanac() -> None:
    """The Almanac's low-precision sun, good to 0.01 degrees (Michalsky 1988, doi:10.1016/0038-092X(88)90045-X)."""
    mesh = latlon(np.linspace(85, -85, 7), np.arange(0, 360, 40.0))
    moments = np.arange("2019-01-01", "2021-01-01", np.timedelta64(97, "h"), dtype="datetime64[h]")
    days = (moments - np.datetime64("2000-01-01T12")).astype(np.float64) / 24
    longitude, anomaly = np.radians(280.460 + 0.9856474 * days), np.radians(357.528 + 0.9856003 * days)
    ecliptic = longitude + np.radians(1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.radians(23.439 - 4e-7 * days)
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))[:, None]
    right_ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))[:, None]
    hour = (moments - moments.astype("datetime64[D]")).astype(np.float64)
    sidereal = np.radians(15 * (6.697375 + 0.0657098242 * days + hour))[:, None]
    latitude, angle = np.radians(mesh.latitudes), sidereal + np.radians(mesh.longitudes) - right_ascension
    cosine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    ours = ComputedForcings(mesh, ["insolation"]).at(to_seconds(moments))[..., 0]
    np.testing.assert_allclose(ours, np.maximum(cosine, 0.0), atol=5e-3)


def test_local_time_turns_with_longitude_and_returns_after_a_day() -> None:
    midnight = at("2019-03-05T00:00", 10.0, 0.0)
    assert midnight["cos_local_time"] == pytest.approx(1.0) and midnight["sin_local_time"] == pytest.approx(0.0)
    assert at("2019-03-05T00:00", 10.0, 90.0)["sin_local_time"] == pytest.approx(1.0)
    for name in ("cos_local_time", "sin_local_time"):
        assert at("2019-03-05T05:00", 10.0, 33.0)[name] == pytest.approx(at("2020-07-09T05:00", 10.0, 33.0)[name])


def test_the_year_begins_on_new_years_day_before_and_after_1970() -> None:
    for year in (1850, 1969, 1970, 2024):
        assert at(f"{year}-01-01T00:00", 0.0, 0.0)["cos_julian_day"] == pytest.approx(1.0)
        assert at(f"{year}-07-02T12:00", 0.0, 0.0)["cos_julian_day"] == pytest.approx(-1.0, abs=1e-3)


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "co2.csv"
    path.write_text(text)
    return path


def test_a_table_by_year_is_linear_between_its_rows(tmp_path: Path) -> None:
    source = TabulatedForcings.read(table(tmp_path, "# a pathway\nyear,co2\n1850,280\n2000,370\n2100,600\n"))
    assert source.names == ("co2",)
    assert source.at(seconds("1850-01-01", "2000-01-01", "2050-01-01"))[:, 0, 0] == pytest.approx(
        [280.0, 370.0, 485.0], abs=0.01
    )


def test_a_table_by_date_reads_its_dates(tmp_path: Path) -> None:
    source = TabulatedForcings.read(table(tmp_path, "date,a,b\n2019-03-01T00:00,1,10\n2019-03-01T12:00,2,30\n"))
    assert source.at(seconds("2019-03-01T06:00"))[0, 0].tolist() == [1.5, 20.0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1958.5", "1958-07-02T12:00"),
        ("2000", "2000-01-01T00:00"),
        ("5000", "5000-01-01T00:00"),
        ("20190301", "2019-03-01T00:00"),
        ("1958-03", "1958-03-01T00:00"),
        ("2019-03-01T06:00Z", "2019-03-01T06:00"),
        ("2019-03-01T06:00+02:00", "2019-03-01T04:00"),
    ],
)
def test_dates_of_a_table_mean_what_is_written(tmp_path: Path, written: str, meant: str) -> None:
    source = TabulatedForcings.read(table(tmp_path, f"when,co2\n{written},370\n"))
    assert source.times.tolist() == seconds(meant).tolist()


def test_a_table_is_never_extrapolated(tmp_path: Path) -> None:
    source = TabulatedForcings.read(table(tmp_path, "year,co2\n2000,370\n2010,390\n"))
    with pytest.raises(MeshcastError, match=r"covers 2000-01-01T00:00:00 to 2010-01-01.*Extend the table"):
        source.at(seconds("2010-01-02"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("year\n2000\n", "needs a date column and at least one value column"),
        ("year,co2\n2000,370\n1990,350\n", "must increase"),
        ("year,co2\n2000,370\n2010,\n", "empty or non-finite cells"),
        ("date,co2\n2000-01-01,370\nlater,380\n", "not a table of dates and numbers"),
        ("date,co2\n2000-01-01,370\n2001-01-01,many\n", "not a table of dates and numbers"),
        ("", "Cannot read the forcing table"),
        ("year,co2\n2000,370,1\n2010,380,2\n", "more cells than its header"),
        ("year,co2\n0,370\n2000,380\n", "0 is neither a year nor a date"),
        ("date,co2\n,370\n2000-01-01,380\n", "must increase"),
    ],
)
def test_a_table_that_is_none_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        TabulatedForcings.read(table(tmp_path, text))


def test_a_missing_table_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match="Cannot read the forcing table"):
        TabulatedForcings.read(tmp_path / "absent.csv")


def test_given_forcings_are_those_of_their_time_and_none_between() -> None:
    values = np.arange(12.0).reshape(4, 3, 1)
    source = GivenForcings(("sst",), np.arange(4) * 3600, lambda index: values[index])
    assert source.at(np.array([7200, 0]))[:, :, 0].tolist() == [[6, 7, 8], [0, 1, 2]]
    for moment in (1800, -3600, 4 * 3600):
        with pytest.raises(MeshcastError, match="has no sst at"):
            source.at(np.array([moment]))


def test_the_first_source_that_has_a_forcing_gives_it(tmp_path: Path) -> None:
    fields = weather_fields()
    task = Task((Variable("sst", "prognostic"), Variable("tp", "forcing"), Variable("insolation", "forcing")), HOUR)
    from_data = forcings_of(task, fields.mesh, fields)
    np.testing.assert_array_equal(
        from_data.at(fields.times[[5]], ("tp",), fields.mesh.num_nodes)[0, :, 0], fields.values[5, 0, :, 2]
    )
    path = table(tmp_path, "date,tp\n2019-01-01,7\n2020-01-01,7\n")
    from_table = forcings_of(task, fields.mesh, fields, [path])
    assert np.all(from_table.at(fields.times[[5]], ("tp",), fields.mesh.num_nodes) == 7.0)


def test_what_a_dataset_holds_of_the_sun_goes_on_after_its_last_date() -> None:
    """Anemoi datasets carry insolation as a variable; a forecast from their last date needs it beyond."""
    fields = weather_fields(30)
    task = Task((Variable("2t", "prognostic"), Variable("tp", "forcing"), Variable("insolation", "forcing")), HOUR)
    sun = ComputedForcings(fields.mesh, ["insolation"])
    beyond = fields.times[-1:] + 3600
    held = replace(fields, variables=("2t", "insolation", "tp"), values=fields.values.copy())
    held.values[:, 0, :, 1] = sun.at(fields.times)[..., 0] + 1e-3
    going_on = forcings_of(task, fields.mesh, held).at(beyond, ("insolation",), fields.mesh.num_nodes)
    np.testing.assert_array_equal(going_on[..., 0], sun.at(beyond)[..., 0])
    held.values[:, 0, :, 1] *= 1361  # another quantity under the same name is the dataset's own
    now = forcings_of(task, fields.mesh, held).at(fields.times[:1], ("insolation",), fields.mesh.num_nodes)
    np.testing.assert_array_equal(now[0, :, 0], held.values[0, 0, :, 1])
    with pytest.raises(MeshcastError, match="has no tp, insolation at"):
        forcings_of(task, fields.mesh, held).at(beyond, ("insolation",), fields.mesh.num_nodes)


def test_a_forcing_may_lack_what_it_always_lacks_and_nothing_more() -> None:
    fields = weather_fields(30)  # sst is NaN on land
    task = Task((Variable("2t", "prognostic"), Variable("sst", "forcing")), HOUR)
    given = forcings_of(task, fields.mesh, fields).at(fields.times[3:5], ("sst",), fields.mesh.num_nodes)
    np.testing.assert_array_equal(given[:, :, 0], fields.values[3:5, 0, :, 1])
    fields.values[4, 0, 0, 1] = np.nan
    with pytest.raises(MeshcastError, match="no value of the forcing sst at node 0 at 2019-03-01T04"):
        forcings_of(task, fields.mesh, fields).at(fields.times[3:5], ("sst",), fields.mesh.num_nodes)


def test_a_window_mixes_initial_times_and_keeps_the_order_of_the_task() -> None:
    mesh = weather_fields().mesh
    task = Task(
        (
            Variable("2t", "prognostic"),
            Variable("lead_time", "forcing"),
            Variable("sin_local_time", "forcing"),
            Variable("cos_local_time", "forcing"),
        ),
        HOUR,
        history=2,
    )
    state = State(torch.zeros(2, 1, 2, mesh.num_nodes, 1), seconds("2019-03-01T06:00", "2019-03-04T18:00"))
    window = Forcings(ComputedForcings(mesh)).window(state, task, done=4)
    assert window.shape == (2, 3, mesh.num_nodes, 3)
    assert window[:, :, 0, 0].tolist() == [[3.0, 4.0, 5.0]] * 2
    angle = 2 * np.pi * np.array([[5, 6, 7], [17, 18, 19]])[:, :, None] / 24 + np.radians(mesh.longitudes)
    np.testing.assert_allclose(window[..., 1], np.sin(angle), atol=1e-6)
    np.testing.assert_allclose(window[..., 2], np.cos(angle), atol=1e-6)


def test_months_behind_a_window_are_calendar_months() -> None:
    mesh = weather_fields().mesh
    task = Task((Variable("2t", "prognostic"), Variable("t", "forcing")), TimeStep.parse("1 month"), history=2)

    class Clock:
        names = ("t",)

        def at(self, valid_time: np.ndarray) -> np.ndarray:
            return valid_time.astype(np.float64)[:, None, None] / 86_400

    state = State(torch.zeros(1, 1, 2, mesh.num_nodes, 1), seconds("2005-03-01"))
    window = Forcings(Clock()).window(state, task, done=0)
    assert window[0, :, 0, 0].tolist() == (seconds("2005-02-01", "2005-03-01", "2005-04-01") / 86_400).tolist()


def test_a_forcing_without_a_source_names_what_could_be_given() -> None:
    with pytest.raises(MeshcastError, match=r"No source for the forcing co2.*insolation.*--forcing"):
        Forcings().at(np.zeros(1, dtype=np.int64), ("co2",), 3)


def test_the_coriolis_parameter_is_twice_the_earths_turn_about_the_vertical() -> None:
    values = STATIC_FEATURES["coriolis"](latlon(np.array([90.0, 30.0, 0.0, -90.0]), np.arange(4) * 90.0))[::4]
    np.testing.assert_allclose(values, [1.4584e-4, 0.7292e-4, 0.0, -1.4584e-4], atol=1e-12)
