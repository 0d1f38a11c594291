"""Turned samples: each is seen from elsewhere around the axis, which an equation without longitudes cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.first_guess import RidgeConfig
from emulator.fields import Fields
from emulator.networks.config import NetworkConfig
from emulator.task import Task, names_of
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig
from training.preparation.symmetries import telling


class Turning(Protocol):
    """Reads fields turned around the axis, eastward."""

    def read(self, frames: NDArray[np.int64], names: Sequence[str], row: int, turn: float) -> NDArray[np.float32]:
        """Return values [time, node, variable] of one row, turned by a share of the whole circle in [0, 1)."""
        ...


@dataclass(frozen=True, eq=False)
class Shift:
    """Turns a ring by a whole number of nodes: exact for every equation whose coefficients are the same everywhere."""

    fields: Fields

    def read(self, frames: NDArray[np.int64], names: Sequence[str], row: int, turn: float) -> NDArray[np.float32]:
        values = self.fields.read(frames, names, row)[:, 0]
        return np.roll(values, int(turn * values.shape[1]), axis=1)


def share_of_circle(seed: int, epoch: int, sample: int) -> float:
    """Return by how much a sample is turned in an epoch, even in [0, 1): a function of the three alone.

    The counter of the noise's generator begins at zero; this one's begins where no noise will ever reach.
    """
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, (epoch << 32) + sample], dtype=np.uint64)
    return float(np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, 1])).random())


def turning_of(
    config: ExperimentConfig, task: Task, fields: Fields, valid: NDArray[np.bool_] | None = None
) -> Turning | None:
    """Return how samples of the training part are turned, None where neither `training.shift` nor `rotation` asks.

    valid: [node, predicted] where the data ever have a value; None where everywhere.
    Raises MeshcastError where mesh, variables or network know where on a circle a node lies.
    """
    if not config.training.shift:
        return None
    if fields.mesh.domain.kind != "ring":
        raise MeshcastError(
            f"training.shift turns a ring by whole nodes, but the data lie on a {fields.mesh.describe()}. Leave it "
            "away."
        )
    _refuse_places("training.shift", config, task, valid)
    return Shift(fields)


def _refuse_places(key: str, config: ExperimentConfig, task: Task, valid: NDArray[np.bool_] | None) -> None:
    """Raise MeshcastError where something tells one place of a circle from another."""
    told = telling(config, task)
    emulator = config.emulator
    if isinstance(emulator, NetworkConfig) and isinstance(emulator.first_guess, RidgeConfig):
        told.remove(f"the first guess {emulator.first_guess.kind}")  # its weights are those of every node
    if valid is not None:
        names = names_of(task.predicted)
        told += [f"the nodes without a value of {names[column]}" for column in np.flatnonzero(~valid.all(axis=0))]
    if told:
        raise MeshcastError(
            f"{key} takes what happens in one place for what could happen elsewhere around the axis, but "
            f"{', '.join(told)} may tell them apart. Leave {key} away."
        )
