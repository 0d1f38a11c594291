"""The logs every run writes: a row a validation in metrics.csv, and every few updates the loss in losses.csv."""

from __future__ import annotations

import csv
import io
import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np

from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError

COLUMNS = (
    "update",
    "epoch",
    "loss",
    "validation_loss",
    "validation_score",
    "learning_rate",
    "seconds",
    "rollout_steps",
)
LOSS_COLUMNS = ("update", "epoch", "loss")
LOSS_EVERY = 10  # updates


class MetricsLog:
    """Appends one row a validation: the mean training loss since the last, validation's, its score, and how long a
    rollout lasted.

    The training loss goes to losses.csv beside it, averaged over ten updates. epoch counts passes through the training
    windows. Rows from beyond the resumed update `start` are dropped first.
    """

    def __init__(self, path: Path, samples_per_epoch: int, start: int = 0) -> None:
        self.path, self.samples_per_epoch = path, samples_per_epoch
        self._rows, self._losses = (
            [[row.get(name, math.nan) for name in columns] for row in read_log(file) if 0 < start >= row["update"]]
            for file, columns in ((path, COLUMNS), (losses_beside(path), LOSS_COLUMNS))
        )
        validated = self._rows[-1][0] if self._rows else 0  # later losses come with the checkpoint of a signal
        self._losses = [row for row in self._losses if row[0] <= validated]
        self._whole: list[list[float]] = []  # losses since the last row that losses.csv has already
        self.writes = 1  # grows with whatever is new
        self._start = time.perf_counter() - (self._rows[-1][COLUMNS.index("seconds")] if self._rows else 0.0)

    def append(
        self,
        update: int,
        samples: int,
        losses: Sequence[float],
        validation_loss: float,
        score: float,
        rate: float,
        lived: float = math.nan,
    ) -> None:
        """Write the row of a validation after `update` updates, that took `samples` windows in all.

        losses: of the updates since the last row. lived: steps that a long rollout lasted, NaN without one.
        """
        loss = float(np.mean(losses, dtype=np.float64)) if len(losses) else math.nan
        seconds = time.perf_counter() - self._start
        epoch = samples / self.samples_per_epoch
        self._rows.append([update, epoch, loss, validation_loss, score, rate, seconds, lived])
        self._losses += self._means(update, samples, losses)
        self._whole, self.writes = [], self.writes + 1
        # The losses first: whoever finds a row of a validation finds the losses before it.
        _write(losses_beside(self.path), LOSS_COLUMNS, self._losses)
        _write(self.path, COLUMNS, self._rows)

    def write_losses(self, update: int, samples: int, losses: Sequence[float]) -> None:
        """Write losses.csv while the next validation is still to come, up to the last ten of the losses that are whole.

        losses: of the updates since the last row.
        """
        self._whole = self._means(update, samples, losses)[: len(losses) // LOSS_EVERY]
        self.writes += 1
        _write(losses_beside(self.path), LOSS_COLUMNS, [*self._losses, *self._whole])

    @property
    def validated(self) -> int:
        """Return the last update that was validated; all that will be known of it and those before is there."""
        return int(self._rows[-1][0]) if self._rows else -1

    def between(self, after: int, last: int) -> dict[int, dict[str, float]]:
        """Return what is known of the updates after one up to another, by update in order: numbers by name.

        loss is that of losses.csv; a row of metrics.csv adds what validation found.
        """
        found: dict[int, dict[str, float]] = {}
        validated = [name for name in COLUMNS if name not in ("update", "loss")]
        for columns, kept, rows in (
            (LOSS_COLUMNS, ("epoch", "loss"), [*self._losses, *self._whole]),
            (COLUMNS, validated, self._rows),
        ):
            for row in rows[bisect_right(rows, after, key=itemgetter(0)) : bisect_right(rows, last, key=itemgetter(0))]:
                named = dict(zip(columns, row, strict=True))
                found.setdefault(int(row[0]), {}).update({name: named[name] for name in kept})
        return dict(sorted(found.items()))

    def _means(self, update: int, samples: int, losses: Sequence[float]) -> list[list[float]]:
        """Return rows of losses.csv, of ten losses each but for the last."""
        rows: list[list[float]] = []
        for first in range(0, len(losses), LOSS_EVERY):
            few = losses[first : first + LOSS_EVERY]
            at = update - len(losses) + first + len(few)
            epoch = samples * at / (update * self.samples_per_epoch)
            rows.append([at, epoch, float(np.mean(few, dtype=np.float64))])
        return rows


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *([_cell(value) for value in row] for row in rows)])


def losses_beside(metrics: Path) -> Path:
    """Return where the losses lie that belong to a metrics.csv."""
    return metrics.with_name("losses.csv")


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv or losses.csv, numbers by column; none where there is no log yet.

    Raises MeshcastError where the file is damaged.
    """
    if not path.is_file():
        return []
    rows: list[dict[str, float]] = []
    try:
        text = path.read_bytes().decode()
        if not text.endswith("\n"):
            raise ValueError("its end is missing")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if not set(LOSS_COLUMNS) <= set(reader.fieldnames or ()):
            raise ValueError(f"its header lacks {', '.join(LOSS_COLUMNS)}")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"a row has not {len(reader.fieldnames or ())} cells")
            rows.append({name: float(cell) for name, cell in row.items()} | {"update": int(row["update"])})
    except (OSError, ValueError, csv.Error) as error:
        raise MeshcastError(
            f"The log {path} is damaged after {len(rows)} rows: {error}. Remove it: a run goes on from its checkpoint "
            "all the same, with a log of what is to come."
        ) from None
    return rows


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.8g}"
