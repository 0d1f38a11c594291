"""From states in physical units to a node's normalised features, and back to a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from emulator.boundary import boundary_mask
from emulator.features.conservation import Conservation, bounds_of
from emulator.features.transforms import Transforms, forcing_samples, scaled_otherwise, scales_of, training_samples
from emulator.forcings import STATIC_FEATURES
from emulator.foundation.shard_group import ShardGroup
from emulator.normalise import Moments
from emulator.state import State, Step, predicted_fields
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


class Inputs(nn.Module):
    """The scales of the training part, and the features an emulator with weights works on.

    mean, std: [predicted], prognostic then diagnostic variables, transformed where the task says so.
    forcing_mean, forcing_std: [forcing].
    transforms, forcing_transforms: of the predicted variables, and of the forcings.
    mean_seen: [prognostic and forcing] the normalised mean where some normaliser makes it another number than zero.
    nearest: [node, variable] of the prognostic variables, then the forcings, whose missing values are the nearest
        node's: that node.
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
        self.transforms, self.forcing_transforms = Transforms(task.predicted), Transforms(task.with_role("forcing"))
        self.imputed = {
            place: variable.imputation
            for place, variable in enumerate((*task.with_role("prognostic"), *task.with_role("forcing")))
            if variable.imputation != "mean"
        }
        self._of_nearest = [place for place, given in self.imputed.items() if given == "nearest"]
        if self._of_nearest:
            self.nearest = nn.Buffer(torch.zeros(mesh.num_nodes, len(self._of_nearest), dtype=torch.int64))
        seen = (*task.with_role("prognostic"), *task.with_role("forcing"))
        otherwise = any(variable.normaliser != "mean_std" for variable in seen)
        self.mean_seen: Tensor | None
        self.register_buffer("mean_seen", torch.zeros(len(seen), dtype=torch.float64) if otherwise else None)
        self._sizes: tuple[Tensor, Tensor] | None = None
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
        self._scale_otherwise(part)
        if self._of_nearest:
            self.nearest.copy_(torch.from_numpy(self._nearest_nodes(part)))
        columns = [static_field(part, name)[:, None] for name in self.task.static]
        columns += [] if further_statics is None else [further_statics]
        if columns:
            values = np.concatenate(columns, axis=1)
            std = values.std(axis=0)
            self.statics.copy_(torch.from_numpy((values - values.mean(axis=0)) / np.where(std > 0, std, 1.0)))

    @property
    def noise_std(self) -> Tensor:
        """Return the standard deviation [predicted] in training of what `transforms` gives, whatever normalises it."""
        return self.std if self._sizes is None else self._sizes[0].to(self.std)

    @property
    def noise_size(self) -> Tensor:
        """Return `noise_std` [num_fields] in normalised units, ones but for a normaliser of another kind."""
        scales = self.noise_std / self.std
        return scales[: self.num_prognostic].repeat(self.num_fields // self.num_prognostic)

    @property
    def score_std(self) -> Tensor:
        """Return the scale [predicted] of scores in physical units: `std`, or where a variable has a transform or a
        normaliser of its own, its standard deviation in training."""
        return self.std if self._sizes is None else self._sizes[1].to(self.std)

    def _scale_otherwise(self, part: TrainingPart) -> None:
        """Fit the transforms, and the scales of variables that have one or are normalised in a way of their own."""
        roles = (
            (self.transforms, self.mean, self.std, training_samples),
            (self.forcing_transforms, self.forcing_mean, self.forcing_std, forcing_samples),
        )
        for transforms, mean, std, samples in roles:
            variables = transforms.variables
            if not (places := scaled_otherwise(variables)):
                continue
            found = dict(zip(places, samples(part, [variables[place].name for place in places]), strict=True))
            transforms.fit(found)
            noise_std, score_std = std.clone(), std.clone()
            for place, values in found.items():
                seen = transforms.of_one(place, values)
                mean[place], std[place] = scales_of(variables[place], seen)
                noise_std[place] = float(seen.std()) or 1.0
                first = 0 if std is self.std else self.num_prognostic
                if self.mean_seen is not None and (std is not self.std or place < self.num_prognostic):
                    self.mean_seen[first + place] = (float(seen.mean()) - mean[place]) / std[place]
            if std is self.std:
                self._sizes = noise_std, score_std

    def _nearest_nodes(self, part: TrainingPart) -> NDArray[np.int64]:
        """Return [node, variable] the nearest node that has a value at the first training time."""
        names, mesh, first = (*self.task.prognostic, *self.task.forcing), part.fields.mesh, part.available[:1]
        times, trajectory = part.fields.times[first], np.array([part.fields.trajectories[part.rows[0]]])
        columns = []
        for place in self._of_nearest:
            if place < self.num_prognostic:
                missing = np.isnan(part.fields.read(first, [names[place]], part.rows[:1])[0, 0, :, 0])
            else:
                given = part.provider.at(times, [names[place]], mesh.num_nodes, trajectory=trajectory)
                missing = np.isnan(given[0, :, 0])
            columns.append(nearest_with_value(mesh, ~missing))
        return np.stack(columns, axis=1)

    def _imputed(self, normalised: Tensor, first: int, mean: Tensor, std: Tensor, transforms: Transforms) -> Tensor:
        """Return values [..., node, variable] with what stands for those missing; the mean, zero, by default.

        first: place of the first variable in `imputed`; the others are of these variables.
        """
        own = range(first, first + normalised.shape[-1])
        some = {place - first: given for place, given in self.imputed.items() if place in own}
        if some:
            columns = list(normalised.unbind(-1))
            for place, given in some.items():
                column = columns[place]
                if given == "nearest":
                    if column.shape[-1] != len(self.nearest):
                        raise MeshcastError(
                            "task.imputation: nearest looks at all nodes, but the graph is split over several "
                            "processes. Impute the mean or a number, or leave the graph whole: training.shards=1."
                        )
                    nearest = self.nearest[:, self._of_nearest.index(place + first)].clamp(0, column.shape[-1] - 1)
                    other = column.index_select(-1, nearest)
                else:
                    number = torch.full_like(mean, float(given))
                    other = ((transforms(number) - mean) / std)[place].expand_as(column)
                columns[place] = torch.where(torch.isnan(column), other, column)
            normalised = torch.stack(columns, dim=-1)
        if self.mean_seen is not None:
            normalised = torch.where(torch.isnan(normalised), self.mean_seen[own.start : own.stop], normalised)
        return torch.nan_to_num(normalised)

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
        given, now = given[:, None, -1], state.now
        if self.transforms.of:
            given, now = self.transforms(given.to(self.std.dtype)), self.transforms(now.to(self.std.dtype))
        change = (given - now).to(self.std.dtype) / self.std[: self.num_prognostic]
        change = torch.where(self.boundary[:, None], torch.nan_to_num(change), torch.zeros_like(change))
        where = self.boundary[:, None].to(change.dtype).expand(*change.shape[:-1], 1)
        return torch.cat([change, where], dim=-1).flatten(0, 1)

    def fields(self, state: State) -> Tensor:
        """Return [batch · member, node, num_fields] of the features: the normalised history."""
        batch, member, history, node, variables = state.values.shape
        count = self.num_prognostic
        fields = (self.transforms(state.values.to(self.mean.dtype)) - self.mean[:count]) / self.std[:count]
        fields = self._imputed(fields, 0, self.mean[:count], self.std[:count], self.transforms)  # a masked node's mean
        return fields.permute(0, 1, 3, 2, 4).reshape(batch * member, node, history * variables)

    def own(self, forcing: Tensor, member: int) -> Tensor:
        """Return [batch · member, node, num_own] of the features: forcings then and at the target, statics."""
        batch, _, node, _ = forcing.shape
        scales, transforms = (self.forcing_mean, self.forcing_std), self.forcing_transforms
        given = (transforms(forcing.to(self.mean.dtype)) - scales[0]) / scales[1]
        given = self._imputed(given, self.num_prognostic, *scales, transforms)  # sea ice on land, say
        given = given.permute(0, 2, 1, 3).reshape(batch, node, -1).repeat_interleave(member, dim=0)
        statics = self.statics if self.held is None else self.statics.index_select(0, self.held)
        return torch.cat([given, statics.expand(batch * member, -1, -1)], dim=-1)

    def base(self, state: State) -> Tensor:
        """Return what the next state is normalised relative to, broadcast to [batch · member, node, predicted]."""
        return self.mean

    def targets(self, state: State, values: Tensor) -> Tensor:
        """Return the next state's values [batch · member, node, predicted], normalised."""
        return (self.transforms(values) - self.base(state)) / self.std

    def compared(self, step: Step, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a step predicted and the truth, [batch, member, node, predicted], as a loss compares them: in the
        units of the transforms, before a prediction is held to what its transform allows."""
        predicted, said = predicted_fields(step), step[0].transformed
        if not self.transforms.of:
            return predicted, truth
        if said is None:
            return self.transforms(predicted), self.transforms(truth)
        pairs = enumerate(zip(said.unbind(-1), predicted.unbind(-1), strict=True))
        columns = [before if str(place) in self.transforms.of else after for place, (before, after) in pairs]
        return torch.stack(columns, dim=-1), self.transforms(truth)

    def noisy(self, values: Tensor, noise: Tensor) -> Tensor:
        """Return values [..., prognostic] with noise [..., prognostic] times `noise_std`, added where a transform has
        been made, and undone again."""
        noise = noise * self.noise_std[: self.num_prognostic]
        if not self.transforms.of:
            return values + noise
        return self.transforms.inverse(self.transforms(values) + noise)

    def advance(self, state: State, normalised: Tensor) -> tuple[State, Tensor | None]:
        """Return the next state and diagnostic variables from normalised [batch · member, node, predicted]."""
        said = normalised * self.std + self.base(state)
        values = self.transforms.inverse(said)
        values = values.clamp(self.lower.to(values.dtype), self.upper.to(values.dtype))
        values = values.reshape(*state.now.shape[:-1], -1)
        now = self.conservation(state.now, values[..., : self.num_prognostic])
        diagnostic = values[..., self.num_prognostic :].to(state.values.dtype)
        now = torch.where(torch.isnan(state.now), state.now, now)  # masked nodes stay masked
        following = state.followed_by(now, self.task.time_step.advance(state.valid_time))
        if self.transforms.of:
            following = replace(following, transformed=said.reshape(*state.now.shape[:-1], -1))
        return following, diagnostic if self.task.diagnostic else None


def nearest_with_value(mesh: Mesh, there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return [node] the nearest of the nodes that have a value `there` [node]; each itself where none has."""
    if not there.any():
        return np.arange(mesh.num_nodes)
    _, place = cKDTree(mesh.positions[there]).query(mesh.positions)
    return np.flatnonzero(there)[place]


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
