"""Baselines: emulators in closed form, whose parameters follow from the training part by formula."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from emulator.emulator_config import EmulatorConfig
from emulator.state import State, Step
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.mesh import Mesh


@dataclass(frozen=True)
class BaselineConfig(EmulatorConfig):
    """An emulator that is fitted without descent."""

    family = "closed forms, solvers"

    def build(self, task: Task, mesh: Mesh) -> Baseline:
        """Return the baseline unfitted, for the arrays of a fitted one: `load_state_dict`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it builds.")

    def fit(self, task: Task, part: TrainingPart) -> Baseline:
        """Return it fitted on the training part: its `config` holds what was chosen, its `state_dict` all else."""
        # Closed forms know no boundary.
        return self.build(replace(task, boundary=False), part.fields.mesh).fit(part)


class Baseline(nn.Module):
    """An emulator in closed form."""

    def __init__(self, config: BaselineConfig, task: Task, mesh: Mesh) -> None:
        super().__init__()
        self.config, self.task, self.mesh = config, task, mesh

    def fit(self, part: TrainingPart) -> Self:
        """Return it with its parameters from the training part; by default there are none."""
        return self

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        """Return the state one time step later, and the diagnostic variables; see `emulator.protocol.Emulator`."""
        raise NotImplementedError
