"""The networks of the architecture tour side by side on one dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from emulator.build import TrainedEmulator
from emulator.physics.ring_equations import EquationConfig
from emulator.physics.simulate import SimulationConfig, simulate_arrays
from training.comparison.configuration import CompareConfig
from training.comparison.runs import equally_large, experiments, networks
from training.detectors.plausibility import histories
from training.preparation.prepared import PreparedData
from training.runs.fit import fit


def fit_side_by_side(config: CompareConfig, folder: Path) -> dict[str, TrainedEmulator]:
    """Return the networks of a comparison by label, equally large where it says so, fitted from its first seed.

    folder: each run goes to a folder of its label in it.
    """
    data = PreparedData()
    trained = {}
    for label, row in equally_large(config, networks(experiments(config)), data).items():
        experiment = replace(row, name=label, training=replace(row.training, seed=config.seeds[0]))
        trained[label] = fit(experiment, folder / label, progress=False, data=data)
    return trained


def histories_of(simulation: SimulationConfig, equation: EquationConfig) -> Tensor:
    """Return [history, time, node, variable], 12 frames each, of a simulation's trajectories by another equation."""
    values = simulate_arrays(replace(simulation, equation=equation))
    return histories(values[..., None], length=12, stride=12)
