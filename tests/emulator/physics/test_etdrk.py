"""The integrator's coefficients and order, on equations of one number."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from emulator.physics.ring_solver import SCHEMES, Etdrk2, Etdrk4, contour_mean


def test_coefficients_agree_with_the_formula_where_it_is_safe_and_with_the_limit_at_zero() -> None:
    z = torch.tensor([0.0, -3.0, 2.5j, -1.0 + 2.0j, -40.0, 200.0j], dtype=torch.complex128)
    scheme = Etdrk4(z, dt=1.0)
    first = (-4 - z + torch.exp(z) * (4 - 3 * z + z**2)) / z**3
    first[0] = 1 / 6
    assert (scheme.first - first).abs().max() < 1e-13
    assert abs(scheme.middle[0] - 1 / 3) < 1e-14 and abs(scheme.last[0] - 1 / 6) < 1e-14
    assert scheme.first[2].imag.abs() > 0.01, "the imaginary part belongs to it"


def test_the_contour_mean_is_free_of_cancellation() -> None:
    z = torch.logspace(-12, 0, 13, dtype=torch.float64).to(torch.complex128)
    phi_2 = contour_mean(lambda z: (torch.exp(z) - 1 - z) / z**2, z)
    exact = sum(z**n / np.prod(np.arange(1.0, n + 3)) for n in range(18))
    assert (phi_2 - exact).abs().max() < 1e-15


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("linear", [-5.0, 4.0j])
def test_the_error_falls_with_the_order_for_damped_and_for_turning_modes(order: Literal[2, 4], linear: complex) -> None:
    """u' = L u - u^2 has the solution L / (1 + (L / u_0 - 1) e^(-L t))."""
    eigenvalue, start = torch.tensor([linear], dtype=torch.complex128), 0.5

    def error(steps: int) -> float:
        scheme = SCHEMES[order](eigenvalue, 1.0 / steps)
        u = torch.full((1,), start, dtype=torch.complex128)
        for _ in range(steps):
            u = scheme.step(u, lambda u: -(u**2))
        return float((u - eigenvalue / (1 + (eigenvalue / start - 1) * torch.exp(-eigenvalue))).abs())

    errors = np.array([error(steps) for steps in (32, 64, 128)])
    assert np.all(np.abs(np.log2(errors[:-1] / errors[1:]) - order) < 0.25), errors


@pytest.mark.parametrize("scheme", [Etdrk2, Etdrk4])
def test_a_constant_tendency_is_integrated_exactly(scheme: type[Etdrk2] | type[Etdrk4]) -> None:
    linear = torch.tensor([0.0, -0.5, 3.0j], dtype=torch.complex128)
    u = scheme(linear, 0.7).step(torch.ones(3, dtype=torch.complex128), lambda u: torch.full_like(u, 2.0))
    forced = torch.tensor([0.7, 0.0, 0.0], dtype=torch.complex128)
    forced[1:] = (torch.exp(0.7 * linear[1:]) - 1) / linear[1:]
    assert (u - torch.exp(0.7 * linear) - 2 * forced).abs().max() < 1e-14
