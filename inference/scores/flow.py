"""What a wind on the sphere says: vorticity, divergence and energy by degree, by one estimator for truth and forecast.

Harmonics are fitted to the nodes by least squares, weighted by area, up to the degree they resolve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.harmonics.basis import power_by_degree
from graphs.harmonics.nodes import Evaluation, NodeProjection, WindProjection
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Domain, Mesh

Array = NDArray[np.float64]

SHARES = 0.7, 0.3  # coefficients a node: at 0.7 an icosphere's fit has the condition number 1.6, at 0.9 no bound
HIGHEST_DEGREE = 42  # beyond it the fit's matrix grows too large to be worth a picture
MOST_VALUES = 16_000_000  # of the wind's matrix: some seconds to make
MOST_AMPLIFIED = 3.0  # noise in the coefficients, over that on even nodes; nodes that leave holes blow it up
SPEEDS = ("m s-1", "m s**-1", "m/s", "m s^-1")


def winds(variables: Sequence[str], units: Sequence[str]) -> list[tuple[int, int]]:
    """Return columns (eastward, northward) of winds: names that differ in u and v alone, both speeds."""
    found = []
    for east, name in enumerate(variables):
        for place, letter in enumerate(name):
            partner = name[:place] + "v" + name[place + 1 :]
            if letter == "u" and partner in variables:
                north = variables.index(partner)
                if units[east] == units[north] and units[east] in SPEEDS:
                    found.append((east, north))
    return found


def resolved_degree(mesh: Mesh) -> int | None:
    """Return the highest degree that is fitted to a mesh's nodes, None where they do not cover the sphere."""
    view = _view(_Nodes.of(mesh))
    return None if view is None else view.truncation


class HarmonicView:
    """Fields at the nodes of a mesh as harmonics up to degree T, and winds as vorticity and divergence."""

    def __init__(self, mesh: Mesh, truncation: int) -> None:
        self.mesh, self.truncation = mesh, truncation
        self.scalars = NodeProjection(mesh, truncation)
        self._nodes = Evaluation(mesh, truncation)

    @cached_property
    def winds(self) -> WindProjection:
        """Return the fit of a wind, built when first asked for: data without a wind need none."""
        return WindProjection(self.mesh, SphericalTransform(self.truncation))

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
        return self._nodes.field(self._turning(east, north)[0]).numpy() / self.mesh.domain.size

    def divergence(self, east: Array, north: Array) -> Array:
        """Return the horizontal divergence [..., node] [s-1] of winds [..., node]."""
        return self._nodes.field(self._turning(east, north)[1]).numpy() / self.mesh.domain.size

    def _turning(self, east: Array, north: Array) -> tuple[Tensor, Tensor]:
        fields = (torch.from_numpy(np.ascontiguousarray(part, np.float64)) for part in (east, north))
        return self.winds.coefficients(*fields)


def harmonic_view(mesh: Mesh) -> HarmonicView:
    """Return the view of a mesh, built once; raises MeshcastError where its nodes do not cover the sphere."""
    view = _view(_Nodes.of(mesh))
    if view is None:
        raise MeshcastError(f"Harmonics need nodes all over the sphere, but this is a {mesh.describe()}.")
    return view


@dataclass(frozen=True)
class _Nodes:
    """A mesh, equal to another where the nodes are the same to the last bit."""

    positions: bytes
    domain: Domain
    mesh: Mesh = field(compare=False)

    @classmethod
    def of(cls, mesh: Mesh) -> _Nodes:
        return cls(mesh.positions.tobytes(), mesh.domain, mesh)


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
