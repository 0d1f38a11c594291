"""What happens beside the updates: the log, the checkpoints, the pictures."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar

from graphs.atomic_file import atomic_file
from training.module import EmulatorModule

COLUMNS = ("update", "epoch", "loss", "validation_loss", "validation_score", "learning_rate", "seconds")


class Progress(RichProgressBar):
    """Updates done and to do, the loss and the speed, on standard error, which leaves standard output to results."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return "updates".ljust(len(self.validation_description))


class Stopwatch(L.Callback):
    """Seconds of each update, from batch to batch so that reading counts, and of the last validation.

    Of the processor, all threads together, which a busy machine does not change; of the clock where a GPU works.
    """

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
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # an update is queued before it is done
        clock = time.perf_counter if torch.cuda.is_initialized() else time.process_time
        before, self._last = self._last, clock()
        return self._last - before


class CsvLog(L.Callback):
    """Appends one row a validation to metrics.csv: the mean training loss since the last, validation's, its score.

    epoch counts passes through the training windows. Rows from beyond the resumed update `start` are dropped first.
    """

    def __init__(self, path: Path, samples_per_epoch: int, start: int = 0) -> None:
        self.path, self.samples_per_epoch, self.start = path, samples_per_epoch, start
        self._rows: list[list[str]] = []
        self._losses: list[torch.Tensor] = []
        self._earlier, self._start = 0.0, time.perf_counter()

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        kept = [row for row in read_log(self.path) if 0 < self.start >= row["update"]]
        self._rows = [[_cell(row[name]) for name in COLUMNS] for row in kept]
        self._earlier = kept[-1]["seconds"] if kept else 0.0
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"].detach())  # a tensor still: reading it would wait for the device

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if not trainer.is_global_zero:
            return
        samples = trainer.global_step * module.training_config.batch_size * trainer.world_size
        loss = float(torch.stack(self._losses).double().mean()) if self._losses else math.nan
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else math.nan
        row: list[float] = [
            trainer.global_step,
            samples / self.samples_per_epoch,
            loss,
            module.validation_loss,
            module.score,
            rate,
            self._earlier + time.perf_counter() - self._start,
        ]
        self._rows.append([_cell(value) for value in row])
        self._losses = []
        with atomic_file(self.path) as part, part.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self._rows])


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.8g}"


def read_log(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv, numbers by column; none where there is no log yet."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        row["update"] = int(row["update"])
    return rows


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
        # The untrained emulator, before update 1, counts too: where its first guess is best, it is kept.
        if score < self.best or not math.isfinite(self.best):
            self.best = min(score, self.best)
            if trainer.is_global_zero:
                self.keep(module, score, trainer.global_step)
        if trainer.global_step > 0:
            last = self.folder / "last.ckpt"
            # Every process takes part in gathering what one writes.
            with atomic_file(last) if trainer.is_global_zero else nullcontext(last) as part:
                trainer.save_checkpoint(part)
            trainer.strategy.barrier()
