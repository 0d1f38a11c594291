"""Time: durations, the calendar, and an equation's own clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.foundation.time_step import TimeStep, to_datetime, to_seconds
from graphs.errors import MeshcastError


def months_after(start: str, step: str, count: int) -> list[str]:
    times = TimeStep.parse(step).advance(to_seconds(np.array(start, dtype="datetime64[s]")), np.arange(1, count + 1))
    return [str(moment) for moment in to_datetime(times)]


@pytest.mark.parametrize(
    ("text", "count", "unit"),
    [
        ("90s", 90, "second"),
        ("10m", 600, "second"),
        ("6h", 21_600, "second"),
        ("5d", 432_000, "second"),
        ("2 days", 172_800, "second"),
        ("1 month", 1, "month"),
        ("3 months", 3, "month"),
        ("1 year", 12, "month"),
    ],
)
def test_durations_are_read_as_written(text: str, count: int, unit: str) -> None:
    assert TimeStep.parse(text) == TimeStep(count, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "h", "6", "-6h", "5ms", "0h", "1M", "six hours", "1.5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(MeshcastError, match="Use a form like"):
        TimeStep.parse(text)


@pytest.mark.parametrize("text", ["90s", "10m", "6h", "24h", "5d", "1 month", "18 month", "1 year", "10 year"])
def test_a_step_prints_as_it_is_read(text: str) -> None:
    assert str(TimeStep.parse(text)) == text


def test_a_longer_step_counts_the_frames_of_a_shorter_one() -> None:
    hour, month, frame = TimeStep.parse("1h"), TimeStep.parse("1 month"), TimeStep(1, "second", 0.5, "tau")
    for step, count in ((hour, 6), (month, 12), (frame, 3), (hour, 1)):
        assert step.times(count).frames(step) == count
    assert str(frame.times(3)) == "1.5 tau" and str(month.times(12)) == "1 year"


@pytest.mark.parametrize(("longer", "shorter"), [("7h", "3h"), ("1h", "3h"), ("1 month", "1d"), ("1h", "frame")])
def test_a_step_that_the_data_do_not_divide_is_refused(longer: str, shorter: str) -> None:
    data = TimeStep(1, "second", 1.0, "frame") if shorter == "frame" else TimeStep.parse(shorter)
    with pytest.raises(MeshcastError, match="is no multiple of the data's"):
        TimeStep.parse(longer).frames(data)


def test_six_months_from_new_year_are_the_firsts_of_the_months() -> None:
    assert months_after("2005-01-01", "1 month", 6) == [f"2005-{month:02d}-01T00:00:00" for month in range(2, 8)]


def test_a_day_the_month_lacks_becomes_its_last() -> None:
    assert months_after("2023-10-31T06:30", "1 month", 5) == [
        "2023-11-30T06:30:00",
        "2023-12-31T06:30:00",
        "2024-01-31T06:30:00",
        "2024-02-29T06:30:00",
        "2024-03-31T06:30:00",
    ]
    assert months_after("2024-02-29", "1 year", 1) == ["2025-02-28T00:00:00"]


def test_a_step_back_is_a_step_back_before_1970_too() -> None:
    month = TimeStep.parse("1 month")
    times = to_seconds(np.array(["1969-12-15", "1850-01-15"], dtype="datetime64[s]"))
    assert [str(t)[:10] for t in to_datetime(month.advance(times, -1))] == ["1969-11-15", "1849-12-15"]


@given(st.integers(-(10**9), 4 * 10**9), st.integers(-50, 50), st.integers(-50, 50), st.sampled_from(["6h", "1d"]))
def test_n_then_m_steps_of_a_duration_are_n_plus_m(start: int, n: int, m: int, step: str) -> None:
    duration = TimeStep.parse(step)
    time = np.array([start])
    assert duration.advance(duration.advance(time, n), m) == duration.advance(time, n + m)


@pytest.mark.parametrize(
    ("step", "lead", "steps"),
    [
        ("1h", "5d", 120),
        ("6h", "6h", 1),
        ("1 month", "2 years", 24),
        ("1h", "40 steps", 40),
        ("90s", "3m", 2),
    ],
)
def test_lead_times_are_counted_in_steps(step: str, lead: str, steps: int) -> None:
    assert TimeStep.parse(step).steps_in(lead) == steps


def test_an_equations_lead_time_is_counted_in_its_own_time() -> None:
    step = TimeStep(1, "second", 0.05, "L/c")
    assert step.steps_in("2") == 40 and step.steps_in("2.5e0") == 50 and step.steps_in("7 steps") == 7
    assert str(step) == "0.05 L/c"


def test_a_lead_time_that_is_no_multiple_names_the_nearest_that_are() -> None:
    with pytest.raises(MeshcastError, match="`3 steps` or `4 steps`"):
        TimeStep.parse("6h").steps_in("20h")
    with pytest.raises(MeshcastError, match="Nearest: `1 step`"):
        TimeStep.parse("1h").steps_in("30m")


@pytest.mark.parametrize(
    ("step", "lead"),
    [
        (TimeStep.parse("1h"), "1 month"),
        (TimeStep.parse("1 month"), "30d"),
        (TimeStep(1, "second", 0.1), "6h"),
        (TimeStep(1, "second", 0.1), "1.2.3"),
        (TimeStep.parse("1h"), "soon"),
    ],
)
def test_a_lead_time_of_another_kind_is_refused(step: TimeStep, lead: str) -> None:
    with pytest.raises(MeshcastError):
        step.steps_in(lead)


def test_lead_axes_speak_the_units_of_their_length() -> None:
    steps = np.array([1, 24])
    hourly, monthly = TimeStep.parse("1h"), TimeStep.parse("1 month")
    assert (hourly.lead_axis(steps)[0].tolist(), hourly.lead_axis(steps)[1]) == ([1.0, 24.0], "lead time [hours]")
    assert hourly.lead_axis(np.array([240]))[0].tolist() == [10.0]
    assert monthly.lead_axis(steps)[1] == "lead time [months]"
    assert TimeStep.parse("1 year").lead_axis(steps)[1] == "lead time [years]"
    assert TimeStep(1, "second", 0.5, "L/c").lead_axis(steps)[0].tolist() == [0.5, 12.0]


def test_a_step_must_go_forward() -> None:
    with pytest.raises(MeshcastError, match="positive number"):
        TimeStep(0)
