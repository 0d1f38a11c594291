"""What scenarios say in numbers: warming over a base period, by region, and when thresholds are passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphs.errors import MeshcastError
from inference.scenarios.regions import RegionMeans
from inference.scenarios.scenario import Scenario
from inference.scenarios.sea_ice import ICE_FREE, KELVIN, cold_sea, northern_sea

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
SPAN = 20  # years of a mean that passes a threshold
BAND = (5.0, 95.0)  # percentiles over members
THRESHOLDS = (1.5, 2.0, 3.0)  # [K]


@dataclass(frozen=True)
class BasePeriod:
    """First and last year, both included, whose mean is the zero of an anomaly."""

    first: int
    last: int

    @classmethod
    def read(cls, text: str, option: str = "--base-period") -> BasePeriod:
        """Return `1850-1900`; raise MeshcastError for anything else, naming the option that it stands for."""
        parts = text.split("-")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts) or int(parts[0]) > int(parts[1]):
            raise MeshcastError(f"{option} takes FIRST-LAST, such as 1850-1900, but got {text!r}.")
        return cls(int(parts[0]), int(parts[1]))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def of(self, years: NDArray[np.int64], values: Array) -> Array:
        """Return the mean over it [...] of values [..., year]; raise MeshcastError where years are missing."""
        there = (years >= self.first) & (years <= self.last)
        if there.sum() != self.last - self.first + 1:
            raise MeshcastError(
                f"The base period {self} lies outside of the scenario, {years[0]} to {years[-1]}. Name another, or "
                "start earlier."
            )
        return np.asarray(values[..., there].mean(axis=-1), np.float64)


@dataclass(frozen=True, eq=False)
class RegionSeries:
    """Yearly regional means of one variable in a scenario.

    values, anomalies: [member, year, region], each member over its own base period.
    expected, expected_anomalies: [year, region] of what is expected.
    """

    scenario: Scenario
    variable: int
    years: NDArray[np.int64]
    values: Array
    anomalies: Array
    expected: Array
    expected_anomalies: Array

    @classmethod
    def of(cls, scenario: Scenario, variable: int, means: RegionMeans, base: BasePeriod) -> RegionSeries:
        years, yearly = scenario.yearly(variable)
        values = means.of(yearly)
        zero = base.of(years, np.moveaxis(values, 1, -1))
        expected = means.of(scenario.yearly_expected(variable)[1])
        changes = expected - base.of(years, expected.T)
        return cls(scenario, variable, years, values, values - zero[:, None], expected, changes)


def region_table(series: Sequence[RegionSeries], means: RegionMeans, base: BasePeriod) -> pd.DataFrame:
    """Return a row for each pathway, variable, region and year: mean, anomaly, and of several members their band."""
    import pandas as pd

    return pd.DataFrame(list(_rows(series, means, base)))


def left_out_table(means: RegionMeans) -> pd.DataFrame:
    """Return a row for each region without a mean, with the reason."""
    import pandas as pd

    return pd.DataFrame({"region": means.left_out.keys(), "reason": means.left_out.values()})


def _rows(series: Sequence[RegionSeries], means: RegionMeans, base: BasePeriod) -> Iterator[dict[str, Any]]:
    for one in series:
        variable = one.scenario.variables[one.variable]
        for column, region in enumerate(means.regions):
            for row, year in enumerate(one.years):
                found: dict[str, Any] = {
                    "pathway": one.scenario.pathway.name,
                    "variable": variable.name,
                    "units": variable.units,
                    "region": region.key,
                    "region_name": region.name,
                    "cells": int(means.cells[column]),
                    "year": int(year),
                }
                change = f"anomaly_to_{base}", one.anomalies, one.expected_anomalies
                for name, values, expected in (("mean", one.values, one.expected), change):
                    members = values[:, row, column]
                    found[name] = round(float(expected[row, column]), 4)
                    if len(members) > 1:
                        low, high = np.percentile(members, BAND)
                        found |= {f"{name}_p05": round(float(low), 4), f"{name}_p95": round(float(high), 4)}
                yield found


def passed(years: NDArray[np.int64], anomaly: Array, threshold: float) -> int | None:
    """Return the middle year of the first 20-year mean [year] at or above a threshold, None where there is none.

    As AR6 says when a level of warming is reached.
    """
    if len(anomaly) < SPAN:
        return None
    running = np.convolve(anomaly, np.full(SPAN, 1 / SPAN), mode="valid")
    above = np.flatnonzero(running >= threshold)
    return int(years[above[0]] + SPAN // 2) if len(above) else None


def thresholds_of(scenario: Scenario, variable: int) -> tuple[float, ...]:
    """Return the levels of warming to look for, none where the variable is no temperature."""
    return THRESHOLDS if scenario.variables[variable].units in KELVIN else ()


def summary(one: RegionSeries, means: RegionMeans) -> dict[str, Any]:
    """Return what a scenario's global mean does: its last 20 years, and when it passes thresholds.

    Where northern sea is cold enough for ice at first, also the year in which so little of it is left that it counts
    as free of ice. Raises MeshcastError where the globe is not among the regions.
    """
    keys = [region.key for region in means.regions]
    if "global" not in keys:
        raise MeshcastError("A summary is of the globe, which is not among the regions.")
    expected = one.expected_anomalies[:, keys.index("global")]  # [year]
    late = one.anomalies[:, -SPAN:, keys.index("global")].mean(axis=1)  # [member]
    found: dict[str, Any] = {
        "pathway": one.scenario.pathway.name,
        "years": f"{one.years[-SPAN:][0]} to {one.years[-1]}",
        "change": round(float(expected[-SPAN:].mean()), 2) + 0.0,  # no -0.0
        "units": one.scenario.variables[one.variable].units,
    }
    if len(late) > 1:
        found["band"] = [round(float(end), 2) for end in np.percentile(late, BAND)]
    for threshold in thresholds_of(one.scenario, one.variable):
        found[f"passes {threshold:g} K"] = passed(one.years, expected, threshold)
    if thresholds_of(one.scenario, one.variable):
        sea, (_, fields) = northern_sea(one.scenario.mesh), one.scenario.yearly_expected(one.variable)
        ice = cold_sea(sea, fields, found["units"])
        if ice[:SPAN].mean() >= ICE_FREE:
            found["northern sea without lasting ice"] = passed(one.years, -ice, -ICE_FREE)
    return found
