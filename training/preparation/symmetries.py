"""Mirror images as further samples: north for south, where the equation knows no hemisphere but by its rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.first_guess import PersistenceGuess, SolverGuess
from emulator.networks.config import NetworkConfig
from emulator.task import Task, names_of, wind_pairs
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.mirror import mirrored_nodes
from training.experiment import ExperimentConfig

SYMMETRIC = ("sin_latitude", "cos_latitude", "coriolis")  # what a node of the mirror image must keep as it is


@dataclass(frozen=True, eq=False)
class Mirror:
    """What takes fields to their mirror image: the node each value comes from [node], and its sign [predicted]."""

    nodes: NDArray[np.int64]
    signs: NDArray[np.float32]

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mirror image of values [time, node, predicted]."""
        return values[:, self.nodes] * self.signs


def mirror_of(config: ExperimentConfig, task: Task, mesh: Mesh) -> Mirror | None:
    """Return the mirror that `training.mirror` asks for, None where it asks for none.

    Raises MeshcastError where mesh, variables or network tell the hemispheres apart by more than the latitude.
    """
    odd = config.training.mirror
    if odd is None:
        return None
    names = names_of(task.predicted)
    if unknown := [name for name in odd if name not in names]:
        raise MeshcastError(
            f"training.mirror names {', '.join(unknown)}, which the task does not predict. Name the variables that "
            f"change sign at the equator among {', '.join(names)}."
        )
    for east, north in wind_pairs(task):
        if names[north] not in odd or names[east] in odd:
            raise MeshcastError(
                f"In a mirror image the northward wind {names[north]} changes sign and the eastward {names[east]} does "
                f"not, but training.mirror is [{', '.join(odd)}]."
            )
    told = list(task.forcing)
    told += [name for name in task.static if name not in SYMMETRIC]
    emulator = config.emulator
    if isinstance(emulator, NetworkConfig):
        told += ["node_statistics"] * emulator.node_statistics + ["departures"] * (emulator.departures is not None)
        if not isinstance(emulator.first_guess, PersistenceGuess | SolverGuess):
            told.append(f"the first guess {emulator.first_guess.kind}")
    if told:
        raise MeshcastError(
            f"training.mirror takes what happens south of the equator for what could happen north of it, but "
            f"{', '.join(told)} may tell them apart. Leave training.mirror away."
        )
    nodes = mirrored_nodes(mesh)
    if nodes is None:
        raise MeshcastError(
            f"training.mirror needs a mesh that lies alike on both sides of the equator, but the data's is a "
            f"{mesh.describe()} that does not. Leave training.mirror away."
        )
    return Mirror(nodes, np.where([name in odd for name in names], -1.0, 1.0).astype(np.float32))
