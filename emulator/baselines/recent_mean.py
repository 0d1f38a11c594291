"""Mean anomaly of recent years: the climate has moved on since the training part, and the last years know how far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import FromClimatology
from emulator.features.periodic_mean import Period
from emulator.state import State
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True)
class RecentMeanConfig(BaselineConfig):
    """period: of the climatology the anomaly is taken from; steps: of history whose anomalies are averaged."""

    kind: Literal["recent_mean"] = "recent_mean"
    period: Period = "month"
    steps: int = 120

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise MeshcastError(f"steps must be at least 1, but is {self.steps}.")

    def build(self, task: Task, mesh: Mesh) -> RecentMean:
        return RecentMean(self, task, mesh)


class RecentMean(FromClimatology):
    """x(t₀ + n) = c(t₀ + n) + mean of x − c over the `steps` states up to t₀, with the climatology c.

    The states are its history, whatever history the task has for others: all it knows of the years before t₀ is in
    the State, nothing after. (Optimal climate normals after Huang, van den Dool and Barnston 1996,
    doi:10.1175/1520-0442(1996)009<0809:LLSTPU>2.0.CO;2, who find ten years best for monthly temperature.)

    A forecast does not enter the mean: once there is a forecast (forcing `lead_time` above zero), its anomaly is kept.
    """

    config: RecentMeanConfig

    def __init__(self, config: RecentMeanConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, task, mesh, "lead_time")
        self.task = replace(self.task, history=config.steps)

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        times = self.task.time_step.advance(state.valid_time[:, None], np.arange(1 - self.config.steps, 1)[None])
        mean = self.mean.at(times.ravel(), state.values.dtype)[0]
        anomaly = state.values - mean.reshape(len(times), 1, self.config.steps, *state.values.shape[3:])
        started = forcing[:, -2, 0, 0].round() > 0  # [batch] the newest state is a forecast
        return torch.where(started[:, None, None, None], anomaly[:, :, -1], anomaly.mean(dim=2))
