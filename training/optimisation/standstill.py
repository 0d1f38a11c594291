"""What validations without a better one bring about: the next stage of a curriculum, and the end of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.experiment import TrainingConfig

KEY = "standstill"  # in a checkpoint


@dataclass
class Standstill:
    """How long validation has found nothing better; a checkpoint keeps it, so that a resumed run goes on the same.

    best: rank of the best validation so far. since: validations after it, or since the stage began.
    stage: of the curriculum, from 0. ended: whether the training is over, by `training.patience`.
    """

    best: float = math.inf
    since: int = 0
    stage: int = 0
    ended: bool = False

    def take_note(self, rank: float, update: int, training: TrainingConfig) -> None:
        """Count a validation after so many updates; lower ranks are better."""
        if (stage := training.stage_at(update)) > self.stage:  # its share has come
            self.stage, self.since = stage, 0
        better = rank < self.best
        self.best, self.since = (rank, 0) if better else (self.best, self.since + 1)
        last = self.stage == len(training.stages) - 1
        if not last and training.plateau is not None and self.since >= training.plateau:
            self.stage, self.since = self.stage + 1, 0
        elif last and training.patience is not None and self.since >= training.patience:
            self.ended = True


def has_ended(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the training that wrote a checkpoint was over by `training.patience`."""
    return bool(checkpoint.get(KEY, {}).get("ended", False))


def drawn_steps(seed: int, update: int, most: int) -> int:
    """Return the steps of the rollout of an update, even from 1 to `most`: a function of seed and update alone."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, update], dtype=np.uint64)))
    return int(generator.integers(1, most + 1))
