"""The graph neural network emulator: its configuration, and how it is put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Discriminator

from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.baselines.ridge import RidgeConfig
from emulator.inputs import Inputs
from emulator.networks.encode_process_decode import EncodeProcessDecode, ProcessorConfig
from emulator.neural import NeuralEmulator
from emulator.task import Task
from graphs.build import GraphConfig, build_graphs, default_config
from graphs.mesh import Mesh


@dataclass(frozen=True)
class PersistenceGuess:
    """The network corrects the present state, scaled by the training tendencies."""

    kind: Literal["persistence"] = "persistence"


FirstGuess = Annotated[PersistenceGuess | RidgeConfig, Discriminator("kind")]


@dataclass(frozen=True)
class GNNConfig:
    """An encode-process-decode graph network on the mesh of its data.

    graph: the edges messages pass along; by default several scales on a ring, the eight neighbours elsewhere.
    processor: the message passing.
    first_guess: what the network corrects: persistence, or ridge regression, whose radius and penalty are chosen by
        rollout within the training part.
    node_statistics: give each node its own mean, variability and variability of change over the training part, which
        tell land from sea and coast from inland; binds the weights to the mesh.
    """

    kind: Literal["gnn"] = "gnn"
    graph: GraphConfig | None = None
    processor: ProcessorConfig = field(default_factory=ProcessorConfig)
    first_guess: FirstGuess = field(default_factory=PersistenceGuess)
    node_statistics: bool = False


def build_gnn(config: GNNConfig, task: Task, mesh: Mesh, num_statics: int) -> NeuralEmulator:
    """An emulator with weights drawn at random, scales and first guess still to be set.

    num_statics: columns of static features, the task's own and the nodes' statistics.
    """
    inputs = Inputs(task, mesh, num_statics)
    graphs = build_graphs(config.graph or default_config(mesh), mesh)
    network = EncodeProcessDecode(inputs.num_fields + inputs.num_own, len(task.predicted), graphs, config.processor)
    return NeuralEmulator(task, mesh, inputs, network, build_first_guess(config.first_guess, inputs, mesh))


def build_first_guess(config: PersistenceGuess | RidgeConfig, inputs: Inputs, mesh: Mesh) -> NeighbourhoodMap | None:
    """The map of a ridge regression, its weights still zero; None for persistence."""
    if isinstance(config, PersistenceGuess):
        return None
    return NeighbourhoodMap(mesh, max(config.radii), inputs.num_fields, inputs.num_own, len(inputs.task.predicted))
