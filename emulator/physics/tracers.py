"""Passive tracers on the sphere: carried by the flow, never negative, their mass kept.

    ∂q/∂t + v·∇q = 0,  so that the mass ∫ h q of a mixing ratio q is conserved with the fluid's.

Semi-Lagrangian: the value at a grid point is that at its departure point, by cubic interpolation held within the four
values around it (Bermejo and Staniforth 1992, DOI 10.1175/1520-0493(1992)120<2622:TCOSLA>2.0.CO;2), so that no new
extreme arises. Interpolation does not keep mass exactly; a factor near one, which keeps signs, restores it every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graphs.geometry import to_xyz
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian_latitudes

ITERATIONS = 3  # of the departure point's fixed-point equation; its error falls by dt · shear each


@dataclass(frozen=True)
class TracerBell:
    """Where a tracer is at the start: a cosine bell of mixing ratio one at its centre, nowhere else.

    name: of the variable. latitude, longitude: of the centre [degrees]. radius: of its edge [degrees].
    """

    name: str
    latitude: float = 0.0
    longitude: float = 0.0
    radius: float = 30.0

    def on_grid(self, transform: SphericalTransform) -> Tensor:
        """Return the mixing ratio [latitude, longitude]."""
        mesh = transform.mesh
        centre = to_xyz(self.latitude, self.longitude)
        away = np.arccos(np.clip(mesh.positions @ centre, -1.0, 1.0)) / np.radians(self.radius)
        bell = np.where(away < 1.0, 0.5 + 0.5 * np.cos(np.pi * away), 0.0)
        return torch.from_numpy(bell).to(transform.device, transform.dtype).reshape(mesh.shape)


class TracerTransport:
    """Carries fields on the Gaussian grid of a transform.

    Fields are [row, latitude, longitude]; points are [row, point] latitudes and longitudes [radians].
    radius: of the sphere [m].
    """

    def __init__(self, transform: SphericalTransform, radius: float) -> None:
        self.radius = radius
        self.num_latitudes, self.num_longitudes = transform.num_latitudes, transform.num_longitudes
        latitudes, weights = gaussian_latitudes(self.num_latitudes)
        rows, device = np.radians(latitudes), transform.device
        beyond = np.concatenate([-np.pi - rows[1::-1], rows, np.pi - rows[:-3:-1]])  # two rows across each pole
        self._rows = torch.from_numpy(beyond).to(device)
        longitude = torch.from_numpy(np.radians(transform.longitudes)).to(device)
        latitude = torch.from_numpy(rows).to(device)
        self._weights = torch.from_numpy(weights / self.num_longitudes).to(device)[:, None]
        sin_latitude, cos_latitude = torch.sin(latitude)[:, None], torch.cos(latitude)[:, None]
        sin_longitude, cos_longitude = torch.sin(longitude), torch.cos(longitude)
        still = torch.zeros_like(sin_latitude * sin_longitude)
        arrival = [cos_latitude * cos_longitude, cos_latitude * sin_longitude, still + sin_latitude]
        self._arrival = torch.stack(arrival).flatten(1)  # [3, point] positions
        self._east = torch.stack([still - sin_longitude, still + cos_longitude, still])  # [3, latitude, longitude]
        self._north = torch.stack([-sin_latitude * cos_longitude, -sin_latitude * sin_longitude, still + cos_latitude])

    def mass(self, h: Tensor, q: Tensor) -> Tensor:
        """Return the area mean [row] of h q."""
        return (self._weights * h * q).sum(dim=(1, 2))

    def carried(self, q: Tensor, wind: tuple[Tensor, Tensor], h: tuple[Tensor, Tensor], dt: float) -> Tensor:
        """Return a tracer q [row, latitude, longitude] `dt` [s] later, by the wind u, v [m s-1] of the step's middle.

        h: depth [m] before and after it.
        """
        latitude, longitude = self.departure(*wind, dt)
        later = self.interpolated(q, latitude, longitude).reshape(q.shape)
        before, after = self.mass(h[0], q), self.mass(h[1], later)
        # a tracer that is nowhere stays nowhere
        factor = torch.where(after > 0, before / torch.where(after > 0, after, 1.0), torch.ones_like(after))
        return later * factor[:, None, None]

    def departure(self, u: Tensor, v: Tensor, dt: float) -> tuple[Tensor, Tensor]:
        """Where the fluid that arrives at the grid points came from, `dt` [s] before: latitudes and longitudes."""
        velocity = u[None] * self._east[:, None] + v[None] * self._north[:, None]  # [3, row, latitude, longitude]
        velocity = velocity * (dt / (2.0 * self.radius))
        half_way = velocity.flatten(2)
        arrival = self._arrival[:, None]
        for iteration in range(ITERATIONS):
            middle = arrival - half_way
            middle = middle / middle.norm(dim=0)
            if iteration < ITERATIONS - 1:
                points = _coordinates(middle)
                half_way = torch.stack([self.interpolated(component, *points, limited=False) for component in velocity])
        # the great circle goes on as far beyond the middle as the middle is away
        return _coordinates(2.0 * (arrival * middle).sum(dim=0) * middle - arrival)

    def sampled(self, q: Tensor, mesh: Mesh) -> Tensor:
        """Return values [row, node] at the nodes of a mesh, none beyond those around."""
        places = torch.from_numpy(np.radians(np.stack([mesh.latitudes, mesh.longitudes]))).to(q)
        latitude, longitude = places[:, None].expand(2, q.shape[0], -1)
        return self.interpolated(q, latitude, longitude)

    def interpolated(self, q: Tensor, latitude: Tensor, longitude: Tensor, limited: bool = True) -> Tensor:
        """Return values [row, point] by cubic interpolation, within the four values around where `limited`."""
        num_rows, half = q.shape[0], self.num_longitudes // 2
        beyond = torch.cat([q[:, :2].flip(1).roll(half, 2), q, q[:, -2:].flip(1).roll(half, 2)], dim=1)
        row = (torch.searchsorted(self._rows, latitude.contiguous(), right=True) - 1).clamp(1, self.num_latitudes + 1)
        column = longitude * (self.num_longitudes / (2.0 * np.pi))
        west = column.floor()
        across = _lagrange(column - west, list(torch.arange(-1.0, 3.0).to(column)))
        up = _lagrange(latitude, [self._rows[row + k] for k in range(-1, 3)])
        start = torch.arange(num_rows, device=q.device)[:, None] * (self.num_latitudes + 4)
        flat = beyond.reshape(-1)
        west_index = west.long()
        columns = [(west_index + k).remainder(self.num_longitudes) for k in range(-1, 3)]
        around: list[Tensor] = []
        total = torch.zeros_like(latitude)
        for k in range(4):
            base = (start + row + (k - 1)) * self.num_longitudes
            values = [flat[base + columns[j]] for j in range(4)]
            total = total + up[k] * sum(weight * value for weight, value in zip(across, values, strict=True))
            if k in (1, 2):
                around += values[1:3]
        if not limited:
            return total
        box = torch.stack(around)
        return torch.minimum(torch.maximum(total, box.amin(dim=0)), box.amax(dim=0))


def _coordinates(position: Tensor) -> tuple[Tensor, Tensor]:
    x, y, z = position
    return torch.atan2(z, torch.hypot(x, y)), torch.atan2(y, x).remainder(2.0 * np.pi)


def _lagrange(place: Tensor, nodes: list[Tensor]) -> list[Tensor]:
    """Return the weights of Lagrange's interpolation at `place` from values at four nodes."""
    weights = []
    for node in range(4):
        weight = torch.ones_like(place)
        for other in range(4):
            if other != node:
                weight = weight * (place - nodes[other]) / (nodes[node] - nodes[other])
        weights.append(weight)
    return weights
