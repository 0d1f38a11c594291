"""What makes a study the same one: its experiment, its data, what it tries and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emulator.foundation.configuration import resolve
from graphs.errors import MeshcastError
from training.experiment import NO_OTHER_RUN, ExperimentConfig
from training.runs.run_hash import PLACES, stands_for

_ABSENT = object()


def identity_of(
    trial: ExperimentConfig, data: Mapping[str, str], space: str, seed: int, pruning: str
) -> dict[str, Any]:
    """Return what a study is known by, in plain types.

    trial: the experiment as short as its trials are, its settings as configured. data: fingerprints of the data.
    """
    configuration = {key: value for key, value in resolve(trial).items() if key not in PLACES}
    return {"configuration": configuration, "data": dict(data), "space": space, "seed": seed, "pruner": pruning}


def refuse_another(
    stored: Mapping[str, Any], asked: Mapping[str, Any], trial: ExperimentConfig, where: str, remedy: str
) -> None:
    """Raise MeshcastError, with both values of all that differs, where a study that was begun is another one.

    Keys that a later version added count at their defaults.
    trial: the experiment of `asked`. where: the study lies. remedy: what to do.
    """
    found = [] if stands_for(stored["configuration"], trial) else _differences(stored, asked, "configuration")
    for key in ("data", "space", "seed", "pruner"):
        found += _differences(stored, asked, key) if stored.get(key) != asked[key] else []
    if found:
        raise MeshcastError("\n  ".join([f"{where} is another study:", *found]) + f"\n  {remedy}")


def _differences(stored: Mapping[str, Any], asked: Mapping[str, Any], key: str) -> list[str]:
    before, now = _flat(stored.get(key), ""), _flat(asked[key], "")
    ignored = {f"training.{name}" for name in NO_OTHER_RUN}
    found = []
    for path in [*now, *(path for path in before if path not in now)]:
        if path in ignored or path not in before or before[path] == now.get(path, _ABSENT):
            continue
        name = path if key == "configuration" else f"{key} {path}".rstrip()
        found.append(f"{name} is {_shown(before[path])} there, and {_shown(now.get(path, _ABSENT))} here.")
    return found


def _flat(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {
            inner: content
            for key, each in value.items()
            for inner, content in _flat(each, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: value}


def _shown(value: Any) -> str:
    return "nothing" if value is _ABSENT else json.dumps(value)
