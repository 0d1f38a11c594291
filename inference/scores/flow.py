"""A wind on the whole sphere: vorticity, divergence, energy by degree, and its scores, by one estimator for truth and
forecast.

Harmonics are fitted to the nodes by least squares, weighted by area, up to the degree they resolve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.data.forecast import Forecast
from emulator.foundation.constants import GRAVITY
from graphs.errors import MeshcastError
from graphs.harmonics.basis import power_by_degree
from graphs.harmonics.remapping import NodeAnalysis
from graphs.harmonics.rows import RowWaves
from graphs.mesh import Domain, Mesh

Array = NDArray[np.float64]
Share = Callable[[str, Callable[[], Array]], Array]

SHARES = 0.7, 0.3  # coefficients a node: at 0.7 an icosphere's fit has the condition number 1.6, at 0.9 no bound
HIGHEST_DEGREE = 42  # beyond it the fit's matrix grows too large to be worth a picture
MOST_VALUES = 16_000_000  # of the wind's matrix: some seconds to make
MOST_AMPLIFIED = 3.0  # noise in the coefficients, over that on even nodes; nodes that leave holes blow it up


def resolved_degree(mesh: Mesh) -> int | None:
    """Return the highest degree that is fitted to a mesh's nodes, None where they do not cover the sphere."""
    view = _view(_Nodes(mesh.positions.tobytes(), mesh.domain, mesh))
    return None if view is None else view.truncation


class HarmonicView(NodeAnalysis):
    """Power and energy by degree of fields at the nodes of a mesh, and a wind's vorticity and divergence."""

    def power(self, values: Array) -> Array:
        """Return power [..., degree, variable] of fields [..., node, variable]; its sum is the area mean square."""
        moved = torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, 0), np.float64))  # [variable, ..., node]
        power = power_by_degree(self.scalars.coefficients(moved))  # [degree, variable, ...]
        return np.moveaxis(power.numpy(), (0, 1), (-2, -1))

    def kinetic_energy(self, east: Array, north: Array) -> Array:
        """Return kinetic energy per mass [..., degree] [m2 s-2] of winds [..., node] [m s-1]; degree 0 has none.

        E_l = (|ζ_l|² + |δ_l|²) / (2 l (l + 1)) on the sphere of radius one.
        """
        turning, opening = self._turning(east, north)
        power = power_by_degree(turning) + power_by_degree(opening)
        degree = torch.arange(self.truncation + 1, dtype=torch.float64).clamp(min=1.0)
        share = 0.5 / (degree * (degree + 1.0))
        share[0] = 0.0
        energy = power * share.reshape(-1, *(1,) * (power.ndim - 1))
        return np.moveaxis(energy.numpy(), 0, -1)

    def vorticity(self, east: Array, north: Array) -> Array:
        """Return the relative vorticity [..., node] [s-1] of winds [..., node]."""
        return self.nodes.field(self._turning(east, north)[0]).numpy() / self.mesh.domain.size

    def divergence(self, east: Array, north: Array) -> Array:
        """Return the horizontal divergence [..., node] [s-1] of winds [..., node]."""
        return self.nodes.field(self._turning(east, north)[1]).numpy() / self.mesh.domain.size

    @cached_property
    def _waves(self) -> RowWaves | None:
        return RowWaves.of(self.winds.matrix.numpy(), self.mesh.shape)

    def _turning(self, east: Array, north: Array) -> tuple[Tensor, Tensor]:
        if self._waves is not None:
            wind = np.concatenate([east, north], axis=-1).reshape(-1, 2 * east.shape[-1])
            return self.winds.arranged(torch.from_numpy(self._waves @ wind), torch.Size(east.shape[:-1]))
        components = (torch.from_numpy(np.ascontiguousarray(field, np.float64)) for field in (east, north))
        return self.winds.coefficients(*components)


def harmonic_view(mesh: Mesh) -> HarmonicView:
    """Return the view of a mesh, built once; raises MeshcastError where its nodes do not cover the sphere."""
    view = _view(_Nodes(mesh.positions.tobytes(), mesh.domain, mesh))
    if view is None:
        raise MeshcastError(f"Harmonics need nodes all over the sphere, but this is a {mesh.describe()}.")
    return view


@dataclass(frozen=True, eq=False)
class FlowScores:
    """Holds the scores of one emulator's wind; NaN where the truth or the forecast is not whole.

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
        """Return kinetic energy over the truth's, [lead], of means over cases; below one a forecast is too smooth."""
        return self._over_cases(self.kinetic) / self._over_cases(self.truth_kinetic)

    @property
    def available_change(self) -> tuple[Array, Array] | None:
        """Return the mean relative change of available energy, [1 + lead], of forecast and truth."""
        if self.available is None or self.truth_available is None:
            return None
        there = np.concatenate([np.ones_like(self._there[:, :1]), self._there], axis=1)
        both = (self.available, self.truth_available)
        forecast, truth = (_mean_where(energy / energy[:, :1] - 1.0, there) for energy in both)
        return forecast, truth

    @property
    def _there(self) -> NDArray[np.bool_]:
        """Return where there is truth, [case, lead]."""
        return np.isfinite(self.truth_kinetic)

    def _over_cases(self, values: Array) -> Array:
        return _mean_where(values, self._there)


@dataclass(frozen=True, eq=False)
class FlowChunk:
    """What scoring a wind in some cases and leads finds; see `FlowScores`.

    kinetic: [forecast or truth, case, lead]. start: [case] available energy at the initial times. available: [forecast
        or truth, case, lead]. spectrum: [forecast or truth, lead, degree] sums over the cases that are counted.
    """

    cases: slice
    leads: slice
    vector_mse: Array
    kinetic: Array
    start: Array | None
    available: Array | None
    spectrum: Array
    count: Array


class FlowScorer:
    """Sums up `FlowScores` chunk by chunk, as verification walks through a forecast."""

    def __init__(self, forecast: Forecast, names: Sequence[str], units: Sequence[str], wind: tuple[int, int]) -> None:
        self.wind = list(wind)
        self.names, self.units = (names[self.wind[0]], names[self.wind[1]]), units[self.wind[0]]
        self.depth = names.index("h") if "h" in names and units[names.index("h")] == "m" else None
        self.mesh, self.areas = forecast.mesh, forecast.mesh.areas
        cases, _, leads = forecast.values.shape[:3]
        self.vector_mse = np.full((cases, leads), np.nan)
        self.kinetic = np.full((2, cases, leads), np.nan)
        self.available = np.full((2, cases, 1 + leads), np.nan)
        self.spectrum = np.zeros((2, leads, harmonic_view(self.mesh).truncation + 1))
        self.count = np.zeros((leads, 1))

    def scored(
        self, values: Array, truth: Array, initial: Array, cases: slice, leads: slice, share: Share
    ) -> FlowChunk:
        """Score values [case, member, lead, node, variable]; truth is without member, initial [case, node, variable].

        share: computes the energy of the truth, or knows it from another forecast.
        """
        errors = [values[..., column].mean(1) - truth[..., column] for column in self.wind]
        vector_mse = self._mean(errors[0] ** 2 + errors[1] ** 2)
        whole = np.isfinite(vector_mse)[..., None]
        kinetic, spectrum, available, view = [], [], [], harmonic_view(self.mesh)
        for place, fields in enumerate((values, truth[:, None])):
            east, north = (fields[..., column] for column in self.wind)
            kinetic.append(self._mean(0.5 * (east**2 + north**2)).mean(1))
            of_member = partial(view.kinetic_energy, east, north)
            energy = (of_member() if place == 0 else share("energy", of_member)).mean(1)
            spectrum.append(np.where(whole, energy, 0.0).sum(0))
            if self.depth is not None:
                available.append(self._available(fields).mean(1))
        return FlowChunk(
            cases,
            leads,
            vector_mse,
            np.stack(kinetic),
            None if self.depth is None else self._available(initial),
            np.stack(available) if available else None,
            np.stack(spectrum),
            whole.sum(0),
        )

    def add(self, chunk: FlowChunk) -> None:
        """Take what was found of a chunk; chunks come in one order, on which the last digit of sums depends."""
        cases, leads = chunk.cases, chunk.leads
        self.vector_mse[cases, leads] = chunk.vector_mse
        self.kinetic[:, cases, leads] = chunk.kinetic
        self.spectrum[:, leads] += chunk.spectrum
        self.count[leads] += chunk.count
        if chunk.available is not None:
            self.available[:, cases, 0] = chunk.start
            self.available[:, cases, leads.start + 1 : leads.stop + 1] = chunk.available

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


@dataclass(frozen=True)
class _Nodes:
    """A mesh, equal to another where the nodes are the same to the last bit."""

    positions: bytes
    domain: Domain
    mesh: Mesh = field(compare=False)


@lru_cache(maxsize=3)
def _view(nodes: _Nodes) -> HarmonicView | None:
    mesh = nodes.mesh
    if mesh.domain.kind != "sphere":
        return None
    affordable = int(np.sqrt(MOST_VALUES / (4 * mesh.num_nodes))) - 1
    for share in SHARES:
        highest = min(int(np.sqrt(share * mesh.num_nodes)) - 1, affordable, HIGHEST_DEGREE)
        if highest >= 2 and _amplification(view := HarmonicView(mesh, highest)) < MOST_AMPLIFIED:
            return view
    return None


def _amplification(view: HarmonicView) -> float:
    """Return how much larger noise at the nodes is in the coefficients than on even nodes, where it is about one."""
    columns = view.scalars.matrix.numpy() / np.sqrt(view.mesh.areas)
    return float(np.square(columns).sum() / (view.truncation + 1) ** 2)


def _mean_where(values: Array, there: NDArray[np.bool_]) -> Array:
    """Return the mean [lead] of [case, lead] over the cases that have truth."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(0) / there.sum(0))
