"""Departures: a network sees how a state differs from the climate of its place and season, and predicts no more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.features.inputs import Inputs
from emulator.features.periodic_mean import Period, PeriodicMean
from emulator.foundation.shard_group import ShardGroup
from emulator.normalise import partners_of
from emulator.state import State
from emulator.task import Task, names_of
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True)
class DeparturesConfig:
    """What states are taken relative to: the training part's climatology, and the mean anomaly of the last states.

    period: of the climatology.
    recent: states whose mean anomaly is taken off too, at most the task's history; 0 for none. A climate that drifts
        leaves the training part, and carries its own recent mean along.
    shown: of the history, the newest states that become features; all where null.
    """

    period: Period = "month"
    recent: int = 0
    shown: int | None = None

    def __post_init__(self) -> None:
        if self.recent < 0:
            raise MeshcastError(f"departures.recent must be a number of states from 0, but is {self.recent}.")
        if self.shown is not None and self.shown < 1:
            raise MeshcastError(f"departures.shown must be at least 1 state, but is {self.shown}.")


def build_inputs(departures: DeparturesConfig | None, task: Task, mesh: Mesh, num_statics: int | None = None) -> Inputs:
    """Return the features of states as they are, or of their departures."""
    if departures is None:
        return Inputs(task, mesh, num_statics)
    return DepartureInputs(departures, task, mesh, num_statics)


class DepartureInputs(Inputs):
    """Features that are departures d = x − c − m from the climatology c and the mean anomaly m of the last states.

    The target is the departure of the next state from c then and m now. Of the next state's diagnostic variables,
    which have no history, it is the anomaly alone. `mean` is not used; `std` is that of the targets.
    """

    def __init__(self, config: DeparturesConfig, task: Task, mesh: Mesh, num_statics: int | None = None) -> None:
        super().__init__(task, mesh, num_statics)
        for name, count in (("recent", config.recent), ("shown", config.shown or 1)):
            if count > task.history:
                raise MeshcastError(
                    f"departures.{name} asks for {count} states, but the task's history holds {task.history}. Set "
                    f"task.history to {count} or more."
                )
        if own := [v.name for v in task.predicted if v.normaliser != "mean_std" or v.imputation != "mean"]:
            raise MeshcastError(
                f"Departures are zero where a value is missing and of the size that they have, but task.normalisers or "
                f"task.imputation names {', '.join(own)}. Leave it away, or departures."
            )
        self.config, self.shown = config, config.shown or task.history
        self.climatology = PeriodicMean(config.period, task, mesh)
        self.num_fields = self.shown * len(task.prognostic)
        self.num_own = (self.shown + 1) * len(task.forcing) + self.statics.shape[1] + self.num_boundary

    def take(self, part: TrainingPart, further_statics: NDArray[np.float64] | None = None) -> None:
        super().take(part, further_statics)
        self.climatology.fit(part, self.transforms)
        self.std.copy_(torch.from_numpy(self._std_of_targets(part)))
        if self._sizes is not None:
            score_std = self.std.clone()
            for place, variable in enumerate(self.task.predicted):
                if variable.transform is not None:
                    score_std[place] = self._sizes[1][place]
            self._sizes = self.std.clone(), score_std

    def hold(self, group: ShardGroup, nodes: NDArray[np.int64]) -> None:
        super().hold(group, nodes)
        self.climatology.hold(nodes)

    def fields(self, state: State) -> Tensor:
        batch, member, _, node, variables = state.values.shape
        dtype, count = self.mean.dtype, self.num_prognostic
        times = self.task.time_step.advance(state.valid_time[:, None], np.arange(1 - self.shown, 1)[None])
        climatology = self.climatology.at(times.ravel(), dtype)[0].reshape(batch, 1, self.shown, node, variables)
        shown = self.transforms(state.values[:, :, -self.shown :].to(dtype))
        departures = shown - climatology - self._recent(state).unsqueeze(2)
        departures = torch.nan_to_num(departures / self.std[:count])  # a masked node does not depart
        return departures.permute(0, 1, 3, 2, 4).reshape(batch * member, node, self.num_fields)

    def own(self, forcing: Tensor, member: int) -> Tensor:
        return super().own(forcing[:, -self.shown - 1 :], member)

    def base(self, state: State) -> Tensor:
        """Return [batch · member, node, predicted] the next state's climatology plus the last ones' mean anomaly."""
        following = self.task.time_step.advance(state.valid_time)
        every = (-1, state.values.shape[1], -1, -1)  # every member, where none has a mean anomaly of its own too
        prognostic, diagnostic = self.climatology.at(following, self.mean.dtype)
        prognostic = (prognostic + self._recent(state)).expand(every)
        return torch.cat([prognostic, diagnostic.expand(every)], dim=-1).flatten(0, 1)

    def _recent(self, state: State) -> Tensor:
        """Return the mean anomaly [batch, member, node, prognostic] of the last states; zeros where unused."""
        recent, dtype = self.config.recent, self.mean.dtype
        if recent == 0:
            return self.mean.new_zeros(1, 1, 1, 1)
        times = self.task.time_step.advance(state.valid_time[:, None], np.arange(1 - recent, 1)[None])
        return self.transforms(state.values[:, :, -recent:].to(dtype)).mean(dim=2) - self.climatology.over(times, dtype)

    def _std_of_targets(self, part: TrainingPart) -> NDArray[np.float64]:
        """Return [predicted] root mean square over the training part; shared by the two components of a vector."""
        squares, count = np.zeros(len(self.task.predicted)), np.zeros(len(self.task.predicted))
        for states, following in part.steps(self.task):
            for row, values in enumerate(following):  # all members of a date at a time
                departures = (self.transforms(values) - self.base(states.rows(slice(row, row + 1)))).numpy()
                squares += np.nansum(departures**2, axis=(0, 1))
                count += (~np.isnan(departures)).sum(axis=(0, 1))
        if not count.all():
            raise MeshcastError(
                f"The training part of {part.fields.source} has no {self.task.history + 1} consecutive dates, which a "
                "history and its next state need. Train on a longer part, or shorten task.history."
            )
        variance = squares / count
        names = names_of(self.task.predicted)
        for name, partner in partners_of(self.task).items():
            pair = [names.index(name), names.index(partner)]
            variance[pair] = variance[pair].mean()
        return np.where(variance > 0, np.sqrt(variance), 1.0)
