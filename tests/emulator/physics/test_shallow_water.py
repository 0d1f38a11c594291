"""Shallow water against closed forms, known flows, and itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emulator.foundation.constants import DAY
from emulator.physics.ground import Mountain
from emulator.physics.shallow_water import Climate, Hyperdiffusion, ShallowWater, ShallowWaterConfig
from emulator.physics.sphere_states import BalancedFlow, Jet, Williamson, sphere_states
from graphs.errors import MeshcastError
from graphs.harmonics.basis import Degrees, power_by_degree
from graphs.meshes.gaussian import gaussian_latitudes

T42 = ShallowWaterConfig(longest_step=3600.0)
T21 = ShallowWaterConfig(truncation=21)


def area_mean(equation: ShallowWater, values: Tensor) -> Tensor:
    """[column] of values [latitude, column, longitude]."""
    weights = torch.from_numpy(gaussian_latitudes(equation.transform.num_latitudes)[1])
    return torch.einsum("i,icj->c", weights, values) / equation.transform.num_longitudes


def relative_error(equation: ShallowWater, state: Tensor, exact: Tensor) -> float:
    """Relative L2 of the depth (Williamson et al. 1992, eq. 83)."""
    h, h_exact = equation.to_grid(state)[0], equation.to_grid(exact)[0]
    return float((area_mean(equation, (h - h_exact) ** 2) / area_mean(equation, h_exact**2)).sqrt().max())


def available_energy(equation: ShallowWater, state: Tensor) -> Tensor:
    """[column] h |u|² / 2 + g (h - H)² / 2, area mean."""
    h, u, v = equation.to_grid(state)
    gravity, mean = equation.config.gravity, equation.config.mean_depth
    return area_mean(equation, h * (u**2 + v**2) / 2 + gravity * (h - mean) ** 2 / 2)


@pytest.mark.parametrize("tilt", [0.0, 60.0])
def test_solid_rotation_is_steady(tilt: float) -> None:
    """Williamson's case 2 at T42 over 5 days, along the equator and across the poles."""
    equation = ShallowWater(replace(T42, axis_tilt=tilt, mean_depth=2.94e4 / T42.gravity, diffusion=Hyperdiffusion()))
    start = sphere_states(Williamson(case=2), equation, 1, 0)
    assert start[0].abs().max() > 1e-6
    assert relative_error(equation, equation.advance(start, 5 * DAY), start) < 1e-9


def test_a_rossby_haurwitz_wave_moves_east_and_keeps_its_shape() -> None:
    """Williamson's case 6 at T42: the phase of wavenumber 4 at 45 N, its amplitude, and no other wavenumbers."""
    equation = ShallowWater(replace(T42, mean_depth=9523.0))
    state = sphere_states(Williamson(case=6), equation, 1, 0)
    row = int(np.argmin(np.abs(equation.transform.latitudes - 45.0)))
    waves = [torch.fft.rfft(equation.to_grid(state)[0][row, 0])[4]]
    for _ in range(10):
        state = equation.advance(state, DAY)
        waves.append(torch.fft.rfft(equation.to_grid(state)[0][row, 0])[4])
    phase = np.unwrap([float(wave.angle()) for wave in waves])
    speed = -np.degrees(phase[10] - phase[2]) / 4 / 8
    assert 11.0 < speed < 11.8
    amplitude = np.array([float(wave.abs()) for wave in waves]) / float(waves[0].abs())
    assert np.abs(amplitude - 1).max() < 0.15
    power = state[0].abs().square().sum(dim=(1, 2))  # [order]
    others = [order for order in range(1, 43) if order % 4]
    assert power[others].sum() < 1e-9 * power[1:].sum()


def test_a_bell_is_carried_once_around() -> None:
    """Williamson's case 1: after 12 days of solid rotation over the poles' vicinity the bell is back, but for T42."""
    equation = ShallowWater(
        replace(T42, truncation=31, frozen_wind=True, axis_tilt=80.0, diffusion=None, longest_step=1800.0)
    )
    start = sphere_states(Williamson(case=1), equation, 1, 0)
    half = equation.advance(start, 6 * DAY)
    assert torch.equal(half[:2], start[:2])
    assert relative_error(equation, half, start) > 1, "half-way round it is elsewhere"
    assert relative_error(equation, equation.advance(half, 6 * DAY), start) < 0.02


def test_flow_over_a_mountain_leaves_a_wake_and_keeps_its_mass() -> None:
    """Williamson's case 5, which without its mountain would be steady."""
    mountain = replace(T42, truncation=21, mountains=(Mountain(),), mean_depth=5960.0)
    equation = ShallowWater(mountain)
    start = sphere_states(Williamson(case=5), equation, 1, 0)
    state = equation.advance(start, 2 * DAY)
    assert ((state[2, 0, 0] - start[2, 0, 0]).abs() / start[2, 0, 0].abs()).max() < 1e-12
    v = equation.to_grid(state)[2]
    assert 3 < v.abs().max() < 60
    ground = equation.transform.synthesis(equation.ground) / mountain.gravity
    assert 1500 < ground.max() < 2050
    with pytest.raises(MeshcastError, match="give the equation its mountains"):
        sphere_states(Williamson(case=5), ShallowWater(T21), 1, 0)


def test_a_lake_at_rest_over_mountains_stays_at_rest() -> None:
    equation = ShallowWater(replace(T21, mountains=(Mountain(shape="bell"),)))
    still = torch.zeros(3, 22, 22, 1, dtype=torch.complex128)
    state = equation.balanced(still[0])
    surface = equation.to_grid(state)[0] + equation.transform.synthesis(equation.ground) / T21.gravity
    assert surface.max() - surface.min() < 1e-6
    equation_without_damping = ShallowWater(replace(equation.config, diffusion=None))
    later = equation_without_damping.advance(state, DAY)
    assert max(part.abs().max() for part in equation.to_grid(later)[1:]) < 1e-9


def test_balanced_flow_has_its_wind_and_no_divergence_tendency() -> None:
    equation = ShallowWater(T21)
    state = sphere_states(BalancedFlow(), equation, 3, seed=1)
    h, u, v = equation.to_grid(state)
    assert torch.allclose((u**2 + v**2).amax(dim=(0, 2)).sqrt(), torch.full((3,), 40.0, dtype=torch.float64))
    tendency = equation.explicit(state) + equation.implicit(state)
    assert tendency[1].abs().max() < 1e-12 * equation.explicit(state)[1].abs().max()
    power = power_by_degree(state[0])
    assert power[[*range(4), *range(13, 22)]].max() < 1e-20 * power.max()
    assert torch.allclose(area_mean(equation, h), torch.full((3,), 10_000.0, dtype=torch.float64))


def test_a_start_depends_on_the_seed_and_its_number_and_not_on_the_truncation() -> None:
    equation, finer = ShallowWater(T21), ShallowWater(replace(T21, truncation=31))
    three, five = (sphere_states(BalancedFlow(), equation, count, seed=1) for count in (3, 5))
    scale = three.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert ((three - five[..., :3]).abs() <= 1e-12 * scale).all()
    assert not torch.allclose(three, sphere_states(BalancedFlow(), equation, 3, seed=2))
    on_finer = sphere_states(BalancedFlow(), finer, 3, seed=1)[0, :22, :22]
    ratio = (on_finer.abs().square().sum((0, 1)) / three[0].abs().square().sum((0, 1))).sqrt()
    assert (on_finer / ratio - three[0]).abs().max() < 1e-12 * three[0].abs().max()
    assert (ratio - 1).abs().max() < 0.02, "only the largest wind is found on another grid"
    bumps = sphere_states(Jet(random_bumps=3), equation, 2, seed=1)[2]
    assert not torch.allclose(bumps[..., 0], bumps[..., 1])
    with pytest.raises(MeshcastError, match="do not fit T10"):
        sphere_states(BalancedFlow(), ShallowWater(replace(T21, truncation=10)), 1, 0)


def test_the_error_falls_with_the_second_power_of_the_step() -> None:
    config = replace(T21, truncation=8, diffusion=None)
    start = sphere_states(BalancedFlow(degrees=(2, 6)), ShallowWater(config), 2, seed=3)
    ends = [ShallowWater(replace(config, longest_step=dt)).advance(start, DAY) for dt in (100.0, 400.0, 800.0, 1600.0)]
    errors = [relative_error(ShallowWater(config), end, ends[0]) for end in ends[1:]]
    orders = np.log2(np.array(errors[1:]) / np.array(errors[:-1]))
    assert np.all(orders > 1.7), (errors, orders)


def test_a_rotated_start_gives_the_rotated_forecast() -> None:
    """A turn about the axis multiplies order m by a phase, and time commutes with it."""
    equation = ShallowWater(T21)
    start = sphere_states(BalancedFlow(), equation, 1, seed=4)
    turn = torch.exp(-1j * torch.arange(22, dtype=torch.float64) * 2.0)[:, None, None]
    there_and_on, on_and_there = equation.advance(turn * start, DAY), turn * equation.advance(start, DAY)
    scale = on_and_there.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert ((there_and_on - on_and_there).abs() / scale).max() < 1e-12


@pytest.mark.slow
def test_mass_is_kept_and_available_energy_falls_gently() -> None:
    """30 days of the shipped simulation's flow: mass to 1e-12, energy never up by 0.5 %, down by at most 8 %."""
    equation = ShallowWater(T42)
    state = start = sphere_states(BalancedFlow(), equation, 3, seed=5)
    energy = [available_energy(equation, state)]
    for _ in range(30):
        state = equation.advance(state, DAY)
        energy.append(available_energy(equation, state))
    ratio = torch.stack(energy) / energy[0]
    assert ratio.max() < 1.005 and ratio.min() > 0.92, ratio
    assert ((state[2, 0, 0] - start[2, 0, 0]).abs() / start[2, 0, 0].abs()).max() < 1e-12


@pytest.mark.slow
def test_the_unstable_jet_rolls_up_as_in_torch_harmonics() -> None:
    """Galewsky's jet on day 6: vorticity beside an independent solver's, from the same coefficients."""
    examples = pytest.importorskip(
        "torch_harmonics.examples.shallow_water_equations", reason="needs the crosscheck extra"
    )
    equation = ShallowWater(ShallowWaterConfig(longest_step=1200.0))
    start = sphere_states(Jet(), equation, 1, 0)
    ours = equation.transform.synthesis(equation.advance(start, 6 * DAY)[0])[:, 0]
    dt = 150
    other = examples.ShallowWaterSolver(64, 128, dt, lmax=43, mmax=43, grid="legendre-gauss").double()
    degree, order = (torch.as_tensor(values) for values in np.nonzero(np.tri(43)))
    spectral = torch.zeros(3, 43, 43, dtype=torch.complex128)  # geopotential, vorticity, divergence
    field = start[[2, 0, 1], :, :, 0]
    normalisation = np.sqrt(4 * np.pi)  # orthonormal on the sphere there, of mean square one here
    spectral[:, degree, order] = normalisation * field[:, order, degree - order]
    with torch.no_grad():
        theirs = other.spec2grid(other.timestep(spectral, 6 * int(DAY) // dt))[1].flip(0)
    assert ours.std() > 1e-5
    correlation = torch.corrcoef(torch.stack([ours.ravel(), theirs.ravel()]))[0, 1]
    assert correlation > 0.99, correlation


def test_the_climate_restores_a_resting_fluid_towards_its_jets() -> None:
    equation = ShallowWater(replace(T21, climate=Climate(relaxation_days=2.0, drag_days=1e6, jet_width=20.0)))
    still = torch.zeros(3, 22, 22, 1, dtype=torch.complex128)
    state = start = equation.balanced(still[0])
    for _ in range(20):
        state = equation.advance(state, DAY)
    _, u, _ = equation.to_grid(state)
    latitude = equation.transform.latitudes[int(u.mean(dim=(1, 2)).argmax())]
    assert 55 < u.max() < 90 and 35 < abs(latitude) < 55
    assert (state[2, 0, 0] - start[2, 0, 0]).abs() < 1e-9 * start[2, 0, 0].abs()
    dragged = ShallowWater(replace(T21, climate=Climate(jet_speed=0.0, drag_days=1.0, relaxation_days=1e6)))
    flow = sphere_states(BalancedFlow(), dragged, 1, 0)
    left = dragged.advance(flow, 2 * DAY)[0].abs().square().sum() / flow[0].abs().square().sum()
    assert float(left) == pytest.approx(np.exp(-4.0), rel=0.3)


@pytest.mark.slow
def test_the_climate_is_steady_and_its_eddies_live() -> None:
    """Over 125 days after 40: kinetic energy within 10 % of its mean, at least a fifth of it with the eddies."""
    equation = ShallowWater(replace(T42, truncation=31, climate=Climate()))
    state = equation.advance(sphere_states(BalancedFlow(), equation, 2, seed=6), 40 * DAY)
    total, eddies = [], []
    for _ in range(25):
        state = equation.advance(state, 5 * DAY)
        _, u, v = equation.to_grid(state)
        total.append(area_mean(equation, u**2 + v**2).mean())
        means = u.mean(dim=2, keepdim=True), v.mean(dim=2, keepdim=True)
        eddies.append(area_mean(equation, (u - means[0]) ** 2 + (v - means[1]) ** 2).mean())
    energy, share = torch.stack(total), torch.stack(eddies) / torch.stack(total)
    assert (energy / energy.mean() - 1).abs().max() < 0.1, energy
    assert share.min() > 0.2, share


def test_what_cannot_be_is_refused() -> None:
    for fault in ({"truncation": 0}, {"mean_depth": -1.0}, {"longest_step": 0.0}):
        with pytest.raises(MeshcastError, match="must be positive"):
            ShallowWaterConfig(**fault)
    with pytest.raises(MeshcastError, match="e_folding > 0 and an even order"):
        Hyperdiffusion(order=3)
    assert Degrees(4).kept.sum() == 15


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"jet_latitude": 120.0}, "between 0 and 90.* is 120"),
        ({"relaxation_days": -3.0}, "> 0.* 6, -3 and 10"),
    ],
)
def test_a_climate_that_cannot_be_is_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(MeshcastError, match=words):
        Climate(**wrong)
