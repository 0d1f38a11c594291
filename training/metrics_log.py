"""The log every run writes: one row a validation in metrics.csv."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphs.atomic_file import atomic_file

COLUMNS = ("update", "epoch", "loss", "validation_loss", "validation_score", "learning_rate", "seconds")


class MetricsLog:
    """Appends one row a validation: the mean training loss since the last, validation's, its score.

    epoch counts passes through the training windows. Rows from beyond the resumed update `start` are dropped first.
    """

    def __init__(self, path: Path, samples_per_epoch: int, start: int = 0) -> None:
        self.path, self.samples_per_epoch = path, samples_per_epoch
        kept = [row for row in read_log(path) if 0 < start >= row["update"]]
        self._rows = [[_cell(row[name]) for name in COLUMNS] for row in kept]
        self._earlier = kept[-1]["seconds"] if kept else 0.0
        self._start = time.perf_counter()

    def append(
        self, update: int, samples: int, losses: Sequence[float], validation_loss: float, score: float, rate: float
    ) -> None:
        """Write the row of a validation after `update` updates, that took `samples` windows in all.

        losses: of the updates since the last row.
        """
        row: list[float] = [
            update,
            samples / self.samples_per_epoch,
            float(np.mean(losses, dtype=np.float64)) if len(losses) else math.nan,
            validation_loss,
            score,
            rate,
            self._earlier + time.perf_counter() - self._start,
        ]
        self._rows.append([_cell(value) for value in row])
        with atomic_file(self.path) as part, part.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self._rows])


def read_log(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv, numbers by column; none where there is no log yet."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        row["update"] = int(row["update"])
    return rows


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.8g}"
