"""Climatology: the training part's mean for the hour of day, the month, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.features.periodic_mean import Period, PeriodicMean
from emulator.state import State
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
    """A baseline that forecasts relative to a climatology, `mean`; its configuration names the climatology's period.

    inputs: forcings of the task that it takes note of.
    """

    def __init__(self, config: BaselineConfig, task: Task, mesh: Mesh, *inputs: str) -> None:
        super().__init__(config, without_inputs(task, *inputs), mesh)
        self.mean = PeriodicMean(config.period, task, mesh)  # type: ignore[attr-defined]

    def fit(self, part: TrainingPart) -> Self:
        self.mean.fit(part)
        return self


class Climatology(FromClimatology):
    """Forecasts the climatology of the valid time, whatever the state."""

    def step(
        self, state: State, forcing: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor | None]:
        valid_time = self.task.time_step.advance(state.valid_time)
        prognostic, diagnostic = self.mean.at(valid_time, state.values.dtype)
        return state.followed_by(prognostic.expand_as(state.now), valid_time), for_members(diagnostic, state)


def for_members(diagnostic: Tensor, state: State) -> Tensor | None:
    """[batch, member, node, diagnostic] from [batch, 1, node, diagnostic]; None where there is no diagnostic."""
    return diagnostic.expand(-1, state.values.shape[1], -1, -1) if diagnostic.shape[-1] else None
