"""The LightningModule: a rollout's loss, and validation that is a forecast and its verification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import lightning as L
import torch
from torch import Tensor

from emulator.networks.layers.recomputation import RecomputedSteps, recompute_rounds
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.state import State, Step
from training.experiment import TrainingConfig, ValidationConfig
from training.optimisation.long_rollout import LongRollout
from training.optimisation.optimiser import averaging_decay, optimiser_of, updates_averaged, warm_up_cosine
from training.optimisation.standstill import KEY, Standstill, drawn_steps
from training.optimisation.validation import (
    AVERAGE,
    LAST,
    MOVING_AVERAGE,
    Validated,
    best_of,
    error_sums,
    validated,
)
from training.preparation.loss_terms import LossTerms
from training.preparation.memory import memory_of_validation
from training.preparation.windows import Batch, WindowForcings, Windows, noisy
from training.resumable import DIGEST, digest_of


class EmulatorModule(L.LightningModule):
    """Fits a NeuralEmulator.

    emulator: its weights are what is trained; it starts as its first guess.
    averaged: the exponential moving average of it, which is validated and kept.
    mean: the uniform average over the last updates, where `training.average_last` asks for one, validated beside it.
    after_average: called when an update is complete; Lightning's callbacks come before the average.
    terms: the loss of a step; by default that of `training.loss` in units of what the first guess leaves.
    """

    def __init__(
        self,
        emulator: NeuralEmulator,
        windows: Windows,
        validation_windows: Windows,
        training: TrainingConfig,
        validation: ValidationConfig,
        long_rollout: LongRollout | None = None,
        terms: LossTerms | None = None,
    ) -> None:
        super().__init__()
        self.emulator = emulator
        self.averaged = deepcopy(emulator).requires_grad_(False)
        if training.checkpoint_activations in ("layers", "both"):
            recompute_rounds(emulator.network)
        self.mean = deepcopy(self.averaged) if training.average_last else None
        self.windows, self.validation_windows = windows, validation_windows
        self.training_config, self.validation_config = training, validation
        self.validated = Validated(math.inf, math.inf, 0)  # the last time
        self.after_average: Callable[[], None] = lambda: None
        self._batches: list[tuple[Tensor, Tensor]] = []  # loss and valid times of those of the last update
        self.long_rollout = long_rollout
        self.terms = LossTerms(training.loss) if terms is None else terms
        self.standstill = Standstill()
        self._lived: dict[str, float] = {}
        self._error_sums: dict[str, Tensor] = {}
        # What is no weight is the same in all processes, or of a shard's own nodes: DDP shall not bring it into line.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    # Training -------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        with self.emulator.over_all_nodes():
            loss = self.loss(batch)
        self._batches.append((loss.detach(), batch["valid_time"]))
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        return loss

    def completes_update(self, batch_index: int) -> bool:
        """Return whether a batch, from 0, is the last of those that make an update."""
        return (batch_index + 1) % self.training_config.accumulate == 0

    @property
    def update_loss(self) -> Tensor:
        """Return the loss of the last update in this process, the mean over its batches."""
        return torch.stack([loss for loss, _ in self._batches]).mean()

    @property
    def update_times(self) -> Tensor:
        """Return the valid times of its samples."""
        return torch.cat([times for _, times in self._batches])

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        if self.completes_update(batch_index - 1):
            self._batches = []

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean of the loss over area, variables and the unrolled steps."""
        emulator, task, config = self.emulator, self.emulator.task, self.training_config
        state, forcings = self.windows.start_of(batch)
        state = noisy(state, batch, config.noise, emulator.inputs)
        if config.pushforward:
            with torch.no_grad():
                *_, (state, _) = rollout(emulator, state, forcings, config.pushforward)
        terms, steps = [], self.unroll
        if config.random_unroll:
            steps = drawn_steps(config.seed, self.global_step, steps)
        rolled = self._rolled(state, forcings, steps)
        for step, following in enumerate(rolled, start=config.pushforward):
            truth = batch["values"][:, None, task.history + step]  # [batch, member, node, predicted]
            terms.append(self.terms(emulator, *emulator.inputs.compared(following, truth)).mean())
        return torch.stack(terms).mean()

    @property
    def unroll(self) -> int:
        """Return the steps of the rollout in the loss of the next update, the most where they are drawn."""
        return self.training_config.unroll_at(self.global_step, self.standstill.stage)

    def _rolled(self, state: State, forcings: WindowForcings, steps: int) -> Iterator[Step]:
        """Yield so many steps after those pushed forward, cut from their past after every `gradient_steps`."""
        done, last = self.training_config.pushforward, self.training_config.pushforward + steps
        while done < last:
            some = min(self.training_config.gradient_steps or steps, last - done)
            for following in self._steps(state, forcings, some, done, last):
                yield following
            state, done = replace(following[0], values=following[0].values.detach()), done + some

    def _steps(self, state: State, forcings: WindowForcings, steps: int, start: int, last: int) -> Iterator[Step]:
        """Yield steps; where memory is to be saved those before the last of the loss keep their states alone."""
        again = 0
        if self.training_config.checkpoint_activations in ("steps", "both"):
            again = min(steps, last - 1 - start)
        for following in rollout(RecomputedSteps(self.emulator), state, forcings, again, start):
            yield following
            state = following[0]
        yield from rollout(self.emulator, state, forcings, steps - again, start + again)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        if not self.completes_update(batch_index):
            return
        decay = averaging_decay(self.training_config.ema_decay, self.global_step)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.emulator.parameters()), 1.0 - decay)
            if self.mean is not None and (count := self._updates_averaged):
                torch._foreach_lerp_(list(self.mean.parameters()), list(self.emulator.parameters()), 1.0 / count)
        if self.global_step >= self.trainer.max_steps:
            self.trainer.should_stop = True  # so that the last update is validated, whatever `validation.every`
        self.after_average()

    def configure_optimizers(self) -> Any:
        config = self.training_config
        optimiser = optimiser_of(
            config.optimiser, self.emulator, config.learning_rate, config.weight_decay, config.decayed
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda update: warm_up_cosine(update, config.warm_up, config.updates)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        # A checkpoint brings the rate of the schedule it was written under; with more updates, it is another now.
        for each in self.trainer.lr_scheduler_configs:
            schedule = each.scheduler
            if isinstance(schedule, torch.optim.lr_scheduler.LambdaLR):
                shares = [function(schedule.last_epoch) for function in schedule.lr_lambdas]
                for group, peak, share in zip(schedule.optimizer.param_groups, schedule.base_lrs, shares, strict=True):
                    group["lr"] = peak * share

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from it; count batches as this training does: the run may have accumulated more, or end earlier."""
        self.standstill = Standstill(**checkpoint.get(KEY, {}))
        loops = checkpoint["loops"]["fit_loop"]
        progress, updates = loops["epoch_loop.batch_progress"], checkpoint["global_step"]
        for counts in (progress["total"], progress["current"]):
            completed = counts["processed"] - counts["completed"]  # 1 where it was written within an update's last hook
            counts |= dict.fromkeys(counts, updates * self.training_config.accumulate)
            counts["completed"] -= completed
        progress["is_last_batch"] = updates >= self.training_config.updates

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._waits_for_better:
            checkpoint[KEY] = asdict(self.standstill)
        checkpoint[DIGEST] = digest_of(checkpoint)  # the last that is added to it

    @property
    def _waits_for_better(self) -> bool:
        return self.training_config.plateau is not None or self.training_config.patience is not None

    # Validation -----------------------------------------------------------------------------------------------------

    @property
    def candidates(self) -> dict[str, NeuralEmulator]:
        """Return the emulators that a validation scores, by which weights they have."""
        found = {MOVING_AVERAGE: self.averaged}
        if self.mean is not None and self._updates_averaged:
            found |= {AVERAGE: self.mean, LAST: self.emulator}
        return found

    @property
    def best(self) -> NeuralEmulator:
        """Return the emulator that was best in the last validation."""
        return self.candidates[self.validated.weights]

    @property
    def _updates_averaged(self) -> int:
        return updates_averaged(self.training_config.average_last, self.global_step, self.training_config.updates)

    def on_validation_epoch_start(self) -> None:
        self._error_sums = {}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        for name, emulator in self.candidates.items():
            if batch_index == 0 and self.long_rollout is not None:
                self._lived[name] = self.long_rollout.lived(emulator)
            full = torch.autocast(self.device.type, enabled=False)  # the kept emulator forecasts in full precision
            with full, self._validation_in_memory(batch), emulator.over_all_nodes():
                sums = error_sums(
                    emulator,
                    self.validation_windows,
                    batch,
                    self.validation_config.score,
                    self.terms,
                    self.unroll,
                )
            self._error_sums[name] = self._error_sums[name] + sums if name in self._error_sums else sums

    def _validation_in_memory(self, batch: Batch) -> AbstractContextManager[None]:
        return memory_of_validation(self.validation_windows, len(batch["values"]))

    def on_validation_epoch_end(self) -> None:
        found = {}
        for name, sums in self._error_sums.items():
            if self.emulator.group is not None and self.emulator.group.shard.number > 0:
                sums = torch.zeros_like(sums)  # all processes of a graph have the same, and count once
            found[name] = validated(self.trainer.strategy.reduce(sums, reduce_op="sum"))
            if self.long_rollout is not None:
                found[name] = replace(found[name], lived=self._lived[name], long_steps=self.long_rollout.steps)
        self.validated = best_of(found)
        if self._waits_for_better and not self.trainer.sanity_checking:
            self.standstill.take_note(self.validated.rank, self.global_step, self.training_config)
            self.trainer.should_stop = self.trainer.should_stop or self.standstill.ended
        # Every rank holds the same reduced sums, so nothing is left to synchronise.
        self.log("validation_score", self.validated.score, prog_bar=True, logger=False, sync_dist=False)
