"""Training of the network for states between steps, once the emulator's own is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from emulator.between import Between
from emulator.build import TrainedEmulator, graphs_of, is_closed_form
from emulator.foundation.low_precision import products_in
from emulator.foundation.threads import Notice
from emulator.neural import NeuralEmulator
from emulator.scores import mean_of_error, mse
from emulator.state import State, Step
from emulator.task import refuse_transforms, wind_pairs
from graphs.errors import MeshcastError
from training.early_end import DivergedError, not_finite
from training.losses import find_loss
from training.optimisation.machine import Rehearsal, Seconds, now, working_seconds
from training.optimisation.optimiser import optimiser_of, warm_up_cosine
from training.preparation.prepared import Prepared
from training.preparation.symmetries import symmetries_of
from training.preparation.turning import turning_of
from training.preparation.windows import Batch, ShuffledStream, WindowsWithin
from training.runs.budget import WARM_UP, add_to_budget, read_budget

MOST_MEASURED = 500  # windows that scales are measured on
MOST_VALIDATED = 100  # windows
MOST_AT_ONCE = 4  # times within a step that an update learns from
TIMED_UPDATES, FIRST_UPDATES = 8, 3  # the first are slow


def refuse_nothing_between(prepared: Prepared) -> None:
    """Raise MeshcastError where states between steps are wanted that cannot be learnt."""
    if prepared.config.between is None:
        return
    if is_closed_form(prepared.config.emulator):
        raise MeshcastError("`between` adds to an emulator that is a network, but this one is a closed form.")
    refuse_transforms(prepared.task, "A network for states between steps")
    prepared.config.between.for_emulator(prepared.config.emulator)
    for fields, forcings in (
        (prepared.train, prepared.part.provider),
        (prepared.validation, prepared.validation_forcings),
    ):
        WindowsWithin(fields, prepared.task, forcings)


def with_between(prepared: Prepared, trained: TrainedEmulator, folder: Path, notice: Notice) -> TrainedEmulator:
    """Return a trained emulator with a network for states between its steps, fitted on the training part.

    notice: takes a line on its error where the emulator is validated, beside linear interpolation's.
    """
    emulator = trained.emulator
    assert isinstance(emulator, NeuralEmulator)
    between, windows, device = _untrained(prepared, emulator)
    updates = _updates(prepared, folder, lambda count: _timed(between, windows, prepared, count, device))
    for _ in _descent(between, windows, prepared, updates, device):
        pass
    starts = WindowsWithin(prepared.validation, prepared.task, prepared.validation_forcings, MOST_VALIDATED)
    error, linear = _validated(between.eval().requires_grad_(False), starts, device)
    notice(f"States between steps err by {error:.3g} std after {updates:,} updates, linear ones by {linear:.3g}.")
    emulator.to("cpu")
    outcome = {"updates": updates, "error": error, "linear_error": linear}
    return replace(trained, between=between.to("cpu"), metadata={**trained.metadata, "between_training": outcome})


def rehearse_between(prepared: Prepared, emulator: NeuralEmulator) -> Seconds:
    """Return what training the network for states between the steps of an emulator takes, by a few of its updates."""
    wanted, training = prepared.config.between, prepared.config.training
    assert wanted is not None
    on_gpu = training.accelerator != "cpu" and torch.cuda.is_available()
    begun = now(on_gpu)
    between, windows, device = _untrained(prepared, emulator)
    moments = [now(on_gpu)]
    for _ in _descent(between, windows, prepared, TIMED_UPDATES, device):
        moments.append(now(on_gpu))
    starts = WindowsWithin(prepared.validation, prepared.task, prepared.validation_forcings, MOST_VALIDATED)
    _validated(between.eval().requires_grad_(False), starts, device)
    emulator.to("cpu")
    laps = tuple(later - earlier for earlier, later in pairwise(moments))
    update = Rehearsal(laps, Seconds()).update(FIRST_UPDATES)
    around = now(on_gpu) - begun - (moments[-1] - moments[0])
    if training.minutes is None:
        return around + update * max(1, round(wanted.share * training.updates))
    seconds = wanted.share * training.minutes * 60
    return around + update * (TIMED_UPDATES + seconds / update.working)


def _untrained(prepared: Prepared, emulator: NeuralEmulator) -> tuple[Between, WindowsWithin, str]:
    """Return an untrained network with its scales, its training windows, and the kind of device that both are for."""
    wanted, training = prepared.config.between, prepared.config.training
    assert wanted is not None
    config = wanted.for_emulator(prepared.config.emulator)
    images = symmetries_of(prepared.config, prepared.task, prepared.train, prepared.valid)
    turning = turning_of(prepared.config, prepared.task, prepared.train, prepared.valid)
    windows = WindowsWithin(
        prepared.train,
        prepared.task,
        prepared.part.provider,
        symmetries=images,
        turning=turning,
        seed=training.seed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        between = Between(config, emulator, min(config.terms, len(windows.fractions)), graphs_of(emulator))
    if wanted.network is None:
        between.start_from(emulator.network)
    device = "cuda" if training.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"
    emulator.to(device)
    between.to(device)
    _measure(between, windows, device)
    return between, windows, device


def _updates(prepared: Prepared, folder: Path, seconds_of: Callable[[int], float]) -> int:
    """Return the updates of the share of the budget; of minutes measured once, and kept for when it is resumed."""
    config, training = prepared.config.between, prepared.config.training
    assert config is not None
    if training.minutes is None:
        return max(1, round(config.share * training.updates))
    if "between_updates" not in read_budget(folder):
        seconds = config.share * training.minutes * 60
        add_to_budget(folder, between_updates=max(1, int(seconds / seconds_of(TIMED_UPDATES))))
    return int(read_budget(folder)["between_updates"])


def _timed(between: Between, windows: WindowsWithin, prepared: Prepared, count: int, device: str) -> float:
    """Return the working seconds of an update, on a copy thrown away."""
    laps, clock = [], partial(working_seconds, device != "cpu")
    begun = clock()
    for _ in _descent(deepcopy(between), windows, prepared, count, device):
        laps.append(clock() - begun)
        begun = clock()
    return float(np.median(laps[FIRST_UPDATES:]))


def _descent(
    between: Between, windows: WindowsWithin, prepared: Prepared, updates: int, device: str
) -> Iterator[float]:
    """Yield the loss of each update."""
    training = prepared.config.training
    stream = ShuffledStream(len(windows), training.process_batch, updates, training.seed)
    loader = DataLoader(windows, training.process_batch, sampler=stream, num_workers=training.num_workers)
    optimiser = optimiser_of(
        training.optimiser, between, training.learning_rate, training.weight_decay, training.decayed
    )
    warm_up = min(training.warm_up, int(WARM_UP * updates))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda update: warm_up_cosine(update, warm_up, updates))
    generator = np.random.default_rng(training.seed)
    for update, batch in enumerate(loader):
        chosen = generator.permutation(len(windows.fractions))[:MOST_AT_ONCE]
        with products_in("bfloat16" if training.precision.startswith("bf16") else "float32", device):
            loss = _loss(between, windows, _on(batch, device), chosen, training.loss)
        if not torch.isfinite(loss):
            fault = not_finite(update, loss.detach(), batch["valid_time"])
            raise DivergedError(f"The training between steps has diverged. {fault} Lower training.learning_rate.")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(between.parameters(), training.gradient_clip)
        optimiser.step()
        schedule.step()
        yield float(loss.detach())


def _loss(between: Between, windows: WindowsWithin, batch: Batch, chosen: np.ndarray, loss: str) -> Tensor:
    """Return the mean loss at the chosen times within a step, in units of what linear interpolation leaves."""
    state, forcing, step = _ends(between, windows, batch)
    coefficients = between.coefficients(state, forcing, step)
    emulator = between.emulator
    scale = emulator.inputs.std * between.correction_std[0]
    terms = []
    for place in chosen.tolist():
        truth = batch["within"][:, None, place]  # [batch, member, node, predicted]
        given = truth[:, 0, :, : len(emulator.task.prognostic)]
        fields = between.at(windows.fractions[place], state, step, coefficients, given)
        terms.append(mean_of_error(find_loss(loss), fields / scale, truth / scale, emulator.node_weights).mean())
    return torch.stack(terms).mean()


@torch.no_grad()
def _ends(between: Between, windows: WindowsWithin, batch: Batch) -> tuple[State, Tensor, Step]:
    """Return the state before a step, its forcing, and the emulator's own step, whose errors it learns to allow for."""
    state, forcings = windows.start_of(batch)
    forcing = forcings.window(state, between.task, 0)
    return state, forcing, between.emulator.step(state, forcing)


@torch.no_grad()
def _measure(between: Between, windows: WindowsWithin, device: str) -> None:
    """Set the scales: of the change over a step, and of the terms.

    Every term gets the size of what linear interpolation leaves. Components of a wind share theirs.
    """
    inputs, count = between.emulator.inputs, len(between.task.prognostic)
    change, left = (
        torch.zeros(count, dtype=torch.float64),
        torch.zeros(len(between.task.predicted), dtype=torch.float64),
    )
    number = 0
    for batch in _some(windows, MOST_MEASURED, device):
        state, _, step = _ends(between, windows, batch)
        zero = torch.zeros(*state.now.shape[:2], *between.correction_std.shape[:1], *state.now.shape[2:3], len(left))
        difference = (step[0].now - state.now) / inputs.std[:count]
        change += torch.nan_to_num(difference).double().square().mean(dim=(1, 2)).sum(dim=0).cpu()
        for place, fraction in enumerate(windows.fractions):
            truth = batch["within"][:, None, place]
            error = (truth - between.at(fraction, state, step, zero.to(device), truth[:, 0, :, :count])) / inputs.std
            left += torch.nan_to_num(error).double().square().mean(dim=(1, 2)).sum(dim=0).cpu() / len(windows.fractions)
        number += len(state.valid_time)
    for u, v in wind_pairs(between.task):
        change[[u, v]], left[[u, v]] = change[[u, v]].mean(), left[[u, v]].mean()
    between.change_std.copy_((change / number).sqrt().clamp_min(1e-7))
    size = float(np.mean((windows.fractions * (1 - windows.fractions)) ** 2)) ** 0.5
    between.correction_std.copy_((left / number).sqrt().clamp_min(1e-7) / size)


@torch.no_grad()
def _validated(between: Between, windows: WindowsWithin, device: str) -> tuple[float, float]:
    """Return the error at the times within steps, in units of the standard deviation, and linear interpolation's."""
    emulator, sums = between.emulator, np.zeros(2)
    for batch in _some(windows, len(windows), device):
        state, forcing, step = _ends(between, windows, batch)
        coefficients = between.coefficients(state, forcing, step)
        for place, fraction in enumerate(windows.fractions):
            truth = batch["within"][:, None, place] / emulator.inputs.std
            for column, terms in enumerate((coefficients, torch.zeros_like(coefficients))):
                given = batch["within"][:, place, :, : state.now.shape[-1]]
                fields = between.at(fraction, state, step, terms, given) / emulator.inputs.std
                sums[column] += float(mse(fields, truth, emulator.node_weights).mean(dim=-1).sum())
    error, linear = np.sqrt(sums / len(windows) / len(windows.fractions))
    return float(error), float(linear)


def _some(windows: WindowsWithin, most: int, device: str) -> Iterator[Batch]:
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int))
    for batch in DataLoader(windows, 16, sampler=chosen.tolist(), generator=torch.Generator()):
        yield _on(batch, device)


def _on(batch: Batch, device: str) -> Batch:
    return {name: value.to(device) for name, value in batch.items()}
