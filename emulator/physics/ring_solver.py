"""The reference solver on the ring, itself an emulator: stiff linear parts solved exactly, the rest explicitly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from emulator.foundation.time_step import TimeStep
from emulator.physics.ring_equations import EquationConfig, RingEquation, ring_equation
from emulator.state import State
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

CONTOUR_POINTS = 64  # on a circle of radius one the rule converges like 1/n!, so this is exact to rounding

Tendency = Callable[[Tensor], Tensor]


class Etdrk2:
    """Two-stage scheme of second order for u' = L u + N(u), L diagonal; Cox & Matthews (2002), eq. 22.

    linear: [mode] complex128 eigenvalues of L. propagator: e^z, z = L dt. phi_1: dt (e^z - 1) / z.
    phi_2: dt (e^z - 1 - z) / z^2. DOI of the paper: 10.1006/jcph.2002.6995.
    """

    def __init__(self, linear: Tensor, dt: float) -> None:
        self.propagator = torch.exp(linear * dt)
        self.phi_1 = dt * contour_mean(lambda z: (torch.exp(z) - 1) / z, linear * dt)
        self.phi_2 = dt * contour_mean(lambda z: (torch.exp(z) - 1 - z) / z**2, linear * dt)

    def step(self, u: Tensor, nonlinear: Tendency) -> Tensor:
        """Return u one dt later. u: [..., mode]."""
        n_u = nonlinear(u)
        a = self.propagator * u + self.phi_1 * n_u
        return a + self.phi_2 * (nonlinear(a) - n_u)


class Etdrk4:
    """Four-stage scheme of fourth order for u' = L u + N(u), L diagonal; Cox & Matthews (2002), eq. 26 to 29.

    propagator, half_propagator: e^z and e^(z/2), z = L dt. half: dt (e^(z/2) - 1) / z. first, middle, last: weights of
    the tendency at the start, at both middle stages and at the end, Kassam & Trefethen (2005), eq. 2.5
    (DOI 10.1137/S1064827502410633). All [mode], complex128: for a dispersive L their imaginary parts carry the order.
    """

    def __init__(self, linear: Tensor, dt: float) -> None:
        z, exp = linear * dt, torch.exp
        self.propagator, self.half_propagator = exp(z), exp(z / 2)
        self.half = dt * contour_mean(lambda z: (exp(z / 2) - 1) / z, z)
        self.first = dt * contour_mean(lambda z: (-4 - z + exp(z) * (4 - 3 * z + z**2)) / z**3, z)
        self.middle = dt * contour_mean(lambda z: 2 * (2 + z + exp(z) * (-2 + z)) / z**3, z)
        self.last = dt * contour_mean(lambda z: (-4 - 3 * z - z**2 + exp(z) * (4 - z)) / z**3, z)

    def step(self, u: Tensor, nonlinear: Tendency) -> Tensor:
        """Return u one dt later. u: [..., mode]."""
        n_u = nonlinear(u)
        drift = self.half_propagator * u
        a = drift + self.half * n_u
        n_a = nonlinear(a)
        b = drift + self.half * n_a
        n_b = nonlinear(b)
        c = self.half_propagator * a + self.half * (2 * n_b - n_u)
        n_c = nonlinear(c)
        return self.propagator * u + self.first * n_u + self.middle * (n_a + n_b) + self.last * n_c


SCHEMES: dict[int, type[Etdrk2] | type[Etdrk4]] = {2: Etdrk2, 4: Etdrk4}  # by order


def contour_mean(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return a function with a removable singularity at zero, as its mean on a circle around z: free of cancellation.

    Kassam & Trefethen (2005), section 3: by Cauchy's formula the mean over the circle is the value at the centre. The
    whole circle is used, since for complex z the halves are no conjugates.
    """
    angle = 2 * torch.pi * (torch.arange(CONTOUR_POINTS, dtype=torch.float64) + 0.5) / CONTOUR_POINTS
    return function(z[..., None] + torch.polar(torch.ones_like(angle), angle)).mean(dim=-1)


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
        self.scheme = SCHEMES[order](self.spectral.linear, time_step / substeps)

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
