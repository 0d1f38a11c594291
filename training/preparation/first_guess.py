"""Before the first update: scales from the training part, the first guess in closed form, what it leaves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.baselines.first_guess import FittedGuess, ForcedStep, LinearInverseStep, SolverStep
from emulator.baselines.forced_response import ForcedResponse
from emulator.baselines.linear_inverse import LinearInverse
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.baselines.ridge import Ridge, RidgeConfig
from emulator.build import build_network
from emulator.features.departures import DepartureInputs
from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_models import KerasConfig, torch_config
from emulator.neural import NeuralEmulator
from emulator.normalise import read_in_chunks
from emulator.task import Task
from emulator.training_part import TrainingPart
from training.experiment import ExperimentConfig
from training.preparation.loss_terms import LossTerms
from training.preparation.memory import LeastNumbers, least_numbers, memory_of_updates, refuse_too_large_network
from training.preparation.prepared import Prepared
from training.preparation.windows import NOISE_SIZE, Windows, normalised_pairs
from training.shards import group_of


@dataclass(frozen=True, eq=False)
class Untrained:
    """A network before its first update, with what it learns from.

    config: with the first guess resolved.
    windows: of the training data; starts: of the forecasts that validate.
    terms: the loss of a step.
    """

    config: ExperimentConfig
    emulator: NeuralEmulator
    windows: Windows
    starts: Windows
    terms: LossTerms


def initial_network(prepared: Prepared, windows: Windows) -> tuple[NeuralEmulator, NetworkConfig]:
    """Return the untrained emulator of an experiment, and its configuration with the first guess resolved.

    Its weights are drawn from the seed; scales and first guess are fitted on the training part. Raises MeshcastError
    where it would not fit in memory.
    """
    training, task, part, section = prepared.config.training, prepared.task, prepared.part, prepared.config.emulator
    assert isinstance(section, NetworkConfig)
    _refuse_too_large(section, prepared)
    ridge: Ridge | None = None
    if isinstance(section.first_guess, RidgeConfig):
        unfitted = Ridge(section.first_guess, replace(task, boundary=False), part.fields.mesh)
        ridge = prepared.once(section.first_guess, lambda: unfitted.fit(part))
        section = replace(section, first_guess=ridge.config)  # with the one radius and penalty that were chosen
    model: LinearInverse | ForcedResponse | None = None
    if isinstance(section.first_guess, FittedGuess):
        unfit = section.first_guess.build(replace(task, boundary=False), part.fields.mesh)
        model = prepared.once(section.first_guess, lambda: unfit.fit(part))
        assert isinstance(model.config, FittedGuess)
        section = replace(section, first_guess=model.config)
    columns = [prepared.once("node_statistics", lambda: node_statistics(part, task))] if section.node_statistics else []
    columns += [] if prepared.valid is None else [mask_flags(prepared.valid, task)]
    columns += [flags] if (flags := flags_of_forcings(part, task)).size else []
    further = np.concatenate(columns, axis=1) if columns else None
    num_statics = len(task.static) + (0 if further is None else further.shape[1])
    torch.manual_seed(training.seed)
    emulator = build_network(section, task, prepared.train.mesh, num_statics, group=group_of(training))
    emulator.inputs.take(part, further)
    if ridge is not None:
        guess = emulator.first_guess
        assert isinstance(guess, NeighbourhoodMap)
        guess.weights.zero_()  # as of features the regression did not have, such as the nodes' statistics
        guess.weights[: len(ridge.map.weights)] = ridge.map.weights
        guess.intercept.copy_(ridge.map.intercept)
    if model is not None:
        assert isinstance(emulator.first_guess, LinearInverseStep | ForcedStep)
        emulator.first_guess.model.load_state_dict(model.state_dict())
    noise = training.noise * NOISE_SIZE[training.noise_kind]
    shared = {item.name: getattr(section, item.name) for item in fields(NetworkConfig)}
    scales = prepared.once([shared, noise, windows.steps], lambda: _scales(emulator, windows, noise))
    emulator.correction_std.copy_(scales[0])
    if isinstance(emulator.first_guess, SolverStep):
        emulator.first_guess.seen_std.copy_(scales[1])
    return emulator, section


def unfitted_network(prepared: Prepared) -> NeuralEmulator:
    """Return a network as costly as the experiment's, scales and first guess still to be fitted; a Keras one's twin.

    Raises MeshcastError where it would not fit in memory.
    """
    section, task, mesh = prepared.config.emulator, prepared.task, prepared.train.mesh
    assert isinstance(section, NetworkConfig)
    _refuse_too_large(section, prepared)
    section = torch_config(section) if isinstance(section, KerasConfig) else section
    emulator = build_network(section, task, mesh, len(task.static))
    if isinstance(emulator.inputs, DepartureInputs):  # a climatology that knows every date, as a fitted one does
        emulator.inputs.climatology.mean.zero_()
        emulator.inputs.climatology.seen.fill_(True)
    return emulator


def updates_in_memory(prepared: Prepared) -> AbstractContextManager[None]:
    """Return a context in which updates that run out of memory end with what would take less; see `memory_of_updates`.

    Raises MeshcastError where the experiment's network does not fit in any case.
    """
    section = prepared.config.emulator
    assert isinstance(section, NetworkConfig)
    return memory_of_updates(section, prepared.config.training, _least_numbers(section, prepared))


def _refuse_too_large(section: NetworkConfig, prepared: Prepared) -> None:
    """Raise MeshcastError where a network does not fit in what memory is left now."""
    mesh, history, numbers = prepared.train.mesh, prepared.task.history, _least_numbers(section, prepared)
    refuse_too_large_network(section, mesh, history, prepared.config.training, numbers)


def _least_numbers(section: NetworkConfig, prepared: Prepared) -> LeastNumbers:
    """Return what a network holds at least, counted once a study."""
    mesh, history = prepared.train.mesh, prepared.task.history
    return prepared.once(["memory", section], lambda: least_numbers(section, mesh, history))


def _scales(emulator: NeuralEmulator, windows: Windows, noise: float) -> tuple[Tensor, Tensor]:
    """Return what the first guess leaves of the next state on noisy input, and the size of what is seen of a solver.

    Both are the same for all networks with this first guess, so that a study measures them once.

    noise: standard deviation of the input noise in training, in units of each variable's.
    """
    squares = torch.zeros(len(emulator.task.predicted), dtype=torch.float64)
    count = torch.zeros_like(squares)
    generator = torch.Generator().manual_seed(0)
    for features, state, target in normalised_pairs(emulator, windows):
        inputs = features[..., : emulator.inputs.num_fields]
        inputs += noise * torch.randn(inputs.shape, generator=generator) * emulator.inputs.noise_size
        error = target - emulator.guess(features, state)[0]
        there = ~torch.isnan(error)
        squares += torch.where(there, error, 0.0).double().square().sum(dim=(0, 1))
        count += there.sum(dim=(0, 1))
    guess = emulator.first_guess
    seen = _seen_std(guess, emulator, windows) if isinstance(guess, SolverStep) else torch.empty(0)
    return (squares / count).sqrt().clamp_min(1e-7), seen


def _seen_std(guess: SolverStep, emulator: NeuralEmulator, windows: Windows) -> Tensor:
    """Return the root mean square [2 · prognostic] of what a network sees of its solver, one value for a wind."""
    squares = [
        guess(features)[1].double().square().mean(dim=(0, 1)) for features, _, _ in normalised_pairs(emulator, windows)
    ]
    mean = torch.stack(squares).mean(dim=0)
    for wind in guess.winds:
        mean[list(wind)] = mean[list(wind)].mean()
    return (guess.seen_std.double() * mean.sqrt()).clamp_min(1e-7)


def mask_flags(valid: NDArray[np.bool_], task: Task) -> NDArray[np.float64]:
    """Return flags [node, column], one where prognostic variables are masked, a column for each mask that differs.

    A masked value enters a network as its mean, zero; the flag tells it from a value that happens to be the mean.

    valid: [node, predicted] where the training data ever have a value.
    """
    masks = np.unique(~valid[:, : len(task.prognostic)], axis=1)
    return masks[:, masks.any(axis=0)].astype(np.float64)


def flags_of_forcings(part: TrainingPart, task: Task) -> NDArray[np.float64]:
    """Return flags [node, column], one where a forcing of `task.imputation` is missing at the first training time, a
    column for each mask that differs."""
    names, nodes = [v.name for v in task.with_role("forcing") if v.imputation != "mean"], part.fields.mesh.num_nodes
    if not names:
        return np.empty((nodes, 0))
    trajectory = np.array([part.fields.trajectories[part.rows[0]]])
    given = part.provider.at(part.fields.times[part.available[:1]], names, nodes, trajectory=trajectory)
    masks = np.unique(np.isnan(given[0]), axis=1)
    return masks[:, masks.any(axis=0)].astype(np.float64)


def node_statistics(part: TrainingPart, task: Task) -> NDArray[np.float64]:
    """Return each node's mean, std and root mean square of change [node, column], per prognostic variable."""
    shape = (part.fields.mesh.num_nodes, len(task.prognostic))
    count, total, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    changes, change = np.zeros(shape), np.zeros(shape)
    offset, stride = None, part.frames(task)
    for _, values, before in read_in_chunks(part.fields, task.prognostic, part.available, part.rows, stride=stride):
        if offset is None:
            offset = np.nanmean(values, axis=(0, 1, 2))  # near the mean, so that squares lose no digits
        fresh, steps = values[before:] - offset, np.diff(values, axis=0)
        count += (~np.isnan(fresh)).sum(axis=(0, 1))
        total += np.nansum(fresh, axis=(0, 1))
        squares += np.nansum(fresh**2, axis=(0, 1))
        changes += (~np.isnan(steps)).sum(axis=(0, 1))
        change += np.nansum(steps**2, axis=(0, 1))
    count, changes = np.maximum(count, 1), np.maximum(changes, 1)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return np.concatenate([mean, std, np.sqrt(change / changes)], axis=1)
