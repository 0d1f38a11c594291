"""Ridge regression of the departure from the climatology, which knows each node's daily or yearly round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.baselines.climatology import Period, PeriodicMean
from emulator.baselines.part import TrainingPart
from emulator.baselines.ridge import Ridge, RidgeConfig
from emulator.conservation import Conservation
from emulator.data.fields import Fields
from emulator.state import State
from emulator.task import Task
from emulator.time_step import TimeStep
from graphs.mesh import Mesh


@dataclass(frozen=True)
class AnomalyRidgeConfig:
    """period: of the climatology; ridge: the regression of the departure from it."""

    kind: Literal["anomaly_ridge"] = "anomaly_ridge"
    period: Period = "hour"
    ridge: RidgeConfig = field(default_factory=RidgeConfig)


class AnomalyRidge(nn.Module):
    """a(t + 1) = ridge(a(t)) with the anomaly a = x − c from the climatology c, by node and by hour or month."""

    def __init__(self, config: AnomalyRidgeConfig, task: Task, mesh: Mesh) -> None:
        super().__init__()
        self.config, self.task, self.mesh = config, task, mesh
        self.mean = PeriodicMean(config.period, task, mesh)
        self.conservation = Conservation(task, mesh)
        self.ridge = Ridge(config.ridge, _of_anomalies(task), mesh)

    @classmethod
    def fit(cls, config: AnomalyRidgeConfig, task: Task, part: TrainingPart) -> AnomalyRidge:
        mean = PeriodicMean(config.period, task, part.fields.mesh)
        mean.fit(part)
        anomalies = replace(part, fields=Anomalies(part.fields, mean), forcings=part.provider)
        ridge = Ridge.fit(config.ridge, _of_anomalies(task), anomalies)
        emulator = cls(replace(config, ridge=ridge.config), task, part.fields.mesh)
        emulator.mean, emulator.ridge = mean, ridge
        return emulator

    def step(
        self, state: State, forcing: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor | None]:
        history, dtype = self.task.history, state.values.dtype
        times = self.task.time_step.advance(state.valid_time[:, None], np.arange(1 - history, 2)[None])
        prognostic, diagnostic = self.mean.at(times.ravel(), dtype)
        climatology = prognostic.reshape(
            len(times), 1, history + 1, *prognostic.shape[2:]
        )  # [batch, 1, time, node, var]
        anomaly = State(state.values - climatology[:, :, :history], state.valid_time)
        later, departure = self.ridge.step(anomaly, forcing, generator)
        now = self.conservation(state.now, later.now + climatology[:, :, history])
        following = state.followed_by(now, later.valid_time)
        if departure is None:
            return following, None
        return following, departure + diagnostic.reshape(len(times), history + 1, *diagnostic.shape[2:])[:, -1:]


class Anomalies:
    """Fields less their climatology, for the variables that have one."""

    def __init__(self, fields: Fields, mean: PeriodicMean) -> None:
        self.fields, self.mean = fields, mean
        self.variables: tuple[str, ...] = fields.variables
        self.units: tuple[str, ...] = fields.units
        self.mesh: Mesh = fields.mesh
        self.time_step: TimeStep = fields.time_step
        self.times: NDArray[np.int64] = fields.times
        self.missing: frozenset[int] = fields.missing
        self.ensemble_axis: Literal["trajectory", "member"] = fields.ensemble_axis
        self.ensemble_size: int = fields.ensemble_size
        self.attributes: Mapping[str, str] = fields.attributes
        self.source: str = f"anomalies of {fields.source}"

    def read(
        self,
        times: slice | NDArray[np.int64],
        variables: Sequence[str],
        ensemble: slice | Sequence[int] | int = slice(None),
    ) -> NDArray[np.float32]:
        """[time, ensemble, node, variable] in physical units."""
        values = self.fields.read(times, variables, ensemble)
        climatology = torch.cat(self.mean.at(self.times[times], torch.float32), dim=-1).numpy()
        for column, name in enumerate(variables):
            if name in self.mean.names:
                values[..., column] -= climatology[..., self.mean.names.index(name)]
        return values


def _of_anomalies(task: Task) -> Task:
    """The same task without bounds and conservation, which hold for the values and not for their anomalies."""
    return replace(task, variables=tuple(replace(v, bounds=None, conserved=False) for v in task.variables))
