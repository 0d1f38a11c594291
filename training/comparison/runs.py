"""What a comparison trains: a row for each combination of a grid, an experiment for each row, as large as the others,
and a run for each seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from emulator.baselines.persistence import PersistenceConfig
from emulator.build import EmulatorSection, build_network, graphs_of, is_closed_form
from emulator.foundation.configuration import load, resolve
from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_models import KerasConfig, torch_config
from emulator.parameter_budget import width_keys, with_parameters
from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from training.comparison.configuration import CompareConfig, RowConfig
from training.experiment import ExperimentConfig, TrainingConfig
from training.preparation.first_guess import mask_flags
from training.preparation.memory import BYTES_PER_WEIGHT
from training.preparation.prepared import Prepared, PreparedData
from training.runs.study import Run
from training.tuning.settings import as_overrides, combinations, spelt


def expanded(config: CompareConfig) -> CompareConfig:
    """Return the comparison with a row for each combination of a grid, in place of the row that has the grid.

    Raises MeshcastError where a path leads nowhere, or two rows would have one label.
    """
    rows: dict[str, RowConfig] = {}
    for label, row in config.rows.items():
        widths = sorted(set(row.grid) & width_keys())
        if widths and config.parameters is not None and not row.keep_size:
            raise MeshcastError(
                f"The grid of {label} varies {widths[0]}, which parameters scales back to one size. Give the row "
                "keep_size: true, or leave parameters out."
            )
        for settings in combinations(row.grid):
            name = f"{label}, {spelt(settings)}" if settings else label
            if name in rows:
                raise MeshcastError(
                    f"The grid of {label} has a combination twice, or one with the label of another row."
                )
            rows[name] = _with_settings(row, settings, label) if settings else row
    return replace(config, rows=rows)


def experiments(config: CompareConfig) -> dict[str, ExperimentConfig]:
    """Return by label what is fitted, of a comparison whose grids are expanded; no data are read."""
    rows = dict(config.rows)
    if not any(isinstance(row.emulator, PersistenceConfig) for row in rows.values()):
        if "persistence" in rows:
            raise MeshcastError("The label persistence is kept for persistence. Name that row otherwise.")
        rows["persistence"] = RowConfig(PersistenceConfig())
    return {
        label: ExperimentConfig(
            name=config.name,
            data=replace(config.data, test=None),  # no run sees it, and longer test data repeat none
            task=replace(config.task, history=row.history or config.task.history),
            emulator=row.emulator,
            training=_training_of(config, label, row),
            validation=config.validation,
            tracking=config.tracking,
            accounting=config.accounting,
            variability=config.variability,
            output=config.output,
        )
        for label, row in rows.items()
        if row.emulator is not None
    }


def equally_large(
    config: CompareConfig, experiments: Mapping[str, ExperimentConfig], data: PreparedData
) -> dict[str, ExperimentConfig]:
    """Return the experiments with networks as large as `parameters` asks, where it is given.

    Raises MeshcastError for a network that cannot be scaled; a row with `keep_size` stays as it is.
    """
    if config.parameters is None:
        return dict(experiments)
    what = f"A network of parameters: {config.parameters:,}"
    refuse_too_large(BYTES_PER_WEIGHT * config.parameters, what, "Ask for fewer parameters.")
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


def runs_of(config: CompareConfig, experiments: Mapping[str, ExperimentConfig]) -> list[Run]:
    """Return the runs of the experiments: networks once a seed, closed forms once."""
    return [
        Run(label, experiment, seed)
        for label, experiment in experiments.items()
        for seed in ((0,) if is_closed_form(experiment.emulator) else config.seeds)
    ]


def networks(experiments: Mapping[str, ExperimentConfig]) -> dict[str, ExperimentConfig]:
    """Return those fitted by gradient descent."""
    return {label: experiment for label, experiment in experiments.items() if not is_closed_form(experiment.emulator)}


def _with_settings(row: RowConfig, settings: Mapping[str, Any], label: str) -> RowConfig:
    training, emulator = dict(row.training), {}
    for path, value in settings.items():
        if path.startswith("training."):
            training[path.removeprefix("training.")] = value
        else:
            emulator[f"emulator.{path}"] = value
    try:
        section = load(EmulatorSection, {"emulator": resolve(row.emulator)}, as_overrides(emulator))
    except MeshcastError as error:
        raise MeshcastError(f"grid of {label}: {error}") from None
    return replace(row, emulator=section.emulator, training=training, grid={})


def _training_of(config: CompareConfig, label: str, row: RowConfig) -> TrainingConfig:
    try:
        return load(TrainingConfig, {**resolve(config.training), **row.training}) if row.training else config.training
    except MeshcastError as error:
        raise MeshcastError(f"rows.{label}.training: {error}") from None


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
