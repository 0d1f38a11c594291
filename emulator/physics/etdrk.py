"""Exponential time differencing Runge-Kutta: stiff linear parts solved exactly, the rest explicitly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CONTOUR_POINTS = 64  # on a circle of radius one the rule converges like 1/n!, so this is exact to rounding

Tendency = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Etdrk2:
    """Two-stage scheme of second order for u' = L u + N(u), L diagonal; Cox & Matthews (2002), eq. 22.

    propagator: e^z, z = L dt. phi_1: dt (e^z - 1) / z. phi_2: dt (e^z - 1 - z) / z^2. All [mode], complex128.
    DOI of the paper: 10.1006/jcph.2002.6995.
    """

    propagator: Tensor
    phi_1: Tensor
    phi_2: Tensor

    @classmethod
    def build(cls, linear: Tensor, dt: float) -> Etdrk2:
        """Return the scheme. linear: [mode] complex128 eigenvalues of L."""
        return cls(
            propagator=torch.exp(linear * dt),
            phi_1=dt * contour_mean(lambda z: (torch.exp(z) - 1) / z, linear * dt),
            phi_2=dt * contour_mean(lambda z: (torch.exp(z) - 1 - z) / z**2, linear * dt),
        )

    def step(self, u: Tensor, nonlinear: Tendency) -> Tensor:
        """Return u one dt later. u: [..., mode]."""
        n_u = nonlinear(u)
        a = self.propagator * u + self.phi_1 * n_u
        return a + self.phi_2 * (nonlinear(a) - n_u)


@dataclass(frozen=True, eq=False)
class Etdrk4:
    """Four-stage scheme of fourth order for u' = L u + N(u), L diagonal; Cox & Matthews (2002), eq. 26 to 29.

    propagator, half_propagator: e^z and e^(z/2), z = L dt. half: dt (e^(z/2) - 1) / z. first, middle, last: weights of
    the tendency at the start, at both middle stages and at the end, Kassam & Trefethen (2005), eq. 2.5
    (DOI 10.1137/S1064827502410633). All [mode], complex128: for a dispersive L their imaginary parts carry the order.
    """

    propagator: Tensor
    half_propagator: Tensor
    half: Tensor
    first: Tensor
    middle: Tensor
    last: Tensor

    @classmethod
    def build(cls, linear: Tensor, dt: float) -> Etdrk4:
        z, exp = linear * dt, torch.exp
        return cls(
            propagator=exp(z),
            half_propagator=exp(z / 2),
            half=dt * contour_mean(lambda z: (exp(z / 2) - 1) / z, z),
            first=dt * contour_mean(lambda z: (-4 - z + exp(z) * (4 - 3 * z + z**2)) / z**3, z),
            middle=dt * contour_mean(lambda z: 2 * (2 + z + exp(z) * (-2 + z)) / z**3, z),
            last=dt * contour_mean(lambda z: (-4 - 3 * z - z**2 + exp(z) * (4 - z)) / z**3, z),
        )

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
