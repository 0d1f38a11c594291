"""Updates at learning rates that rise from one to the next, and the loss of each: a range test (Smith 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning as L

from training.experiment import TrainingConfig
from training.optimisation.callbacks import progress_callback
from training.optimisation.gradient_descent import try_out
from training.preparation.first_guess import Untrained

MOST_RISEN = 4.0  # times the lowest mean loss so far: the rest would only rise further
MEMORY = 0.9  # of the moving mean of the losses


class RateRamp(L.Callback):
    """Sets the learning rate of each update, keeps its loss, and ends the ramp where the loss has risen for good."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates, self.losses = list(rates), list[float]()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[len(self.losses)]

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        smooth = moving_mean(self.losses)
        if not math.isfinite(self.losses[-1]) or smooth[-1] > MOST_RISEN * min(smooth):
            trainer.should_stop = True


def losses_along(untrained: Untrained, rates: Sequence[float], progress: bool = False) -> list[float]:
    """Return the loss before each update at these rates, on a copy that is thrown away; fewer where it rises for good.

    Noise, loss, optimiser and clipping are the training's, the rollout that of its first stage.
    """
    ramp = RateRamp(rates)
    training = ramp_training(untrained.config.training, len(rates))
    try_out(untrained, training, [ramp, *([progress_callback()] if progress else [])])
    return ramp.losses


def ramp_training(training: TrainingConfig, updates: int) -> TrainingConfig:
    """Return a training of so many updates on one device, without stages and averages."""
    first = training.stages[0][1]
    return replace(
        training,
        updates=updates,
        unroll=first,
        curriculum=(),
        plateau=None,
        patience=None,
        random_unroll=training.random_unroll and first > 1,
        average_last=0.0,
        devices=1,
        num_nodes=1,
        strategy="auto",
    )


def moving_mean(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving mean after each loss, the first ones without a bias to zero."""
    found, total, weight = [], 0.0, 0.0
    for loss in losses:
        total, weight = MEMORY * total + (1 - MEMORY) * loss, MEMORY * weight + (1 - MEMORY)
        found.append(total / weight)
    return found
