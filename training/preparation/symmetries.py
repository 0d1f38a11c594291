"""More samples from the same data: images that the equation allows too, north for south or time reversed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.first_guess import PersistenceGuess, SolverGuess
from emulator.networks.config import NetworkConfig
from emulator.task import Task, names_of, wind_pairs
from graphs.errors import MeshcastError
from graphs.geometry import Index
from graphs.mesh import Mesh
from graphs.meshes.mirror import mirrored_nodes, nodes_east_for_west
from training.experiment import ExperimentConfig

SYMMETRIC = ("sin_latitude", "cos_latitude", "coriolis")  # what a node of an image must keep as it is


@dataclass(frozen=True, eq=False)
class Symmetry:
    """What takes fields to an image of them.

    nodes: [node] where each value comes from. signs: [predicted] of the values. backwards: whether time is reversed.
    """

    nodes: Index
    signs: NDArray[np.float32]
    backwards: bool = False

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image of values [time, node, predicted]."""
        return values[:: -1 if self.backwards else 1, self.nodes] * self.signs


def symmetries_of(config: ExperimentConfig, task: Task, mesh: Mesh) -> tuple[Symmetry, ...]:
    """Return the symmetries that `training.mirror` and `training.reversal` ask for.

    Raises MeshcastError where mesh, variables or network tell data and image apart by more than the latitude.
    """
    training, found = config.training, []
    if training.mirror is not None:
        _refuse_told(config, task, "training.mirror", "what happens south of the equator for what could north of it")
        signs = _signs(task, "training.mirror", training.mirror, "In a mirror image")
        nodes = _nodes(mirrored_nodes, mesh, "training.mirror", "lies alike on both sides of the equator")
        found.append(Symmetry(nodes, signs))
    if training.reversal is not None:
        _refuse_told(config, task, "training.reversal", "what happens in the east for what could in the west")
        if task.diagnostic:
            raise MeshcastError(
                f"training.reversal runs time backwards, but {', '.join(task.diagnostic)} belongs to the step before a "
                "state. Leave training.reversal or the diagnostic variables away."
            )
        signs = _signs(task, "training.reversal", training.reversal, "With time reversed and east for west")
        nodes = _nodes(nodes_east_for_west, mesh, "training.reversal", "lies alike on both sides of a meridian")
        found.append(Symmetry(nodes, signs, backwards=True))
    return tuple(found)


def _signs(task: Task, key: str, odd: Sequence[str], where: str) -> NDArray[np.float32]:
    names = names_of(task.predicted)
    if unknown := [name for name in odd if name not in names]:
        raise MeshcastError(
            f"{key} names {', '.join(unknown)}, which the task does not predict. Name the variables that change sign "
            f"among {', '.join(names)}."
        )
    for east, north in wind_pairs(task):
        if names[north] not in odd or names[east] in odd:
            raise MeshcastError(
                f"{where} the northward wind {names[north]} changes sign and the eastward {names[east]} does not, but "
                f"{key} is [{', '.join(odd)}]."
            )
    return np.where([name in odd for name in names], -1.0, 1.0).astype(np.float32)


def _refuse_told(config: ExperimentConfig, task: Task, key: str, what: str) -> None:
    """Raise MeshcastError where something may know the data from their image."""
    told = list(task.forcing)
    told += [name for name in task.static if name not in SYMMETRIC]
    emulator = config.emulator
    if isinstance(emulator, NetworkConfig):
        told += ["node_statistics"] * emulator.node_statistics + ["departures"] * (emulator.departures is not None)
        if not isinstance(emulator.first_guess, PersistenceGuess | SolverGuess):
            told.append(f"the first guess {emulator.first_guess.kind}")
    if told:
        raise MeshcastError(f"{key} takes {what}, but {', '.join(told)} may tell them apart. Leave {key} away.")


def _nodes(of: Callable[[Mesh], Index | None], mesh: Mesh, key: str, needed: str) -> Index:
    nodes = of(mesh)
    if nodes is None:
        raise MeshcastError(
            f"{key} needs a mesh that {needed}, but the data's is a {mesh.describe()} that does not. Leave {key} away."
        )
    return nodes
