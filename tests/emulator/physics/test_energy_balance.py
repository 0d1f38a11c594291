"""The energy balance against closed forms, its budget, and what ice, seasons and volcanoes do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.polynomial import legendre
from numpy.typing import NDArray

from emulator.pathways.radiative_forcing import CO2_DOUBLING, of_co2
from emulator.physics.energy_balance import EnergyBalance
from emulator.physics.energy_balance_config import EnergyBalanceConfig, IceAlbedo, LandMask
from graphs.errors import MeshcastError

Array = NDArray[np.float64]
SMALL = EnergyBalanceConfig(truncation=6)
ALIKE = replace(SMALL, ice=None)  # nothing but two layers and diffusion


@pytest.fixture(scope="module")
def continents(tmp_path_factory: pytest.TempPathFactory) -> LandMask:
    """A third of the globe, on one side and not on the poles."""
    latitude, longitude = np.linspace(-87.5, 87.5, 36), np.arange(0.0, 360.0, 5.0)
    land = ((np.abs(latitude) < 60)[:, None] & (longitude < 140)[None]).astype(np.float32)
    axes = {"lat": ("lat", latitude, {"units": "degrees_north"}), "lon": ("lon", longitude, {"units": "degrees_east"})}
    fields = {"lsm": (("lat", "lon"), land, {"units": "1"})}
    path = tmp_path_factory.mktemp("land") / "land.nc"
    xr.Dataset(fields, axes).to_netcdf(path)
    return LandMask(str(path))


@pytest.fixture(scope="module")
def with_seasons(continents: LandMask) -> EnergyBalance:
    return EnergyBalance(replace(SMALL, insolation="seasonal", land=continents, longest_step=1 / 12))


def warmed(planet: EnergyBalance, forcing: Array, state: torch.Tensor | None = None) -> tuple[torch.Tensor, Array]:
    """The state after a forcing [W m-2], year by year from the first on, linear between, and its global means [K]."""
    state = planet.equilibrium() if state is None else state
    means = [state[0, 0, 0].item()]
    for now, later in pairwise(forcing.tolist()):
        given = tuple(planet.uniform(torch.tensor([value], dtype=torch.float64)) for value in (now, later))
        state = planet.advance(state, 1.0, np.zeros(1), (given[0], given[1])).state
        means.append(state[0, 0, 0].item())
    return state, np.array(means)


def two_layers(config: EnergyBalanceConfig, years: Array) -> tuple[Array, Array]:
    """Warming by 1 W m-2 and by one that grows by 1 W m-2 a year; Geoffroy et al. (2013), table 1."""
    c, c0, gamma = config.capacity, config.deep_capacity, config.uptake
    feedback = config.forcing_of_doubling / config.sensitivity
    b, b_star = (feedback + gamma) / c + gamma / c0, (feedback + gamma) / c - gamma / c0
    delta = b * b - 4 * feedback * gamma / (c * c0)
    tau = [c * c0 / (2 * feedback * gamma) * (b - sign * np.sqrt(delta)) for sign in (1, -1)]
    phi = [c / (2 * gamma) * (b_star - sign * np.sqrt(delta)) for sign in (1, -1)]
    shares = [phi[1] * tau[0], -phi[0] * tau[1]]
    shares = [share * feedback / (c * (phi[1] - phi[0])) for share in shares]
    assert np.isclose(sum(shares), 1.0)
    step = 1.0 - sum(a * np.exp(-years / t) for a, t in zip(shares, tau, strict=True))
    ramp = years - sum(a * t * (1.0 - np.exp(-years / t)) for a, t in zip(shares, tau, strict=True))
    return np.asarray(step / feedback), np.asarray(ramp / feedback)


def test_twice_the_co2_forces_by_the_simple_law() -> None:
    assert pytest.approx(3.71, abs=0.005) == CO2_DOUBLING
    assert of_co2(np.array([278.3, 556.6, 1113.2])) == pytest.approx([0.0, CO2_DOUBLING, 2 * CO2_DOUBLING])
    with pytest.raises(MeshcastError, match="positive"):
        of_co2(np.array([280.0, 0.0]))


@pytest.mark.parametrize("sensitivity", [2.0, 3.0, 4.5])
def test_twice_the_co2_warms_by_the_sensitivity(sensitivity: float) -> None:
    planet = EnergyBalance(replace(SMALL, sensitivity=sensitivity, uptake=0.0))
    control, means = warmed(planet, np.full(2, 0.0))
    assert means == pytest.approx(0.0, abs=1e-9)  # the mean temperature that was asked for
    _, means = warmed(planet, np.full(121, CO2_DOUBLING), control)
    assert means[-1] == pytest.approx(sensitivity, rel=1e-3)
    assert planet.feedback > CO2_DOUBLING / sensitivity  # ice adds to the warming, so that radiation must damp it more


def test_a_planet_alike_everywhere_has_two_layers_in_closed_form() -> None:
    planet, years = EnergyBalance(ALIKE), np.arange(201.0)
    step, ramp = two_layers(ALIKE, years)
    assert np.abs(warmed(planet, np.full(201, 4.0))[1] - 4.0 * step).max() < 1e-6
    assert np.abs(warmed(planet, 0.05 * years)[1] - 0.05 * ramp).max() < 1e-6


def test_the_linear_climate_is_the_sum_of_legendre_polynomials() -> None:
    """North (1975): each degree of the sunshine that is kept, over D l (l + 1) + B."""
    config = replace(ALIKE, uptake=0.0)
    planet = EnergyBalance(config)
    kept = legendre.legmul([1.0, 0.0, -0.477], [1.0 - config.albedo, 0.0, -config.albedo_slope])
    degree = np.arange(len(kept))
    exact = config.solar_constant / 4 * kept / (config.diffusivity * degree * (degree + 1) + planet.feedback)
    exact[0] -= planet.outgoing / planet.feedback
    expected = legendre.legval(planet.sin_latitude, exact)
    far = planet.equilibrium() + torch.eye(1, len(planet.degree))[0]  # a degree too warm everywhere
    for state in (planet.equilibrium(), warmed(planet, np.zeros(121), far)[0]):
        assert np.abs((planet.basis @ state[0, 0]).numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("seasons", [False, True])
def test_what_comes_in_is_what_is_held(continents: LandMask, with_seasons: EnergyBalance, seasons: bool) -> None:
    planet = with_seasons if seasons else EnergyBalance(replace(SMALL, land=continents))
    state = torch.randn(3, 2, len(planet.degree), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    forcing = planet.uniform(torch.tensor([0.0, 4.0, -3.0], dtype=torch.float64))
    later = planet.advance(state, 3.0, np.array([0.0, 0.3, 0.9]), (forcing, 2 * forcing))
    gained = planet.energy(later.state) - planet.energy(state)
    assert torch.allclose(gained, later.heat, rtol=1e-10, atol=1e-10)
    assert float(gained.abs().min()) > 0.01


def polar_amplification(config: EnergyBalanceConfig) -> float:
    planet = EnergyBalance(config)
    change = (planet.equilibrium(CO2_DOUBLING) - planet.equilibrium())[0, 0]
    polar = np.abs(planet.mesh.latitudes) > 60
    areas = planet.mesh.areas
    field = (planet.basis @ change).numpy()
    return float((field * areas)[polar].sum() / areas[polar].sum() / (field @ areas))


def test_ice_makes_the_poles_warm_more() -> None:
    config = EnergyBalanceConfig()
    assert polar_amplification(config) > 1.5
    assert polar_amplification(replace(config, ice=None)) == pytest.approx(1.0, abs=1e-6)


def test_a_volcano_cools_and_is_forgotten() -> None:
    forcing = np.zeros(61)
    forcing[[10, 11]] = -3.0, -1.0
    _, means = warmed(EnergyBalance(SMALL), forcing)
    assert means[:10] == pytest.approx(0.0, abs=1e-9)
    assert 11 <= means.argmin() <= 12 and -0.6 < means.min() < -0.2
    assert (np.diff(means[13:]) > 0).all() and -0.05 < means[-1] < 0


def test_seasons_keep_the_mean_and_the_sensitivity(with_seasons: EnergyBalance) -> None:
    planet = with_seasons
    forcings = torch.tensor([0.0, CO2_DOUBLING], dtype=torch.float64)
    start = torch.cat([planet.equilibrium(forcing) for forcing in forcings.tolist()])
    year = planet.advance(start, 1.0, np.zeros(2), (planet.uniform(forcings),) * 2)
    assert year.surface[0, 0].item() == pytest.approx(0.0, abs=1e-4)
    assert (year.surface[1] - year.surface[0])[0].item() == pytest.approx(3.0, rel=0.02)
    assert (year.state[:, 0] - start[:, 0]).abs().max() < 1e-4  # it repeats
    half = planet.advance(start[:1], 0.5, np.zeros(1), (planet.uniform(0 * forcings[:1]),) * 2).state
    change = (planet.basis @ (half - start[:1])[0, 0]).numpy()
    middle, land = np.abs(planet.mesh.latitudes - 45) < 15, planet.mesh.longitudes < 140
    assert change[middle & land].mean() > 2 * change[middle & ~land].mean() > 0  # July; land warms more than the sea
    assert change[np.abs(planet.mesh.latitudes + 45) < 15].mean() < 0


def test_a_climate_that_tips_is_refused() -> None:
    """A sharp edge of the ice at T6: for 5 K the balance found does not hold, and planets leave it for another."""
    with pytest.raises(MeshcastError, match=r"stays as it is.*Choose a lower sensitivity"):
        EnergyBalance(replace(SMALL, sensitivity=5.0, ice=IceAlbedo(width=4.0)))
    planet = EnergyBalance(SMALL)
    with pytest.raises(MeshcastError, match=r"At a forcing of -\d+\.\d+ W m-2 this climate tips"):
        planet.equilibrium(-40.0)


def test_settings_without_a_meaning_are_refused(tmp_path: Path, continents: LandMask) -> None:
    for wrong, said in (
        ({"sensitivity": 0.0}, "sensitivity of an energy balance must be positive"),
        ({"uptake": -0.1}, "uptake of an energy balance cannot be negative"),
        ({"capacity": float("nan")}, "capacity of an energy balance must be positive"),
    ):
        with pytest.raises(MeshcastError, match=said):
            replace(SMALL, **wrong)  # type: ignore[arg-type]
    with pytest.raises(MeshcastError, match="The ice's albedo"):
        IceAlbedo(albedo=1.2)
    with pytest.raises(MeshcastError, match=r"holds lsm\. Name the share of land"):
        EnergyBalance(replace(SMALL, land=replace(continents, variable="sea")))
    with pytest.raises(MeshcastError, match="leaves the sea nothing"):
        EnergyBalance(replace(SMALL, land=replace(continents, capacity=40.0)))
