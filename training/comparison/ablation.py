"""Ablation grids: every combination of some settings of one row, each a row of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from emulator.build import EmulatorSection, is_closed_form
from emulator.foundation.configuration import load, resolve
from graphs.errors import MeshcastError
from training.comparison.configuration import WIDTHS, CheckpointConfig, CompareConfig, ForecastFileConfig


def expanded(config: CompareConfig) -> CompareConfig:
    """The comparison with the grid's rows in place of the row they vary, and no grid.

    Raises MeshcastError where a path leads nowhere, or a combination is none.
    """
    if not config.grid:
        return config
    label = config.grid_of or _first_network(config)
    widths = sorted(set(config.grid) & set(WIDTHS))
    if widths and config.parameters is not None and label not in config.keep_size:
        raise MeshcastError(
            f"grid varies {widths[0]} of {label}, which parameters scales back to one size. Name {label} under "
            "keep_size, or leave parameters out."
        )
    rows: dict[str, Any] = {}
    training, history, kept = dict(config.own_training), dict(config.own_history), set(config.keep_size)
    for name, row in config.emulators.items():
        if name != label:
            rows[name] = row
            continue
        own, own_history = training.pop(name, {}), history.pop(name, None)
        for settings in combinations(config.grid):
            varied = f"{name}, {spelt(settings)}"
            rows[varied] = _varied(row, settings, label)
            changes = {path.removeprefix("training."): value for path, value in _of_training(settings).items()}
            if merged := {**own, **changes}:
                training[varied] = merged
            if own_history is not None:
                history[varied] = own_history
            if name in kept:
                kept |= {varied}
    if len(rows) != len(config.emulators) - 1 + len(list(combinations(config.grid))):
        raise MeshcastError(f"grid: a combination of {label} stands twice, or has the label of another row.")
    return replace(
        config, emulators=rows, own_training=training, own_history=history, grid={}, grid_of=None,
        keep_size=tuple(kept - {label}),
    )  # fmt: skip


def combinations(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Settings by path, the last path varying fastest."""
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def spelt(settings: Mapping[str, Any]) -> str:
    """`processor.kind=kernel, training.noise=0.01`"""
    return ", ".join(
        f"{path}={value if isinstance(value, str) else f'{value:g}' if isinstance(value, float) else json.dumps(value)}"
        for path, value in settings.items()
    )


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as a command line would give them."""
    return [f"{path}={json.dumps(value)}" for path, value in settings.items()]


def _first_network(config: CompareConfig) -> str:
    for label, row in config.emulators.items():
        if not isinstance(row, CheckpointConfig | ForecastFileConfig) and not is_closed_form(row):
            return label
    raise MeshcastError("grid needs a row to vary, but no emulator is a network. Name one with grid_of: LABEL.")


def _varied(row: Any, settings: Mapping[str, Any], label: str) -> Any:
    own = {f"emulator.{path}": value for path, value in settings.items() if not path.startswith("training.")}
    try:
        return load(EmulatorSection, {"emulator": resolve(row)}, as_overrides(own)).emulator
    except MeshcastError as error:
        raise MeshcastError(f"grid of {label}: {error}") from None


def _of_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in settings.items() if path.startswith("training.")}
