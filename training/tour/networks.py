"""The architecture tour: networks side by side on one dataset, and depth against width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from emulator.build import TrainedEmulator
from emulator.networks.layers.mlp import mlp
from emulator.physics.ring_equations import EquationConfig
from emulator.physics.simulate import SimulationConfig, simulate_arrays
from training.comparison.configuration import CompareConfig
from training.comparison.equal_sizes import equally_large
from training.comparison.runs import experiments, networks
from training.detectors.plausibility import histories
from training.optimisation.descent import num_parameters
from training.preparation.prepared import PreparedData
from training.runs.fit import fit
from training.tour.regression import DESCENT, equal_depths, fit_regression
from training.tour.sampled_functions import two_waves

if TYPE_CHECKING:
    import pandas as pd


def fit_side_by_side(config: CompareConfig, folder: Path, progress: bool = False) -> dict[str, TrainedEmulator]:
    """The networks of a comparison by label, at equal parameters where it says so, fitted from its first seed.

    folder: each run goes to a folder of its label in it.
    """
    data = PreparedData()
    rows = equally_large(config, networks(experiments(config)), data)
    return {
        label: fit(
            replace(row, name=label, training=replace(row.training, seed=config.seeds[0])),
            folder / label,
            progress=progress,
            data=data,
        )
        for label, row in rows.items()
    }


def histories_of(simulation: SimulationConfig, equation: EquationConfig, length: int = 12) -> Tensor:
    """[history, time, node, variable] of a simulation's trajectories, made by another equation."""
    values = simulate_arrays(replace(simulation, equation=equation))
    return histories(values[..., None], length, stride=length)


def depth_against_width(depths: Sequence[int] = (1, 2, 3, 4), seeds: Sequence[int] = (0, 1, 2)) -> pd.DataFrame:
    """Regression of sin 2πx + 0.3 sin 6πx by networks of several depths and about 321 parameters each.

    A row a depth: layers, parameters, and mean squared errors on the held-out grid, the median over the seeds and the
    largest.
    """
    import pandas as pd

    rows = []
    for sizes in equal_depths(321, depths):
        errors = [fit_regression(two_waves, sizes, seed=seed, descent=DESCENT).error() for seed in seeds]
        rows.append(
            {
                "layers": "-".join(map(str, sizes)),
                "parameters": num_parameters(mlp(sizes)),
                "median error": float(np.median(errors)),
                "largest error": max(errors),
            }
        )
    return pd.DataFrame(rows)
