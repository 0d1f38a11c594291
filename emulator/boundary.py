"""Lateral boundaries: what lies around a limited area is given at every step, from the truth or another forecast.

A task with a boundary takes, after its forcings, one more column for each prognostic variable: its value at the target
time at the boundary nodes of the mesh, zero inside. The emulator sees by how much the boundary is about to change, as
limited-area models do, and overwrites those nodes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.forcings import ForcingWindows
from emulator.state import State
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


def with_boundary(forcing: Tensor, values: Tensor, task: Task, mesh: Mesh) -> Tensor:
    """Return forcings [batch, time, node, forcing] with the boundary's part of values [..., predicted] behind."""
    if not task.boundary:
        return forcing
    mask = boundary_mask(mesh).to(values.device)[:, None]
    given = torch.where(mask, values[..., : len(task.prognostic)], torch.zeros_like(values[..., :1]))
    return torch.cat([forcing, given.to(forcing.dtype)], dim=-1)


def overwritten(state: State, forcing: Tensor, task: Task, mask: Tensor) -> State:
    """Return the state with what a step's forcing gives at the boundary nodes `mask` [node]; NaN stays."""
    now = state.now
    given = forcing[:, None, -1, :, len(task.forcing) :].to(now.dtype).expand_as(now)  # at the target time
    now = torch.where(mask[:, None] & ~torch.isnan(now), given, now)
    return replace(state, values=torch.cat([state.values[:, :, :-1], now.unsqueeze(2)], dim=2))


def boundary_mask(mesh: Mesh) -> Tensor:
    """Return the boundary nodes [node] of a mesh. Raises MeshcastError where it has none."""
    if mesh.boundary is None:
        raise MeshcastError(
            f"A task with a boundary needs a mesh that has one, but this is a {mesh.describe()}. Cut a window out of "
            "the data: data.window."
        )
    return torch.from_numpy(mesh.boundary)


@dataclass(frozen=True, eq=False)
class BoundarySeries:
    """What is known of one case's boundary.

    times: [time] int64 seconds since 1970 UTC, increasing.
    values: [time, boundary node, prognostic] in physical units; linear in time between.
    """

    times: NDArray[np.int64]
    values: NDArray[np.float32]

    def at(self, valid_time: int) -> NDArray[np.float32]:
        """Return values [boundary node, prognostic], exact at the times given; raises MeshcastError beyond them."""
        after = int(np.searchsorted(self.times, valid_time))
        if after < len(self.times) and self.times[after] == valid_time:
            return self.values[after]
        if not 0 < after < len(self.times):
            covered = np.array([self.times[0], self.times[-1], valid_time]).astype("datetime64[s]")
            raise MeshcastError(
                f"The boundary covers {covered[0]} to {covered[1]}, but {covered[2]} is needed. Give a longer one."
            )
        before = after - 1
        share = np.float32((valid_time - self.times[before]) / (self.times[after] - self.times[before]))
        return (1 - share) * self.values[before] + share * self.values[after]


@dataclass(frozen=True, eq=False)
class BoundaryForcings:
    """The forcings of limited-area forecasts: those of the task, and the boundary of every case behind them.

    forcings: of the task.
    nodes: [boundary node] of the mesh.
    series: [case], in the order of the states' batch.
    """

    forcings: ForcingWindows
    nodes: NDArray[np.int64]
    series: Sequence[BoundarySeries]

    def window(self, state: State, task: Task, done: int) -> Tensor:
        """Return [batch, history + 1, node, forcing + prognostic]; the boundary stands at the target time only."""
        forcing = self.forcings.window(state, task, done)
        target = task.time_step.advance(state.valid_time)
        values = np.stack([one.at(int(time)) for one, time in zip(self.series, target, strict=True)])
        given = forcing.new_zeros(*forcing.shape[:3], values.shape[-1])
        given[:, -1, torch.from_numpy(self.nodes)] = torch.from_numpy(values).to(forcing)
        return torch.cat([forcing, given], dim=-1)

    def rows(self, index: slice | NDArray[np.int64]) -> BoundaryForcings:
        """Return the forcings of some of the cases."""
        some = [self.series[case] for case in np.arange(len(self.series))[index]]
        return BoundaryForcings(self.forcings.rows(index), self.nodes, some)
