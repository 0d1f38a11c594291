"""Dates in files: other calendars, the step between times, and what is wrong with a series of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep, to_datetime, to_seconds
from graphs.errors import MeshcastError

GREGORIAN = ("standard", "gregorian", "proleptic_gregorian")
DAY = 86_400


def gregorian(dates: Sequence[Any]) -> NDArray[np.int64]:
    """Return seconds since 1970 UTC of cftime dates of any calendar, by the same year and month.

    A day the Gregorian month lacks (30 February of a 360-day year) becomes its last.
    """
    months = np.array([f"{date.year:04d}-{date.month:02d}" for date in dates], dtype="datetime64[M]")
    length = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
    days = np.minimum([date.day for date in dates], length) - 1
    seconds = [date.hour * 3600 + date.minute * 60 + date.second for date in dates]
    return to_seconds(months) + days * DAY + np.array(seconds, dtype=np.int64)


def refuse_disorder(times: NDArray[np.int64], where: str) -> None:
    """Raise MeshcastError where times descend or repeat."""
    wrong = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong):
        before, after = to_datetime(times[wrong[0] : wrong[0] + 2])
        what = "repeats a time" if before == after else "has descending times"
        raise MeshcastError(
            f"{where} {what}: {before} is followed by {after} ({len(wrong)} such place{'s' * (len(wrong) > 1)}). Times "
            "must increase; sort the file or drop the duplicates first (ncks, cdo sorttimestamp, xarray's sortby)."
        )


def settle_dates(times: NDArray[np.int64]) -> tuple[NDArray[np.int64], TimeStep | None, str]:
    """Return the times, their step and a remark; None where a single time has no step.

    Months and years are calendar steps. Where their day of the month wanders (mid-month stamps; years of 365 days
    counted on) the times are set to one day, and the remark says so. Gaps are whole steps that are missing.
    Raises MeshcastError where the times keep no step.
    """
    if len(times) < 2:
        return times, None, ""
    moments = to_datetime(times)
    months = moments.astype("datetime64[M]").astype(np.int64)
    gaps, lengths = np.diff(months), np.diff(times)
    if lengths.min() >= 28 * DAY:
        yearly = lengths.min() >= 359 * DAY
        step = int(np.gcd.reduce(gaps)) if not yearly else 12 * int(np.gcd.reduce(np.diff(months // 12)))
        counted = not yearly and len(set(lengths)) == 1 and len(lengths) > 3 and len(set(_within_month(times))) > 1
        if gaps.min() > 0 and step > 0 and not counted:  # counted: every 30 days, say
            settled, remark = _settle_months(times, yearly)
            return settled, TimeStep(step, "month"), remark
    step = int(np.gcd.reduce(lengths))
    if step < lengths.min():
        place = int(np.flatnonzero(lengths % lengths.min())[0])
        raise MeshcastError(
            f"The times keep no fixed step: the shortest is {TimeStep(int(lengths.min()))}, but {moments[place]} is "
            f"followed by {moments[place + 1]}. Select times that are evenly spaced, or give --frequency."
        )
    return times, TimeStep(step), ""


def _settle_months(times: NDArray[np.int64], yearly: bool) -> tuple[NDArray[np.int64], str]:
    """Return the times moved to one day and time of the month (of the year, where the step is years)."""
    moments = to_datetime(times)
    months = moments.astype("datetime64[M]")
    within = _within_month(times)
    if np.all(within == within[0]) and not yearly:
        return times, ""
    if yearly:
        years = months.astype("datetime64[Y]")
        first_month = months[0] - years[0].astype("datetime64[M]")
        settled = to_seconds(years.astype("datetime64[M]") + first_month) + within[0]
    else:
        settled = to_seconds(months)
    if np.array_equal(settled, times):
        return times, ""
    return settled, (
        f"dates of one {'year' if yearly else 'month'} each lay on different days (such as {moments[0]} and "
        f"{moments[-1]}); they are set to {to_datetime(settled)[0]} and {to_datetime(settled)[-1]}"
    )


def _within_month(times: NDArray[np.int64]) -> NDArray[np.int64]:
    return times - to_seconds(to_datetime(times).astype("datetime64[M]"))
