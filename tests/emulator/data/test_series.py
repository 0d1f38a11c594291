"""Steps between dates, other calendars, disorder."""

import cftime
import numpy as np
import pytest

from emulator.data.series import gregorian, refuse_disorder, settle_dates
from emulator.foundation.time_step import TimeStep, to_seconds
from graphs.errors import MeshcastError


def seconds(*dates: str) -> np.ndarray:
    return to_seconds(np.array(dates, "datetime64[s]"))


@pytest.mark.parametrize(
    ("dates", "step"),
    [
        (("2000-01-01T00", "2000-01-01T06", "2000-01-01T12"), TimeStep(6 * 3600)),
        (("2000-01-01T00", "2000-01-01T06", "2000-01-02T00"), TimeStep(6 * 3600)),  # with gaps
        (("2000-01-31", "2000-02-29"), TimeStep(1, "month")),
        (("2000-01-01", "2000-02-01", "2000-04-01"), TimeStep(1, "month")),
        (("2000-01-01", "2000-04-01", "2000-07-01"), TimeStep(3, "month")),
        (("1890-07-01", "1891-07-01", "1892-07-01"), TimeStep(12, "month")),
        (("2000-01-15", "2000-02-14", "2000-03-15", "2000-04-14", "2000-05-14"), TimeStep(30 * 86400)),
        (("2000-01-01", "2000-01-08", "2000-01-15", "2000-01-22", "2000-01-29", "2000-02-05"), TimeStep(7 * 86400)),
    ],
)
def test_the_step_is_found(dates, step):
    assert settle_dates(seconds(*dates))[1] == step


def test_mid_month_dates_become_the_first_and_it_is_said():
    times, step, remark = settle_dates(seconds("2000-01-16T12", "2000-02-15T12", "2000-03-16T12"))
    assert np.array_equal(times, seconds("2000-01-01", "2000-02-01", "2000-03-01")) and step == TimeStep(1, "month")
    assert "2000-01-16" in remark


def test_years_of_365_days_are_years():
    times, step, remark = settle_dates(seconds("1890-07-01")[0] + np.arange(110) * 365 * 86400)
    assert step == TimeStep(12, "month") and remark
    assert np.array_equal(step.advance(times[:-1]), times[1:])


def test_uneven_times_have_no_step():
    with pytest.raises(MeshcastError, match=r"2000-01-01T06.*2000-01-01T13"):
        settle_dates(seconds("2000-01-01T00", "2000-01-01T06", "2000-01-01T13"))
    assert settle_dates(seconds("2000-01-01"))[1] is None


def test_other_calendars_keep_year_and_month():
    dates = [cftime.Datetime360Day(2001, 2, 30, 12), cftime.Datetime360Day(2001, 3, 30)]
    assert np.array_equal(gregorian(dates), seconds("2001-02-28T12", "2001-03-30"))


@pytest.mark.parametrize(
    ("dates", "message"),
    [(("2000-01-02", "2000-01-01"), "descending"), (("2000-01-01", "2000-01-01"), "repeats a time")],
)
def test_disorder_is_refused_with_its_place(dates, message):
    with pytest.raises(MeshcastError, match=message):
        refuse_disorder(seconds(*dates), "file.nc")
