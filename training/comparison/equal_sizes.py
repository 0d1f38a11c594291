"""One number of weights for every network row: each one's width is scaled until its size comes nearest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from emulator.build import build_network, graphs_of
from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_models import KerasConfig, torch_config
from emulator.parameter_budget import with_parameters
from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from training.comparison.configuration import CompareConfig
from training.comparison.runs import networks
from training.experiment import ExperimentConfig
from training.preparation.first_guess import mask_flags
from training.preparation.memory import BYTES_PER_WEIGHT
from training.preparation.prepared import Prepared, PreparedData


def equally_large(
    config: CompareConfig, experiments: Mapping[str, ExperimentConfig], data: PreparedData
) -> dict[str, ExperimentConfig]:
    """Return the experiments, their networks as large as `parameters` says where it says so.

    Raises MeshcastError for a network that cannot be scaled; a row with `keep_size` stays as it is.
    """
    if config.parameters is None:
        return dict(experiments)
    refuse_too_large(
        BYTES_PER_WEIGHT * config.parameters,
        f"A network of parameters: {config.parameters:,}",
        "Ask for fewer parameters.",
    )
    sized = dict(experiments)
    for label, experiment in networks(experiments).items():
        if not config.rows[label].keep_size:
            assert isinstance(experiment.emulator, NetworkConfig)
            try:
                section = with_parameters(experiment.emulator, config.parameters, _counter(data.prepare(experiment)))
            except MeshcastError as error:
                raise MeshcastError(f"{label}: {error} Or give the row keep_size: true.") from None
            sized[label] = replace(experiment, emulator=section)
    return sized


def _counter(prepared: Prepared) -> Callable[[NetworkConfig], int]:
    """Return the function that counts the trainable weights of a network built on an experiment's data."""
    task, mesh = prepared.task, prepared.train.mesh
    flags = 0 if prepared.valid is None else mask_flags(prepared.valid, task).shape[1]
    graphs: ModelGraphs | None = None  # which do not depend on the width

    def count(section: NetworkConfig) -> int:
        nonlocal graphs
        statics = len(task.static) + flags
        statics += 3 * len(task.prognostic) if section.node_statistics else 0  # see `first_guess.node_statistics`
        in_keras = isinstance(section, KerasConfig)
        if isinstance(section, KerasConfig):  # its twin is built at once, and has a second bias where it recurs
            section = torch_config(section)
        with torch.random.fork_rng(devices=[]):
            network = build_network(section, task, mesh, statics, graphs)
        graphs = graphs_of(network)
        return sum(w.numel() for name, w in network.named_parameters() if not (in_keras and ".bias_hh_" in name))

    return count
