"""Equations from a user's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.physics.ring_equations import (
    APEBENCH,
    Advection,
    Burgers,
    Difficulty,
    KortewegDeVries,
    RingEquation,
    reflections,
    ring_equation,
)
from emulator.physics.ring_solver import SpectralRing
from graphs.errors import MeshcastError


def test_apebenchs_numbers_become_its_coefficients() -> None:
    """Coefficients worked out by hand from alpha_j = gamma_j / (N^j 2^(j-1)), beta_j = delta_j / N^j at N = 160."""
    coefficients = {name: ring_equation(config, 160, 1.0, 1.0) for name, config in APEBENCH.items()}
    assert coefficients["diff_adv"].linear == pytest.approx((-0.025,))
    assert coefficients["diff_adv_fast"].linear == pytest.approx((-0.065625,))
    assert coefficients["diff_disp"].linear == pytest.approx((0.0, 0.0, 2.44140625e-7))
    assert coefficients["diff_burgers"].linear == pytest.approx((0.0, 2.9296875e-5))
    assert coefficients["diff_burgers"].flux == pytest.approx(-9.375e-3)
    assert coefficients["diff_kdv"].linear == pytest.approx((0.0, 0.0, -8.544921875e-7, -1.716613769e-9))
    assert coefficients["diff_kdv"].flux == pytest.approx(-1.25e-2)
    assert coefficients["diff_ks"].linear == pytest.approx((0.0, -2.34375e-5, 0.0, -2.861022949e-9))
    assert coefficients["diff_ks"].gradient_norm == pytest.approx(-2.34375e-4)
    assert coefficients["diff_ks"].flux == 0.0
    assert coefficients["diff_ks_cons"].linear == pytest.approx((0.0, -3.90625e-5, 0.0, -3.433227539e-9))
    assert coefficients["diff_ks_cons"].flux == pytest.approx(-6.25e-3)


def test_difficulty_means_the_same_on_a_ring_of_any_length_and_any_time_step() -> None:
    """Doubling the length doubles a speed; halving the time step does too."""
    unit = ring_equation(APEBENCH["diff_ks_cons"], 160, 1.0, 1.0)
    scaled = ring_equation(APEBENCH["diff_ks_cons"], 160, 2.0, 0.5)
    assert scaled.flux == pytest.approx(4 * unit.flux)
    assert scaled.linear == pytest.approx(tuple(2 * 2**j * a for j, a in enumerate(unit.linear, 1)))


def test_physical_parameters_stand_on_the_right_hand_side() -> None:
    assert ring_equation(Advection(speed=2.0), 8, 1.0, 1.0) == RingEquation((-2.0,))
    assert ring_equation(Burgers(diffusivity=0.1, convection=3.0), 8, 1.0, 1.0) == RingEquation((0.0, 0.1), flux=-3.0)
    assert ring_equation(KortewegDeVries(), 8, 1.0, 1.0) == RingEquation((0.0, 0.0, -1.0, -0.0), flux=-6.0)


@pytest.mark.parametrize("num_nodes", [32, 33])
def test_the_right_hand_side_is_that_of_a_sine(num_nodes: int) -> None:
    """u = sin x: (u^2)_x / 2 = sin 2x / 2, ((u_x)^2 - mean) / 2 = cos 2x / 4, u_xxx = -cos x, u_xxxx = sin x."""
    x = 2 * torch.pi * torch.arange(num_nodes, dtype=torch.float64) / num_nodes
    u = torch.fft.rfft(torch.sin(x))
    spectral = SpectralRing(RingEquation((1.0, 2.0, 3.0, 4.0), flux=5.0, gradient_norm=7.0), num_nodes, 2 * np.pi)
    linear = torch.fft.irfft(spectral.linear * u, n=num_nodes)
    nonlinear = torch.fft.irfft(spectral.nonlinear(u), n=num_nodes)
    assert torch.allclose(linear, torch.cos(x) - 2 * torch.sin(x) - 3 * torch.cos(x) + 4 * torch.sin(x))
    assert torch.allclose(nonlinear, 5 * torch.sin(2 * x) / 2 + 7 * torch.cos(2 * x) / 4)


@pytest.mark.parametrize("num_nodes", [24, 25, 32])
def test_no_product_of_resolved_modes_is_aliased(num_nodes: int) -> None:
    """The tendency equals that of a ring with twice the nodes, mode by mode, where the mode is kept."""
    generator = torch.Generator().manual_seed(0)
    equation = RingEquation((0.0,), flux=1.0, gradient_norm=1.0)
    coarse, fine = SpectralRing(equation, num_nodes, 1.0), SpectralRing(equation, 2 * num_nodes, 1.0)
    modes = torch.zeros(num_nodes + 1, dtype=torch.complex128)
    kept = int(coarse.resolved.sum())
    assert 3 * (kept - 1) < num_nodes <= 3 * kept
    modes[:kept] = torch.randn(kept, dtype=torch.complex128, generator=generator)
    modes[0] = 1.0
    fine_modes = 2 * modes  # torch.fft.rfft grows with the number of nodes
    found = coarse.nonlinear(modes[: num_nodes // 2 + 1])
    assert torch.allclose(found[:kept], fine.nonlinear(fine_modes)[:kept] / 2, rtol=1e-12, atol=1e-12)
    assert found[kept:].abs().max() == 0


def test_too_many_deltas_are_refused() -> None:
    with pytest.raises(MeshcastError, match="at most two numbers"):
        ring_equation(Difficulty(delta=(1.0, 2.0, 3.0)), 16, 1.0, 1.0)


def test_a_reflection_asks_the_sign_of_each_term() -> None:
    """Diffusion takes either; the flux and the gradient norm take one each, so both together none."""
    assert reflections(RingEquation((0.0, 1.0))) == (1, -1)
    assert reflections(RingEquation((0.0, 1.0), flux=1.0)) == (-1,)
    assert reflections(RingEquation((0.0, 1.0), gradient_norm=1.0)) == (1,)
    assert reflections(RingEquation((0.0, 1.0), flux=1.0, gradient_norm=1.0)) == ()
    assert reflections(RingEquation((0.0, 1.0, 1.0))) == reflections(RingEquation((1.0,))) == ()
