"""Ablation grids: every combination of some settings of one row, each of them a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from emulator.build import EmulatorSection
from emulator.foundation.configuration import load, resolve
from emulator.parameter_budget import width_keys
from graphs.errors import MeshcastError
from training.comparison.configuration import CompareConfig, RowConfig


def expanded(config: CompareConfig) -> CompareConfig:
    """Return the comparison with a row for each combination of a grid, in place of the row that has the grid.

    Raises MeshcastError where a path leads nowhere, or two rows would have one label.
    """
    rows: dict[str, RowConfig] = {}
    for label, row in config.rows.items():
        widths = sorted(set(row.grid) & width_keys())
        if widths and config.parameters is not None and not row.keep_size:
            raise MeshcastError(
                f"The grid of {label} varies {widths[0]}, which parameters scales back to one size. Give the row "
                "keep_size: true, or leave parameters out."
            )
        for settings in combinations(row.grid):
            name = f"{label}, {spelt(settings)}" if settings else label
            if name in rows:
                raise MeshcastError(
                    f"The grid of {label} has a combination twice, or one with the label of another row."
                )
            rows[name] = _with_settings(row, settings, label) if settings else row
    return replace(config, rows=rows)


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


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as a command line would give them."""
    return [f"{path}={json.dumps(value)}" for path, value in settings.items()]


def _with_settings(row: RowConfig, settings: Mapping[str, Any], label: str) -> RowConfig:
    training, emulator = dict(row.training), {}
    for path, value in settings.items():
        if path.startswith("training."):
            training[path.removeprefix("training.")] = value
        else:
            emulator[f"emulator.{path}"] = value
    try:
        section = load(EmulatorSection, {"emulator": resolve(row.emulator)}, as_overrides(emulator))
    except MeshcastError as error:
        raise MeshcastError(f"grid of {label}: {error}") from None
    return replace(row, emulator=section.emulator, training=training, grid={})
