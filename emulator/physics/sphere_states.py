"""Initial states of shallow water on the sphere: random balanced flow, analyses, Galewsky's jet, Williamson's cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from emulator.foundation.constants import DAY
from emulator.physics.analysed_heights import AnalysedHeights, analysed_states
from emulator.physics.random_flow import random_vorticity
from emulator.physics.shallow_water import ShallowWater
from graphs.errors import MeshcastError
from graphs.kinds import ByKind


@dataclass(frozen=True)
class BalancedFlow:
    """Random rotational flow without a divergence tendency (nonlinear balance), so that no gravity wave sets out.

    degrees: lowest and highest of the vorticity, whose coefficients are independent and normal, alike at all of them.
    max_wind: largest wind on the solver's grid, exactly [m s-1].
    """

    kind: Literal["balanced"] = "balanced"
    degrees: tuple[int, int] = (4, 12)
    max_wind: float = 40.0

    def __post_init__(self) -> None:
        if not 1 <= self.degrees[0] <= self.degrees[1] or not self.max_wind > 0:
            raise MeshcastError(
                f"Balanced flow needs degrees from 1 that do not fall and max_wind > 0, but they are {self.degrees} "
                f"and {self.max_wind:g}."
            )

    def in_words(self) -> str:
        """Return the states as a paragraph on methods names them."""
        lowest, highest = self.degrees
        return f"random balanced flow of degrees {lowest} to {highest} and winds up to {self.max_wind:g} m/s"


@dataclass(frozen=True)
class Jet:
    """The barotropically unstable jet of Galewsky et al. (2004, DOI 10.3402/tellusa.v56i5.14436, eq. 2 to 4).

    max_wind: of the jet, at 45 degrees north [m s-1]. bump: height of the perturbation [m].
    random_bumps: zero for theirs, at 0 E 45 N; else so many of a random height in -bump to bump, at random longitudes
        and at latitudes at most 10 degrees from 45 N, of which each trajectory draws its own.
    """

    kind: Literal["jet"] = "jet"
    max_wind: float = 80.0
    bump: float = 120.0
    random_bumps: int = 0

    def in_words(self) -> str:
        """Return the states as a paragraph on methods names them."""
        return f"a barotropically unstable jet of {self.max_wind:g} m/s [@galewsky2004]"


@dataclass(frozen=True)
class Williamson:
    """A case of Williamson et al. (1992, DOI 10.1016/S0021-9991(05)80016-6), every trajectory alike.

    case: 1, a bell carried by solid rotation (with `frozen_wind`); 2, steady solid rotation; 5, flow over a mountain,
        which the equation must have; 6, a Rossby-Haurwitz wave of wavenumber four.
    """

    kind: Literal["williamson"] = "williamson"
    case: Literal[1, 2, 5, 6] = 2

    def in_words(self) -> str:
        """Return the states as a paragraph on methods names them."""
        return f"case {self.case} of the standard test set"


SphereStates = Annotated[BalancedFlow | AnalysedHeights | Jet | Williamson, ByKind]


def sphere_states(config: SphereStates, equation: ShallowWater, count: int, seed: int, first: int = 0) -> Tensor:
    """Return spectral states [field, order, offset, trajectory]; each depends on the seed and its number alone.

    first: number of the first trajectory.
    """
    numbers = range(first, first + (1 if isinstance(config, Williamson) else count))
    generators = [np.random.default_rng(np.random.SeedSequence([seed, number])) for number in numbers]
    match config:
        case BalancedFlow():
            return _balanced_flow(config, equation, generators)
        case AnalysedHeights():
            return analysed_states(config, equation, numbers, generators)
        case Jet():
            return _jet(config, equation, generators)
        case Williamson():
            return _williamson(config, equation).repeat(1, 1, 1, count)


def _balanced_flow(config: BalancedFlow, equation: ShallowWater, generators: list[np.random.Generator]) -> Tensor:
    vorticity = random_vorticity(config.degrees, equation, generators)
    _, u, v = equation.to_grid(torch.stack([vorticity, 0 * vorticity, 0 * vorticity]))
    strongest = (u.square() + v.square()).amax(dim=(0, 2)).sqrt()  # [trajectory]
    return equation.balanced(vorticity * (config.max_wind / strongest))


def _jet(config: Jet, equation: ShallowWater, generators: list[np.random.Generator]) -> Tensor:
    south, north = np.pi / 7, np.pi / 2 - np.pi / 7
    latitude, longitude = _coordinates(equation)
    inside = (latitude > south) & (latitude < north)
    gap = torch.where(inside, (latitude - south) * (latitude - north), -1.0)
    peak = np.exp(-4 / (north - south) ** 2)
    u = torch.where(inside, config.max_wind / peak * torch.exp(1.0 / gap), 0.0) + 0.0 * longitude
    jet = equation.balanced(equation.from_grid(0 * u, u, 0 * u)[0])
    bumps = [_bumps(config, latitude, longitude, generator) for generator in generators]
    height = equation.transform.analysis(torch.cat(bumps, dim=1))
    state = jet.repeat(1, 1, 1, len(generators))
    state[2] += equation.config.gravity * height
    return state


def _bumps(config: Jet, latitude: Tensor, longitude: Tensor, generator: np.random.Generator) -> Tensor:
    """Return the height [latitude, 1, longitude] of a trajectory's perturbation [m]."""
    draws = generator.uniform(-1.0, 1.0, (max(1, config.random_bumps), 3))
    if not config.random_bumps:
        draws = np.array([[1.0, 0.0, 0.0]])
    total = torch.zeros_like(latitude + longitude)
    for strength, east, north in draws:
        away = torch.remainder(longitude - np.pi * east + np.pi, 2 * np.pi) - np.pi
        centre = np.pi / 4 + np.radians(10.0) * north
        shape = torch.exp(-((3.0 * away) ** 2)) * torch.exp(-((15.0 * (centre - latitude)) ** 2))
        total = total + config.bump * strength * torch.cos(latitude) * shape
    return total


def _williamson(config: Williamson, equation: ShallowWater) -> Tensor:
    latitude, longitude = _coordinates(equation)
    match config.case:
        case 1:
            h, u, v = _bell(equation, latitude, longitude)
        case 2:
            speed = 2 * np.pi * equation.config.radius / (12 * DAY)
            h, u, v = _solid_rotation(equation, latitude, longitude, speed, 2.94e4)
        case 5:
            if equation.ground is None:
                raise MeshcastError(
                    "Williamson's case 5 flows over a mountain: give the equation its mountains, as "
                    "`mountains: [{height: 2000, latitude: 30, longitude: 270, radius: 20}]`."
                )
            level = equation.config.gravity * 5960.0
            h, u, v = _solid_rotation(equation, latitude, longitude, 20.0, level)
            h = h - equation.transform.synthesis(equation.ground) / equation.config.gravity
        case 6:
            h, u, v = _rossby_haurwitz(equation, latitude, longitude)
    return equation.from_grid(h, u, v)


def _solid_rotation(
    equation: ShallowWater, latitude: Tensor, longitude: Tensor, speed: float, level: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See Williamson et al. (1992), eq. 90 to 95; level: the geopotential on the equator [m2 s-2]."""
    radius, rotation = equation.config.radius, equation.config.rotation
    u, v = _solid_wind(equation, latitude, longitude, speed)
    along = equation.coriolis / (2.0 * rotation)
    h = (level - (radius * rotation * speed + speed**2 / 2) * along**2) / equation.config.gravity
    return h + 0.0 * longitude, u, v


def _solid_wind(equation: ShallowWater, latitude: Tensor, longitude: Tensor, speed: float) -> tuple[Tensor, Tensor]:
    tilt = np.radians(equation.config.axis_tilt)
    u = np.cos(tilt) * torch.cos(latitude) + np.sin(tilt) * torch.cos(longitude) * torch.sin(latitude)
    return speed * u, -speed * np.sin(tilt) * torch.sin(longitude) + 0.0 * latitude


def _bell(equation: ShallowWater, latitude: Tensor, longitude: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See Williamson et al. (1992), eq. 75 to 80: a cosine bell of 1 km at 90 W on the equator."""
    radius = equation.config.radius
    cosine = torch.cos(latitude) * torch.cos(longitude - 1.5 * np.pi)
    distance = radius * torch.arccos(cosine.clamp(-1.0, 1.0))
    bell = torch.where(distance < radius / 3, 500.0 * (1.0 + torch.cos(3 * np.pi * distance / radius)), 0.0)
    return bell, *_solid_wind(equation, latitude, longitude, 2 * np.pi * radius / (12 * DAY))


def _rossby_haurwitz(equation: ShallowWater, latitude: Tensor, longitude: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See Williamson et al. (1992), eq. 141 to 149, R = 4."""
    radius, rotation = equation.config.radius, equation.config.rotation
    w, k, r, lowest = 7.848e-6, 7.848e-6, 4, 8000.0  # ω [s-1], K [s-1], R, h0 [m]
    c, s = torch.cos(latitude), torch.sin(latitude)
    u = radius * (w * c + k * c ** (r - 1) * (r * s**2 - c**2) * torch.cos(r * longitude))
    v = -radius * k * r * c ** (r - 1) * s * torch.sin(r * longitude)
    first = w / 2 * (2 * rotation + w) * c**2 + k**2 / 4 * c ** (2 * r) * (
        (r + 1) * c**2 + (2 * r**2 - r - 2) - 2 * r**2 / c**2
    )
    second = 2 * (rotation + w) * k / ((r + 1) * (r + 2)) * c**r * ((r**2 + 2 * r + 2) - (r + 1) ** 2 * c**2)
    third = k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 - (r + 2))
    wave = first + second * torch.cos(r * longitude) + third * torch.cos(2 * r * longitude)
    return lowest + radius**2 * wave / equation.config.gravity, u, v


def _coordinates(equation: ShallowWater) -> tuple[Tensor, Tensor]:
    """Return latitude [latitude, 1, 1] and longitude [1, 1, longitude] of the grid [radians]."""
    transform = equation.transform
    latitude = torch.arcsin(transform.sin_latitude)
    longitude = torch.from_numpy(np.radians(transform.longitudes)).to(latitude)
    return latitude, longitude[None, None]
