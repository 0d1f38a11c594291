"""Turned samples: each is seen from elsewhere around the axis, which an equation without longitudes cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.first_guess import RidgeConfig
from emulator.fields import Fields
from emulator.harmonic_fields import HarmonicFields
from emulator.networks.config import NetworkConfig
from emulator.task import Task, names_of
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from training.experiment import ExperimentConfig
from training.preparation.symmetries import telling

SAME_ANGLE = 1e-3  # [degrees]
LOOKED_AT = 16  # times
MOST_UNRESOLVED = 1e-3  # of a variable's standard deviation


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


@dataclass(frozen=True, eq=False)
class RowRotation:
    """Turns a grid of evenly spaced longitudes by any angle: a phase of each wave along a row, exact for what a row
    resolves. Components of a wind are those of its node's own frame, which turns with it."""

    fields: Fields

    def read(self, frames: NDArray[np.int64], names: Sequence[str], row: int, turn: float) -> NDArray[np.float32]:
        values = self.fields.read(frames, names, row)[:, 0]
        grid = values.reshape(len(values), *self.fields.mesh.shape, -1)  # [time, latitude, longitude, variable]
        return turned_rows(grid, turn).reshape(values.shape)


@dataclass(frozen=True, eq=False)
class HarmonicRotation:
    """Turns fields of a finer mesh by any angle, before their harmonics are evaluated at the emulator's nodes."""

    fields: HarmonicFields

    def read(self, frames: NDArray[np.int64], names: Sequence[str], row: int, turn: float) -> NDArray[np.float32]:
        return self.fields.read_turned(frames, names, row, turn)


def turned_rows(grid: NDArray[np.float32], turn: float) -> NDArray[np.float32]:
    """Return a grid [time, latitude, longitude, variable] turned eastward by a share of the circle."""
    columns = grid.shape[2]
    waves = np.fft.rfft(grid, axis=2)
    waves *= np.exp(-2j * np.pi * turn * np.arange(waves.shape[2]))[:, None]
    return np.fft.irfft(waves, n=columns, axis=2).astype(np.float32)


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
    Raises MeshcastError where mesh, variables or network know where on a circle a node lies, and where a turn by any
    angle would not be exact.
    """
    if config.training.shift and config.training.rotation:
        raise MeshcastError("training.shift turns a ring, training.rotation a sphere. Set one of the two.")
    if config.training.shift:
        return _shift(config, task, fields, valid)
    return _rotation(config, task, fields, valid) if config.training.rotation else None


def _shift(config: ExperimentConfig, task: Task, fields: Fields, valid: NDArray[np.bool_] | None) -> Turning:
    if fields.mesh.domain.kind != "ring":
        raise MeshcastError(
            f"training.shift turns a ring by whole nodes, but the data lie on a {fields.mesh.describe()}. On the "
            "sphere training.rotation turns them about the axis."
        )
    _refuse_places("training.shift", config, task, fields, valid)
    return Shift(fields)


def _rotation(config: ExperimentConfig, task: Task, fields: Fields, valid: NDArray[np.bool_] | None) -> Turning:
    if fields.mesh.domain.kind != "sphere":
        other = "On a ring training.shift turns them." if fields.mesh.domain.kind == "ring" else "Leave it away."
        raise MeshcastError(
            f"training.rotation turns a planet about its axis, but the data lie on a {fields.mesh.describe()}. {other}"
        )
    _refuse_places("training.rotation", config, task, fields, valid)
    if isinstance(fields, HarmonicFields):
        return HarmonicRotation(fields)
    if not _evenly_spaced(fields.mesh):
        raise MeshcastError(
            f"training.rotation turns rows of evenly spaced longitudes, or fields on any mesh by data.harmonics, but "
            f"the data lie on a {fields.mesh.describe()} as they are. Give data on a finer mesh and "
            "data.harmonics={truncation: T, mesh: ...}; a simulation writes the same truth on a Gaussian grid."
        )
    _refuse_unresolved(fields, names_of(task.predicted))
    return RowRotation(fields)


def _evenly_spaced(mesh: Mesh) -> bool:
    """Return whether every row of a grid has evenly spaced longitudes once around, eastward."""
    if not mesh.structured:
        return False
    rows, columns = mesh.shape
    east = 360.0 / columns * np.arange(columns)
    longitudes = mesh.longitudes.reshape(rows, columns)
    away = longitudes - longitudes[:, :1] - east
    inside = np.abs(mesh.latitudes.reshape(rows, columns)) < 90.0 - SAME_ANGLE  # at a pole all longitudes are one
    return bool(np.abs((away + 180.0) % 360.0 - 180.0)[inside].max() < SAME_ANGLE)


def _refuse_unresolved(fields: Fields, names: Sequence[str]) -> None:
    """Raise MeshcastError where rows hold waves that their nodes do not resolve: those of every other node's sign."""
    if fields.mesh.shape[1] % 2:
        return
    there = np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
    some = there[np.unique(np.linspace(0, len(there) - 1, LOOKED_AT).round().astype(int))]
    values = fields.read(some, names).astype(np.float64)
    grid = values.reshape(-1, *fields.mesh.shape, len(names))  # [column, latitude, longitude, variable]
    signs = np.where(np.arange(grid.shape[2]) % 2, -1.0, 1.0)[:, None]
    shortest = np.sqrt(np.square((grid * signs).mean(axis=2)).mean(axis=(0, 1)))
    share = shortest / np.maximum(grid.std(axis=(0, 1, 2)), 1e-30)
    worst = int(np.argmax(share))
    if share[worst] > MOST_UNRESOLVED:
        raise MeshcastError(
            f"training.rotation is exact for waves that a row of {grid.shape[2]} nodes resolves, but the shortest wave "
            f"holds {share[worst]:.2g} of the standard deviation of {names[worst]} in {fields.source}, more than "
            f"{MOST_UNRESOLVED:g}. Leave training.rotation away, or give data on a finer grid."
        )


def _refuse_places(
    key: str, config: ExperimentConfig, task: Task, fields: Fields, valid: NDArray[np.bool_] | None
) -> None:
    """Raise MeshcastError where something tells one place of a circle from another."""
    told = telling(config, task, fields)
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
