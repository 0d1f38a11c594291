"""The ring solvers against closed-form solutions, conservation laws and their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from emulator.forcings import Forcings
from emulator.physics.ring_equations import (
    APEBENCH,
    Advection,
    AdvectionDiffusion,
    Burgers,
    EquationConfig,
    KortewegDeVries,
    KuramotoSivashinsky,
)
from emulator.physics.ring_solver import RingSolver
from emulator.physics.simulate import RandomFourierSeries, initial_states
from emulator.protocol import Emulator, rollout
from emulator.state import State
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring

EQUATIONS: dict[str, EquationConfig] = {
    "advection": Advection(speed=0.7),
    "advection-diffusion": AdvectionDiffusion(speed=-0.4, diffusivity=0.02),
    "Burgers": Burgers(diffusivity=0.05),
    "KdV": KortewegDeVries(convection=1.0, dispersion=0.02),
    "KS, conservative": KuramotoSivashinsky(form="conservative"),
    "KS, gradient norm": KuramotoSivashinsky(form="gradient_norm"),
}


def places(num_nodes: int, length: float) -> Tensor:
    return torch.arange(num_nodes, dtype=torch.float64) * length / num_nodes


def series(solver: RingSolver, count: int = 3, seed: int = 0) -> Tensor:
    return initial_states(RandomFourierSeries(), solver.mesh, count, torch.Generator().manual_seed(seed))


def many(solver: RingSolver, u: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        u = solver.advance(u)
    return u


def images(shape: Callable[[Tensor], Tensor], x: Tensor, length: float) -> Tensor:
    """A shape on the line, wrapped around the ring."""
    return torch.stack([shape(x + lap * length) for lap in range(-6, 7)]).sum(dim=0)


def soliton(x: Tensor, speed: float, place: float, length: float) -> Tensor:
    """u = c/2 sech^2(sqrt(c)/2 (x - place)) of u_t + 6 u u_x + u_xxx = 0."""
    return images(lambda s: speed / 2 / torch.cosh(speed**0.5 / 2 * (s - place)) ** 2, x, length)


@pytest.mark.parametrize("num_nodes", [64, 65])
def test_a_sine_is_back_after_one_lap(num_nodes: int) -> None:
    solver = RingSolver(Advection(speed=0.5), ring(num_nodes, 2.0), time_step=0.04)
    u = torch.sin(2 * torch.pi * 3 * places(num_nodes, 2.0) / 2.0)
    assert (many(solver, u, 25) + u).abs().max() > 1, "half a lap turns it over"
    assert (many(solver, u, 100) - u).abs().max() < 1e-10


def test_the_mode_of_alternating_signs_is_neither_moved_nor_damped() -> None:
    """Its odd derivatives vanish on the nodes; a phase shift of it would come back as damping."""
    solver = RingSolver(KortewegDeVries(), ring(8), time_step=0.1)
    u = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4)
    assert (solver.advance(u) - u).abs().max() < 1e-14


def test_apebenchs_advection_shifts_by_four_cells() -> None:
    solver = RingSolver(APEBENCH["diff_adv"], ring(160), time_step=1.0)
    u = series(solver)
    assert (solver.advance(u) - u.roll(4, dims=1)).abs().max() < 1e-12


def test_a_gaussian_diffuses_as_in_closed_form() -> None:
    length, speed, diffusivity, width = 10.0, 0.7, 0.05, 0.5
    x = places(256, length)

    def exact(time: float) -> Tensor:
        variance = width**2 + 2 * diffusivity * time
        bell = images(lambda s: torch.exp(-((s - 5 - speed * time) ** 2) / (2 * variance)), x, length)
        return width / variance**0.5 * bell

    solver = RingSolver(AdvectionDiffusion(speed=speed, diffusivity=diffusivity), ring(256, length), time_step=0.5)
    u = exact(0.0)
    for step in range(1, 21):
        u = solver.advance(u)
        assert (u - exact(0.5 * step)).abs().max() < 1e-10


@pytest.mark.parametrize(("order", "dt", "laps", "tolerance"), [(4, 2e-3, 0.1, 1e-7), (4, 1e-3, 1.0, 1e-6)])
def test_a_soliton_keeps_its_shape_and_speed(order: Literal[4], dt: float, laps: float, tolerance: float) -> None:
    length, speed, start = 40.0, 2.0, 15.0
    x = places(256, length)
    solver = RingSolver(KortewegDeVries(), ring(256, length), time_step=1.0, substeps=round(1 / dt), order=order)
    steps = round(laps * length / speed)
    error = many(solver, soliton(x, speed, start, length), steps) - soliton(x, speed, start + speed * steps, length)
    assert error.abs().max() < tolerance * speed / 2


def errors_by_halving(order: Literal[2, 4]) -> Iterator[tuple[int, float]]:
    u = torch.sin(places(64, 2 * np.pi)) + 0.3

    def solve(substeps: int, order: Literal[2, 4]) -> Tensor:
        mesh = ring(64, 2 * np.pi)
        return RingSolver(Burgers(diffusivity=0.05), mesh, 1.0, substeps, order).advance(u)

    truth = solve(4096, 4)
    for substeps in 2 ** np.arange(3, 11):
        yield int(substeps), float((solve(int(substeps), order) - truth).abs().max())


@pytest.mark.parametrize(("order", "lowest", "highest"), [(2, 1.9, 2.1), (4, 3.7, 4.3)])
def test_burgers_converges_at_the_schemes_order(order: Literal[2, 4], lowest: float, highest: float) -> None:
    errors = np.array([error for _, error in errors_by_halving(order) if error > 1e-11])
    orders = np.log2(errors[:-1] / errors[1:])[-3:]
    assert len(orders) == 3 and orders.min() > lowest and orders.max() < highest, orders


def test_kdv_converges_at_fourth_order_although_its_linear_part_is_imaginary() -> None:
    mesh, x = ring(128, 40.0), places(128, 40.0)
    u = soliton(x, 2.0, 15.0, 40.0)

    def solve(substeps: int) -> Tensor:
        return RingSolver(KortewegDeVries(), mesh, 1.0, substeps).advance(u)

    truth = solve(4096)
    errors = np.array([float((solve(m) - truth).abs().max()) for m in (64, 128, 256, 512)])
    assert np.all(np.abs(np.log2(errors[:-1] / errors[1:]) - 4) < 0.3), errors


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_mean_is_conserved(name: str) -> None:
    solver = RingSolver(EQUATIONS[name], ring(96, 32.0), time_step=0.2)
    u = series(solver) + (0.0 if name == "KS, gradient norm" else 0.4)
    means = many(solver, u, 100).mean(dim=1)
    assert (means - u.mean(dim=1)).abs().max() < 1e-12


def test_kuramoto_sivashinsky_goes_chaotic_and_stays_bounded() -> None:
    solver = RingSolver(APEBENCH["diff_ks"], ring(160), time_step=1.0, order=2)
    u = many(solver, series(solver, 4), 500)
    assert 0.2 < u.std() < 2 and u.abs().max() < 3
    assert u.mean(dim=1).abs().max() < 1e-12
    apart = many(solver, u + 1e-8 * series(solver, 4, seed=1), 300) - many(solver, u, 300)
    assert apart.abs().max() > 1e-7, "nearby states must part"


def test_the_slope_of_the_gradient_norm_form_obeys_the_conservative_form() -> None:
    """With v = u_x: u_t + 1/2 (u_x)^2 + u_xx + u_xxxx = 0 differentiates to v_t + v v_x + v_xx + v_xxxx = 0."""
    mesh = ring(128, 32.0)
    u = series(RingSolver(KuramotoSivashinsky(), mesh, 0.1))
    norm, conservative = (
        RingSolver(KuramotoSivashinsky(form=form), mesh, 0.1, substeps=50) for form in ("gradient_norm", "conservative")
    )

    def slope(u: Tensor) -> Tensor:
        wavenumber = 2 * torch.pi / 32.0 * torch.arange(65, dtype=torch.float64)
        return torch.fft.irfft(1j * wavenumber * torch.fft.rfft(u), n=128)

    assert (slope(many(norm, u, 10)) - many(conservative, slope(u), 10)).abs().max() < 1e-9


def test_burgers_loses_energy_every_step() -> None:
    solver = RingSolver(APEBENCH["diff_burgers"], ring(160), time_step=1.0)
    u = series(solver)
    for _ in range(50):
        before, u = u, solver.advance(u)
        assert torch.all(u.square().mean(dim=1) < before.square().mean(dim=1))


def test_kdv_conserves_mass_momentum_and_energy_while_solitons_collide() -> None:
    length, num_nodes = 40.0, 256
    x = places(num_nodes, length)
    wavenumber = 2 * torch.pi / length * torch.arange(num_nodes // 2 + 1, dtype=torch.float64)

    def invariants(u: Tensor) -> Tensor:
        slope = torch.fft.irfft(1j * wavenumber * torch.fft.rfft(u), n=num_nodes)
        return torch.stack([u.mean(), u.square().mean(), (slope.square() / 2 - u**3).mean()])

    solver = RingSolver(KortewegDeVries(), ring(num_nodes, length), time_step=1.0, substeps=500)
    u = soliton(x, 2.0, 10.0, length) + soliton(x, 0.8, 16.0, length)
    later = many(solver, u, 6)
    assert (later - u).abs().max() > 0.1
    assert (invariants(later) / invariants(u) - 1).abs().max() < 1e-8


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_batch_is_solved_as_its_members_one_by_one(name: str) -> None:
    solver = RingSolver(EQUATIONS[name], ring(64, 16.0), time_step=0.2, substeps=2)
    u = series(solver, 4).reshape(2, 2, 64)
    together = many(solver, u, 5)
    for i, j in np.ndindex(2, 2):
        assert (many(solver, u[i, j], 5) - together[i, j]).abs().max() < 1e-13


@pytest.mark.parametrize("name", EQUATIONS)
def test_n_then_m_steps_equal_n_plus_m_bit_for_bit(name: str) -> None:
    solver = RingSolver(EQUATIONS[name], ring(64, 16.0), time_step=0.2, substeps=2)
    assert isinstance(solver, Emulator)
    values = series(solver, 4).reshape(2, 2, 1, 64, 1).float()
    state = State(values, np.array([0, 100], dtype=np.int64))
    *_, (whole, _) = rollout(solver, state, Forcings(), steps=7)
    *_, (middle, _) = rollout(solver, state, Forcings(), steps=3)
    *_, (end, diagnostic) = rollout(solver, middle, Forcings(), steps=4, start=3)
    assert diagnostic is None and end.values.dtype == torch.float64 and end.values.shape == values.shape
    assert torch.equal(end.values, whole.values)
    assert end.valid_time.tolist() == [7, 107]


def test_the_solver_is_differentiable() -> None:
    solver = RingSolver(EQUATIONS["Burgers"], ring(16, 6.0), time_step=0.1)
    u = series(solver, 1)[0].requires_grad_()
    assert torch.autograd.gradcheck(solver.advance, (u,))


def test_what_does_not_fit_is_refused_in_words() -> None:
    sphere = latlon(np.linspace(80, -80, 5), np.arange(0, 360, 45.0))
    with pytest.raises(MeshcastError, match="needs a ring"):
        RingSolver(Advection(), sphere, 1.0)
    with pytest.raises(MeshcastError, match="order 2 or 4, not 3"):
        RingSolver(Advection(), ring(16), 1.0, order=3)  # type: ignore[arg-type]
    with pytest.raises(MeshcastError, match="substeps >= 1"):
        RingSolver(Advection(), ring(16), 1.0, substeps=0)
    with pytest.raises(MeshcastError, match="diffusivity must not be negative"):
        RingSolver(Burgers(diffusivity=-1.0), ring(16), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("equation", ["advection", "burgers"])
@pytest.mark.parametrize("order", [2, 4])
def test_exponax_agrees(equation: str, order: Literal[2, 4]) -> None:
    exponax, jax = pytest.importorskip("exponax"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    num_nodes, length, dt = 256, 2 * np.pi, 0.01
    if equation == "advection":
        theirs = exponax.stepper.Advection(1, length, num_nodes, dt, velocity=0.7)
        ours = RingSolver(Advection(speed=0.7), ring(num_nodes, length), dt)
    else:
        theirs = exponax.stepper.Burgers(
            1, length, num_nodes, dt, diffusivity=0.1, convection_scale=1.0, order=order, conservative=True
        )
        ours = RingSolver(Burgers(diffusivity=0.1), ring(num_nodes, length), dt, order=order)
    u = series(ours, 1)[0]
    other = u.numpy()[None]
    for _ in range(100):
        u, other = ours.advance(u), np.asarray(theirs(other))
        assert np.abs(u.numpy() - other[0]).max() < 1e-8
