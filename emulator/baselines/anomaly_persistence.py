"""Anomaly persistence: the climatology moves on, and the departure from it stays, or fades as in the training part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.climatology import FromClimatology
from emulator.features.periodic_mean import Period
from emulator.state import State
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.geometry import Array
from graphs.mesh import Mesh

LEAST = 1e-3  # no anomaly is damped further, so that the next damping never divides by zero


@dataclass(frozen=True)
class AnomalyPersistenceConfig(BaselineConfig):
    """period: of the climatology the anomaly is taken from."""

    kind: Literal["anomaly_persistence"] = "anomaly_persistence"
    period: Period = "hour"

    def build(self, task: Task, mesh: Mesh) -> AnomalyPersistence:
        return AnomalyPersistence(self, task, mesh)


class AnomalyPersistence(FromClimatology):
    """x(t + 1) = c(t + 1) + x(t) − c(t), with the climatology c."""

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        return self.anomaly(state)


@dataclass(frozen=True)
class DampedAnomalyConfig(BaselineConfig):
    """How the anomaly fades.

    period: of the climatology the anomaly is taken from.
    max_lead: steps for which the damping is fitted; beyond, the anomaly stays as it is.
    per_node: one damping for each node, or one for all, nodes counted by area.
    """

    kind: Literal["damped_anomaly"] = "damped_anomaly"
    period: Period = "hour"
    max_lead: int = 24
    per_node: bool = False

    def __post_init__(self) -> None:
        if self.max_lead < 1:
            raise MeshcastError(f"max_lead must be at least 1 step, but is {self.max_lead}.")

    def build(self, task: Task, mesh: Mesh) -> DampedAnomaly:
        return DampedAnomaly(self, task, mesh)


class DampedAnomaly(FromClimatology):
    """a(t₀ + n) = r(n) a(t₀) with the anomaly a = x − c from the climatology c.

    r(n) = Σ a(t + n) a(t) / Σ a(t)², least squares through the origin over the training part, within 0.001 to 1.
    A state does not remember its initial time, so a step multiplies by r(n) / r(n − 1), with n from the forcing
    `lead_time`, which every rollout provides.

    damping: [max_lead + 1, node or 1, prognostic], r(0) = 1.
    """

    config: DampedAnomalyConfig

    def __init__(self, config: DampedAnomalyConfig, task: Task, mesh: Mesh) -> None:
        super().__init__(config, task, mesh, "lead_time")
        nodes = mesh.num_nodes if config.per_node else 1
        self.damping = nn.Buffer(torch.ones(config.max_lead + 1, nodes, len(task.prognostic)))

    def next_anomaly(self, state: State, forcing: Tensor) -> Tensor:
        before, after = (forcing[:, at, 0, 0].round().long().clamp(0, self.config.max_lead) for at in (-2, -1))
        ratio = self.damping.index_select(0, after) / self.damping.index_select(0, before)
        return self.anomaly(state) * ratio.to(state.values.dtype).unsqueeze(1)

    def fit(self, part: TrainingPart) -> Self:
        """Return it fitted; a lead with no pair in the training part takes the damping of that before it."""
        super().fit(part)
        leads = self.config.max_lead
        nodes = self.mesh.num_nodes if self.config.per_node else 1
        product = np.zeros((leads + 1, nodes, len(self.task.prognostic)))
        square = np.zeros_like(product)
        for anomaly, known in self.anomalies(part, overlap=leads):
            if self.config.per_node:
                _add_at_nodes(product, square, anomaly, known)
            else:
                _add_by_area(product, square, anomaly, known, self.mesh.areas)
        damping = np.ones_like(product)
        for lead in range(1, leads + 1):
            fitted = product[lead] / np.where(square[lead] > 0, square[lead], 1.0)
            damping[lead] = np.where(square[lead] > 0, fitted.clip(LEAST, 1.0), damping[lead - 1])
        self.damping.copy_(torch.from_numpy(damping))
        return self


def _add_at_nodes(product: Array, square: Array, anomaly: Array, known: int) -> None:
    """Add Σ a(t + n) a(t) and Σ a(t)² [n, node, variable] of pairs whose later time is new: no `known` one."""
    for lead in range(1, len(product)):
        first = max(known, lead)
        if first < len(anomaly):
            later, earlier = anomaly[first:], anomaly[first - lead : len(anomaly) - lead]
            there = ~np.isnan(later * earlier)
            product[lead] += np.where(there, later * earlier, 0.0).sum(axis=(0, 1))
            square[lead] += np.where(there, earlier**2, 0.0).sum(axis=(0, 1))


def _add_by_area(product: Array, square: Array, anomaly: Array, known: int, areas: Array) -> None:
    """Add the same sums over the area [n, 1, variable]: all pairs of times in one matrix product, whose diagonals they
    are."""
    there = ~np.isnan(anomaly)
    filled, weights = np.where(there, anomaly, 0.0), np.tile(areas, anomaly.shape[1])
    for column in range(anomaly.shape[-1]):
        values = filled[..., column].reshape(len(anomaly), -1)
        counted = there[known:, ..., column].reshape(len(anomaly) - known, -1) * weights
        products = (values[known:] * weights) @ values.T  # [new time, time]
        squares = counted @ np.square(values).T
        for lead in range(1, len(product)):
            product[lead, 0, column] += np.diagonal(products, known - lead).sum()
            square[lead, 0, column] += np.diagonal(squares, known - lead).sum()
