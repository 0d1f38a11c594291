"""From states in physical units to a node's normalised features, and back to a state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.boundary import boundary_mask
from emulator.features.conservation import Conservation, bounds_of
from emulator.forcings import STATIC_FEATURES
from emulator.foundation.shard_group import ShardGroup
from emulator.normalise import Moments
from emulator.state import State
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


class Inputs(nn.Module):
    """The scales of the training part, and the features an emulator with weights works on.

    mean, std: [predicted], prognostic then diagnostic variables.
    forcing_mean, forcing_std: [forcing].
    statics: [node, static], normalised.
    lower, upper: [predicted] the bounds of the task, infinite where open.
    num_fields: features of a node that come from the prognostic history; they come first.
    conservation: what the next state is held to; its `correction` is what the last step took off.
    held: [own node] the nodes that states and forcings hold, where they are one shard's; None of all.
    num_own: all others, forcings at the history's and the target's times, then statics; where the task has a boundary,
        then by how much it is about to change, and where it is.
    """

    def __init__(self, task: Task, mesh: Mesh, num_statics: int | None = None) -> None:
        super().__init__()
        self.task = task
        num_statics = len(task.static) if num_statics is None else num_statics
        predicted, forcing = len(task.predicted), len(task.forcing)
        self.mean = nn.Buffer(torch.zeros(predicted, dtype=torch.float64))
        self.std = nn.Buffer(torch.ones(predicted, dtype=torch.float64))
        self.forcing_mean = nn.Buffer(torch.zeros(forcing, dtype=torch.float64))
        self.forcing_std = nn.Buffer(torch.ones(forcing, dtype=torch.float64))
        self.statics = nn.Buffer(torch.zeros(mesh.num_nodes, num_statics, dtype=torch.float64))
        lower, upper = bounds_of(task.predicted)
        self.lower = nn.Buffer(lower, persistent=False)
        self.upper = nn.Buffer(upper, persistent=False)
        self.conservation = Conservation(task, mesh)
        self.num_fields = task.history * len(task.prognostic)
        self.num_boundary = len(task.prognostic) + 1 if task.boundary else 0
        self.num_own = (task.history + 1) * len(task.forcing) + num_statics + self.num_boundary
        self.held: Tensor | None
        self.register_buffer("held", None, persistent=False)
        if task.boundary:
            self.boundary = nn.Buffer(boundary_mask(mesh), persistent=False)

    @property
    def num_prognostic(self) -> int:
        return len(self.task.prognostic)

    def hold(self, group: ShardGroup, nodes: NDArray[np.int64]) -> None:
        """Have states and forcings hold one shard's nodes alone from now on; what is stored stays that of all."""
        if self.task.boundary:
            raise MeshcastError(
                "A limited area with a boundary cannot be split over several processes. Leave its graph whole: "
                "training.shards=1, or no --shards."
            )
        self.held = torch.from_numpy(nodes)
        self.conservation.hold(group, nodes)

    def take(self, part: TrainingPart, further_statics: NDArray[np.float64] | None = None) -> None:
        """Set the scales from a training part; further statics [node, column] follow the task's own."""
        statistics = part.statistics(self.task)
        self.mean.copy_(torch.from_numpy(statistics.mean))
        self.std.copy_(torch.from_numpy(statistics.std))
        if self.task.forcing:
            mean, std = forcing_scales(part, self.task.forcing)
            self.forcing_mean.copy_(torch.from_numpy(mean))
            self.forcing_std.copy_(torch.from_numpy(std))
        columns = [static_field(part, name)[:, None] for name in self.task.static]
        columns += [] if further_statics is None else [further_statics]
        if columns:
            values = np.concatenate(columns, axis=1)
            std = values.std(axis=0)
            self.statics.copy_(torch.from_numpy((values - values.mean(axis=0)) / np.where(std > 0, std, 1.0)))

    def features(self, state: State, forcing: Tensor) -> Tensor:
        """Return [batch · member, node, feature] in the type of the scales: history, forcings, statics, boundary."""
        forcing, given = forcing.split([len(self.task.forcing), forcing.shape[-1] - len(self.task.forcing)], dim=-1)
        parts = [self.fields(state), self.own(forcing, state.values.shape[1])]
        if self.task.boundary:
            parts.append(self.change_of_boundary(state, given))
        return torch.cat(parts, dim=-1)

    def change_of_boundary(self, state: State, given: Tensor) -> Tensor:
        """Return the normalised change to the values given at the target time, last of [batch, time, node, prognostic],
        and where the boundary is: [batch · member, node, prognostic + 1]."""
        if given.shape[-1] != self.num_prognostic:
            raise MeshcastError(
                "This emulator covers a limited area and needs its boundary's values at every step, but got none. "
                "Give a source of them: --boundary SOURCE."
            )
        change = (given[:, None, -1] - state.now).to(self.std.dtype) / self.std[: self.num_prognostic]
        change = torch.where(self.boundary[:, None], torch.nan_to_num(change), torch.zeros_like(change))
        where = self.boundary[:, None].to(change.dtype).expand(*change.shape[:-1], 1)
        return torch.cat([change, where], dim=-1).flatten(0, 1)

    def fields(self, state: State) -> Tensor:
        """Return [batch · member, node, num_fields] of the features: the normalised history."""
        batch, member, history, node, variables = state.values.shape
        count = self.num_prognostic
        fields = (state.values.to(self.mean.dtype) - self.mean[:count]) / self.std[:count]
        fields = torch.nan_to_num(fields)  # a masked node is its mean
        return fields.permute(0, 1, 3, 2, 4).reshape(batch * member, node, history * variables)

    def own(self, forcing: Tensor, member: int) -> Tensor:
        """Return [batch · member, node, num_own] of the features: forcings then and at the target, statics."""
        batch, _, node, _ = forcing.shape
        given = (forcing.to(self.mean.dtype) - self.forcing_mean) / self.forcing_std
        given = torch.nan_to_num(given)  # sea ice on land, say
        given = given.permute(0, 2, 1, 3).reshape(batch, node, -1).repeat_interleave(member, dim=0)
        statics = self.statics if self.held is None else self.statics.index_select(0, self.held)
        return torch.cat([given, statics.expand(batch * member, -1, -1)], dim=-1)

    def base(self, state: State) -> Tensor:
        """Return what the next state is normalised relative to, broadcast to [batch · member, node, predicted]."""
        return self.mean

    def targets(self, state: State, values: Tensor) -> Tensor:
        """Return the next state's values [batch · member, node, predicted], normalised."""
        return (values - self.base(state)) / self.std

    def advance(self, state: State, normalised: Tensor) -> tuple[State, Tensor | None]:
        """Return the next state and diagnostic variables from normalised [batch · member, node, predicted]."""
        values = normalised * self.std + self.base(state)
        values = values.clamp(self.lower.to(values.dtype), self.upper.to(values.dtype))
        values = values.reshape(*state.now.shape[:-1], -1)
        now = self.conservation(state.now, values[..., : self.num_prognostic])
        diagnostic = values[..., self.num_prognostic :].to(state.values.dtype)
        now = torch.where(torch.isnan(state.now), state.now, now)  # masked nodes stay masked
        following = state.followed_by(now, self.task.time_step.advance(state.valid_time))
        return following, diagnostic if self.task.diagnostic else None


def forcing_scales(part: TrainingPart, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation [forcing] over nodes and training times; 1 where a forcing never varies.

    Of a long series 256 times drawn at random are enough; evenly spaced ones could all fall on one hour of the day.
    """
    times = part.fields.times[part.available]
    if len(times) > 512:
        times = np.sort(np.random.default_rng(0).choice(times, 256, replace=False))
    moments, groups = Moments.zero(len(names)), part.differently_forced(names)
    for some in np.array_split(times, -(-len(times) // 16)):  # a fine mesh at all times would fill the memory
        for trajectory in groups:
            given = part.provider.at(some, names, part.fields.mesh.num_nodes, trajectory=np.full(len(some), trajectory))
            moments = moments.with_values(given)
    if not moments.count.all():
        raise MeshcastError(f"The forcing {names[int(moments.count.argmin())]} has no value over the training part.")
    constant = moments.minimum == moments.maximum  # its std is a rounding error, not always zero
    return moments.mean, np.where(constant, 1.0, np.sqrt(moments.variance))


def static_field(part: TrainingPart, name: str) -> NDArray[np.float64]:
    """Return a static variable [node], computed or read at the first training date; NaN there is its mean."""
    if name not in part.fields.variables and name in STATIC_FEATURES:
        return STATIC_FEATURES[name](part.fields.mesh)
    values = part.fields.read(part.available[:1], [name], part.rows[:1])[0, 0, :, 0].astype(np.float64)
    return np.where(np.isnan(values), np.nanmean(values), values)
