"""Time: fixed durations, calendar steps, and the nominal seconds of an equation that has a time of its own."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphs.errors import MeshcastError

Times = NDArray[np.int64]  # seconds since 1970 UTC
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "second": 1, "minute": 60, "hour": 3600, "day": 86400}
MONTHS = {"month": 1, "year": 12}
MOST_STEPS = 1_000_000_000
YEAR = 365.2425 * 86_400.0  # [s], mean of the Gregorian calendar


@dataclass(frozen=True)
class TimeStep:
    """The time one emulator call advances: so many seconds, or so many calendar months.

    count, unit: `3600 second`, or `1 month` (a year is 12 months). Times are UTC in the Gregorian calendar.
    true_length, true_units: for an equation with its own time, the step in that time; the stored second is nominal.
    """

    count: int
    unit: Literal["second", "month"] = "second"
    true_length: float | None = None
    true_units: str = ""

    def __post_init__(self) -> None:
        if (
            not isinstance(self.count, int | np.integer)
            or not 0 < (1.0 if self.true_length is None else self.true_length) < math.inf
        ):
            raise MeshcastError(f"A time step has a whole count and a positive length, not {self!r}.")
        if self.unit not in ("second", "month") or self.count < 1:
            raise MeshcastError(f"A time step is a positive number of seconds or months, not {self.count} {self.unit}.")

    @classmethod
    def parse(cls, text: str) -> TimeStep:
        """Return a step from `90s`, `10m` (minutes, as Anemoi reads it), `6h`, `1d`, `1 month` or `1 year`."""
        if match := re.fullmatch(r"\s*(\d{1,9})\s*([A-Za-z]+)\s*", text):
            count, unit = int(match[1]), match[2] if len(match[2]) < 3 else match[2].removesuffix("s")
            if unit in SECONDS and count > 0:
                return cls(count * SECONDS[unit])
            if unit in MONTHS and count > 0:
                return cls(count * MONTHS[unit], "month")
        raise MeshcastError(f"Cannot read {text!r} as a duration. Use a form like 90s, 10m, 6h, 5d, 1 month or 1 year.")

    def __str__(self) -> str:
        if self.true_length is not None:
            return f"{self.true_length:g} {self.true_units}".strip()
        if self.unit == "month":
            count, unit = (self.count // 12, "year") if self.count % 12 == 0 else (self.count, "month")
            return f"{count} {unit}"
        for suffix in ("d", "h", "m"):
            if self.count % SECONDS[suffix] == 0 and (suffix != "d" or self.count > 86400):
                return f"{self.count // SECONDS[suffix]}{suffix}"
        return f"{self.count}s"

    @property
    def years(self) -> float:
        """Return its length in years, a month being a twelfth of one."""
        return self.count / 12 if self.unit == "month" else self.count / YEAR

    def advance(self, valid_time: NDArray[np.int64], steps: int | NDArray[np.int64] = 1) -> NDArray[np.int64]:
        """Return times `steps` steps later (earlier where negative).

        valid_time: int64 seconds since 1970 UTC, any shape. A calendar step keeps the day of the month and the time
        of day; a day the target month lacks becomes its last (31 January + 1 month = 28 or 29 February).
        """
        valid_time = np.asarray(valid_time, dtype=np.int64)
        if self.unit == "second":
            return valid_time + self.count * np.asarray(steps, dtype=np.int64)
        moment = valid_time.astype("datetime64[s]")
        month = moment.astype("datetime64[M]")
        day = moment.astype("datetime64[D]") - month.astype("datetime64[D]")
        second = moment - moment.astype("datetime64[D]").astype("datetime64[s]")
        target = month + self.count * np.asarray(steps, dtype=np.int64)
        last = (target + 1).astype("datetime64[D]") - target.astype("datetime64[D]") - np.timedelta64(1, "D")
        shifted = (target.astype("datetime64[D]") + np.minimum(day, last)).astype("datetime64[s]") + second
        return shifted.astype(np.int64)

    def times(self, count: int) -> TimeStep:
        """Return the step `count` times as long."""
        true_length = None if self.true_length is None else self.true_length * count
        return replace(self, count=self.count * count, true_length=true_length)

    def whole_steps(self, first: np.int64, last: np.int64) -> int:
        """Return how many whole steps lie between two times [s since 1970 UTC]; calendar steps from month to month."""
        if self.unit == "second":
            return int(last - first) // self.count
        months = np.array([first, last]).astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
        return int(months[1] - months[0]) // self.count

    def frames(self, shorter: TimeStep) -> int:
        """Return how many of a shorter step make this one; raise MeshcastError where this is no multiple of it."""
        lengths = [step.count if step.true_length is None else step.true_length for step in (self, shorter)]
        same_clock = self.unit == shorter.unit and (self.true_length is None) == (shorter.true_length is None)
        whole = round(lengths[0] / lengths[1])
        if not same_clock or whole < 1 or abs(lengths[0] - whole * lengths[1]) > 1e-9 * lengths[0]:
            raise MeshcastError(
                f"A time step of {self} is no multiple of the data's, {shorter}. Choose one that is, as "
                f"{shorter.times(2)}, or data with a time step that fits into it."
            )
        return whole

    def steps_in(self, duration: str, what: str = "lead time") -> int:
        """Return whole steps in a duration such as `5d`, `6 month`, `40 steps`, or a length of the equation's own time.

        Raises MeshcastError where the duration, which `what` names, is no multiple of the step, with the nearest.
        """
        steps = self._steps(duration, what)
        if steps > MOST_STEPS:
            raise MeshcastError(f"The {what} {duration} is more than {MOST_STEPS:,} steps of {self}.")
        whole = round(steps)
        if whole < 1 or abs(steps - whole) > 1e-6 * max(steps, 1.0):
            above = int(np.floor(steps)) + 1
            below = f"`{above - 1} steps` or " if above > 1 else ""
            raise MeshcastError(
                f"The {what} {duration} is no multiple of the time step {self}. "
                f"Nearest: {below}`{above} step{'s' * (above > 1)}`."
            )
        return whole

    def _steps(self, duration: str, what: str) -> float:
        """Return the steps, whole or not, in a duration."""
        if match := re.fullmatch(r"\s*(\d+)\s*steps?\s*", duration):
            return float(match[1])
        if self.true_length is not None and re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", duration):
            return float(duration) / self.true_length
        asked = TimeStep.parse(duration)
        if asked.unit != self.unit or self.true_length is not None:
            raise MeshcastError(f"A {what} of {duration} cannot be counted in steps of {self}; try `10 steps`.")
        return asked.count / self.count

    def part(self, parts: int) -> TimeStep:
        """Return the step that goes so many times into this one. Raises MeshcastError where it has no whole count."""
        if self.count % parts:
            raise MeshcastError(f"A time step of {self} is not {parts} times a whole number of {self.unit}s.")
        true_length = None if self.true_length is None else self.true_length / parts
        return replace(self, count=self.count // parts, true_length=true_length)

    def parts_of(self, duration: str, what: str) -> int:
        """Return how many times a shorter duration goes into this step; 1 for one that is not shorter.

        Raises MeshcastError where the duration, which `what` names, is shorter and no whole fraction of the step.
        """
        steps = self._steps(duration, what)
        if steps >= 1 - 1e-6:
            return 1
        parts = round(1 / steps) if steps > 0 else 0
        if not parts or abs(parts * steps - 1) > 1e-6 or self.count % parts:
            raise MeshcastError(f"The {what} {duration} is no whole fraction of the time step {self}.")
        return parts

    def moment(self, valid_time: int | np.integer) -> str:
        """Return a time for a person: a date, or the equation's own time."""
        if self.true_length is not None:
            return f"{valid_time / self.count * self.true_length:g}"
        return str(np.datetime64(int(valid_time), "s"))

    def lead_times(self, steps: NDArray[np.int64]) -> tuple[NDArray[np.float64], str]:
        """Return lead times for a person and their unit: hours, days, months, years or the equation's own, if any."""
        lead: NDArray[np.float64] = np.asarray(steps, dtype=np.float64)
        if self.true_length is not None:
            return lead * self.true_length, self.true_units
        lead = lead * self.count
        if self.unit == "month":
            return (lead / 12, "years") if self.count % 12 == 0 else (lead, "months")
        for seconds, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
            if self.count % seconds == 0 or (seconds == 86400 and lead.max(initial=0) > 4 * 86400):
                return lead / seconds, name
        return lead, "s"

    def lead_axis(self, steps: NDArray[np.int64]) -> tuple[NDArray[np.float64], str]:
        """Return lead times for a person and the label of their axis."""
        lead, unit = self.lead_times(steps)
        return lead, f"lead time [{unit}]" if unit else "lead time"


def to_seconds(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Return datetime64 of any unit as int64 seconds since 1970 UTC."""
    return np.asarray(times).astype("datetime64[s]").astype(np.int64)


def to_datetime(seconds: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Return int64 seconds since 1970 UTC as datetime64[s]."""
    return np.asarray(seconds, dtype=np.int64).astype("datetime64[s]")


def share_of_year(valid_time: Times) -> NDArray[np.float64]:
    """Return the time since 1 January 00 UTC as a share of the mean year, in [0, 1.003)."""
    moment = to_datetime(valid_time)
    since = (moment - moment.astype("datetime64[Y]").astype("datetime64[s]")).astype(np.float64)
    return np.asarray(since / YEAR, np.float64)
