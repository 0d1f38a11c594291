"""The LightningModule: a rollout's loss, and validation that is a forecast and its verification."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor

from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.scores import mean_of_error
from training.experiment import TrainingConfig, ValidationConfig
from training.losses import find_loss
from training.optimisation.long_rollout import LongRollout
from training.optimisation.optimiser import averaging_decay, optimiser_of, warm_up_cosine
from training.optimisation.validation import Validated, error_sums, validated
from training.preparation.windows import Batch, Windows, noisy
from training.resumable import DIGEST, digest_of


class EmulatorModule(L.LightningModule):
    """Fits a NeuralEmulator.

    emulator: its weights are what is trained; it starts as its first guess.
    averaged: the exponential moving average of it, which is validated and kept.
    after_average: called when an update is complete; Lightning's callbacks come before the average.
    """

    def __init__(
        self,
        emulator: NeuralEmulator,
        windows: Windows,
        validation_windows: Windows,
        training: TrainingConfig,
        validation: ValidationConfig,
        long_rollout: LongRollout | None = None,
    ) -> None:
        super().__init__()
        self.emulator = emulator
        self.averaged = deepcopy(emulator).requires_grad_(False)
        self.windows, self.validation_windows = windows, validation_windows
        self.training_config, self.validation_config = training, validation
        self.validated = Validated(math.inf, math.inf, 0)  # the last time
        self.after_average: Callable[[], None] = lambda: None
        self.long_rollout = long_rollout
        self._lived = math.nan
        self._error_sums: Tensor | float = 0.0

    # Training -------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean of `training.loss` over area, variables and the unrolled steps."""
        emulator, task, config = self.emulator, self.emulator.task, self.training_config
        state, forcings = self.windows.start_of(batch)
        state = noisy(state, batch, config.noise, emulator.inputs)
        if config.pushforward:
            with torch.no_grad():
                *_, (state, _) = rollout(emulator, state, forcings, config.pushforward)
        scale = emulator.inputs.std * emulator.correction_std
        loss, terms = find_loss(config.loss), []
        steps = config.unroll_at(self.global_step)
        rolled = rollout(emulator, state, forcings, steps, start=config.pushforward)
        for step, (following, diagnostic) in enumerate(rolled, start=config.pushforward):
            truth = batch["values"][:, None, task.history + step]  # [batch, member, node, predicted]
            predicted = following.now if diagnostic is None else torch.cat([following.now, diagnostic], dim=-1)
            terms.append(mean_of_error(loss, predicted / scale, truth / scale, emulator.node_weights).mean())
        return torch.stack(terms).mean()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        decay = averaging_decay(self.training_config.ema_decay, self.global_step)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.emulator.parameters()), 1.0 - decay)
        if self.global_step >= self.trainer.max_steps:
            self.trainer.should_stop = True  # so that the last update is validated, whatever `validation.every`
        self.after_average()

    def configure_optimizers(self) -> Any:
        config = self.training_config
        optimiser = optimiser_of(config.optimiser, self.emulator, config.learning_rate, config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda update: warm_up_cosine(update, config.warm_up, config.updates)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[DIGEST] = digest_of(checkpoint)  # the last that is added to it

    # Validation -----------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._error_sums = 0.0

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        if batch_index == 0 and self.long_rollout is not None:
            self._lived = self.long_rollout.lived(self.averaged)
        with torch.autocast(self.device.type, enabled=False):  # the kept emulator forecasts in full precision
            sums = error_sums(
                self.averaged,
                self.validation_windows,
                batch,
                self.validation_config.score,
                find_loss(self.training_config.loss),
                self.training_config.unroll_at(self.global_step),
            )
        self._error_sums = self._error_sums + sums

    def on_validation_epoch_end(self) -> None:
        self.validated = validated(self.trainer.strategy.reduce(self._error_sums, reduce_op="sum"))
        if self.long_rollout is not None:
            self.validated = replace(self.validated, lived=self._lived, long_steps=self.long_rollout.steps)
        # Every rank holds the same reduced sums, so nothing is left to synchronise.
        self.log("validation_score", self.validated.score, prog_bar=True, logger=False, sync_dist=False)
