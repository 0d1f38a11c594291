"""Rotating shallow water on the sphere: the equation and its integrator, in spherical harmonics.

    ∂ζ/∂t = -∇·((ζ + f) v) - r ζ + ...
    ∂δ/∂t = k·∇×((ζ + f) v) - ∇²(Φ + Φ_s + |v|²/2)
    ∂Φ/∂t = -∇·(Φ v)

with vorticity ζ, divergence δ, geopotential of the fluid's depth Φ = g h, orography Φ_s = g h_s (Williamson et al.
1992, DOI 10.1016/S0021-9991(05)80016-6, eq. 1 to 10; vorticity-divergence form of Bourke 1972).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.harmonics import Degrees, SphericalTransform

RADIUS = 6.37122e6  # [m], Williamson et al. (1992), section 2
ROTATION = 7.292e-5  # [s-1], the same
GRAVITY = 9.80616  # [m s-2], the same


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
class ShallowWaterConfig:
    """Shallow water on a rotating sphere.

    truncation: T, triangular, on the grid free of quadratic aliasing.
    mean_depth: H [m]; gravity waves travel at sqrt(g H).
    longest_step: of the integrator [s]; a time step is cut into equal parts no longer than this.
    diffusion: of vorticity, divergence and depth (not of its mean).
    """

    truncation: int = 42
    mean_depth: float = 10_000.0
    longest_step: float = 3600.0
    diffusion: Hyperdiffusion | None = Hyperdiffusion()
    precision: Literal["float64", "float32"] = "float64"
    radius: float = RADIUS
    rotation: float = ROTATION
    gravity: float = GRAVITY

    def __post_init__(self) -> None:
        for name in ("truncation", "mean_depth", "longest_step", "radius", "gravity"):
            if not getattr(self, name) > 0:
                raise MeshcastError(f"{name} of the shallow water must be positive, but is {getattr(self, name)}.")


class ShallowWater:
    """The equation in spectral space, and one step of its integrator.

    A spectral state is complex [field, order, offset, column], fields vorticity [s-1], divergence [s-1] and
    geopotential [m2 s-2]; columns are independent trajectories.

    Gravity waves are implicit, all else explicit, by the semi-implicit three-cycle of Whitaker and Kar (2013,
    DOI 10.1175/MWR-D-13-00132.1): three evaluations a step, self-starting, without a computational mode. Diffusion is
    exact for each coefficient, after the step.

    orography: coefficients [order, offset] of the ground's height [m], or None.
    """

    def __init__(self, config: ShallowWaterConfig, orography: Tensor | None = None, device: str = "cpu") -> None:
        self.config = config
        dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.transform = SphericalTransform(config.truncation, dtype=dtype, device=device)
        # On the sphere of radius one: ∇ there is a times ∇ here, so winds are divided by a.
        self.coriolis = 2.0 * config.rotation * self.transform.sin_latitude
        self.mean = config.gravity * config.mean_depth
        self.ground: Tensor | None = None  # Φ_s [latitude, 1, longitude] on the grid [m2 s-2]
        if orography is not None:
            height = orography.to(self.transform.device, torch.complex(self.coriolis[:1], self.coriolis[:1]).dtype)
            self.ground = config.gravity * self.transform.synthesis(
                torch.nn.functional.pad(height[..., None], (0, 0, 0, 1))
            )
        self.laplacian = self.transform.laplacian / config.radius**2

    # States ---------------------------------------------------------------------------------------------------------

    def from_grid(self, height: Tensor, east: Tensor, north: Tensor) -> Tensor:
        """A spectral state from depth [m] and wind [m s-1] on the grid [latitude, column, longitude]."""
        cosine, radius = self.transform.cos_latitude, self.config.radius
        divergence, vorticity = self.transform.divergence_and_curl(east * cosine / radius, north * cosine / radius)
        geopotential = self.transform.analysis(self.config.gravity * height)
        return torch.stack([vorticity, divergence, geopotential])

    def to_grid(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Depth [m] and east and north wind [m s-1] on the grid [latitude, column, longitude]."""
        geopotential, u, v, _ = self._on_grid(state)
        cosine = self.transform.cos_latitude / self.config.radius
        return geopotential / self.config.gravity, u / cosine, v / cosine

    def balanced(self, vorticity: Tensor) -> Tensor:
        """The state of a vorticity [order, offset, column] without divergence nor divergence tendency.

        Φ + |v|²/2 + Φ_s = ∇⁻² k·∇×((ζ + f) v), the nonlinear balance equation, with the mean depth of the
        configuration.
        """
        state = torch.stack([vorticity, torch.zeros_like(vorticity), torch.zeros_like(vorticity)])
        tendency = self.explicit(state)[1]
        geopotential = self.transform.inverse_laplacian * self.config.radius**2 * tendency
        geopotential[0, 0] = self.mean
        return torch.stack([state[0], state[1], geopotential])

    # The equation ---------------------------------------------------------------------------------------------------

    def _on_grid(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Φ, u cos φ / a, v cos φ / a and ζ on the grid [latitude, column, longitude]."""
        vorticity, divergence, geopotential = state
        count = vorticity.shape[-1]
        u, v = self.transform.wind(vorticity, divergence)
        narrow = torch.nn.functional.pad(torch.cat([geopotential, vorticity], dim=-1), (0, 0, 0, 1))
        values = self.transform.synthesis(torch.cat([narrow[..., :count], u, v, narrow[..., count:]], dim=-1))
        phi, u, v, zeta = values.split(count, dim=1)
        return phi, u, v, zeta

    def explicit(self, state: Tensor) -> Tensor:
        """All tendencies but those of gravity waves about the mean depth."""
        count = state.shape[-1]
        phi, u, v, zeta = self._on_grid(state)
        absolute, depth = zeta + self.coriolis, phi - self.mean
        fluxes = torch.cat([u * absolute, u * depth], dim=1), torch.cat([v * absolute, v * depth], dim=1)
        divergence, curl = self.transform.divergence_and_curl(*fluxes)
        energy = (u.square() + v.square()) * (0.5 * (self.config.radius / self.transform.cos_latitude) ** 2)
        if self.ground is not None:
            energy = energy + self.ground
        energy = self.transform.analysis(energy)
        return torch.stack(
            [-divergence[..., :count], curl[..., :count] - self.laplacian * energy, -divergence[..., count:]]
        )

    def implicit(self, state: Tensor) -> Tensor:
        """The tendencies of gravity waves about the mean depth."""
        return torch.stack([torch.zeros_like(state[0]), -self.laplacian * state[2], -self.mean * state[1]])

    def solved(self, state: Tensor, dt: float) -> Tensor:
        """x of x - dt · implicit(x) = state."""
        vorticity, divergence, geopotential = state
        divergence = (divergence - dt * self.laplacian * geopotential) / (1.0 - dt**2 * self.mean * self.laplacian)
        return torch.stack([vorticity, divergence, geopotential - dt * self.mean * divergence])

    def damping(self, dt: float) -> Tensor:
        """[order, offset, 1] what hyperdiffusion leaves of a coefficient after dt."""
        config = self.config.diffusion
        if config is None:
            return torch.ones_like(self.laplacian)
        truncation = self.config.truncation
        degree = Degrees(truncation).degree
        scaled = np.maximum(degree * (degree + 1.0) - 2.0, 0.0) / (truncation * (truncation + 1.0) - 2.0)
        rate = scaled ** (config.order // 2) / config.e_folding
        return torch.from_numpy(np.exp(-dt * rate)).to(self.laplacian)[..., None]

    # Time -----------------------------------------------------------------------------------------------------------

    def advance(self, state: Tensor, duration: float) -> Tensor:
        """The spectral state `duration` [s] later."""
        steps = max(1, int(np.ceil(duration / self.config.longest_step - 1e-9)))
        dt = duration / steps
        damping = self.damping(dt)
        for _ in range(steps):
            state = self._step(state, dt) * damping
        return state

    def _step(self, start: Tensor, dt: float) -> Tensor:
        """Whitaker and Kar (2013), their semi-implicit Lorenz three-cycle, Table 2."""
        f1, g1 = self.explicit(start), self.implicit(start)
        second = self.solved(start + dt * (f1 / 3 + g1 / 6), dt / 6)
        f2 = self.explicit(second)
        third = self.solved(start + dt * (f1 / 6 + f2 / 2 + g1 / 3), dt / 3)
        f3, g3 = self.explicit(third), self.implicit(third)
        return self.solved(start + dt * (f1 / 2 - f2 / 2 + f3 + g1 * (3 / 8) + g3 * (3 / 8)), dt / 4)
