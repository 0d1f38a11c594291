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
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import RichProgressBar

from emulator.data.forecast import Forecast
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.task import names_of
from training.early_end import DivergedError, Stopped, StopRequest, diverged, not_finite
from training.metrics_log import LOSS_EVERY, MetricsLog
from training.optimisation.machine import FEWEST_TIMED, Rehearsal, Seconds, now
from training.optimisation.module import EmulatorModule
from training.optimisation.progress_lines import ProgressLines
from training.optimisation.validation import Best, Validated
from training.resumable import checkpoint_path, new_checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Progress(RichProgressBar):
    """Updates done and to do, the loss and the speed, on standard error, which leaves standard output to results."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return "updates".ljust(len(self.validation_description))


class PlainProgress(L.Callback):
    """The same in plain lines, where standard error is no terminal."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._lines = ProgressLines(trainer.max_steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            self._lines.passed(trainer.global_step, lambda: float(outputs["loss"]))

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
        if trainer.global_step == len(self.updates):  # a batch whose gradient is added to the next one's
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

    def __init__(self, log: MetricsLog) -> None:
        self._log = log
        self._losses: list[torch.Tensor] = []
        self._written = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"losses": torch.stack(self._losses).cpu() if self._losses else torch.empty(0)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._losses = list(state_dict["losses"])

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"].detach())  # a tensor still: reading it would wait for the device
        if trainer.is_global_zero and time.perf_counter() - self._written > LOSSES_AFTER:
            self._log.write_losses(trainer.global_step, self._samples(trainer, module), self._read())
            self._written = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if not trainer.is_global_zero:
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else math.nan
        found, samples = module.validated, self._samples(trainer, module)
        self._log.append(trainer.global_step, samples, self._read(), found.loss, found.score, rate, found.lived)
        self._losses = []

    def _samples(self, trainer: L.Trainer, module: L.LightningModule) -> int:
        assert isinstance(module, EmulatorModule)
        return trainer.global_step * module.training_config.batch_size * trainer.world_size

    def _read(self) -> list[float]:
        return [float(loss) for loss in self._losses]


class KeepCheckpoints(L.Callback):
    """After each validation: last.ckpt to resume from, and the emulator file where the score is the best so far.

    Both are written beside and renamed, so that an interrupted run, or a full disk, leaves whole files. A signal that
    asks the training to end has the update in progress finished and kept; a validation in progress is broken off, to
    be made again. Numbers that are not finite end it too, and are not kept.

    most: checkpoints that are kept, last.ckpt included.
    """

    def __init__(
        self, folder: Path, most: int, keep: Callable[[NeuralEmulator, Validated, int], None], request: StopRequest
    ) -> None:
        self.folder, self.most, self.keep, self.request = folder, most, keep, request
        self.best = Best()
        self._unread: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # update, loss, times of its samples

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.rank, "still": self.best.still}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = Best(state_dict["best"], state_dict.get("still", False))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        self.request.waits = True
        module.after_average = partial(self._end_where_asked, trainer, module)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._unread.append((trainer.global_step, outputs["loss"].detach(), batch["valid_time"]))

    def _end_where_asked(self, trainer: L.Trainer, module: EmulatorModule) -> None:
        """End the training after an update where a signal asks for it, or where its loss is not finite."""
        # Reading the loss would have the CPU wait for the device, and processes for each other.
        if module.device.type != "cpu" and trainer.global_step % LOSS_EVERY and trainer.world_size > 1:
            return
        fault = ""
        if module.device.type == "cpu" or trainer.global_step % LOSS_EVERY == 0:
            fault = next((not_finite(*unread) for unread in self._unread if not torch.isfinite(unread[1])), "")
            self._unread = []
        number, faulty = self._of_all(trainer, self.request.number, bool(fault))
        if faulty:
            raise DivergedError(diverged(fault or "The loss of another process is not finite.", self.folder))
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
        if self.best.gives_way_to(module.validated, module.best, trainer.global_step) and trainer.is_global_zero:
            self.keep(module.best, module.validated, trainer.global_step)
        if trainer.global_step > 0:
            self.save(trainer)
        number, _ = self._of_all(trainer, self.request.number, False)
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
        self.save(trainer)
        if unread:
            raise Stopped(self.request.number, trainer.global_step) from None
        assert isinstance(exception, Stopped)
        exception.update = trainer.global_step

    def save(self, trainer: L.Trainer) -> None:
        """Write last.ckpt; every process takes part in gathering what one writes."""
        first = trainer.is_global_zero
        with new_checkpoint(self.folder, self.most) if first else nullcontext(checkpoint_path(self.folder)) as path:
            trainer.save_checkpoint(path)
        trainer.strategy.barrier()

    def _validates_next(self, trainer: L.Trainer, module: EmulatorModule) -> bool:
        return trainer.global_step % module.validation_config.every == 0 or trainer.global_step >= trainer.max_steps

    def _may_break_off(self, trainer: L.Trainer) -> bool:
        """Return whether a validation may be broken off: in one process, and where updates follow that remember it."""
        return trainer.world_size == 1 and not trainer.sanity_checking and trainer.global_step < trainer.max_steps

    def _of_all(self, trainer: L.Trainer, number: int, faulty: bool) -> tuple[int, bool]:
        """Return the highest number of all processes, and whether one is faulty."""
        if trainer.world_size == 1:
            return number, faulty
        found = torch.tensor([number, int(faulty)], device=trainer.strategy.root_device)
        found = trainer.strategy.reduce(found, reduce_op="max")
        return int(found[0]), bool(found[1])


def _between_updates(progress: Any) -> bool:
    return bool(progress.current.ready == progress.current.completed)


class ForecastPicture(L.Callback):
    """Logs the score, and the forecast from the first validation start beside its truth.

    The picture shows space and time on a ring, maps elsewhere. Steps count updates, as in metrics.csv.
    """

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if not trainer.is_global_zero:
            return
        rate, score = trainer.optimizers[0].param_groups[0]["lr"], module.validated.score
        for logger in trainer.loggers:
            logger.log_metrics({"validation_score": score, "learning_rate": rate}, trainer.global_step)
            if hasattr(logger, "log_image") and np.isfinite(score):
                from inference.pictures.style import as_image

                logger.log_image("forecast", [as_image(draw(module))], trainer.global_step)


def draw(module: EmulatorModule) -> Figure:
    """Draw truth, forecast and error of the first prognostic variable, from the first validation start."""
    from inference.pictures.field_maps import maps
    from inference.pictures.ring_pictures import hovmoeller

    forecast, fields = first_forecast(module), module.validation_windows.fields
    variable = forecast.variables[0]
    if forecast.mesh.domain.kind == "ring":
        return hovmoeller(forecast, fields, variable)
    return maps(forecast, fields, variable)


@torch.no_grad()
def first_forecast(module: EmulatorModule) -> Forecast:
    """Return the validated emulator's forecast from the first validation start."""
    starts, emulator = module.validation_windows, module.best
    batch = {name: value[None].to(module.device) for name, value in starts[0].items()}
    state, forcings = starts.start_of(batch)
    steps = [following.now for following, _ in rollout(emulator, state, forcings, starts.steps)]
    variables = emulator.task.with_role("prognostic")
    simulated = starts.fields.ensemble_axis == "trajectory"
    return Forecast(
        name="forecast",
        values=torch.stack(steps, dim=2).float().cpu().numpy(),
        variables=names_of(variables),
        units=tuple(variable.units for variable in variables),
        mesh=emulator.mesh,
        time_step=emulator.task.time_step,
        init_time=state.valid_time,
        trajectory=starts.pairs[:1, 0] if simulated else np.array([-1]),
        lead_steps=np.arange(1, starts.steps + 1),
    )
