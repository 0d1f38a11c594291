"""Pathways of radiative forcing, drawn at random, for a solver to follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.interpolate import PchipInterpolator

from graphs.errors import MeshcastError
from graphs.geometry import Array


@dataclass(frozen=True)
class RandomPathways:
    """Forcings that rise and fall smoothly, and are struck by eruptions now and then.

    Through values drawn at every knot a curve without overshoots runs (PCHIP, Fritsch & Carlson 1980,
    doi:10.1137/0717021). Eruptions come in random years, with an exponentially distributed forcing, which fades.

    knots: years from one to the next. lowest, highest: of their values [W m-2].
    change: at most, from knot to knot [W m-2].
    from_zero: share of the pathways that begin at zero; the others begin anywhere between lowest and highest, so that
        climates in balance with other forcings are seen too.
    eruptions: mean number in a century. eruption: their mean forcing [W m-2]. fading: years to 1/e.
    """

    kind: Literal["random"] = "random"
    knots: float = 50.0
    lowest: float = -1.0
    highest: float = 9.0
    change: float = 4.0
    from_zero: float = 0.5
    eruptions: float = 10.0
    eruption: float = -1.0
    fading: float = 1.0

    def __post_init__(self) -> None:
        if not (self.knots > 0 and self.change > 0 and self.fading > 0 and self.eruptions >= 0):
            raise MeshcastError(
                "Random pathways need knots, change and fading > 0 and eruptions >= 0, but they are "
                f"{self.knots:g}, {self.change:g}, {self.fading:g} and {self.eruptions:g}."
            )
        if not self.lowest <= 0 <= self.highest or self.lowest == self.highest:
            raise MeshcastError(
                "Random pathways may begin at zero: lowest must not be above it, highest not below it, and both "
                f"differ, but they are {self.lowest:g} and {self.highest:g}."
            )
        if not 0 <= self.from_zero <= 1:
            raise MeshcastError(f"from_zero is a share of the pathways, from 0 to 1, but is {self.from_zero:g}.")

    def draw(self, years: Array, generator: np.random.Generator) -> Array:
        """Return a forcing [time] [W m-2] at years since the first."""
        count = 2 + int(np.ceil(years[-1] / self.knots))
        values = np.zeros(count)
        if generator.uniform() >= self.from_zero:
            values[0] = generator.uniform(self.lowest, self.highest)
        for knot in range(1, count):
            low, high = values[knot - 1] - self.change, values[knot - 1] + self.change
            values[knot] = generator.uniform(max(self.lowest, low), min(self.highest, high))
        smooth = PchipInterpolator(self.knots * np.arange(count), values)(years)
        number = generator.poisson(self.eruptions * years[-1] / 100)
        moments = generator.uniform(0.0, years[-1], number)
        strengths = self.eruption * generator.exponential(1.0, number)
        since = years[:, None] - moments
        faded = np.where(since >= 0, np.exp(-np.maximum(since, 0.0) / self.fading), 0.0)
        return np.asarray(smooth + faded @ strengths, np.float64)
