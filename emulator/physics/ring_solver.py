"""The reference solver on the ring, itself an emulator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from emulator.foundation.time_step import TimeStep
from emulator.physics.etdrk import Etdrk, etdrk, on_device
from emulator.physics.ring_equations import EquationConfig, SpectralRing, ring_equation
from emulator.state import State
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


class RingSolver:
    """Pseudo-spectral exponential time differencing on a ring, in float64 and any number of rows at once.

    A linear equation is solved exactly, in one substep however long; else the error falls with the `order` of dt.

    time_step: what one call advances, in the equation's own time; taken in `substeps` steps of the integrator.
    """

    def __init__(
        self,
        equation: EquationConfig,
        mesh: Mesh,
        time_step: float,
        substeps: int = 1,
        order: Literal[2, 4] = 4,
    ) -> None:
        if mesh.domain.kind != "ring":
            raise MeshcastError(f"A ring equation needs a ring, but the mesh is a {mesh.describe()}.")
        if not time_step > 0 or substeps < 1:
            raise MeshcastError(f"Need time_step > 0 and substeps >= 1, but they are {time_step:g} and {substeps}.")
        if order not in (2, 4):
            raise MeshcastError(f"The solver is of order 2 or 4, not {order}.")
        self.mesh = mesh
        self.task = Task(
            (Variable("u", "prognostic", conserved=True),), TimeStep(1, true_length=time_step, true_units="")
        )
        self.substeps = substeps
        self.order: Literal[2, 4] = order
        self._equation = ring_equation(equation, mesh.num_nodes, mesh.domain.size, time_step)
        self._on_device: dict[torch.device, tuple[SpectralRing, Etdrk]] = {}

    @property
    def time_step(self) -> float:
        """Return the time step in the equation's own time."""
        assert self.task.time_step.true_length is not None
        return self.task.time_step.true_length

    def step(
        self, state: State, forcing: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[State, None]:
        """Return the state one time step later, in float64."""
        u = self.advance(state.now[..., 0])  # [batch, member, node]
        return State(u[:, :, None, :, None], self.task.time_step.advance(state.valid_time)), None

    def advance(self, u: Tensor) -> Tensor:
        """Return u [..., node] one time step later, in float64."""
        spectral, scheme = self._for(u.device)
        modes = torch.fft.rfft(u.to(torch.float64))
        if spectral.is_linear:
            modes = scheme.propagator**self.substeps * modes
        else:
            for _ in range(self.substeps):
                modes = scheme.step(modes, spectral.nonlinear)
        return torch.fft.irfft(modes, n=self.mesh.num_nodes)

    def _for(self, device: torch.device) -> tuple[SpectralRing, Etdrk]:
        if device not in self._on_device:
            spectral = SpectralRing(self._equation, self.mesh.num_nodes, self.mesh.domain.size, device)
            scheme = etdrk(spectral.linear.cpu(), self.time_step / self.substeps, self.order)
            self._on_device[device] = spectral, on_device(scheme, device)
        return self._on_device[device]
