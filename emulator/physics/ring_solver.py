"""The reference solver on the ring, itself an emulator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from emulator.foundation.time_step import TimeStep
from emulator.physics.etdrk import SCHEMES
from emulator.physics.ring_equations import EquationConfig, RingEquation, ring_equation
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
        self, equation: EquationConfig, mesh: Mesh, time_step: float, substeps: int = 1, order: Literal[2, 4] = 4
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
        self.spectral = SpectralRing(
            ring_equation(equation, mesh.num_nodes, mesh.domain.size, time_step), mesh.num_nodes, mesh.domain.size
        )
        self.scheme = SCHEMES[order].build(self.spectral.linear, time_step / substeps)

    def step(
        self, state: State, forcing: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[State, None]:
        """Return the state one time step later, in float64."""
        u = self.advance(state.now[..., 0])  # [batch, member, node]
        return State(u[:, :, None, :, None], self.task.time_step.advance(state.valid_time)), None

    def advance(self, u: Tensor) -> Tensor:
        """Return u [..., node] one time step later, in float64."""
        modes = torch.fft.rfft(u.to(torch.float64))
        if self.spectral.is_linear:
            modes = self.scheme.propagator**self.substeps * modes
        else:
            for _ in range(self.substeps):
                modes = self.scheme.step(modes, self.spectral.nonlinear)
        return torch.fft.irfft(modes, n=self.mesh.num_nodes)


class SpectralRing:
    """A ring equation in Fourier space: u as `torch.fft.rfft` has it, [..., mode].

    linear: [mode] complex128 eigenvalues of the linear part.
    nonlinear: the other terms, products taken on the nodes and freed of aliasing by Orszag's 2/3 rule: modes of
    wavenumber N/3 and more neither enter nor leave them.
    """

    def __init__(self, equation: RingEquation, num_nodes: int, length: float) -> None:
        mode = torch.arange(num_nodes // 2 + 1, dtype=torch.float64)
        wavenumber = 2 * torch.pi / length * mode
        # an odd derivative of the mode of alternating signs vanishes on the nodes
        odd = torch.where(2 * mode == num_nodes, 0.0, wavenumber)
        self.num_nodes = num_nodes
        self.equation = equation
        self.linear = torch.zeros(len(mode), dtype=torch.complex128)
        for j, coefficient in enumerate(equation.linear, 1):
            self.linear += coefficient * (1j * (odd if j % 2 else wavenumber)) ** j
        self.is_linear = equation.flux == 0.0 and equation.gradient_norm == 0.0
        self.resolved = 3 * mode < num_nodes
        self.slope = torch.where(self.resolved, 1j * odd, 0.0)
        self.half_flux = 0.5 * equation.flux * self.slope
        # the mean of (u_x)^2 goes with mode zero
        self.half_gradient_norm = torch.where(self.resolved & (mode > 0), 0.5 * equation.gradient_norm, 0.0)

    def nonlinear(self, u: Tensor) -> Tensor:
        tendency = torch.zeros_like(u)
        if self.equation.flux:
            tendency = tendency + self.half_flux * self._squared(torch.where(self.resolved, u, 0.0))
        if self.equation.gradient_norm:
            tendency = tendency + self.half_gradient_norm * self._squared(self.slope * u)
        return tendency

    def _squared(self, u: Tensor) -> Tensor:
        return torch.fft.rfft(torch.fft.irfft(u, n=self.num_nodes).square())
