"""The LightningModule: a rollout's loss, and validation that is a forecast and its verification."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import lightning as L
import torch
from torch import Tensor

from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.scores import ROUNDING, mse
from emulator.state import State
from inference.verification import case_scores
from training.experiment import TrainingConfig, ValidationConfig
from training.optimiser import optimiser_of
from training.schedule import warm_up_cosine
from training.windows import Batch, Windows


class EmulatorModule(L.LightningModule):
    """Fits a NeuralEmulator.

    emulator: its weights are what is trained; it starts as its first guess.
    averaged: the exponential moving average of it, which is validated and kept.
    """

    def __init__(
        self,
        emulator: NeuralEmulator,
        windows: Windows,
        validation_windows: Windows,
        training: TrainingConfig,
        validation: ValidationConfig,
    ) -> None:
        super().__init__()
        self.emulator = emulator
        self.averaged = deepcopy(emulator).requires_grad_(False)
        self.windows, self.validation_windows = windows, validation_windows
        self.training_config, self.validation_config = training, validation
        self.score = math.inf  # of the last validation; lower is better
        self.validation_loss = math.inf  # of the same, without noise, over as many steps as the loss
        self.validated_cases = 0
        self._error_sums: Tensor | None = None

    # Training -------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """Weighted mean square of the error over the unrolled steps, in units of what the first guess leaves."""
        emulator, task, config = self.emulator, self.emulator.task, self.training_config
        state, forcings = self.windows.start_of(batch)
        if "noise" in batch:
            std = emulator.inputs.std[: emulator.inputs.num_prognostic]
            noise = config.noise * batch["noise"] * std
            state = State(state.values + noise[:, None], state.valid_time)
        if config.pushforward:
            with torch.no_grad():
                *_, (state, _) = rollout(emulator, state, forcings, config.pushforward)
        scale = emulator.inputs.std * emulator.correction_std
        terms = []
        steps = config.unroll_at(self.global_step)
        rolled = rollout(emulator, state, forcings, steps, start=config.pushforward)
        for step, (following, diagnostic) in enumerate(rolled, start=config.pushforward):
            truth = batch["values"][:, None, task.history + step]  # [batch, member, node, predicted]
            predicted = following.now if diagnostic is None else torch.cat([following.now, diagnostic], dim=-1)
            terms.append(mse(predicted / scale, truth / scale, emulator.node_weights).mean())
        return torch.stack(terms).mean()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        # A short average at first, so that it does not drag the untrained weights along.
        decay = min(self.training_config.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            for average, weight in zip(self.averaged.parameters(), self.emulator.parameters(), strict=True):
                average.lerp_(weight, 1.0 - decay)
        if self.global_step >= self.trainer.max_steps:
            self.trainer.should_stop = True  # so that the last update is validated, whatever `validation.every`

    def configure_optimizers(self) -> Any:
        config = self.training_config
        optimiser = optimiser_of(config.optimiser, self.emulator, config.learning_rate, config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda update: warm_up_cosine(update, config.warm_up, config.updates)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Validation -----------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._error_sums = None

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        with torch.autocast(self.device.type, enabled=False):  # the kept emulator forecasts in full precision
            forecast = torch.stack(list(self._forecast(batch)), dim=2)  # [case, member, lead, node, variable]
        task = self.emulator.task
        truth = batch["values"][:, task.history :, :, : len(task.prognostic)]
        scores = case_scores(forecast, truth, self.averaged.node_weights[..., : len(task.prognostic)])
        if self.validation_config.score == "nrmse":
            errors = scores["nrmse"]  # [case, lead, variable]
        else:
            std = self.emulator.inputs.std[: len(task.prognostic)]
            errors = scores["mse"].sqrt() / std.double()
        scale = (self.emulator.inputs.std * self.emulator.correction_std)[: len(task.prognostic)].double()
        steps = self.training_config.unroll_at(self.global_step)
        losses = (scores["mse"][:, :steps] / scale**2).mean(dim=(1, 2))  # [case]
        sums = torch.cat([errors.sum(dim=0).reshape(-1), losses.sum()[None], errors.new_tensor([len(errors)])])
        self._error_sums = sums if self._error_sums is None else self._error_sums + sums

    def _forecast(self, batch: Batch) -> Iterator[Tensor]:
        state, forcings = self.validation_windows.start_of(batch)
        for following, _ in rollout(self.averaged, state, forcings, self.validation_windows.steps):
            yield following.now

    def on_validation_epoch_end(self) -> None:
        size = self.validation_windows.steps * len(self.emulator.task.prognostic) + 2
        none = torch.zeros(size, dtype=torch.float64, device=self.device)
        sums = self._error_sums if self._error_sums is not None else none
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        *errors, loss = sums[:-1] / sums[-1]
        score = torch.stack(errors).clamp_min(ROUNDING).log().mean().exp()
        self.score = float(score) if torch.isfinite(score) else math.inf
        self.validation_loss = float(loss)
        self.validated_cases = int(sums[-1])
        # Every rank holds the same reduced sums, so nothing is left to synchronise.
        self.log("validation_score", self.score, prog_bar=True, logger=False, sync_dist=False)
