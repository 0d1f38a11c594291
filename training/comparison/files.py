"""The folder of a comparison: whose it is, and what is written beside its report."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.configuration import dump, load, read_yaml, resolve
from graphs.atomic_file import atomic_file, write_text
from graphs.errors import MeshcastError
from inference.comparison.climate_table import tidy_climate
from inference.comparison.findings import answer
from inference.comparison.record import Comparison, Row, Seed
from inference.scores.scorecard import ForecastScores, Verification
from training.comparison.configuration import CompareConfig, with_rows
from training.processes import is_first_process
from training.run_folder import folder_named

ABOUT = (
    "label", "kind", "status", "reasons", "members", "seeds", "parameters", "updates", "learning_rate", "history",
    "batch_size", "training_seconds", "inference_seconds", "regridding", "settings", "differences",
)  # fmt: skip
ELSEWHERE = ("output", "results", "tracking", "accounting")  # what makes no comparison another


def take_folder(config: CompareConfig, overwrite: bool = False) -> Path:
    """Return the folder OUTPUT/NAME, which from now on is that of this comparison.

    Raises MeshcastError where it holds another comparison and may not be written over.
    """
    folder = folder_named(config.output, config.name)
    stored = folder / "compare.yaml"
    changed = _changes(stored, config) if stored.is_file() else []
    if changed and not overwrite:
        raise MeshcastError(
            f"{folder} holds another comparison; {', '.join(changed)} differ{'s' * (len(changed) == 1)}. Choose "
            "another name, as name=NAME, or write over its report with --overwrite; finished runs are kept either "
            "way, and those that both ask for are not repeated."
        )
    if is_first_process() and not changed:  # that of another comparison stays beside its report until ours is there
        dump(config, stored)
    return folder


def write_files(config: CompareConfig, comparison: Comparison) -> None:
    """Write comparison.json, rows.csv with a line a row and a line a seed, and tuning.csv, beside the report."""
    folder = comparison.folder
    dump(config, folder / "compare.yaml")
    write_text(folder / "comparison.json", json.dumps(to_plain(config, comparison), indent=1) + "\n")
    _write_csv(folder / "rows.csv", tidy_rows(comparison))
    if comparison.climate:
        _write_csv(folder / "climate.csv", tidy_climate(comparison.climate))
    if comparison.trials:
        trials = [{**asdict(trial), **trial.settings} for trial in comparison.trials]
        _write_csv(folder / "tuning.csv", [{k: v for k, v in row.items() if k != "settings"} for row in trials])


def tidy_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one dictionary a row (seed empty), followed by one for each of its seeds, both best first."""
    seeds = comparison.ranked_seeds
    found = []
    for row in comparison.ranked:
        score, fitted = row.score, row.training_seconds
        lower, upper = score.interval or (None, None)
        common = {
            "kind": row.kind, "trainable": row.parameters.get("trainable", 0), "fixed": row.parameters.get("fixed", 0),
            "updates": row.updates, "learning_rate": row.of_training("learning_rate"), "history": row.history,
            "inference_seconds": row.inference_seconds, "regridding": row.regridding,
        }  # fmt: skip
        found.append(
            {"label": row.label, "seed": "", "status": row.status, "score": score.value, "lower": lower,
             "upper": upper, "lowest": score.lowest, "median": score.median, "highest": score.highest,
             "training_seconds": sum(fitted) / len(fitted) if fitted else None, **common}
        )  # fmt: skip
        for seed in (seed for seed in seeds if seed in row.seeds):
            lower, upper = seed.score.interval or (None, None)
            found.append(
                {"label": row.label, "seed": "" if seed.seed is None else seed.seed, "status": seed.status,
                 "score": seed.score.value, "lower": lower, "upper": upper,
                 "training_seconds": seed.training_seconds,
                 "kept_update": None if seed.run is None else seed.run["update"], **common}
            )  # fmt: skip
    return found


def to_plain(config: CompareConfig, comparison: Comparison) -> dict[str, Any]:
    """Return the comparison for machines: the ranking, and RMSE by lead time with differences to the first row's."""
    verification, reference = comparison.verification, comparison.verification.emulators[0]
    forecast = next(seed.forecast for row in comparison.rows for seed in row.forecast_seeds)
    assert forecast is not None
    return {
        "name": config.name,
        "score": f"geometric mean over lead times of {config.validation.score}",
        "answer": answer(comparison),
        "reference": reference.label,
        "level": verification.level,
        "lines": ranking_lines(comparison),
        "rows": [_seed_line(seed) for seed in comparison.ranked_seeds],
        "about": {row.label: _about(row) for row in comparison.rows},
        "tuning": [asdict(trial) for trial in comparison.trials],
        "energy": {row.label: asdict(row.energy) for row in comparison.rows if row.energy is not None},
        "notes": list(comparison.notes),
        "starts": {"init_time": forecast.init_time.tolist(), "trajectory": forecast.trajectory.tolist()},
        "lead_steps": forecast.lead_steps.tolist(),
        "time_step": str(verification.time_step),
        "variables": dict(zip(verification.variables, verification.units, strict=True)),
        "scale": dict(zip(verification.variables, verification.scale.tolist(), strict=True)),
        "rmse": {scores.label: _by_lead(verification, scores, reference) for scores in verification.emulators},
        "left_out": list(verification.left_out),
        **({"climate": [asdict(row) for row in comparison.climate]} if comparison.climate else {}),
    }


def ranking_lines(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the ranking of the rows, best first, as comparison.json and a tracker have it."""
    lines = []
    for row in comparison.ranked:
        score = asdict(row.score)
        line = {"label": row.label, "status": row.status, "seeds": len(row.forecast_seeds), "score": score.pop("value")}
        lines.append(line | score)
    return lines


def _seed_line(seed: Seed) -> dict[str, Any]:
    score = asdict(seed.score)
    return {
        "label": seed.label,
        "status": seed.status,
        "reason": seed.reason,
        "score": score.pop("value"),
        **score,
        "parameters": dict(seed.parameters) if seed.forecast is not None else {},
        "result": seed.run,
    }


def _about(row: Row) -> dict[str, Any]:
    """Return how a row came about, without paths."""
    computed = {
        "members": [seed.label for seed in row.forecast_seeds],
        "seeds": row.seed_numbers,
        "learning_rate": row.of_training("learning_rate"),
        "batch_size": row.of_training("global_batch_size") or row.of_training("batch_size"),
    }
    return {name: computed[name] if name in computed else getattr(row, name) for name in ABOUT}


def _by_lead(verification: Verification, scores: ForecastScores, reference: ForecastScores) -> dict[str, Any]:
    """Return RMSE [lead] by variable, and what it is more than the reference's."""
    found: dict[str, Any] = {}
    difference = None if scores is reference else verification.difference(scores.label, reference.label)
    for column, name in enumerate(verification.variables):
        found[name] = {"rmse": _numbers(scores.mean("rmse")[:, column])}
        if difference is not None:
            for bound in ("estimate", "lower", "upper"):
                found[name][f"difference_{bound}"] = _numbers(getattr(difference, bound)[:, column])
    return found


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _changes(stored: Path, config: CompareConfig) -> list[str]:
    try:
        before, now = resolve(load(CompareConfig, with_rows(read_yaml(stored)))), resolve(config)
    except MeshcastError:
        return ["its configuration, which this version does not read,"]
    return [key for key in now if before[key] != now[key] and key not in ELSEWHERE]
