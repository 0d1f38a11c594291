"""Climatology: the training part's mean for the hour of day, the month, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.features.periodic_mean import Period, PeriodicMean
from emulator.state import State, Step
from emulator.task import Task
from emulator.training_part import TrainingPart, without_inputs
from graphs.mesh import Mesh


@dataclass(frozen=True)
class ClimatologyConfig(BaselineConfig):
    """period: what the mean depends on besides the node: nothing, UTC hour of day, calendar month, or both."""

    kind: Literal["climatology"] = "climatology"
    period: Period = "hour"

    def build(self, task: Task, mesh: Mesh) -> Climatology:
        return Climatology(self, task, mesh)


class FromClimatology(Baseline):
    """A baseline that forecasts an anomaly from a climatology, `mean`, whose period its configuration names.

        x(t + 1) = c(t + 1) + anomaly

    inputs: forcings of the task that it takes note of.
    """

    def __init__(self, config: BaselineConfig, task: Task, mesh: Mesh, *inputs: str) -> None:
        super().__init__(config, without_inputs(task, *inputs), mesh)
        self.mean = PeriodicMean(config.period, task, mesh)  # type: ignore[attr-defined]

    def fit(self, part: TrainingPart) -> Self:
        self.mean.fit(part)
        return self

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        valid_time = self.task.time_step.advance(state.valid_time)
        prognostic, diagnostic = self.mean.at(valid_time, state.values.dtype)
        following = state.followed_by(prognostic + self.next_anomaly(state, forcing), valid_time)
        return following, for_members(diagnostic, state)

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        """Return how the next state departs from its climatology, [batch, member, node, prognostic]."""
        raise NotImplementedError

    def anomalies(self, part: TrainingPart, overlap: int = 1) -> Iterator[tuple[NDArray[np.float64], int]]:
        """Yield [time, ensemble, node, prognostic] of unbroken runs, and how many of the first times came before."""
        for index, values, known in part.chunks(self.task, self.task.prognostic, overlap):
            yield values - self.mean.at(part.fields.times[index], torch.float64)[0].numpy(), known

    def anomaly(self, state: State) -> Tensor:
        """Return how the newest fields depart from their climatology, [batch, member, node, prognostic]."""
        return state.now - self.mean.at(state.valid_time, state.values.dtype)[0]


class Climatology(FromClimatology):
    """A forecast of the climatology of the valid time, whatever the state."""

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        return torch.zeros_like(state.now)


def for_members(diagnostic: Tensor, state: State) -> Tensor | None:
    """Return [batch, member, node, diagnostic] from [batch, 1, node, diagnostic]; None where there is no diagnostic."""
    return diagnostic.expand(-1, state.values.shape[1], -1, -1) if diagnostic.shape[-1] else None
