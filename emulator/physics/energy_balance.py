"""The energy balance of a planet's surface and deep ocean: diffusion of heat, ice, sunshine and a forcing.

    C ∂T/∂t = S (1 - α(T)) - (A + B (T - T₀)) + D ∇²T - γ (T - T_d) + F(t),    C_d ∂T_d/∂t = γ (T - T_d)

(North, Cahalan & Coakley 1981, doi:10.1029/RG019i001p00091; the deep ocean after Geoffroy et al. 2013,
doi:10.1175/JCLI-D-12-00195.1.) A and B follow from the mean temperature and the equilibrium sensitivity that are asked
for. Fields are sums of real spherical harmonics. The linear part, land and sea, both layers and their exchange, is a
symmetric matrix, which its eigenvectors make diagonal once and for all; `RadauIIA` steps their amplitudes.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.optimize import root
from torch import Tensor

from emulator.physics.energy_balance_config import EnergyBalanceConfig, layers
from emulator.physics.insolation import annual_mean, daily_mean
from emulator.physics.radau import NODES, WEIGHTS, RadauIIA, Sources
from emulator.physics.zonal_balance import ZonalBalance
from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.harmonics.basis import orthonormal_basis
from graphs.harmonics.transform import SphericalTransform

CLOSE, MOST_YEARS = 1e-7, 300  # to which a year repeats itself [K], and in how many it should


class Advanced(NamedTuple):
    """What a planet is a while later, and what went on meanwhile.

    state: [row, layer, coefficient]. surface: mean over the time of the surface's [row, coefficient].
    heat: [row] that came in from space [W yr m-2].
    """

    state: Tensor
    surface: Tensor
    heat: Tensor


class EnergyBalance:
    """The equation with its tables. A state is [row, layer, coefficient]: temperatures less T₀ [K], surface, then deep.

    mesh: the Gaussian grid on which albedo and forcing act. outgoing, feedback: A [W m-2] and B [W m-2 K-1].
    layers: what each node's layers hold and exchange. rates: [mode] of decay [yr-1].

    Raises MeshcastError where no climate has the mean temperature and the sensitivity that are asked for.
    """

    def __init__(self, config: EnergyBalanceConfig) -> None:
        self.config = config
        transform = SphericalTransform(config.truncation)
        self.mesh = transform.mesh
        basis, self.degree = orthonormal_basis(self.mesh.positions, config.truncation)
        self.basis = torch.from_numpy(basis)  # [node, coefficient]
        self.analysis = (self.basis * torch.from_numpy(self.mesh.areas)[:, None]).T  # [coefficient, node]
        self.sin_latitude = np.sin(np.radians(self.mesh.latitudes))
        self.free_albedo = torch.from_numpy(config.free_albedo(self.sin_latitude))
        land = np.zeros(self.mesh.num_nodes) if config.land is None else config.land.share(self.mesh)
        self.layers = layers(config, land, self.mesh.areas)
        self._zonal = ZonalBalance(config, transform.latitudes, transform.weights)
        self._climate = self._zonal.climate()
        self.outgoing, self.feedback = self._climate.radiation
        self._make_modes()
        if config.insolation == "seasonal":
            self.outgoing, self.feedback = radiation_with_seasons(self)
            self._make_modes()

    def with_radiation(self, outgoing: float, feedback: float) -> EnergyBalance:
        """Return the same planet with another A [W m-2] and B [W m-2 K-1]."""
        other = copy(self)
        other.outgoing, other.feedback = outgoing, feedback
        other._make_modes()
        return other

    def _make_modes(self) -> None:
        """Solve K v = λ M v for the capacities M and the losses K [layer * coefficient] of the linear part."""
        config, size = self.config, len(self.degree)
        mass, loss = np.zeros((2 * size, 2 * size)), np.zeros((2 * size, 2 * size))
        first, second = slice(0, size), slice(size, 2 * size)
        mass[first, first], mass[second, second] = self._weighted(self.layers.surface), self._weighted(self.layers.deep)
        exchange = self._weighted(self.layers.uptake)
        loss[first, first] = exchange + np.diag(config.diffusivity * self.degree * (self.degree + 1) + self.feedback)
        loss[second, second], loss[first, second], loss[second, first] = exchange, -exchange, -exchange
        rates, vectors = eigh(loss, mass)
        self._schemes: dict[float, RadauIIA] = {}
        self.mass = torch.from_numpy(mass)
        self.rates = torch.from_numpy(np.maximum(rates, 0.0))
        self.vectors = torch.from_numpy(np.ascontiguousarray(vectors))  # [layer * coefficient, mode]
        self.from_state = self.vectors.T @ self.mass  # [mode, layer * coefficient]
        self.from_sources = self.vectors[:size].T  # [mode, coefficient]

    def _weighted(self, field: Array) -> Array:
        """Return the matrix [coefficient, coefficient] of a product with a field [node]."""
        matrix = self.analysis.numpy() * field @ self.basis.numpy()
        return np.asarray((matrix + matrix.T) / 2, np.float64)

    def advance(self, state: Tensor, years: float, start: Array, forcing: tuple[Tensor, Tensor]) -> Advanced:
        """Return the state some years later.

        start: [row] share of the calendar year that has gone; of no account to the annual mean of the sunshine.
        forcing: coefficients [row, coefficient] [W m-2] at the start and at the end, linear between.
        Raises MeshcastError where the stages of a step do not converge.
        """
        count = max(1, int(np.ceil(years / self.config.longest_step - 1e-9)))
        dt = years / count
        if dt not in self._schemes:
            self._schemes[dt] = RadauIIA(self.rates, dt)
        scheme = self._schemes[dt]
        z = state.flatten(1) @ self.from_state.T
        weights = torch.tensor(WEIGHTS[2], dtype=z.dtype) / count
        mean, heat = torch.zeros(len(state), len(self.degree), dtype=z.dtype), torch.zeros(len(state), dtype=z.dtype)
        for step in range(count):
            shares = [(step + node) / count for node in NODES]
            forced = torch.stack([torch.lerp(*forcing, share) for share in shares])
            sunshine = torch.stack([self.sunshine(start + share * years) for share in shares])

            def absorbed(stages: Tensor, forced: Tensor = forced, sunshine: Tensor = sunshine) -> Tensor:
                return self._absorbed(self._surface(stages), sunshine) + forced

            def source(stages: Tensor, absorbed: Sources = absorbed) -> Tensor:
                return absorbed(stages) @ self.from_sources.T

            stages = scheme.stages(z, source)
            surface = self._surface(stages)
            mean = mean + torch.einsum("s,src->rc", weights, surface)
            net = absorbed(stages)[..., 0] - self.feedback * surface[..., 0]
            heat = heat + years * weights @ net
            z = stages[-1]
        return Advanced((z @ self.vectors.T).unflatten(1, (2, -1)), mean, heat)

    def _absorbed(self, surface: Tensor, sunshine: Tensor) -> Tensor:
        """Return what a surface [..., coefficient] keeps of sunshine [..., node], less A [..., coefficient]."""
        albedo = self.free_albedo
        if self.config.ice is not None:
            albedo = self.config.ice.of(self.free_albedo, self.config.mean_temperature + surface @ self.basis.T)
        return (sunshine * (1.0 - albedo) - self.outgoing) @ self.analysis.T

    def _surface(self, modes: Tensor) -> Tensor:
        """Return the surface's coefficients [..., coefficient] of modes [..., mode]."""
        return modes @ self.vectors[: len(self.degree)].T

    def sunshine(self, time: Array) -> Tensor:
        """Return the insolation [row, node] [W m-2] at shares of the year [row]."""
        if self.config.insolation == "annual":
            return torch.from_numpy(annual_mean(self.config.solar_constant, self.sin_latitude)).expand(len(time), -1)
        return torch.from_numpy(daily_mean(self.config.solar_constant, self.sin_latitude, time[:, None]))

    def energy(self, state: Tensor) -> Tensor:
        """Return the heat [row] that both layers hold beyond T₀ [W yr m-2]."""
        held = state.flatten(1) @ self.mass
        return held[:, 0] + held[:, len(self.degree)]

    def uniform(self, forcing: Tensor) -> Tensor:
        """Return coefficients [row, coefficient] of a forcing [row] that is the same everywhere."""
        return forcing[:, None] * torch.eye(1, len(self.degree), dtype=forcing.dtype)

    def constant(self, forcing: float) -> tuple[Tensor, Tensor]:
        """Return coefficients [1, coefficient] of a forcing that is the same everywhere, now and later."""
        return (self.uniform(torch.tensor([forcing], dtype=torch.float64)),) * 2

    def annual_equilibrium(self, forcing: float = 0.0) -> Tensor:
        """Return the state [1, layer, coefficient] that a forcing [W m-2] leads to without seasons."""
        zonal = self._zonal.equilibrium(self._climate, forcing)
        surface = torch.nn.functional.pad(torch.from_numpy(zonal), (0, len(self.degree) - len(zonal)))
        return torch.stack([surface, surface])[None]

    def equilibrium(self, forcing: float = 0.0, season: float = 0.0) -> Tensor:
        """Return the state [1, layer, coefficient] of the climate that a forcing [W m-2] leads to.

        season: share of the year since 1 January; of no account to the annual mean of the sunshine.
        Raises MeshcastError where none is found, as where ice grows without end.
        """
        first = self.annual_equilibrium(forcing)
        if self.config.insolation == "annual":
            return first
        constant = self.constant(forcing)

        def residual(unknown: Array) -> Array:
            state = torch.from_numpy(unknown).reshape(first.shape)
            return _change_in_a_year(state, self.advance(state, 1.0, np.zeros(1), constant))

        january = torch.from_numpy(_repeated(residual, first.flatten().numpy())).reshape(first.shape)
        return self.advance(january, season, np.zeros(1), constant).state if season else january


def radiation_with_seasons(planet: EnergyBalance) -> tuple[float, float]:
    """Return A [W m-2] and B [W m-2 K-1] of the mean temperature and the sensitivity that are asked for, over years.

    planet: with those of the annual mean of the sunshine, from which the search starts.
    """
    config = planet.config
    warmer = torch.tensor([0.0, config.forcing_of_doubling], dtype=torch.float64)
    first = torch.cat([planet.annual_equilibrium(forcing) for forcing in warmer.tolist()])
    scale = planet.feedback

    def residual(unknown: Array) -> Array:
        tried = planet.with_radiation(scale * unknown[-2], scale * unknown[-1])
        state = torch.from_numpy(unknown[:-2]).reshape(first.shape)
        year = tried.advance(state, 1.0, np.zeros(2), (tried.uniform(warmer),) * 2)
        control, doubled = year.surface[:, 0].tolist()
        off = control, (doubled - control) / config.sensitivity - 1.0
        return np.concatenate([_change_in_a_year(state, year), off])

    unknown = np.concatenate([first.flatten().numpy(), [planet.outgoing / scale, 1.0]])
    *_, outgoing, feedback = _repeated(residual, unknown)
    return scale * float(outgoing), scale * float(feedback)


def _change_in_a_year(state: Tensor, year: Advanced) -> Array:
    """Return what vanishes of a climate that repeats: the surface's change, and its mean less the deep ocean."""
    return torch.stack([year.state[:, 0] - state[:, 0], year.surface - state[:, 1]], dim=1).flatten().numpy()


def _repeated(residual: Callable[[Array], Array], first: Array) -> Array:
    """Return a root by Anderson's acceleration of x + residual(x)."""
    options = {"fatol": CLOSE, "maxiter": MOST_YEARS, "jac_options": {"alpha": 1.0, "M": 10}}
    try:
        found = root(residual, first, method="anderson", options=options)
    except (MeshcastError, ValueError) as error:
        raise MeshcastError(f"No climate that repeats from year to year was found: {error}") from None
    if not found.success:
        raise MeshcastError(
            f"No climate that repeats from year to year was found in {MOST_YEARS} years. Choose a lower sensitivity, a "
            "higher mean_temperature, or a wider transition (ice.width)."
        )
    return np.asarray(found.x, np.float64)
