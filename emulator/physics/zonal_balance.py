"""The climate that the annual mean of the sunshine leaves as it is: zonal, whatever the capacities are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from emulator.physics.energy_balance_config import EnergyBalanceConfig
from emulator.physics.insolation import annual_mean
from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.harmonics.basis import legendre

MOST_ITERATIONS, LARGEST_STEP = 200, 5.0  # of Newton's method, and of a temperature in one of them [K]
CLOSE = 1e-11  # [K]
FORCING_STEP = 0.25  # [W m-2], in which a forcing grows
FIRST_SLOPE = -12.0  # [K] of P₂ in the first guess: a warm climate, not one all of ice


NO_CLIMATE = (
    "No climate was found that has this mean temperature and sensitivity and stays as it is: ice may grow or melt "
    "without end. Choose a lower sensitivity, a higher mean_temperature, or a wider transition (ice.width)."
)


class ZonalClimate(NamedTuple):
    """A climate without forcing: temperatures [degree], less T₀ [K], and the radiation, A [W m-2] and B [W m-2 K-1]."""

    temperature: Array
    radiation: tuple[float, float]


class ZonalBalance:
    """0 = S (1 - α(T)) - (A + B (T - T₀)) + D ∇²T + F by latitude, solved by Newton's method.

    Temperatures are coefficients [degree] of T - T₀ [K], of Legendre polynomials of mean square one.

    latitudes: [latitude] [degrees], with weights [latitude] of quadrature that sum to one.
    """

    def __init__(self, config: EnergyBalanceConfig, latitudes: Array, weights: Array) -> None:
        mu = np.sin(np.radians(latitudes))
        degree = np.arange(config.truncation + 1.0)
        self.config, self.weights = config, weights
        self.basis = legendre(mu, config.truncation)[:, 0]  # [latitude, degree]
        self.sunshine, self.free_albedo = annual_mean(config.solar_constant, mu), config.free_albedo(mu)
        self.transport = np.diag(config.diffusivity * degree * (degree + 1))

    def climate(self) -> ZonalClimate:
        """Return the radiation, and the climate without forcing, of the mean temperature and sensitivity asked for.

        Raises MeshcastError where there is none, or none that holds: one from which a planet would move to another.
        """
        config, size = self.config, self.config.truncation + 1

        def residual(unknown: Array) -> tuple[Array, Array]:
            value, slope = np.zeros(2 * size + 2), np.zeros((2 * size + 2, 2 * size + 2))
            for row, forcing in enumerate((0.0, config.forcing_of_doubling)):
                part = slice(row * size, (row + 1) * size)
                radiation = float(unknown[-2]), float(unknown[-1])
                value[part], slope[part, part] = self._residual(unknown[part], radiation, forcing)
                slope[row * size, -2], slope[part, -1] = -1.0, -unknown[part]
            value[-2:] = unknown[0], unknown[size] - unknown[0] - config.sensitivity
            slope[-2, 0], slope[-1, [0, size]] = 1.0, (-1.0, 1.0)
            return value, slope

        first = np.zeros(size)
        first[2:3] = FIRST_SLOPE / np.sqrt(5.0)
        warmer = first + config.sensitivity * np.eye(1, size)[0]
        absorbed = float(self.weights @ (self.sunshine * (1 - self.free_albedo)))
        feedback = config.forcing_of_doubling / config.sensitivity
        found = _solved(residual, np.concatenate([first, warmer, [absorbed, feedback]]))
        if found is None:
            raise MeshcastError(NO_CLIMATE)
        climate = ZonalClimate(found[:size], (float(found[-2]), float(found[-1])))
        if not self._holds(climate.temperature, climate.radiation):
            raise MeshcastError(NO_CLIMATE)
        reached = self.equilibrium(climate, config.forcing_of_doubling)
        if np.abs(reached - found[size : 2 * size]).max() > 1e-6:
            raise MeshcastError(NO_CLIMATE)
        return climate

    def equilibrium(self, climate: ZonalClimate, forcing: float) -> Array:
        """Return the temperatures to which a forcing [W m-2] brings a climate as it grows little by little.

        Raises MeshcastError where the climate tips into another on the way.
        """
        found = climate.temperature
        for part in np.linspace(0.0, forcing, 1 + int(np.ceil(abs(forcing) / FORCING_STEP)))[1:]:
            following = _solved(partial(self._residual, radiation=climate.radiation, forcing=float(part)), found)
            if following is None or not self._holds(following, climate.radiation):
                raise MeshcastError(
                    f"At a forcing of {part:.2f} W m-2 this climate tips into another: ice grows or melts without end. "
                    "Stay below it, or widen the ice's transition (ice.width)."
                )
            found = following
        return found

    def _holds(self, t: Array, radiation: tuple[float, float]) -> bool:
        """Return whether small departures from temperatures in balance die away."""
        return bool(np.linalg.eigvals(self._residual(t, radiation, 0.0)[1]).real.max() < 0)

    def _residual(self, t: Array, radiation: tuple[float, float], forcing: float) -> tuple[Array, Array]:
        """Return the imbalance [degree] and its derivative by the temperatures, of A and B."""
        outgoing, feedback = radiation
        albedo, slope = self.free_albedo, np.zeros_like(self.free_albedo)
        if (ice := self.config.ice) is not None:
            albedo, slope = ice.with_slope(self.free_albedo, self.config.mean_temperature + self.basis @ t)
        weighted = self.basis.T * self.weights
        kept = self.sunshine * (1.0 - albedo) - outgoing + forcing
        loss = self.transport + feedback * np.eye(len(t))
        return weighted @ kept - loss @ t, weighted @ ((-self.sunshine * slope)[:, None] * self.basis) - loss


def _solved(residual: Callable[[Array], tuple[Array, Array]], first: Array) -> Array | None:
    """Return a root by Newton's method in steps of limited length, None where it finds none."""
    found = first
    for _ in range(MOST_ITERATIONS):
        value, derivative = residual(found)
        change = -np.linalg.solve(derivative, value)
        length = np.abs(change).max()
        found = found + change * (LARGEST_STEP / length if length > LARGEST_STEP else 1.0)
        if length < CLOSE * (1.0 + np.abs(found).max()):
            return found
    return None
