"""Rotating shallow water on the sphere: the equation and its integrator, in spherical harmonics.

    ∂ζ/∂t = -∇·((ζ + f) v) - r ζ + ...
    ∂δ/∂t = k·∇×((ζ + f) v) - ∇²(Φ + Φ_s + |v|²/2)
    ∂Φ/∂t = -∇·(Φ v) + g F

with vorticity ζ, divergence δ, geopotential of the fluid's depth Φ = g h, orography Φ_s = g h_s, heating F (Williamson
et al. 1992, DOI 10.1016/S0021-9991(05)80016-6, eq. 1 to 10; vorticity-divergence form of Bourke 1972).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from emulator.foundation.constants import DAY, GRAVITY, RADIUS, ROTATION
from emulator.heating_cycle import HeatingCycle, Seconds
from emulator.physics.ground import Mountain, Orography
from graphs.errors import MeshcastError
from graphs.harmonics.basis import Degrees
from graphs.harmonics.transform import SphericalTransform


@dataclass(frozen=True)
class Hyperdiffusion:
    """Implicit damping of the smallest scales, -ν (-∇² - 2/a²)^(order/2), which leaves solid rotation alone.

    e_folding: time in which degree T falls by e [s]. order: of the derivative, even.
    """

    e_folding: float = 8640.0
    order: int = 8

    def __post_init__(self) -> None:
        if not self.e_folding > 0 or self.order < 2 or self.order % 2:
            raise MeshcastError(
                f"Hyperdiffusion needs e_folding > 0 and an even order >= 2, but they are {self.e_folding:g} and "
                f"{self.order}."
            )


@dataclass(frozen=True)
class Climate:
    """Forcing towards balanced zonal jets, one in each hemisphere, and drag: eddies live on the jets' instability.

    The zonal means of vorticity and depth relax to the jets' (not the mean depth, so mass stays); eddies do not, they
    are only dragged, as is all wind.

    jet_speed: at the jets' core [m s-1]. jet_latitude, jet_width: of the core, and from there to 1/e [degrees].
    relaxation_days, drag_days: time scales [d].
    """

    jet_speed: float = 80.0
    jet_latitude: float = 45.0
    jet_width: float = 6.0
    relaxation_days: float = 3.0
    drag_days: float = 10.0

    def __post_init__(self) -> None:
        if min(self.jet_width, self.relaxation_days, self.drag_days) <= 0:
            raise MeshcastError(
                "A climate needs jet_width, relaxation_days and drag_days > 0, but they are "
                f"{self.jet_width:g}, {self.relaxation_days:g} and {self.drag_days:g}."
            )
        if not 0 < self.jet_latitude < 90:
            raise MeshcastError(
                f"A climate's jet_latitude lies between 0 and 90 degrees, for one jet in each hemisphere, but is "
                f"{self.jet_latitude:g}."
            )


@dataclass(frozen=True)
class ShallowWaterConfig:
    """Shallow water on a rotating sphere.

    truncation: T, triangular, on the grid free of quadratic aliasing.
    mean_depth: H [m]; gravity waves travel at sqrt(g H).
    longest_step: of the integrator [s]; a time step is cut into equal parts no longer than this. It is stable up to
        about 1.7 radius / (truncation · largest wind): 5,000 s at T42 and 50 m/s, 10,000 s at T21.
    diffusion: of vorticity, divergence and depth (not of its mean).
    mountains: of the ground, which is flat elsewhere. orography: the ground from a file, in their place.
    surface: whether an emulator's State and a dataset hold as h the height of the fluid's surface above the mean
        surface in place of its depth.
    heating: growth and loss of depth in the course of day and year, by the valid time; null for none.
    climate: forcing and drag; null for flow that decays.
    frozen_wind: whether the wind stays as it is and only carries the depth (Williamson's case 1).
    radius: of the sphere [m]. rotation: its angular speed [s-1]. gravity: [m s-2].
    axis_tilt: of the axis of rotation against the grid's pole [degrees].
    """

    truncation: int = 42
    mean_depth: float = 10_000.0
    longest_step: float = 3600.0
    diffusion: Hyperdiffusion | None = Hyperdiffusion()
    precision: Literal["float64", "float32"] = "float64"
    mountains: tuple[Mountain, ...] = ()
    orography: Orography | None = None
    surface: bool = False
    heating: HeatingCycle | None = None
    climate: Climate | None = None
    frozen_wind: bool = False
    radius: float = RADIUS
    rotation: float = ROTATION
    gravity: float = GRAVITY
    axis_tilt: float = 0.0

    def __post_init__(self) -> None:
        for name in ("truncation", "mean_depth", "longest_step", "radius", "gravity"):
            if not getattr(self, name) > 0:
                raise MeshcastError(f"{name} of the shallow water must be positive, but is {getattr(self, name)}.")
        if self.mountains and self.orography is not None:
            raise MeshcastError("The ground is made of mountains or of an orography, not of both: leave one away.")

    @property
    def has_ground(self) -> bool:
        """Return whether the ground is other than flat."""
        return bool(self.mountains) or self.orography is not None

    @property
    def not_zonal(self) -> list[str]:
        """Return the keys that tell longitudes apart; with none, a flow turned about the pole obeys the equation."""
        known = {"mountains": self.mountains, "orography": self.orography, "heating": self.heating}
        return [key for key, value in known.items() if value] + ["axis_tilt"] * (self.axis_tilt != 0.0)


class ShallowWater:
    """The equation in spectral space, and one step of its integrator.

    A spectral state is complex [field, order, offset, column], fields vorticity [s-1], divergence [s-1] and
    geopotential [m2 s-2]; columns are independent trajectories.

    Gravity waves are implicit, all else explicit, by the semi-implicit three-cycle of Whitaker and Kar (2013,
    DOI 10.1175/MWR-D-13-00132.1): three evaluations a step, self-starting, without a computational mode. Diffusion is
    exact for each coefficient, after the step.
    """

    def __init__(self, config: ShallowWaterConfig, device: str = "cpu") -> None:
        self.config = config
        dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.transform = SphericalTransform(config.truncation, dtype=dtype, device=device)
        # On the sphere of radius one: ∇ there is a times ∇ here, so winds are divided by a.
        self.coriolis = 2.0 * config.rotation * self._along_the_axis()
        self.mean = config.gravity * config.mean_depth
        self.ground = self._ground()
        self.laplacian = self.transform.laplacian / config.radius**2
        self._forcing: tuple[Tensor, Tensor] | None = None  # while the jets it goes to are found
        if config.climate is not None:
            self._forcing = self._relaxation(config.climate)

    def _along_the_axis(self) -> Tensor:
        """Return the sine of the latitude about the axis of rotation (Williamson et al. 1992, eq. 96)."""
        tilt = np.radians(self.config.axis_tilt)
        longitude = torch.as_tensor(np.radians(self.transform.longitudes)).to(self.transform.sin_latitude)
        upright = np.cos(tilt) * self.transform.sin_latitude
        return upright - np.sin(tilt) * torch.cos(longitude) * self.transform.cos_latitude if tilt else upright

    def _ground(self) -> Tensor | None:
        """Return the coefficients of Φ_s [order, offset, 1], [m2 s-2]; None where the ground is flat."""
        if self.config.orography is not None:
            found = self.config.orography.coefficients(self.config.truncation)[..., None]
            complex_type = self.transform.dtype.to_complex()
            return self.config.gravity * found.to(self.transform.device, complex_type)
        if not self.config.mountains:
            return None
        latitude, longitude = np.radians(self.transform.latitudes)[:, None], np.radians(self.transform.longitudes)
        height = np.sum([mountain.heights(latitude, longitude) for mountain in self.config.mountains], axis=0)
        height = torch.as_tensor(height).to(self.transform.sin_latitude)[:, None]
        return self.config.gravity * self.transform.analysis(height)

    def _relaxation(self, climate: Climate) -> tuple[Tensor, Tensor]:
        """Return what the climate adds to the tendencies: constant + rate · state, [field, order, offset, 1] each."""
        transform = self.transform
        latitude = torch.rad2deg(torch.arcsin(transform.sin_latitude))
        away = (latitude.abs() - climate.jet_latitude) / climate.jet_width
        u = climate.jet_speed * torch.exp(-away.square()) * torch.ones(transform.num_longitudes).to(latitude)
        jet = self.balanced(self.from_grid(0 * u, u, 0 * u)[0])
        relaxed, dragged = 1.0 / (DAY * climate.relaxation_days), 1.0 / (DAY * climate.drag_days)
        rates = torch.zeros_like(jet.real)
        rates[0, 0], rates[2, 0] = relaxed, relaxed  # order zero: the zonal mean
        rates[2, 0, 0] = 0.0  # mass stays
        constant = rates * jet
        rates[:2] += dragged
        return constant, -rates

    def from_grid(self, height: Tensor, east: Tensor, north: Tensor) -> Tensor:
        """Return a spectral state from depth [m] and wind [m s-1] on the grid [latitude, column, longitude]."""
        cosine, radius = self.transform.cos_latitude, self.config.radius
        divergence, vorticity = self.transform.divergence_and_curl(east * cosine / radius, north * cosine / radius)
        geopotential = self.transform.analysis(self.config.gravity * height)
        return torch.stack([vorticity, divergence, geopotential])

    def to_grid(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return depth [m] and east and north wind [m s-1] on the grid [latitude, column, longitude]."""
        geopotential, u, v, _ = self._on_grid(state)
        cosine = self.transform.cos_latitude / self.config.radius
        return geopotential / self.config.gravity, u / cosine, v / cosine

    def of_surface(self, state: Tensor) -> Tensor:
        """Return a spectral state with g h, for the h that a State holds, in place of the depth's: see `surface`."""
        return self._raised(state, 1.0)

    def of_depth(self, state: Tensor) -> Tensor:
        """Return the spectral state of one with g h for the h that a State holds; `of_surface` undone."""
        return self._raised(state, -1.0)

    def _raised(self, state: Tensor, sign: float) -> Tensor:
        """Return a state with `sign` times the ground in its geopotential, all above the mean surface."""
        if not self.config.surface:
            return state
        found = state.clone()
        if self.ground is not None:
            found[2] += sign * self.ground
            found[2, 0, 0] -= sign * self.ground[0, 0]
        found[2, 0, 0] -= sign * self.mean
        return found

    def balanced(self, vorticity: Tensor, divergence: Tensor | None = None) -> Tensor:
        """Return the state of a vorticity [order, offset, column] without divergence tendency.

        Φ + |v|²/2 + Φ_s = ∇⁻² k·∇×((ζ + f) v), the nonlinear balance equation, with the mean depth of the
        configuration.

        divergence: [order, offset, column], zero by default.
        """
        divergence = torch.zeros_like(vorticity) if divergence is None else divergence
        state = torch.stack([vorticity, divergence, torch.zeros_like(vorticity)])
        tendency = self.explicit(state, np.zeros(vorticity.shape[-1]))[1]
        geopotential = self.transform.inverse_laplacian * self.config.radius**2 * tendency
        geopotential[0, 0] = self.mean
        return torch.stack([state[0], state[1], geopotential])

    def _on_grid(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return Φ, u cos φ / a, v cos φ / a and ζ on the grid [latitude, column, longitude]."""
        vorticity, divergence, geopotential = state
        count = vorticity.shape[-1]
        u, v = self.transform.wind(vorticity, divergence)
        narrow = torch.nn.functional.pad(torch.cat([geopotential, vorticity], dim=-1), (0, 0, 0, 1))
        values = self.transform.synthesis(torch.cat([narrow[..., :count], u, v, narrow[..., count:]], dim=-1))
        phi, u, v, zeta = values.split(count, dim=1)
        return phi, u, v, zeta

    def heating(self, time: Seconds) -> Tensor:
        """Return the coefficients of g F [order, offset, column] at times [column] in seconds since 1970."""
        assert self.config.heating is not None
        latitude, longitude = np.radians(self.transform.latitudes)[:, None, None], np.radians(self.transform.longitudes)
        moments, column = np.unique(np.asarray(time, np.float64), return_inverse=True)
        rate = self.config.heating.rate(moments[None, :, None], latitude, longitude)  # [latitude, moment, longitude]
        spectral = self.transform.analysis(torch.from_numpy(rate).to(self.transform.sin_latitude))
        return self.config.gravity * spectral[..., torch.from_numpy(column)]

    def explicit(self, state: Tensor, time: Seconds | None = None) -> Tensor:
        """Return all tendencies but those of gravity waves about the mean depth.

        time: [column] seconds since 1970, where the equation has a heating.
        """
        tendency = self._dynamics(state)
        if self.config.heating is not None:
            assert time is not None, "an equation with a heating needs the time"
            tendency[2] += self.heating(time)
        return tendency

    def _dynamics(self, state: Tensor) -> Tensor:
        """Return what does not depend on the time of the explicit tendencies."""
        count = state.shape[-1]
        phi, u, v, zeta = self._on_grid(state)
        if self.config.frozen_wind:
            divergence, _ = self.transform.divergence_and_curl(u * phi, v * phi)
            return torch.stack([torch.zeros_like(divergence), torch.zeros_like(divergence), -divergence])
        absolute, depth = zeta + self.coriolis, phi - self.mean
        energy = (u.square() + v.square()) * (0.5 * self.config.radius**2)  # times cos² φ, as are the fluxes below
        products = torch.cat([u * absolute, u * depth, v * absolute, v * depth, energy], dim=1)
        spectral = self.transform.analysis(products, self.config.truncation + 2, divided=True)
        divergence, curl = self.transform.differentiated(spectral[..., : 4 * count])
        energy = spectral[:, :-1, 4 * count :] * self.transform.kept
        if self.ground is not None:
            energy = energy + self.ground
        tendency = torch.stack(
            [-divergence[..., :count], curl[..., :count] - self.laplacian * energy, -divergence[..., count:]]
        )
        if self._forcing is not None:
            constant, rates = self._forcing
            tendency = tendency + constant + rates * state
        return tendency

    def implicit(self, state: Tensor) -> Tensor:
        """Return the tendencies of gravity waves about the mean depth."""
        if self.config.frozen_wind:
            return torch.zeros_like(state)
        return torch.stack([torch.zeros_like(state[0]), -self.laplacian * state[2], -self.mean * state[1]])

    def solved(self, state: Tensor, dt: float) -> Tensor:
        """Return x of x - dt · implicit(x) = state."""
        if self.config.frozen_wind:
            return state
        vorticity, divergence, geopotential = state
        divergence = (divergence - dt * self.laplacian * geopotential) / (1.0 - dt**2 * self.mean * self.laplacian)
        return torch.stack([vorticity, divergence, geopotential - dt * self.mean * divergence])

    def damping(self, dt: float) -> Tensor:
        """Return what hyperdiffusion leaves of a coefficient after dt [order, offset, 1]."""
        config = self.config.diffusion
        if config is None:
            return torch.ones_like(self.laplacian)
        truncation = self.config.truncation
        degree = Degrees(truncation).degree
        scaled = np.maximum(degree * (degree + 1.0) - 2.0, 0.0) / (truncation * (truncation + 1.0) - 2.0)
        rate = scaled ** (config.order // 2) / config.e_folding
        return torch.from_numpy(np.exp(-dt * rate)).to(self.laplacian)[..., None]

    def advance(self, state: Tensor, duration: float, time: Seconds | None = None) -> Tensor:
        """Return the spectral state `duration` [s] later.

        time: [column] of the state, in seconds since 1970; only an equation with a heating asks for it.
        """
        steps = self.num_steps(duration)
        dt = duration / steps
        damping = torch.ones_like(self.laplacian) if self.config.frozen_wind else self.damping(dt)
        for step in range(steps):
            state = self._step(state, dt, None if time is None else time + step * dt) * damping
        return state

    def num_steps(self, duration: float) -> int:
        """Return the number of equal steps of the integrator that a duration [s] is cut into."""
        return max(1, int(np.ceil(duration / self.config.longest_step - 1e-9)))

    def _step(self, start: Tensor, dt: float, time: Seconds | None) -> Tensor:
        """Step by Whitaker and Kar (2013), their semi-implicit Lorenz three-cycle, Table 2."""
        at = [None, None, None] if time is None else [time, time + dt / 3, time + 2 * dt / 3]
        f1, g1 = self.explicit(start, at[0]), self.implicit(start)
        second = self.solved(start + dt * (f1 / 3 + g1 / 6), dt / 6)
        f2 = self.explicit(second, at[1])
        third = self.solved(start + dt * (f1 / 6 + f2 / 2 + g1 / 3), dt / 3)
        f3, g3 = self.explicit(third, at[2]), self.implicit(third)
        return self.solved(start + dt * (f1 / 2 - f2 / 2 + f3 + g1 * (3 / 8) + g3 * (3 / 8)), dt / 4)
