"""The learning-rate range test of an experiment: a picture, a table, and a rate to start from."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emulator.build import is_closed_form
from emulator.networks.keras_networks.keras_models import KerasConfig
from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig
from training.preparation.prepared import prepare
from training.run_folder import run_folder
from training.runs.fit import untrained_on_threads

NAME = "learning-rate-test"
UPDATES, LOWEST, HIGHEST = 300, 1e-5, 1.0
FEWEST = 20  # updates before the loss rises for good, to tell where it fell


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    rates, losses, smooth: of each update, its learning rate, the loss before it, and the moving mean of the losses.
    suggested: peak rate to begin with; None where the loss never fell.
    table, picture: the files it wrote.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    suggested: float | None
    table: Path
    picture: Path

    def in_words(self) -> str:
        """Return what to do with it."""
        if self.suggested is None:
            return "The loss fell at no learning rate: look at the data, the noise and the loss before the rate."
        return (
            f"Set training.learning_rate={self.suggested:.2g}: a third of the rate of the lowest loss, which is "
            f"{3 * self.suggested:.2g}; the loss fell until there."
        )


def learning_rate_test(config: ExperimentConfig, folder: Path | None = None, progress: bool = True) -> RangeTest:
    """Take updates at learning rates that rise exponentially from 1e-5 to 1, and suggest a peak rate.

    Smith (2017), doi:10.1109/WACV.2017.58, section 3.3. The weights are thrown away; learning-rate-test.csv and
    learning-rate-test.png go to the run folder, and nothing else.
    Raises MeshcastError where there is no gradient descent in PyTorch to test.
    """
    if is_closed_form(config.emulator) or isinstance(config.emulator, KerasConfig):
        raise MeshcastError(
            f"--learning-rate-test takes updates of a network in PyTorch, but emulator.kind is {config.emulator.kind}. "
            "Leave it away, or choose another kind."
        )
    from inference.pictures.learning_rate_plot import learning_rate_plot
    from inference.pictures.style import save
    from training.optimisation.rate_ramp import losses_along, moving_mean

    folder = folder or run_folder(config)
    rates = np.geomspace(LOWEST, HIGHEST, UPDATES)
    with untrained_on_threads(prepare(config)) as untrained:
        losses = losses_along(untrained, rates.tolist(), progress)
    finite = next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    losses, tried = losses[:finite], rates[:finite].tolist()
    smooth = moving_mean(losses)
    suggested, table = suggestion(tried, smooth), folder / f"{NAME}.csv"
    with atomic_file(table) as temporary, temporary.open("w", newline="") as file:
        rows = zip(tried, losses, smooth, strict=True)
        csv.writer(file).writerows(
            [("learning_rate", "loss", "moving_mean"), *([f"{number:.8g}" for number in row] for row in rows)]
        )
    picture = save(learning_rate_plot(tried, losses, smooth, suggested), folder / NAME)
    return RangeTest(tuple(tried), tuple(losses), tuple(smooth), suggested, table, picture)


def suggestion(rates: Sequence[float], smooth: Sequence[float]) -> float | None:
    """Return a third of the rate at which the moving mean of the loss is lowest; None where it never fell.

    The first of the updates are not looked at, since their mean is of few losses.
    """
    if len(smooth) <= FEWEST:
        return None
    lowest = FEWEST + int(np.argmin(smooth[FEWEST:]))
    fell = smooth[lowest] < 0.9 * smooth[FEWEST]
    return float(f"{rates[lowest] / 3:.2g}") if fell else None
