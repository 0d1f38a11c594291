"""What happens beside the updates: the log, the checkpoints, the pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar

from graphs.atomic_file import atomic_file
from training.metrics_log import MetricsLog
from training.optimisation.clock import working_seconds
from training.optimisation.module import EmulatorModule
from training.optimisation.validation import is_better


class Progress(RichProgressBar):
    """Updates done and to do, the loss and the speed, on standard error, which leaves standard output to results."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return "updates".ljust(len(self.validation_description))


class Stopwatch(L.Callback):
    """Working seconds of each update, from batch to batch so that reading counts, and of the last validation."""

    def __init__(self) -> None:
        self.updates: list[float] = []
        self.validation = 0.0
        self._last = 0.0

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._lap()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.validation = self._lap()

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._lap()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.updates.append(self._lap())

    def _lap(self) -> float:
        if on_gpu := torch.cuda.is_initialized():
            torch.cuda.synchronize()  # an update is queued before it is done
        before, self._last = self._last, working_seconds(on_gpu)
        return self._last - before


class CsvLog(L.Callback):
    """A row of metrics.csv a validation; rows from beyond the resumed update `start` are dropped first."""

    def __init__(self, path: Path, samples_per_epoch: int, start: int = 0) -> None:
        self.path, self.samples_per_epoch, self.start = path, samples_per_epoch, start
        self._log: MetricsLog | None = None
        self._losses: list[torch.Tensor] = []

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._log = MetricsLog(self.path, self.samples_per_epoch, self.start)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"].detach())  # a tensor still: reading it would wait for the device

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule) and self._log is not None
        if not trainer.is_global_zero:
            return
        samples = trainer.global_step * module.training_config.batch_size * trainer.world_size
        losses = torch.stack(self._losses).double().tolist() if self._losses else []
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else math.nan
        self._log.append(trainer.global_step, samples, losses, module.validation_loss, module.score, rate)
        self._losses = []


class KeepCheckpoints(L.Callback):
    """After each validation: last.ckpt to resume from, and the emulator file where the score is the best so far.

    Both are written beside and renamed, so that an interrupted run, or a full disk, leaves whole files.
    """

    def __init__(self, folder: Path, keep: Callable[[EmulatorModule, float, int], None]) -> None:
        self.folder, self.keep = folder, keep
        self.best = math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        score = module.score
        if is_better(score, self.best):
            self.best = min(score, self.best)
            if trainer.is_global_zero:
                self.keep(module, score, trainer.global_step)
        if trainer.global_step > 0:
            last = self.folder / "last.ckpt"
            # Every process takes part in gathering what one writes.
            with atomic_file(last) if trainer.is_global_zero else nullcontext(last) as temporary:
                trainer.save_checkpoint(temporary)
            trainer.strategy.barrier()
