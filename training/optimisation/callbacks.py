"""What happens beside the updates: the log, the checkpoints, the pictures of a tracked run."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar

from emulator.neural import NeuralEmulator
from training.early_end import DivergedError, Stopped, StopRequest, diverged
from training.metrics_log import LOSS_EVERY, MetricsLog
from training.optimisation.checkpoint_files import ended_together, write
from training.optimisation.forecast_picture import draw_forecast
from training.optimisation.machine import FEWEST_TIMED, Rehearsal, Seconds, now
from training.optimisation.module import EmulatorModule
from training.optimisation.progress_lines import ProgressLines
from training.optimisation.update_losses import UpdateLosses
from training.optimisation.validation import Best, Validated
from training.resumable import checkpoint_path, new_checkpoint
from training.tracking.record import RunRecord


class Progress(RichProgressBar):
    """Updates done and to do, the loss and the speed, on standard error, which leaves standard output to results."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        counted = "updates" if self.trainer.accumulate_grad_batches == 1 else "batches"
        return counted.ljust(len(self.validation_description))


class PlainProgress(L.Callback):
    """The same in plain lines, where standard error is no terminal."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._lines = ProgressLines(trainer.max_steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, EmulatorModule)
        if trainer.is_global_zero and module.completes_update(batch_idx):
            self._lines.passed(trainer.global_step, lambda: float(outputs["loss"]) * trainer.accumulate_grad_batches)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if not trainer.sanity_checking:
            self._lines.validated(trainer.global_step, module.validated.score)


def progress_callback() -> L.Callback:
    """Return a bar for a terminal, plain lines for whatever standard error is redirected to."""
    return Progress() if sys.stderr.isatty() else PlainProgress()


class Stopwatch(L.Callback):
    """Seconds of each update, from one to the next so that reading counts, and of the last validation.

    most: seconds of the clock after which the training ends, once there are a few updates.
    """

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self.updates: list[Seconds] = []
        self.validation = self._last = Seconds()

    @property
    def rehearsal(self) -> Rehearsal:
        return Rehearsal(tuple(self.updates), self.validation)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._lap()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.validation = self._lap()

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._lap()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, EmulatorModule)
        if not module.completes_update(batch_idx):
            return
        self.updates.append(self._lap())
        if len(self.updates) >= FEWEST_TIMED and sum(lap.clock for lap in self.updates) > self.most:
            trainer.should_stop = True  # with a validation at the end

    def _lap(self) -> Seconds:
        if on_gpu := torch.cuda.is_initialized():
            torch.cuda.synchronize()  # an update is queued before it is done
        before, self._last = self._last, now(on_gpu)
        return self._last - before


LOSSES_AFTER = 30.0  # seconds of the clock after which losses.csv is written anew


class CsvLog(L.Callback):
    """Writes a row of the log a validation, and between them the losses now and then."""

    def __init__(self, log: MetricsLog, losses: UpdateLosses) -> None:
        self._log, self._losses = log, losses
        self._written = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"losses": torch.stack(self._losses.whole).cpu() if self._losses.whole else torch.empty(0)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._losses.whole = list(state_dict["losses"])

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        update = self._losses.update
        if trainer.is_global_zero and update and time.perf_counter() - self._written > LOSSES_AFTER:
            self._log.write_losses(update, self._samples(update, module), self._read())
            self._written = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if trainer.is_global_zero:
            rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else math.nan
            found, samples = module.validated, self._samples(trainer.global_step, module)
            self._log.append(trainer.global_step, samples, self._read(), found.loss, found.score, rate, found.lived)
        self._losses.whole = []

    def _samples(self, update: int, module: L.LightningModule) -> int:
        assert isinstance(module, EmulatorModule)
        return update * module.training_config.samples_per_update

    def _read(self) -> list[float]:
        return [float(loss) for loss in self._losses.whole]


class KeepCheckpoints(L.Callback):
    """After each validation: last.ckpt to resume from, and the emulator file where the score is the best so far.

    Both are written beside and renamed, so that an interrupted run, or a full disk, leaves whole files. A signal that
    asks the training to end has the update in progress finished and kept; a validation in progress is broken off, to
    be made again. Numbers that are not finite end it too, and are not kept.

    most: checkpoints that are kept, last.ckpt included. losses: takes that of each update.
    """

    def __init__(
        self,
        folder: Path,
        most: int,
        keep: Callable[[NeuralEmulator, Validated, int], None],
        request: StopRequest,
        losses: UpdateLosses,
    ) -> None:
        self.folder, self.most, self.keep, self.request, self.losses = folder, most, keep, request, losses
        self.best = Best()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.rank, "still": self.best.still}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = Best(state_dict["best"], state_dict.get("still", False))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        self.request.waits = True
        module.after_average = partial(self._end_where_asked, trainer, module)

    def _end_where_asked(self, trainer: L.Trainer, module: EmulatorModule) -> None:
        """End the training after an update where a signal asks for it, or where its loss is not finite."""
        self.losses.add(trainer.global_step, module.update_loss, module.update_times)
        number, tenth = self.request.number, trainer.global_step % LOSS_EVERY == 0
        asked = number and trainer.world_size == 1
        # Reading a loss has the CPU wait for the device, and processes for each other.
        if module.device.type != "cpu" and not (tenth or asked or self._validates_next(trainer, module)):
            return
        number, fault, process = self.losses.exchange(trainer, number)
        if fault:
            if trainer.global_rank in (0, process):
                raise DivergedError(diverged(fault, self.folder))
            raise SystemExit(DivergedError.exit_code)  # two processes have said it
        if number and not self._validates_next(trainer, module):
            self.save(trainer)
            raise Stopped(number, trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if self._may_break_off(trainer):
            self.request.waits = False
            if self.request.number:
                raise Stopped(self.request.number)

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.request.waits = not trainer.sanity_checking

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if not all(bool(torch.isfinite(weight).all()) for weight in module.parameters()):
            raise DivergedError(
                diverged(f"The weights after update {trainer.global_step} are not finite.", self.folder)
            )
        if self.best.gives_way_to(module.validated, module.best, trainer.global_step):
            with ended_together(trainer):
                if trainer.is_global_zero:
                    self.keep(module.best, module.validated, trainer.global_step)
        if trainer.global_step > 0:
            if trainer.global_step < trainer.max_steps:
                self.request.watch(trainer.global_step, trainer.max_steps, self.best.rank)  # again if killed here
            self.save(trainer)
        number = self._of_all(trainer, self.request.number)
        if number:
            raise Stopped(number, trainer.global_step)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        if trainer.world_size > 1:
            if isinstance(exception, Stopped) and exception.update is None and trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGTERM)  # the others would wait for this process
            return
        if not self.request.number or trainer.global_step == 0:
            return
        loop = trainer.fit_loop.epoch_loop
        broken_off = isinstance(exception, Stopped) and exception.update is None and trainer.validating
        # Processes that read data get the signal too, and the next batch then fails to come.
        unread = isinstance(exception, RuntimeError) and trainer.training and _between_updates(loop.batch_progress)
        if not broken_off and not unread:
            return
        self.request.waits = True
        progress: Any = loop.val_loop.batch_progress
        for counts in (progress.total, progress.current) if broken_off else ():
            # As Lightning knows a validation whose first batch failed.
            counts.ready, counts.started, counts.processed, counts.completed = 1, 1, 0, 0
        self.losses.exchange(trainer, 0)  # those that were not read yet
        self.save(trainer)
        if unread:
            raise Stopped(self.request.number, trainer.global_step) from None
        assert isinstance(exception, Stopped)
        exception.update = trainer.global_step

    def save(self, trainer: L.Trainer) -> None:
        """Write last.ckpt; every process takes part in gathering what one writes."""
        first, last = trainer.is_global_zero, checkpoint_path(self.folder)
        with ended_together(trainer), new_checkpoint(self.folder, self.most) if first else nullcontext(last) as path:
            write(trainer, path)

    def _validates_next(self, trainer: L.Trainer, module: EmulatorModule) -> bool:
        return trainer.global_step % module.validation_config.every == 0 or trainer.global_step >= trainer.max_steps

    def _may_break_off(self, trainer: L.Trainer) -> bool:
        """Return whether a validation may be broken off: in one process, and where updates follow that remember it."""
        return trainer.world_size == 1 and not trainer.sanity_checking and trainer.global_step < trainer.max_steps

    def _of_all(self, trainer: L.Trainer, number: int) -> int:
        """Return the highest number of all processes."""
        if trainer.world_size == 1:
            return number
        found = torch.tensor(number, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(found, reduce_op="max"))


def _between_updates(progress: Any) -> bool:
    return bool(progress.current.ready == progress.current.completed)


class ForecastPicture(L.Callback):
    """Draws the forecast from the first validation start beside its truth, for trackers."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        whole = module.training_config.shards == 1  # of a shard's nodes there is no map
        if trainer.is_global_zero and whole and math.isfinite(module.validated.score):
            write = partial(draw_forecast, module.best, module.validation_windows)
            self._record.draw(trainer.global_step, write)


class FollowedByTrackers(L.Callback):
    """Has trackers follow the log: after the checkpoint, so that what they hold is seldom learned again."""

    def __init__(self, record: RunRecord, log: MetricsLog) -> None:
        self._record, self._log = record, log

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            self._record.follow(self._log, trainer.global_step - 1)  # this update may be validated yet

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._record.follow(self._log, trainer.global_step)
