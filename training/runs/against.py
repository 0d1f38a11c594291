"""Closed forms by name: the kinds that need no descent, with settings that suit the time step of a forecast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from emulator.baselines.baseline import BaselineConfig
from emulator.build import EMULATORS, EmulatorSection, is_closed_form
from emulator.features.periodic_mean import Period
from emulator.foundation.configuration import load
from emulator.foundation.time_step import TimeStep
from emulator.plugins import PluginConfig
from graphs.errors import MeshcastError

MOST_DAMPINGS = 200  # leads for which a damping is fitted; an anomaly that lasts longer is kept


def period_of(time_step: TimeStep) -> Period:
    """Return what a climatology can depend on: the hour for steps below a day, the month above, nothing in nominal
    time."""
    if time_step.true_length is not None:
        return "none"
    if time_step.unit == "month":
        return "month" if time_step.count < 12 else "none"
    return "hour" if time_step.count < 86_400 else "month"


def closed_form(text: str) -> BaselineConfig | PluginConfig:
    """Return the closed form of a kind, or of a section of YAML with its kind; raise MeshcastError where it is none."""
    section = text if text.lstrip().startswith("{") else f"{{kind: {text}}}"
    try:
        config = load(EmulatorSection, {}, [f"emulator={section}"]).emulator
    except MeshcastError as error:
        raise MeshcastError(f"--against {text} names no closed form: {error}") from None
    if not is_closed_form(config):
        kinds = [kind for kind, cls in EMULATORS.items() if issubclass(cls, BaselineConfig)]
        raise MeshcastError(
            f"--against {text} is a network, which is trained, not fitted: forecast with it, and verify both files. "
            f"Closed forms are {', '.join(kinds)}."
        )
    assert isinstance(config, BaselineConfig | PluginConfig)
    return config


def suited(config: Any, time_step: TimeStep, steps: int) -> Any:
    """Return a configuration with what suits the time step and the length of the forecasts."""
    fair = {"period": period_of(time_step), "max_lead": min(steps, MOST_DAMPINGS)}
    return replace(config, **{name: value for name, value in fair.items() if hasattr(config, name)})
