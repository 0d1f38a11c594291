"""Scores of a wind on the whole sphere: its vector error, its energy, and its energy by degree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from emulator.data.forecast import Forecast
from emulator.foundation.constants import GRAVITY
from inference.scores.flow import harmonic_view

Array = NDArray[np.float64]
Share = Callable[[str, Callable[[], Array]], Array]


@dataclass(frozen=True, eq=False)
class FlowScores:
    """What verification found of one emulator's wind; NaN where the truth or the forecast is not whole.

    names: of the eastward and the northward component. units: of both.
    vector_mse: [case, lead] area mean of |v - v_truth|², of the ensemble mean.
    kinetic, truth_kinetic: [case, lead] area mean of |v|²/2, a member's on average.
    available, truth_available: [case, 1 + lead] area mean of h |v|²/2 + g (h - H)²/2 from the initial time on, H the
        area mean of h, where h [m] is the depth of a fluid beside the wind; else None.
    spectrum, truth_spectrum: [lead, degree] |v|²/2 by degree, mean over the cases both are whole in.
    """

    names: tuple[str, str]
    units: str
    vector_mse: Array
    kinetic: Array
    truth_kinetic: Array
    available: Array | None
    truth_available: Array | None
    spectrum: Array
    truth_spectrum: Array

    @property
    def vector_rmse(self) -> Array:
        """Return the error of the wind as a vector, [lead], over all cases; NaN once a forecast has failed."""
        return np.sqrt(self._over_cases(self.vector_mse))

    @property
    def energy_ratio(self) -> Array:
        """Return the kinetic energy over the truth's, [lead], both means over cases; below one the forecast is too
        smooth."""
        return self._over_cases(self.kinetic) / self._over_cases(self.truth_kinetic)

    @property
    def available_change(self) -> tuple[Array, Array] | None:
        """Return available energy over the initial one, less one, of forecast and truth, [1 + lead], mean over
        cases."""
        if self.available is None or self.truth_available is None:
            return None
        there = np.concatenate([np.ones_like(self._there[:, :1]), self._there], axis=1)
        forecast, truth = (
            _mean_where(energy / energy[:, :1] - 1.0, there) for energy in (self.available, self.truth_available)
        )
        return forecast, truth

    @property
    def _there(self) -> NDArray[np.bool_]:
        """Where there is truth, [case, lead]."""
        return np.isfinite(self.truth_kinetic)

    def _over_cases(self, values: Array) -> Array:
        return _mean_where(values, self._there)


class FlowScorer:
    """Walks along with verification, chunk by chunk, and keeps what `FlowScores` holds."""

    def __init__(self, forecast: Forecast, names: Sequence[str], units: Sequence[str], wind: tuple[int, int]) -> None:
        self.wind = list(wind)
        self.names, self.units = (names[self.wind[0]], names[self.wind[1]]), units[self.wind[0]]
        self.depth = names.index("h") if "h" in names and units[names.index("h")] == "m" else None
        self.view, self.areas = harmonic_view(forecast.mesh), forecast.mesh.areas
        cases, _, leads = forecast.values.shape[:3]
        self.vector_mse = np.full((cases, leads), np.nan)
        self.kinetic = np.full((2, cases, leads), np.nan)
        self.available = np.full((2, cases, 1 + leads), np.nan)
        self.spectrum = np.zeros((2, leads, self.view.truncation + 1))
        self.count = np.zeros((leads, 1))

    def add(self, values: Array, truth: Array, initial: Array, cases: slice, leads: slice, share: Share) -> None:
        """Score values [case, member, lead, node, variable]; truth is without member, initial [case, node, variable].

        share: computes the energy of the truth, or knows it from another forecast.
        """
        error = values.mean(1)[..., self.wind] - truth[..., self.wind]
        self.vector_mse[cases, leads] = self._mean((error**2).sum(-1))
        whole = np.isfinite(self.vector_mse[cases, leads])[..., None]
        later = slice(leads.start + 1, leads.stop + 1)
        for place, fields in enumerate((values, truth[:, None])):
            wind = fields[..., self.wind]
            self.kinetic[place, cases, leads] = self._mean(0.5 * (wind**2).sum(-1)).mean(1)
            of_member = partial(self.view.kinetic_energy, wind[..., 0], wind[..., 1])
            energy = (of_member() if place == 0 else share("energy", of_member)).mean(1)
            self.spectrum[place, leads] += np.where(whole, energy, 0.0).sum(0)
            if self.depth is not None:
                self.available[place, cases, 0] = self._available(initial)
                self.available[place, cases, later] = self._available(fields).mean(1)
        self.count[leads] += whole.sum(0)

    def scores(self) -> FlowScores:
        """Return the scores of all that was added."""
        with np.errstate(invalid="ignore"):
            spectrum = self.spectrum / self.count
        available = self.available if self.depth is not None else (None, None)
        return FlowScores(self.names, self.units, self.vector_mse, *self.kinetic, *available, *spectrum)

    def _mean(self, field: Array) -> Array:
        return np.asarray(field @ self.areas)

    def _available(self, fields: Array) -> Array:
        """Return available energy [...] of fields [..., node, variable], per area and density [m3 s-2]."""
        depth = fields[..., self.depth]
        departure = depth - self._mean(depth)[..., None]
        return self._mean(0.5 * depth * (fields[..., self.wind] ** 2).sum(-1) + 0.5 * GRAVITY * departure**2)


def _mean_where(values: Array, there: NDArray[np.bool_]) -> Array:
    """Return the mean [lead] of [case, lead] over the cases that have truth."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(0) / there.sum(0))
