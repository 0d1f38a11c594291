"""More samples from the same data: images that the equation allows too, north for south or time reversed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.first_guess import PersistenceGuess, SolverGuess
from emulator.fields import Fields
from emulator.foundation.variable_patterns import matching
from emulator.networks.config import NetworkConfig
from emulator.physics.simulate import simulation_of
from emulator.physics.sphere_simulation import SphereSimulationConfig
from emulator.task import Task, names_of, wind_pairs
from graphs.errors import MeshcastError
from graphs.geometry import Index
from graphs.mesh import Mesh
from graphs.meshes.mirror import mirrored_nodes, nodes_east_for_west
from training.experiment import ExperimentConfig
from training.preparation.reflection import refuse_other_reflections

GROUND = ("orography", "lsm")  # fields of the data that tell what the truth has felt
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


@dataclass(frozen=True)
class Kind:
    """What a key of `training` asks for.

    takes: what happens where, and what for. where: that the signs hold. needs: what the mesh must do.
    image: of a mesh, the node [node] that each one is taken to, None where it has no such symmetry.
    """

    takes: str
    where: str
    needs: str
    image: Callable[[Mesh], Index | None]
    backwards: bool = False


def _mirrored(mesh: Mesh) -> Index | None:
    """Return the node that each one is taken to by a reflection at the equator, or of a ring at its first node."""
    return nodes_east_for_west(mesh) if mesh.domain.kind == "ring" else mirrored_nodes(mesh)


KINDS = {
    "mirror": Kind(
        "what happens south of the equator for what could happen north of it",
        "In a mirror image",
        "lies alike on both sides of the equator",
        _mirrored,
    ),
    "reversal": Kind(
        "what happens in the east for what could happen in the west",
        "With time reversed and east for west",
        "lies alike on both sides of a meridian",
        nodes_east_for_west,
        backwards=True,
    ),
}


def symmetries_of(
    config: ExperimentConfig, task: Task, fields: Fields, valid: NDArray[np.bool_] | None = None
) -> tuple[Symmetry, ...]:
    """Return the symmetries that `training.mirror` and `training.reversal` ask for.

    fields: of training; on a ring the images must obey the law of the data.
    valid: [node, predicted] where the data ever have a value; None where everywhere.
    Raises MeshcastError where mesh, variables or network tell data and image apart by more than the latitude.
    """
    named = {name: getattr(config.training, name) for name in KINDS}
    predicted = names_of(task.predicted)
    wanted = {
        name: None if odd is None else matching(odd, predicted, f"training.{name}") for name, odd in named.items()
    }
    found = {
        name: _symmetry(f"training.{name}", KINDS[name], odd, config, task, fields)
        for name, odd in wanted.items()
        if odd is not None
    }
    for name, symmetry in found.items():
        if valid is not None and not np.array_equal(valid, valid[symmetry.nodes]):
            raise MeshcastError(
                f"training.{name} takes {KINDS[name].takes}, but the nodes without a value in {fields.source} do not "
                f"lie alike there. Leave training.{name} away."
            )
    if (odd := wanted["mirror"]) is not None:
        refuse_other_reflections(odd, task, fields)
    return tuple(found.values())


def _symmetry(
    key: str, kind: Kind, odd: Sequence[str], config: ExperimentConfig, task: Task, fields: Fields
) -> Symmetry:
    """Return the symmetry under which the variables `odd` change sign."""
    if told := telling(config, task, fields):
        raise MeshcastError(f"{key} takes {kind.takes}, but {', '.join(told)} may tell them apart. Leave {key} away.")
    if kind.backwards and task.diagnostic:
        raise MeshcastError(
            f"{key} runs time backwards, but {', '.join(task.diagnostic)} belongs to the step before a state. Leave "
            f"{key} or the diagnostic variables away."
        )
    names = names_of(task.predicted)
    if unknown := [name for name in odd if name not in names]:
        raise MeshcastError(
            f"{key} names {', '.join(unknown)}, which the task does not predict. Name the variables that change sign "
            f"among {', '.join(names)}."
        )
    for east, north in wind_pairs(task):
        if names[north] not in odd or names[east] in odd:
            raise MeshcastError(
                f"{kind.where} the northward wind {names[north]} changes sign and the eastward {names[east]} does not, "
                f"but {key} is [{', '.join(odd)}]."
            )
    nodes = kind.image(fields.mesh)
    if nodes is None:
        raise MeshcastError(
            f"{key} needs a mesh that {kind.needs}, but the data's is a {fields.mesh.describe()} that does not. Leave "
            f"{key} away."
        )
    signs = np.where([name in odd for name in names], -1.0, 1.0).astype(np.float32)
    return Symmetry(nodes, signs, kind.backwards)


def telling(config: ExperimentConfig, task: Task, fields: Fields) -> list[str]:
    """Return what may know the data from their image."""
    told = list(task.forcing)
    told += [name for name in task.static if name not in SYMMETRIC]
    told += [f"the {name} of the data" for name in fields.variables if name in GROUND and name not in task.static]
    simulation = simulation_of(fields.attributes)
    if isinstance(simulation, SphereSimulationConfig):
        told += [f"the simulation's {key}" for key in simulation.equation.not_zonal]
    emulator = config.emulator
    if isinstance(emulator, NetworkConfig):
        told += ["node_statistics"] * emulator.node_statistics + ["departures"] * (emulator.departures is not None)
        if not isinstance(emulator.first_guess, PersistenceGuess | SolverGuess):
            told.append(f"the first guess {emulator.first_guess.kind}")
    return told
