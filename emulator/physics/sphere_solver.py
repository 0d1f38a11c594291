"""The reference solver on the sphere, itself an emulator."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.foundation.time_step import TimeStep
from emulator.physics.shallow_water import ShallowWater, ShallowWaterConfig
from emulator.physics.tracers import TracerTransport
from emulator.state import State
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.harmonics.nodes import Evaluation, NodeProjection, WindProjection
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh

HEIGHT = Variable("h", "prognostic", "m", conserved=True)
WIND = (Variable("u", "prognostic", "m s-1", partner="v"), Variable("v", "prognostic", "m s-1", partner="u"))


class SphereSolver:
    """Spectral shallow water under the emulators' protocol: analysis, time steps, synthesis.

    Its State holds the fluid's depth, or the height of its surface, as h [m] and the wind u, v [m s-1] on the Gaussian
    grid of its truncation, from which coefficients are found exactly, so that n steps, then m, equal n + m to rounding.

    time_step: what one call advances, a fixed duration; cut into steps no longer than the configuration's longest.
    mesh: another mesh for the State, as the nodes of an icosphere. Coefficients are then a least-squares fit to its
        nodes, which drops what lies beyond the truncation at the first step; (T + 1)² must be below their number.
    tracers: names of passive mixing ratios in the State, beside h, u and v; see `TracerTransport`.
    """

    def __init__(
        self, config: ShallowWaterConfig, time_step: TimeStep, mesh: Mesh | None = None, tracers: tuple[str, ...] = ()
    ) -> None:
        if time_step.unit != "second" or time_step.true_length is not None:
            raise MeshcastError(f"Shallow water needs a time step of fixed length such as 3h, not {time_step}.")
        self.config = config
        carried = tuple(Variable(name, "prognostic", bounds=(0.0, None)) for name in tracers)
        self.task = Task((HEIGHT, *WIND, *carried), time_step)
        grid = SphericalTransform(config.truncation).mesh
        self.mesh = grid if mesh is None else mesh
        self._fits: tuple[NodeProjection, WindProjection, Evaluation] | None = None
        if not self.mesh.same_nodes(grid):
            scalars = NodeProjection(self.mesh, config.truncation)
            winds = WindProjection(self.mesh, SphericalTransform(config.truncation))
            self._fits = scalars, winds, Evaluation(self.mesh, config.truncation)
        if tracers and self._fits is not None:
            raise MeshcastError("Tracers are carried on the solver's own Gaussian grid: give the solver no other mesh.")
        self._on_device: dict[torch.device, ShallowWater] = {}

    def step(
        self, state: State, forcing: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[State, None]:
        """Return the state one time step later, in the solver's precision."""
        now = state.now  # [batch, member, node, variable]
        rows = now.flatten(0, 1)
        time = np.repeat(state.valid_time, now.shape[1])
        later = self.advance(self.analysis(rows[..., :3]), rows[..., 3:], time)
        later = torch.cat([self.synthesis(later[0]), later[1]], dim=-1).unflatten(0, now.shape[:2])
        return State(later[:, :, None], self.task.time_step.advance(state.valid_time)), None

    def advance(self, spectral: Tensor, tracers: Tensor, time: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the spectral state and tracers [row, node, tracer] one time step later.

        time: [row] of the state, in seconds since 1970.
        """
        equation, duration = self.equation(spectral.device), float(self.task.time_step.count)
        if not tracers.shape[-1]:
            return equation.advance(spectral, duration, time), tracers
        transport = TracerTransport(equation.transform, self.config.radius)
        steps = equation.num_steps(duration)
        q = tracers.to(equation.transform.dtype)
        before = equation.to_grid(spectral)  # h, u, v [latitude, row, longitude]
        for number in range(steps):
            spectral = equation.advance(spectral, duration / steps, time + number * duration / steps)
            after = equation.to_grid(spectral)
            h, u, v = (torch.stack(pair).transpose(1, 2) for pair in zip(before, after, strict=True))
            middle = (u[0] + u[1]) / 2, (v[0] + v[1]) / 2
            fields = [field.reshape(h[0].shape) for field in q.unbind(-1)]
            carried = [transport.carried(field, middle, (h[0], h[1]), duration / steps).flatten(1) for field in fields]
            q, before = torch.stack(carried, dim=-1), after
        return spectral, q

    def analysis(self, values: Tensor) -> Tensor:
        """Return the spectral state [field, order, offset, row] of values [row, node, variable]; see `ShallowWater`."""
        equation = self.equation(values.device)
        h, u, v = values.to(equation.transform.dtype).unbind(-1)  # [row, node]
        if self._fits is not None:
            scalars, winds, _ = self._fits
            turning, opening = (part / self.config.radius for part in winds.coefficients(u, v))
            state = torch.stack([turning, opening, self.config.gravity * scalars.coefficients(h)])
        else:
            shape = equation.transform.num_latitudes, equation.transform.num_longitudes
            state = equation.from_grid(*(field.unflatten(1, shape).transpose(0, 1) for field in (h, u, v)))
        return equation.of_depth(state)

    def synthesis(self, spectral: Tensor) -> Tensor:
        """Return values [row, node, variable] of a spectral state."""
        equation = self.equation(spectral.device)
        if self._fits is not None:
            return sampled(spectral, self._fits[2], equation)
        fields = equation.to_grid(equation.of_surface(spectral))  # [latitude, row, longitude] each
        return torch.stack(fields, dim=-1).transpose(0, 1).flatten(1, 2)

    def equation(self, device: torch.device | str = "cpu") -> ShallowWater:
        """Return the equation with its tables on a device, made once."""
        device = torch.device(device)
        if device not in self._on_device:
            self._on_device[device] = ShallowWater(self.config, str(device))
        return self._on_device[device]


def sampled(spectral: Tensor, nodes: Evaluation, equation: ShallowWater) -> Tensor:
    """Return h, u, v [row, node, variable] of a spectral state at any nodes, by summing its harmonics there."""
    vorticity, divergence, geopotential = equation.of_surface(spectral)
    u, v = nodes.wind(vorticity, divergence, equation.transform)
    radius = equation.config.radius
    return torch.stack([nodes.field(geopotential) / equation.config.gravity, radius * u, radius * v], dim=-1)
