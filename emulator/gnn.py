"""The graph neural network emulator: its configuration, and how it is put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from emulator.baselines.first_guess import FirstGuess, PersistenceGuess, build_first_guess, of_departures
from emulator.baselines.solver_guess import SolverStep, num_seen
from emulator.features.departures import DeparturesConfig, build_inputs
from emulator.networks.encode_process_decode import EncodeProcessDecode, ProcessorConfig
from emulator.networks.layers.feature_layout import wind_columns
from emulator.networks.layers.flux_decoder import FluxDecoder
from emulator.neural import NeuralEmulator
from emulator.task import Task
from graphs.edges.build import GraphConfig, build_graphs, default_config
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh


@dataclass(frozen=True)
class GNNConfig:
    """An encode-process-decode graph network, on the mesh of its data or on one of its own.

    graph: the edges messages pass along; by default several scales on a ring or an icosphere, the eight neighbours
        elsewhere.
    processor: the message passing.
    first_guess: what the network corrects: persistence, ridge regression, whose radius and penalty are chosen by
        rollout within the training part, or a coarse solver.
    conserving: how the network keeps the variables of task.conserved. `fixer`: the predicted change less its area mean;
        `flux`: by fluxes along the finest edges, so that every region changes by what flows across its rim alone.
    node_statistics: give each node its own mean, variability and variability of change over the training part, which
        tell land from sea and coast from inland; binds the weights to the mesh.
    departures: what the network sees and predicts, in place of the states: how they depart from a climatology, and
        from the mean anomaly of the last states. Holds for the first guess too.
    """

    kind: Literal["gnn"] = "gnn"
    graph: GraphConfig | None = None
    processor: ProcessorConfig = field(default_factory=ProcessorConfig)
    first_guess: FirstGuess = field(default_factory=PersistenceGuess)
    conserving: Literal["fixer", "flux"] = "fixer"
    node_statistics: bool = False
    departures: DeparturesConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_guess", of_departures(self.first_guess, self.departures))


def build_gnn(
    config: GNNConfig, task: Task, mesh: Mesh, num_statics: int, graphs: ModelGraphs | None = None
) -> NeuralEmulator:
    """An emulator with weights drawn at random, scales and first guess still to be set.

    num_statics: columns of static features, the task's own and the nodes' statistics.
    graphs: those of a checkpoint; built from the configuration where None.
    """
    inputs = build_inputs(config.departures, task, mesh, num_statics)
    graphs = graphs or build_graphs(config.graph or default_config(mesh), mesh)
    num_features, num_outputs = inputs.num_fields + inputs.num_own, len(task.predicted)
    winds, guess = wind_columns(task, inputs), build_first_guess(config.first_guess, inputs, mesh)
    if isinstance(guess, SolverStep) and guess.config.seen:
        winds += [(num_features + east, num_features + north) for east, north in guess.winds]
    num_features += num_seen(guess)
    network = EncodeProcessDecode(num_features, num_outputs, graphs, config.processor, winds)
    if config.conserving == "flux":
        network.fluxes = _flux_decoder(config, task, mesh, graphs)
        network.flux_columns = inputs.conservation.columns
    return NeuralEmulator(task, mesh, inputs, network, guess)


def _flux_decoder(config: GNNConfig, task: Task, mesh: Mesh, graphs: ModelGraphs) -> FluxDecoder:
    """The decoder of the conserved variables. Raises MeshcastError where there are none, or no edges between them."""
    count = sum(variable.conserved for variable in task.variables)
    if count == 0:
        raise MeshcastError("conserving: flux needs variables to conserve. Name them in task.conserved.")
    if graphs.encoder is not None:
        raise MeshcastError(
            "Fluxes pass between the nodes the data live on, but this graph has a mesh of its own. Use data on the "
            "mesh itself, or conserving: fixer."
        )
    if not isinstance(config.first_guess, PersistenceGuess) or config.departures is not None:
        raise MeshcastError(
            "In flux form the whole change is a flux, so the first guess must be persistence, and of the state itself. "
            "Remove first_guess and departures, or use conserving: fixer."
        )
    processor = config.processor
    return FluxDecoder(processor.latent_size, processor.hidden_size, count, graphs.processor, mesh)
