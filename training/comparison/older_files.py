"""Comparisons from before a row was an object: recognised, and turned into the lines that replace theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulator.build import EmulatorSection, is_closed_form
from emulator.foundation.configuration import load, one_line
from graphs.errors import MeshcastError

TABLES = ("emulators", "own_training", "own_history", "keep_size", "grid", "grid_of")  # by label, beside the rows


def refuse_tables(content: Mapping[str, Any]) -> None:
    """Raise MeshcastError, with the lines to paste, where a comparison lists what rows differ in by label."""
    flat = [f"rows.{label}" for label, row in _mapping(content.get("rows")).items() if "kind" in _mapping(row)]
    found = [key for key in TABLES if key in content] + flat
    if found:
        rows = with_rows(content)["rows"] or {"LABEL": {"emulator": {"kind": "gnn"}}}
        lines = "".join(f"\n  {one_line({label: row})[1:-1]}" for label, row in rows.items())
        raise MeshcastError(
            f"Each row of a comparison is one object with all its settings. In place of {', '.join(found)} write\n\n"
            f"rows:{lines}\n"
        )


def with_rows(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a comparison's YAML with an object a row, and without tables by label."""
    given = {**_mapping(content.get("emulators")), **_mapping(content.get("rows"))}
    rows = {label: _object(row) for label, row in given.items()}
    grid = _mapping(content.get("grid"))
    varied = content.get("grid_of") or next((label for label, row in rows.items() if _is_network(row)), None)
    for label, row in rows.items():
        if training := _mapping(_mapping(content.get("own_training")).get(label)):
            row["training"] = {**_mapping(row.get("training")), **training}
        if label in (histories := _mapping(content.get("own_history"))):
            row["history"] = histories[label]
        if label in (content.get("keep_size") or ()):
            row["keep_size"] = True
        if grid and label == varied:
            row["grid"] = grid
    return {**{key: value for key, value in content.items() if key not in TABLES}, "rows": rows}


def _object(row: Any) -> dict[str, Any]:
    plain = _mapping(row)
    if plain.get("kind") in ("checkpoint", "forecast_file"):
        return {plain["kind"]: plain.get("path")} | {key: plain[key] for key in ("rename",) if plain.get(key)}
    return {"emulator": plain} if "kind" in plain else plain


def _is_network(row: Mapping[str, Any]) -> bool:
    try:
        return not is_closed_form(load(EmulatorSection, {"emulator": row["emulator"]}).emulator)
    except (KeyError, MeshcastError):
        return False


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
