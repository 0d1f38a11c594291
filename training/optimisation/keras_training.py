"""Gradient descent in TensorFlow for Keras networks, under the windows, budget, schedule and selection of all others.

What an update computes is what `module` does for torch: noise on the history, `training.loss` of the error of one step
in units of what the first guess leaves, held to the task's bounds and what it conserves, the gradient clipped, AdamW,
and the moving average of the weights that validation and the checkpoint use. The first guess has no weights to
train, so batches bring it along as part of the target.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader

from emulator.networks.keras_networks.keras_network import KerasNetwork, with_means_kept
from emulator.networks.keras_networks.tensorflow_library import keras, tensorflow
from emulator.neural import NeuralEmulator
from graphs.errors import MeshcastError
from training.early_end import DivergedError, Stopped, StopRequest, diverged, not_finite
from training.experiment import TrainingConfig
from training.losses import find_loss, mse
from training.metrics_log import MetricsLog
from training.optimisation.forecast_picture import draw_forecast
from training.optimisation.keras_examples import Example, examples
from training.optimisation.long_rollout import long_rollout
from training.optimisation.machine import FEWEST_TIMED, Rehearsal, now
from training.optimisation.optimiser import BETAS, averaging_decay, updates_averaged, warm_up_cosine
from training.optimisation.progress_lines import ProgressLines
from training.optimisation.validation import (
    AVERAGE,
    LAST,
    MOVING_AVERAGE,
    Best,
    Validated,
    best_of,
    error_sums,
    save_best,
    validated,
)
from training.preparation.first_guess import Untrained
from training.preparation.loss_terms import LossTerms
from training.preparation.memory import memory_of_validation
from training.preparation.prepared import Prepared
from training.preparation.windows import Batch, ShuffledStream
from training.resumable import DIGEST, digest_of, new_checkpoint, read_checkpoint, resume_from, write_checkpoint
from training.tracking.record import RunRecord

LOG_EVERY = 10  # updates


def train(
    prepared: Prepared, untrained: Untrained, folder: Path, progress: bool, request: StopRequest, record: RunRecord
) -> None:
    """Take the updates that are left; last.ckpt, metrics.csv and the best emulator so far go to the folder.

    request: of a signal that the training end; it is then kept as it is, and Stopped raised.
    record: follows the log, and has the forecast of each validation drawn.
    Raises MeshcastError where the configuration asks for what is done in torch alone.
    """
    config, training = untrained.config, untrained.config.training
    refuse_what_torch_alone_does(training)
    last, start = resume_from(folder)
    fit = KerasFit(untrained.emulator, training)
    if last is not None:
        fit.load(last)
    log = MetricsLog(folder / "metrics.csv", len(untrained.windows), start)
    long = long_rollout(prepared, untrained.starts, config)

    def validate() -> None:
        candidates = fit.candidates()
        if not all(np.isfinite(weight.numpy()).all() for weight in (*fit.weights, *fit.averages)):
            raise DivergedError(diverged(f"The weights after update {fit.update} are not finite.", folder))
        found = {}
        with _breakable(request, fit, folder):
            for name, emulator in candidates.items():
                found[name] = validation_of(emulator, untrained)
                if long is not None:
                    found[name] = replace(found[name], lived=long.lived(emulator), long_steps=long.steps)
        result = best_of(found)
        best = candidates[result.weights]
        score, rate = result.score, learning_rate_at(training, fit.update)
        if fit.best.gives_way_to(result, best, fit.update):
            save_best(prepared, config.emulator, folder, best, result, fit.update)
        samples = fit.update * training.process_batch
        log.append(fit.update, samples, fit.losses, result.loss, score, rate, result.lived)
        fit.losses, fit.validated = [], True
        if math.isfinite(score):
            record.draw(fit.update, partial(draw_forecast, best, untrained.starts))
        if 0 < fit.update < training.updates:
            request.watch(fit.update, training.updates, fit.best.rank)  # again if killed here
        if fit.update:
            fit.save(folder)
        record.follow(log, fit.update)
        lines.validated(fit.update, score)

    lines = ProgressLines(training.updates, start)
    on_terminal = progress and sys.stderr.isatty()
    record.follow(log, start)
    with _bar(training.updates, on_terminal) as advance:
        advance(start, math.nan)
        if not fit.validated:
            validate()
        request.waits = True
        for example in examples(untrained, start):
            loss = float(fit.step(example))
            if not math.isfinite(loss):
                batch = (fit.update, torch.tensor(loss), times_of_update(untrained, fit.update))
                raise DivergedError(diverged(not_finite(*batch), folder))
            fit.losses.append(loss)
            if fit.update % LOG_EVERY == 0:
                advance(fit.update, loss)
            if progress and not on_terminal:
                lines.passed(fit.update, partial(float, loss))
            fit.validated = fit.update % config.validation.every != 0 and fit.update != training.updates
            if not fit.validated:
                validate()
            elif request.number:
                fit.save(folder)
            if request.number:
                raise Stopped(request.number, fit.update)
    request.waits = False


@contextmanager
def _breakable(request: StopRequest, fit: KerasFit, folder: Path) -> Iterator[None]:
    """Have a signal break off a validation, which is then made again; what was learned before it is kept."""
    request.waits = False
    try:
        if request.number:
            raise Stopped(request.number)
        yield
        request.waits = fit.update > 0
    except Stopped as stop:
        if fit.update:
            request.waits = True
            fit.save(folder)
            stop.update = fit.update
        raise


def times_of_update(untrained: Untrained, update: int) -> torch.Tensor:
    """Return the valid times [sample] of the samples of an update, from 1."""
    training, windows = untrained.config.training, untrained.windows
    stream = ShuffledStream(len(windows), training.process_batch, update, training.seed, update - 1)
    return torch.stack([windows[sample]["valid_time"] for sample in stream])


def rehearse(untrained: Untrained, updates: int, most: float = math.inf) -> Rehearsal:
    """Return what some updates and a validation take; nothing is written.

    most: seconds of the clock after which the updates that have been taken are enough.
    """
    training = replace(untrained.config.training, updates=updates)
    refuse_what_torch_alone_does(training)
    untrained = replace(untrained, config=replace(untrained.config, training=training))
    on_gpu = bool(tensorflow().config.list_physical_devices("GPU"))
    fit = KerasFit(deepcopy(untrained.emulator), training)
    moments = [now(on_gpu)]
    for example in examples(untrained, 0):
        float(fit.step(example))
        moments.append(now(on_gpu))
        if len(moments) > FEWEST_TIMED and (moments[-1] - moments[0]).clock > most:
            break
    validation_of(fit.with_weights(fit.averages), untrained)
    laps = tuple(later - earlier for earlier, later in pairwise(moments))
    return Rehearsal(laps, now(on_gpu) - moments[-1])


class KerasFit:
    """A Keras network's weights, their moving average and the optimiser, update by update.

    update: updates behind it. best: the best checkpoint so far. losses: since the last row of the log.
    validated: whether the validation that is due at this update was made.
    """

    def __init__(self, emulator: NeuralEmulator, training: TrainingConfig) -> None:
        assert isinstance(emulator.network, KerasNetwork)
        self.emulator, self.training = emulator, training
        self.update, self.best, self.validated = 0, Best(), False
        self.losses: list[float] = []
        emulator.network.give()
        model = emulator.network.model
        self.weights = model.trainable_variables
        self.averages = [tensorflow().Variable(weight.value) for weight in self.weights]
        self.means = [tensorflow().Variable(weight.value) for weight in self.weights] if training.average_last else []
        self.optimiser = keras().optimizers.AdamW(
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            beta_1=BETAS[0],
            beta_2=BETAS[1],
            epsilon=1e-8,
        )
        if excluded := [weight for weight in self.weights if training.decayed == "matrices" and len(weight.shape) < 2]:
            self.optimiser.exclude_from_weight_decay(var_list=excluded)
        self.optimiser.build(self.weights)
        self._step = self._compiled(model)

    def step(self, example: Example) -> Any:
        """Take one update, and return the loss before it, a scalar of TensorFlow's."""
        tf = tensorflow()
        self.optimiser.learning_rate.assign(learning_rate_at(self.training, self.update))
        self.update += 1
        decay = averaging_decay(self.training.ema_decay, self.update)
        loss = self._step(*example, tf.constant(1.0 - decay, tf.float32))
        if count := self._updates_averaged:
            for mean, weight in zip(self.means, self.weights, strict=False):
                mean.assign_add((weight.value - mean) / count)
        return loss

    def candidates(self) -> dict[str, NeuralEmulator]:
        """Return the emulators that a validation scores, by which weights they have."""
        found = {MOVING_AVERAGE: self.with_weights(self.averages)}
        if self.means and self._updates_averaged:
            found |= {AVERAGE: self.with_weights(self.means), LAST: self.with_weights(self.weights)}
        return found

    def with_weights(self, weights: Sequence[Any]) -> NeuralEmulator:
        """Return the emulator with others as weights, such as their averages, to be judged and kept."""
        emulator = deepcopy(self.emulator).requires_grad_(False)
        assert isinstance(emulator.network, KerasNetwork)
        emulator.network.take([weight.numpy() for weight in weights])
        return emulator

    @property
    def _updates_averaged(self) -> int:
        return updates_averaged(self.training.average_last, self.update, self.training.updates)

    def save(self, folder: Path) -> None:
        """Write all that an interrupted run goes on from into its folder: tensors and plain values."""
        state = {name: [torch.tensor(v.numpy()) for v in group] for name, group in self._variables().items()}
        further = {"losses": self.losses, "validated": self.validated}
        content = {"global_step": self.update, "best": self.best.rank, "still": self.best.still, **further, **state}
        with new_checkpoint(folder, self.training.checkpoints) as temporary:
            write_checkpoint({**content, DIGEST: digest_of(content)}, temporary)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = read_checkpoint(path)
        for name, group in self._variables().items():
            for variable, value in zip(group, state[name], strict=True):
                variable.assign(value.numpy())
        self.update, self.best = state["global_step"], Best(state["best"], state.get("still", False))
        self.losses, self.validated = state.get("losses", []), state.get("validated", True)

    def _variables(self) -> dict[str, list[Any]]:
        means = {"means": self.means} if self.means else {}
        return {"weights": self.weights, "averages": self.averages, **means, "optimiser": self.optimiser.variables}

    def _compiled(self, model: Any) -> Any:
        tf = tensorflow()
        weights, averages, optimiser = self.weights, self.averages, self.optimiser
        clip, loss_of = float(self.training.gradient_clip), find_loss(self.training.loss)
        if loss_of is mse:
            loss_of = tf.square  # the factors of error * error would be regrouped with the areas, and rounded elsewhere
        areas = tf.constant(self.emulator.node_weights.numpy())
        conservation = self.emulator.inputs.conservation
        shares, columns = conservation.areas.numpy(), conservation.columns

        def step(features: Any, target: Any, lower: Any, upper: Any, before: Any, forgetting: Any) -> Any:
            with tf.GradientTape() as tape:
                predicted = tf.clip_by_value(model(features, training=True), lower, upper)
                error = with_means_kept(before, predicted, lower, upper, shares, columns) - target
                there = tf.math.is_finite(target)
                losses = tf.reduce_sum(tf.where(there, areas * loss_of(tf.where(there, error, 0.0)), 0.0), axis=1)
                loss = tf.reduce_mean(losses / tf.reduce_sum(tf.where(there, areas, 0.0), axis=1))
            gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, weights), clip)
            optimiser.apply(gradients, weights)
            for average, weight in zip(averages, weights, strict=True):
                average.assign_add(forgetting * (weight - average))
            return loss

        return tf.function(step, reduce_retracing=True)


@torch.no_grad()
def validation_of(emulator: NeuralEmulator, untrained: Untrained) -> Validated:
    """Return the score of forecasts from all validation starts, as every emulator's is."""
    training, score = untrained.config.training, untrained.config.validation.score
    terms = LossTerms(training.loss)
    cases = min(training.process_batch, 16)
    loader: DataLoader[Batch] = DataLoader(untrained.starts, batch_size=cases)
    with memory_of_validation(untrained.starts, cases):
        sums = sum(error_sums(emulator, untrained.starts, batch, score, terms, 1) for batch in loader)
    return validated(sums)  # type: ignore[arg-type]


def refuse_what_torch_alone_does(training: TrainingConfig) -> None:
    """Raise MeshcastError where a configuration asks for what these few lines of TensorFlow do not do."""
    steps = max(steps for _, steps in training.stages)
    refused = {
        f"training.unroll of {steps} steps": steps > 1,
        f"training.pushforward={training.pushforward}": training.pushforward > 0,
        f"training.loss={training.loss}": training.loss == "crps",
        **dict.fromkeys(training.strategies_set(), True),
        f"training.optimiser={training.optimiser}": training.optimiser != "adamw",
        f"training.precision={training.precision}": training.precision != "32-true",
        f"training.accumulate={training.accumulate}": training.accumulate > 1,
        f"training.checkpoint_activations={training.checkpoint_activations}": training.checkpoint_activations != "none",
        f"{training.devices} devices on {training.num_nodes} nodes": training.devices * training.num_nodes > 1,
    }
    if any(refused.values()):
        raise MeshcastError(
            "Keras networks learn one step at a time, by AdamW, in 32 bits, on one device. This asks for "
            f"{', '.join(name for name, is_asked in refused.items() if is_asked)}. Leave those at their defaults, or "
            "use the torch network of the same function: kind: cnn, or kind: lstm."
        )


def learning_rate_at(training: TrainingConfig, update: int) -> float:
    """Return the rate of the update that `update` others precede."""
    return training.learning_rate * warm_up_cosine(update, training.warm_up, training.updates)


@contextmanager
def _bar(updates: int, shown: bool) -> Iterator[Callable[[int, float], None]]:
    """A progress bar on standard error, which leaves standard output to results; takes updates done and the loss."""
    loss = TextColumn("{task.fields[loss]}")
    columns = TextColumn("updates"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), loss
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task("updates", total=updates, loss="")
        yield lambda done, loss: bar.update(task, completed=done, loss="" if math.isnan(loss) else f"loss {loss:.4g}")
