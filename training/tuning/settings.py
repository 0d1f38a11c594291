"""Settings of a trial, by dotted path into an experiment: combined, spelt, and put in place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

from emulator.emulator_config import EmulatorConfig
from emulator.foundation.configuration import load, resolve
from emulator.networks.config import NetworkConfig
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig

RATE, NOISE, KIND = "training.learning_rate", "training.noise", "emulator.kind"


def combinations(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield settings by path, the last path varying fastest."""
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def spelt(settings: Mapping[str, Any]) -> str:
    """Return settings as in a label, `processor.kind=kernel, training.noise=0.01`."""
    return ", ".join(
        f"{path}={value if isinstance(value, str) else f'{value:g}' if isinstance(value, float) else json.dumps(value)}"
        for path, value in settings.items()
    )


def varied(experiment: ExperimentConfig, settings: Mapping[str, Any], what: str) -> ExperimentConfig:
    """Return an experiment with other settings, by dotted path.

    Another `emulator.kind` than the experiment's comes with its own defaults; what all networks share, such as the
    first guess, stays.

    what: asks for them, for the message where a path leads nowhere.
    """
    content = resolve(experiment)
    kind = settings.get(KIND, experiment.emulator.kind)
    if kind != experiment.emulator.kind:
        content["emulator"] = {"kind": kind, **_shared(kind, content["emulator"])}
    try:
        return load(ExperimentConfig, content, as_overrides(settings))
    except MeshcastError as error:
        raise MeshcastError(f"{what}: {error}") from None


def value_at(experiment: ExperimentConfig, path: str) -> Any:
    """Return what an experiment has at a dotted path, in plain types; None where it has nothing."""
    value: Any = resolve(experiment)
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as overrides of a configuration."""
    return [f"{path}={json.dumps(value)}" for path, value in settings.items()]


def _shared(kind: Any, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of an emulator's section that every network has, where the kind is a network's."""
    cls = EmulatorConfig.registered.get(kind) if isinstance(kind, str) else None
    if cls is None or not issubclass(cls, NetworkConfig):
        return {}
    return {item.name: section[item.name] for item in fields(NetworkConfig) if item.name in section}
