"""Passive tracers: carried to where the flow goes, never negative, mass kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.foundation.constants import DAY, RADIUS
from emulator.foundation.time_step import TimeStep
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver
from emulator.physics.sphere_states import BalancedFlow, sphere_states
from emulator.physics.tracers import TracerTransport
from emulator.state import State
from graphs.harmonics.transform import SphericalTransform
from graphs.meshes.icosphere import icosphere


def bell(transform: SphericalTransform, longitude: float, latitude: float = 0.0) -> torch.Tensor:
    """A sharp-edged bell of radius 0.5 [1, latitude, longitude], centred at a place [radians]."""
    rows, columns = np.radians(transform.latitudes)[:, None], np.radians(transform.longitudes)
    cosine = np.sin(rows) * np.sin(latitude) + np.cos(rows) * np.cos(latitude) * np.cos(columns - longitude)
    away = np.arccos(np.clip(cosine, -1, 1))
    return torch.from_numpy(np.where(away < 0.5, 0.5 + 0.5 * np.cos(np.pi * away / 0.5), 0.0))[None]


@pytest.mark.parametrize("tilt", [0.0, 90.0])
def test_solid_rotation_carries_a_bell_a_quarter_round(tilt: float) -> None:
    """Along the equator, and over the pole, where longitudes meet."""
    transform = SphericalTransform(31)
    transport = TracerTransport(transform, RADIUS)
    latitude, longitude = np.radians(transform.latitudes)[:, None], np.radians(transform.longitudes)
    speed, angle = 2 * np.pi * RADIUS / (12 * DAY), np.radians(tilt)
    u = speed * (np.cos(angle) * np.cos(latitude) + np.sin(angle) * np.cos(longitude) * np.sin(latitude))
    v = -speed * np.sin(angle) * np.sin(longitude) + 0 * latitude
    wind = torch.from_numpy(u)[None], torch.from_numpy(v)[None]
    h = torch.ones_like(wind[0])
    # solid rotation over the poles starts on the meridian where the wind blows north
    q = start = bell(transform, 1.5 * np.pi)
    for _ in range(36):
        q = transport.carried(q, wind, (h, h), 2 * 3600.0)
    expected = bell(transform, 0.0) if tilt == 0 else bell(transform, 0.0, np.pi / 2)
    error = (transport.mass(h, (q - expected) ** 2) / transport.mass(h, expected**2)).sqrt()
    assert error < 0.06 and q.min() >= 0
    assert (transport.mass(h, (start - expected) ** 2) / transport.mass(h, expected**2)).sqrt() > 1
    assert abs(transport.mass(h, q) / transport.mass(h, start) - 1) < 1e-13


def test_departure_points_of_solid_rotation_are_exact() -> None:
    transform = SphericalTransform(21)
    transport = TracerTransport(transform, RADIUS)
    u = torch.from_numpy(50.0 * np.cos(np.radians(transform.latitudes))[:, None] * np.ones(transform.num_longitudes))
    latitude, longitude = transport.departure(u[None], 0 * u[None], 3600.0)
    there = np.radians(transform.longitudes) - 50.0 * 3600.0 / RADIUS
    away = torch.remainder(longitude.reshape(u.shape) - torch.from_numpy(there) + np.pi, 2 * np.pi) - np.pi
    assert away.abs().max() < 2e-5, "a third of a kilometre of 180"
    assert (latitude.reshape(u.shape) - torch.from_numpy(np.radians(transform.latitudes))[:, None]).abs().max() < 1e-5


def test_a_tracer_in_a_solvers_state_stays_in_bounds_and_keeps_its_mass() -> None:
    solver = SphereSolver(ShallowWaterConfig(truncation=15), TimeStep(10_800), tracers=("q", "r"))
    assert solver.task.prognostic == ("h", "u", "v", "q", "r")
    equation = solver.equation()
    flow = solver.synthesis(sphere_states(BalancedFlow(degrees=(2, 8)), equation, 2, 0))
    q = bell(equation.transform, 1.0, 0.6).flatten().expand(2, -1)
    values = torch.cat([flow, torch.stack([q, torch.ones_like(q)], dim=-1)], dim=-1)
    state = State(values[:, None, None], np.zeros(2, np.int64))
    areas = torch.from_numpy(solver.mesh.areas)
    mass = (state.now[..., 0] * state.now[..., 3]) @ areas
    for _ in range(16):
        state, _ = solver.step(state)
    h, _, _, q, r = state.now.unbind(-1)
    assert q.min() >= 0 and q.max() < 1.05
    assert ((h * q) @ areas / mass - 1).abs().max() < 1e-10
    assert (q - values[:, None, :, 3]).abs().max() > 0.2, "it must have moved"
    assert (r - 1).abs().max() < 1e-10, "what is everywhere alike stays so"


def test_sampling_keeps_a_tracer_within_the_values_around() -> None:
    transform = SphericalTransform(31)
    transport = TracerTransport(transform, RADIUS)
    mesh = icosphere(3)
    q = transport.sampled(bell(transform, 1.0, 0.6), mesh)
    assert q.shape == (1, 642) and q.min() == 0 and 0.9 < q.max() <= 1
    longitude, latitude = np.radians(mesh.longitudes), np.radians(mesh.latitudes)
    cosine = np.sin(latitude) * np.sin(0.6) + np.cos(latitude) * np.cos(0.6) * np.cos(longitude - 1.0)
    away = np.arccos(cosine)
    expected = np.where(away < 0.5, 0.5 + 0.5 * np.cos(np.pi * away / 0.5), 0.0)
    assert np.abs(q[0].numpy() - expected).max() < 0.01
