"""The energy balance as an emulator: temperatures on a mesh, a step of a month or a year at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.foundation.time_step import TimeStep, share_of_year
from emulator.physics.energy_balance import EnergyBalance
from emulator.physics.energy_balance_config import EnergyBalanceConfig
from emulator.state import State
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.harmonics.basis import orthonormal_basis
from graphs.harmonics.nodes import refuse_unresolved, weighted_pseudo_inverse
from graphs.mesh import Mesh

SURFACE = Variable("tas", "prognostic", "K")
DEEP = Variable("deep_ocean_temperature", "prognostic", "K")
FORCING = Variable("effective_radiative_forcing", "forcing", "W m-2")


class EnergyBalanceSolver:
    """A planet's energy balance under the emulators' protocol; see `EnergyBalance`.

    Its State holds the temperatures of surface and deep ocean [K] on the Gaussian grid of its truncation, from which
    coefficients are found exactly, so that n steps, then m, equal n + m to rounding. The forcing [W m-2], of nodes or
    the same at all, is taken as linear from one time to the next.

    mesh: another mesh for the State. Coefficients are then a least-squares fit to its nodes, which drops at the first
        step what lies beyond the truncation; (T + 1)² must not exceed their number.
    """

    def __init__(self, config: EnergyBalanceConfig, time_step: TimeStep, mesh: Mesh | None = None) -> None:
        if time_step.true_length is not None:
            raise MeshcastError(f"An energy balance needs a time step such as 1 month or 1 year, not {time_step}.")
        self.config, self.task = config, Task((SURFACE, DEEP, FORCING), time_step)
        self.equation = EnergyBalance(config)
        self.mesh = self.equation.mesh if mesh is None else mesh
        self._synthesis, self._analysis = self.equation.basis, self.equation.analysis
        if not self.mesh.same_nodes(self.equation.mesh):
            refuse_unresolved(self.mesh, config.truncation)
            basis, _ = orthonormal_basis(self.mesh.positions, config.truncation)
            self._synthesis = torch.from_numpy(basis)
            self._analysis = torch.from_numpy(weighted_pseudo_inverse(basis, self.mesh.areas))

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> tuple[State, None]:
        """Return the state one time step later. forcing: [batch, 2, node, 1] now and then."""
        now = state.now.double()  # [batch, member, node, layer]
        members = now.shape[1]
        given = forcing[:, -2:, :, 0].double().repeat_interleave(members, dim=0) @ self._analysis.T
        later = self.equation.advance(
            self.coefficients(now.flatten(0, 1)),
            self.task.time_step.years,
            share_of_year(np.repeat(state.valid_time, members)),
            (given[:, 0], given[:, 1]),
        )
        values = self.temperatures(later.state).unflatten(0, now.shape[:2]).to(state.values.dtype)
        return State(values[:, :, None], self.task.time_step.advance(state.valid_time)), None

    def coefficients(self, temperatures: Tensor) -> Tensor:
        """Return the state [row, layer, coefficient] of temperatures [row, node, layer] [K]."""
        return (temperatures.transpose(1, 2) - self.config.mean_temperature) @ self._analysis.T

    def temperatures(self, state: Tensor) -> Tensor:
        """Return temperatures [row, node, layer] [K] of a state [row, layer, coefficient]."""
        return self.config.mean_temperature + (state @ self._synthesis.T).transpose(1, 2)

    def equilibrium(self, valid_time: NDArray[np.int64], forcing: float = 0.0) -> State:
        """Return the climate that a forcing [W m-2] leaves as it is, at times [batch], all of the same season."""
        state = self.equation.equilibrium(forcing, float(share_of_year(valid_time)[0]))
        values = self.temperatures(state)[:, None, None].expand(len(valid_time), -1, -1, -1, -1)
        return State(values, valid_time)
