"""What is tried where nothing is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from emulator.networks.config import NetworkConfig
from training.experiment import ExperimentConfig
from training.tuning.settings import KIND, NOISE, RATE, varied
from training.tuning.space import WHAT, Axis, Range, Space

DEPTHS = ("num_layers", "num_blocks")


def default_space(experiment: ExperimentConfig, kinds: Sequence[str] = ()) -> Space:
    """Return what is tried where nothing is said: rate, noise, weight decay, and of each kind layers and width.

    The width lies between half and twice the configured one; the rest does not depend on the configuration.
    """
    axes: dict[str, Axis] = {
        RATE: Range(1e-4, 3e-2, log=True),
        NOISE: Range(1e-4, 1e-1, log=True),
        "training.weight_decay": Range(1e-6, 1e-1, log=True),
    }
    sizes = {kind: _sizes(varied(experiment, {KIND: kind}, WHAT)) for kind in kinds}
    if kinds:
        return Space(axes, sizes)
    return Space({**axes, **{f"emulator.{path}": axis for path, axis in _sizes(experiment).items()}})


def _sizes(experiment: ExperimentConfig) -> dict[str, Axis]:
    """Return the axes of depth and width of an emulator, by path into its section, as far as it has them."""
    section = experiment.emulator
    if not isinstance(section, NetworkConfig):
        return {}
    found: dict[str, Axis] = {}
    inner = section.width_key.rpartition(".")[0]
    holder: Any = getattr(section, inner) if inner else section
    for item in fields(holder):
        if item.name in DEPTHS and type(value := getattr(holder, item.name)) is int:
            path = f"{inner}.{item.name}" if inner else item.name
            found[path] = Range(1, max(8, value), whole=True)
    width = getattr(section, "width", None)
    if type(width) is int:
        unit = math.lcm(max(section.width_unit, 1), 2)
        low = max(unit, width // 2 // unit * unit)
        found[section.width_key] = Range(low, low + max(1, (2 * width - low) // unit) * unit, step=unit, whole=True)
    return found
