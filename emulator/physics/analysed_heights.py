"""Initial states of shallow water from analysed geopotential: winds by balance, perturbed, and balanced again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.data.coordinates import mesh_from_coordinates
from emulator.data.files import read_files
from emulator.physics.global_grid import coefficients_on
from emulator.physics.random_flow import random_vorticity
from emulator.physics.shallow_water import ShallowWater
from graphs.errors import MeshcastError
from graphs.harmonics.basis import Degrees, epsilon

MINUTE = 60.0  # [s]


@dataclass(frozen=True)
class AnalysedHeights:
    """Flow that an analysed geopotential is in balance with, plus random balanced flow.

    The wind has no divergence, and its stream function ψ fits the linear balance equation ∇·(f ∇ψ) = ∇²Φ (Lorenz 1960,
    DOI 10.3402/tellusa.v12i4.9406) in least squares, with |2 Ω sin(equator) ∇²ψ|² beside it, which decides near the
    equator. Then planetswe's way to rid itself of gravity waves (Ohana et al. 2024, arXiv:2412.00568, the script that
    made its data): for i = 0, 1, ... the depth is put into nonlinear balance with the wind, and 10 + 30 i minutes pass.

    source: GRIB or NetCDF. variable: its geopotential [m2 s-2]. Trajectory k starts from field k, counted member by
        member and then time by time; where there are more trajectories than fields, from the first again.
    equator: latitude [degrees] below which the balance equation fades out.
    perturbation: root mean square of the random wind [m s-1]. degrees: lowest and highest of its vorticity, as of
        `balanced`.
    cycles: how often the depth is balanced.
    """

    kind: Literal["analysed"] = "analysed"
    source: str = "data/era5-levels-members.grib"
    variable: str = "z_500"
    equator: float = 10.0
    perturbation: float = 5.0
    degrees: tuple[int, int] = (4, 12)
    cycles: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.equator < 90 or self.perturbation < 0 or self.cycles < 1:
            raise MeshcastError(
                "Analysed heights need an equator within 0 to 90 degrees, perturbation >= 0 and cycles >= 1, but they "
                f"are {self.equator:g}, {self.perturbation:g} and {self.cycles}."
            )

    def in_words(self) -> str:
        """Return the states as a paragraph on methods names them."""
        lowest, highest = self.degrees
        return (
            f"flow in linear balance [@lorenz1960] with analysed geopotential ({self.variable}), with random "
            f"balanced flow of degrees {lowest} to {highest} and {self.perturbation:g} m/s, balanced {self.cycles} "
            "times as in planetswe [@ohana2024]"
        )


def analysed_states(
    config: AnalysedHeights, equation: ShallowWater, numbers: Sequence[int], generators: Sequence[np.random.Generator]
) -> Tensor:
    """Return spectral states [field, order, offset, trajectory] of trajectories by number, a generator each.

    Raises MeshcastError where the file is not there or does not hold the geopotential on a global grid.
    """
    available = torch.from_numpy(_geopotential(config, equation.config.truncation))
    geopotential = available[..., torch.tensor(numbers) % available.shape[-1]]
    found = torch.from_numpy(_balanced_vorticity(geopotential.numpy(), config, equation))
    vorticity = found.to(equation.transform.device, equation.transform.dtype.to_complex())
    if config.perturbation:
        random = random_vorticity(config.degrees, equation, generators)
        vorticity = vorticity + random * (config.perturbation / _wind_speed(random, equation))
    state = equation.balanced(vorticity)
    for cycle in range(config.cycles):
        state = equation.balanced(state[0], state[1])
        state = equation.advance(state, MINUTE * (10 + 30 * cycle), np.zeros(state.shape[-1], np.int64))
    return equation.balanced(state[0], state[1])


def _geopotential(config: AnalysedHeights, truncation: int) -> NDArray[np.complex128]:
    """Return the coefficients [order, offset, field] of all fields of the file [m2 s-2]."""
    read = read_files([config.source], select=[config.variable])
    values = read[config.variable].values.astype(np.float64)  # [time, number, cell]
    mesh = mesh_from_coordinates(read.latitude.values, read.longitude.values)
    fields = values.reshape(-1, values.shape[-1])
    return coefficients_on(mesh, fields, truncation, f"{config.variable} of {config.source}").numpy()


def _balanced_vorticity(
    geopotential: NDArray[np.complex128], config: AnalysedHeights, equation: ShallowWater
) -> NDArray[np.complex128]:
    """Return the vorticity [order, offset, field] of the linear balance equation, order by order.

    ∇·(f ∇ψ) sends degree l to l + 1 with -2 Ω ε(l + 1) l (l + 2), and to l - 1 with -2 Ω ε(l) (l + 1) (l - 1).
    """
    truncation, rotation = equation.config.truncation, equation.config.rotation
    fading = 2 * rotation * np.sin(np.radians(config.equator))
    vorticity = np.zeros_like(geopotential)
    degree = Degrees(truncation).degree.astype(np.float64)
    for order in range(truncation + 1):
        count = truncation + 1 - order
        n = degree[order, :count]
        coupling = np.zeros((count, count))
        up = -2 * rotation * epsilon(n + 1, order) * n * (n + 2)
        down = -2 * rotation * epsilon(n, order) * (n + 1) * (n - 1)
        coupling[np.arange(1, count), np.arange(count - 1)] = up[:-1]
        coupling[np.arange(count - 1), np.arange(1, count)] = down[1:]
        laplacian = -n * (n + 1)
        gram = coupling.T @ coupling + np.diag((fading * laplacian) ** 2)
        gram[n == 0, n == 0] = 1.0  # the mean of ψ is nobody's
        stream = np.linalg.solve(gram, coupling.T @ (laplacian[:, None] * geopotential[order, :count]))
        vorticity[order, :count] = laplacian[:, None] * stream / equation.config.radius**2
    return vorticity


def _wind_speed(vorticity: Tensor, equation: ShallowWater) -> Tensor:
    """Return the root mean square of the wind's speed over the sphere [column] [m s-1]."""
    _, u, v = equation.to_grid(torch.stack([vorticity, 0 * vorticity, 0 * vorticity]))
    rows = (u.square() + v.square()).mean(dim=2)  # [latitude, column]
    weights = torch.from_numpy(equation.transform.mesh.areas.reshape(equation.transform.num_latitudes, -1).sum(axis=1))
    return (weights.to(rows)[:, None] * rows).sum(dim=0).sqrt()
