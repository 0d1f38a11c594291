"""A planet with days, years, mountains and analysed starts: closed forms, conservation, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from emulator.foundation.time_step import TimeStep
from emulator.heating_cycle import HOUR, HeatingCycle
from emulator.physics.analysed_heights import AnalysedHeights, analysed_states
from emulator.physics.ground import Mountain, Orography
from emulator.physics.random_flow import random_vorticity
from emulator.physics.shallow_water import ShallowWater, ShallowWaterConfig
from emulator.physics.sphere_simulation import GaussianMesh, SphereSimulationConfig, sphere_arrays, sphere_solver
from emulator.physics.sphere_solver import SphereSolver
from emulator.physics.sphere_states import BalancedFlow, sphere_states
from emulator.state import State
from graphs.errors import MeshcastError
from graphs.harmonics.basis import truncated
from graphs.harmonics.transform import SphericalTransform
from graphs.meshes.icosphere import IcosphereMesh

SHALLOW = ShallowWaterConfig(truncation=15, mean_depth=5000.0, diffusion=None, longest_step=1800.0)
SEASONLESS = HeatingCycle(declination=0.0)


def write_grid(path: Path, values: np.ndarray, transform: SphericalTransform, name: str, **attributes: str) -> Path:
    """Write fields [time, latitude, longitude], or without time, on a Gaussian grid as NetCDF."""
    dims = ("time", "lat", "lon")[-values.ndim :]
    times = {"time": np.datetime64("2017-01-01T00:00:00", "ns") + 12 * np.timedelta64(3600, "s") * np.arange(3)}
    latitude = ("lat", transform.latitudes, {"units": "degrees_north"})
    longitude = ("lon", transform.longitudes, {"units": "degrees_east"})
    coordinates = {"lat": latitude, "lon": longitude, **(times if values.ndim == 3 else {})}
    xr.Dataset({name: (dims, values.astype(np.float32), attributes)}, coordinates).to_netcdf(path)
    return path


@pytest.fixture(scope="module")
def transform() -> SphericalTransform:
    return SphericalTransform(15)


@pytest.fixture
def ground(tmp_path: Path, transform: SphericalTransform) -> Orography:
    """Two hills of degree 3, as a file with heights."""
    heights = torch.zeros(16, 16, 1, dtype=torch.complex128)
    heights[0, 0], heights[2, 1] = 600.0, 100.0 + 50.0j
    values = transform.synthesis(heights)[:, 0].numpy()
    path = write_grid(tmp_path / "ground.nc", values, transform, "orog", units="m", standard_name="surface_altitude")
    return Orography(str(path))


def test_heating_alone_fills_the_fluid_as_its_integral_over_the_time() -> None:
    """∂h/∂t = F without wind: h(t) - h(0) = rate / ω · (sin(λ) - sin(λ - ω t)) exp(-φ²/width²), to second order."""
    equation = ShallowWater(replace(SHALLOW, frozen_wind=True, heating=SEASONLESS))
    finer = ShallowWater(replace(equation.config, longest_step=900.0))
    rest = torch.zeros(3, 16, 16, 2, dtype=torch.complex128)
    rest[2, 0, 0] = equation.mean
    begin = np.array([0, 6 * 3600], np.int64)
    found, better = (each.advance(rest, 5 * HOUR, begin)[2] - rest[2] for each in (equation, finer))
    turn, longitude = 2 * np.pi / 86_400.0, np.radians(equation.transform.longitudes)
    shape = np.exp(-((np.radians(equation.transform.latitudes)[:, None, None] / SEASONLESS.width) ** 2))
    angle = longitude - turn * begin[:, None]
    exact = 2.0 / HOUR / turn * (np.sin(angle) - np.sin(angle - turn * 5 * HOUR)) * shape
    expected = SHALLOW.gravity * equation.transform.analysis(torch.from_numpy(exact))
    error = float((found - expected).abs().max())
    assert error < 1e-3 * float(expected.abs().max())
    assert float((better - expected).abs().max()) == pytest.approx(error / 4, rel=0.02)


def test_a_solver_heats_by_the_valid_time_of_each_row() -> None:
    solver = SphereSolver(replace(SHALLOW, heating=HeatingCycle()), TimeStep.parse("3h"))
    rest = torch.zeros(2, 2, 1, solver.mesh.num_nodes, 3, dtype=torch.float64)
    rest[..., 0] = 5000.0
    noon = np.array([0, 43_200], np.int64)
    both, _ = solver.step(State(rest, noon))
    for row, time in enumerate(noon):
        one, _ = solver.step(State(rest[:1], np.array([time])))
        assert torch.allclose(one.values[0], both.values[row], rtol=0, atol=1e-9)
    change = both.values[:, 0, 0, :, 0] - 5000.0
    assert torch.corrcoef(change)[0, 1] < -0.98  # half a day later the other side is heated
    twice, _ = solver.step(both)
    long = SphereSolver(solver.config, TimeStep.parse("6h"))
    assert torch.allclose(twice.values, long.step(State(rest, noon))[0].values, rtol=0, atol=1e-9)


def test_neither_heating_nor_mountains_change_the_mass(ground: Orography) -> None:
    config = replace(SHALLOW, heating=HeatingCycle(), orography=ground)
    equation = ShallowWater(config)
    start = sphere_states(BalancedFlow(degrees=(2, 6), max_wind=20.0), equation, 2, 0)
    later = equation.advance(start, 86_400.0, np.zeros(2, np.int64))
    assert torch.allclose(later[2, 0, 0], start[2, 0, 0], rtol=1e-13, atol=0)
    assert not torch.allclose(later, equation.advance(start, 86_400.0, np.full(2, 43_200)), rtol=1e-3)


def test_the_ground_of_a_file_is_its_heights_above_the_lowest(ground: Orography, transform: SphericalTransform) -> None:
    exact = xr.open_dataset(ground.source)["orog"].values
    for config, expected in (
        (ground, exact - exact.min()),
        (replace(ground, exponent=0.5), np.sqrt(exact) - np.sqrt(exact).min()),
    ):
        equation = ShallowWater(replace(SHALLOW, truncation=21, orography=config))
        assert equation.ground is not None
        there = transform.synthesis(truncated(equation.ground, 15))[:, 0].numpy() / SHALLOW.gravity
        tolerance = 1e-3 if config is ground else 2e-2 * expected.max()  # a root has more harmonics than were kept
        assert np.abs(there - expected).max() < tolerance


def test_a_state_may_hold_the_surface_in_place_of_the_depth(ground: Orography) -> None:
    depth = SphereSolver(replace(SHALLOW, orography=ground), TimeStep.parse("1h"))
    surface = SphereSolver(replace(SHALLOW, orography=ground, surface=True), TimeStep.parse("1h"))
    start = sphere_states(BalancedFlow(degrees=(2, 6), max_wind=20.0), depth.equation(), 1, 0)
    h, above = depth.synthesis(start)[..., 0], surface.synthesis(start)[..., 0]
    ground_there = depth.equation().transform.synthesis(depth.equation().ground).flatten() / SHALLOW.gravity
    areas = torch.from_numpy(depth.mesh.areas)
    total = h + ground_there
    assert torch.allclose(above, total - (total * areas).sum(), rtol=0, atol=1e-8)
    assert float((above * areas).sum().abs()) < 1e-9
    assert torch.allclose(surface.analysis(surface.synthesis(start)), start, rtol=0, atol=1e-9)
    time = np.zeros(1, np.int64)
    one = depth.step(State(depth.synthesis(start)[None, :, None], time))[0].values
    other = surface.step(State(surface.synthesis(start)[None, :, None], time))[0].values
    assert torch.allclose(one[..., 1:], other[..., 1:], rtol=0, atol=1e-9)


def geopotential_of(stream: torch.Tensor, transform: SphericalTransform) -> np.ndarray:
    """Return Φ [column, latitude, longitude] with ∇²Φ = ∇·(f ∇ψ), by transforms alone."""
    rotation = 7.292e-5
    sine = transform.sin_latitude
    _, u, v = ShallowWater(SHALLOW).to_grid(
        torch.stack([stream * transform.laplacian / SHALLOW.radius**2, 0 * stream, 0 * stream])
    )
    gradient_east, gradient_north = v, -u  # ∇ψ from k × ∇ψ = (u, v)
    cosine = transform.cos_latitude / SHALLOW.radius
    force = 2 * rotation * sine
    divergence, _ = transform.divergence_and_curl(force * gradient_east * cosine, force * gradient_north * cosine)
    found = transform.synthesis(divergence * transform.inverse_laplacian * SHALLOW.radius**2)
    return found.permute(1, 0, 2).numpy()


@pytest.fixture
def analysed(tmp_path: Path, transform: SphericalTransform) -> tuple[AnalysedHeights, torch.Tensor]:
    """Three analysed geopotentials, and the vorticity each is in linear balance with [order, offset, field]."""
    generators = [np.random.default_rng(number) for number in range(3)]
    vorticity = random_vorticity((2, 6), ShallowWater(SHALLOW), generators) * 1e-6
    values = 5e4 + geopotential_of(vorticity * transform.inverse_laplacian * SHALLOW.radius**2, transform)
    path = write_grid(tmp_path / "z.nc", values, transform, "z", units="m2 s-2", standard_name="geopotential")
    calm = AnalysedHeights(source=str(path), variable="z", equator=1.0, perturbation=0.0, cycles=1)
    return calm, vorticity


def test_the_wind_of_an_analysis_is_the_one_in_linear_balance(
    analysed: tuple[AnalysedHeights, torch.Tensor],
) -> None:
    config, exact = analysed
    equation = ShallowWater(SHALLOW)
    started = sphere_states(config, equation, 4, seed=0)
    _, u, v = equation.to_grid(started)
    _, exact_u, exact_v = equation.to_grid(torch.stack([exact, 0 * exact, 0 * exact]))
    poleward = np.abs(equation.transform.latitudes) > 15
    for found, expected in ((u, exact_u), (v, exact_v)):
        error = (found[:, :3] - expected)[poleward].square().mean().sqrt() / expected[poleward].square().mean().sqrt()
        assert error < 0.2, error  # ten minutes of a flow that is balanced to the first order
    assert torch.allclose(
        started[..., 3], started[..., 0], rtol=0, atol=1e-9
    )  # a fourth start is the first field again


def test_a_perturbation_has_its_speed_and_is_the_trajectorys_own(
    analysed: tuple[AnalysedHeights, torch.Tensor],
) -> None:
    config = replace(analysed[0], perturbation=5.0, degrees=(3, 8))
    equation = ShallowWater(SHALLOW)
    calm, started = (sphere_states(each, equation, 3, seed=4) for each in (analysed[0], config))
    difference = started - calm
    _, u, v = equation.to_grid(torch.stack([difference[0], difference[1], 0 * difference[2]]))
    areas = torch.from_numpy(equation.transform.mesh.areas).reshape(u.shape[0], 1, -1)
    assert ((u**2 + v**2) * areas).sum(dim=(0, 2)).sqrt().tolist() == pytest.approx([5.0] * 3, rel=0.05)
    assert torch.allclose(sphere_states(config, equation, 1, seed=4, first=2)[..., 0], started[..., 2], atol=1e-7)
    assert not torch.allclose(sphere_states(config, equation, 3, seed=5), started, atol=1e-7)


PLANET = SphereSimulationConfig(
    equation=replace(SHALLOW, heating=HeatingCycle(), precision="float32"),
    initial_states=BalancedFlow(degrees=(2, 6), max_wind=20.0),
    time_step="1h",
    mesh=IcosphereMesh(level=2),
    num_trajectories=2,
    num_frames=3,
    warm_up=4,
    any_season=True,
    start_date="2000-01-06T00:00:00",
    seed=3,
)


def test_a_part_of_the_trajectories_is_that_part_of_all() -> None:
    whole, second = sphere_arrays(PLANET), sphere_arrays(replace(PLANET, first_trajectory=1, num_trajectories=1))
    assert np.abs(second[0] - whole[1]).max() < 0.01  # depth in float32
    assert np.abs(whole[0] - whole[1]).max() > 1.0


def test_the_season_of_the_warm_up_is_random_and_the_first_frame_has_its_date() -> None:
    """Without warm-up the season is the date's; with it trajectories differ from those that warmed up in it."""
    random, dated = sphere_arrays(PLANET), sphere_arrays(replace(PLANET, any_season=False))
    assert np.abs(random - dated).max() > 1e-3
    at_once = replace(PLANET, warm_up=0)
    assert np.array_equal(sphere_arrays(at_once), sphere_arrays(replace(at_once, any_season=False)))


def test_the_solvers_own_grid_holds_what_harmonics_give_at_its_nodes() -> None:
    transform = sphere_solver(PLANET).equation().transform
    grid = GaussianMesh(num_latitudes=transform.num_latitudes, num_longitudes=transform.num_longitudes)
    shifted = replace(grid, num_longitudes=2 * grid.num_longitudes)  # every second longitude is the same
    own, finer = (sphere_arrays(replace(PLANET, mesh=mesh)) for mesh in (grid, shifted))
    finer = finer.reshape(*finer.shape[:2], grid.num_latitudes, -1, 3)[:, :, :, ::2].reshape(own.shape)
    assert np.abs(own - finer).max() < 0.02


@pytest.mark.parametrize("rows", [slice(4, None), slice(4, -4)])
def test_a_band_of_the_globe_makes_neither_ground_nor_start(rows: slice, tmp_path: Path) -> None:
    transform = SphericalTransform(15)
    values = np.random.default_rng(0).normal(size=(3, transform.num_latitudes, transform.num_longitudes))
    for name, fields in (("orog", values[0]), ("z", values)):
        path = write_grid(tmp_path / "whole.nc", fields, transform, name, units="m")
        xr.open_dataset(path).isel(lat=rows).to_netcdf(tmp_path / f"{name}.nc")
    with pytest.raises(MeshcastError, match=r"(?s)orog of .*orog\.nc.* need a grid of the whole sphere"):
        Orography(str(tmp_path / "orog.nc")).coefficients(10)
    config = AnalysedHeights(source=str(tmp_path / "z.nc"), variable="z")
    with pytest.raises(MeshcastError, match=r"(?s)z of .*z\.nc.* need a grid of the whole sphere"):
        analysed_states(config, ShallowWater(SHALLOW), [0], [])


def test_what_cannot_be_is_refused(tmp_path: Path, ground: Orography, transform: SphericalTransform) -> None:
    with pytest.raises(MeshcastError, match="leave one away"):
        replace(SHALLOW, mountains=(Mountain(),), orography=ground)
    with pytest.raises(MeshcastError, match="needs an equation with a heating"):
        replace(PLANET, equation=SHALLOW)
    with pytest.raises(MeshcastError, match="counts from 0"):
        replace(PLANET, first_trajectory=-1)
    with pytest.raises(MeshcastError, match="exponent of an orography"):
        replace(ground, exponent=0.0)
    with pytest.raises(MeshcastError, match="equator within 0 to 90"):
        AnalysedHeights(equator=0.0)
    values = np.full((transform.num_latitudes, transform.num_longitudes), np.nan)
    holes = write_grid(tmp_path / "holes.nc", values, transform, "orog", units="m")
    with pytest.raises(MeshcastError, match="1,152 of 1,152 values are missing"):
        ShallowWater(replace(SHALLOW, orography=Orography(str(holes))))
    with pytest.raises(MeshcastError, match="no variable relief"):
        ShallowWater(replace(SHALLOW, orography=replace(ground, variable="relief")))
    with pytest.raises(MeshcastError, match="There is no file"):
        ShallowWater(replace(SHALLOW, orography=Orography("absent.nc")))
