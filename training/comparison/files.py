"""The folder of a comparison: whose it is, and what is written beside its report."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emulator.foundation.configuration import dump, load, read_yaml, resolve
from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError
from inference.report.report import Notes
from training.comparison.configuration import CompareConfig
from training.comparison.older_files import with_rows
from training.comparison.ranking import by_lead
from training.comparison.record import Comparison
from training.comparison.rows import plain
from training.run_folder import is_first_process

ELSEWHERE = ("output", "results", "tracking")  # where files go, which makes no comparison another


def claim(config: CompareConfig, overwrite: bool = False) -> Path:
    """The folder OUTPUT/NAME, which from now on is this comparison's own.

    Raises MeshcastError where it holds another comparison and may not be written over.
    """
    folder = Path(config.output) / config.name
    stored = folder / "compare.yaml"
    if stored.is_file() and not overwrite and (changed := _changes(stored, config)):
        raise MeshcastError(
            f"{folder} holds another comparison; {', '.join(changed)} differ{'s' * (len(changed) == 1)}. Choose "
            "another name, as name=NAME, or write over its report with --overwrite; finished runs are kept either "
            "way, and those that both ask for are not repeated."
        )
    if is_first_process():
        dump(config, stored)
    return folder


def write_files(config: CompareConfig, comparison: Comparison) -> None:
    """comparison.json, rows.csv with a line a label and a line a seed, and tuning.csv, beside the report."""
    folder, story = comparison.folder, comparison.story
    with atomic_file(folder / "comparison.json") as part:
        part.write_text(json.dumps(to_plain(config, comparison), indent=1) + "\n", encoding="utf-8")
    _write_csv(folder / "rows.csv", tidy_rows(comparison))
    if story.trials:
        trials = [{**asdict(trial), **trial.settings} for trial in story.trials]
        _write_csv(folder / "tuning.csv", [{k: v for k, v in row.items() if k != "settings"} for row in trials])


def tidy_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One dictionary a label (seed empty), followed by one for each of its seeds."""
    story = comparison.story
    infos = {info.label: info for info in story.rows}
    seeds: dict[str, list[dict[str, Any]]] = {label: [] for label in infos}
    for row in comparison.rows:
        label, seed = _label_and_seed(row.label, infos, row.result)
        lower, upper = row.interval or (None, None)
        seconds = None if row.result is None else row.result.seconds
        update = None if row.result is None else row.result.update
        seeds[label].append(
            {"label": label, "seed": seed, "status": row.status, "score": row.score, "lower": lower, "upper": upper,
             "training_seconds": seconds, "kept_update": update}
        )  # fmt: skip
    found = []
    for line in comparison.lines:
        info = infos[line.label]
        lower, upper = line.interval or (None, None)
        training = sum(info.training_seconds) / len(info.training_seconds) if info.training_seconds else None
        common = {
            "kind": info.kind, "trainable": info.parameters.get("trainable", 0),
            "fixed": info.parameters.get("fixed", 0), "updates": info.updates, "learning_rate": info.learning_rate,
            "history": info.history, "inference_seconds": info.inference_seconds, "regridding": info.regridding,
        }  # fmt: skip
        found.append(
            {"label": line.label, "seed": "", "status": line.status, "score": line.score, "lower": lower,
             "upper": upper, "lowest": line.lowest, "median": line.median, "highest": line.highest,
             "training_seconds": training, **common}
        )  # fmt: skip
        found += [{**seed, **common} for seed in seeds[line.label]]
    return found


def to_plain(config: CompareConfig, comparison: Comparison) -> dict[str, Any]:
    """The comparison for machines: the ranking, and RMSE by lead time with paired differences to the first row."""
    verification, story, starts = comparison.verification, comparison.story, comparison.starts
    return {
        "name": config.name,
        "score": f"geometric mean over lead times of {config.validation.score}",
        "reference": comparison.reference,
        "level": verification.level,
        "lines": [asdict(line) for line in comparison.lines],
        "rows": [asdict(row) for row in comparison.rows],
        "about": {info.label: plain(info) for info in story.rows},
        "tuning": [asdict(trial) for trial in story.trials],
        "notes": list(story.notes),
        "starts": {"init_time": starts.init_time.tolist(), "trajectory": starts.trajectory.tolist()},
        "lead_steps": starts.lead_steps.tolist(),
        "time_step": str(verification.time_step),
        "variables": dict(zip(verification.variables, verification.units, strict=True)),
        "scale": dict(zip(verification.variables, verification.scale.tolist(), strict=True)),
        "rmse": {
            scores.label: by_lead(verification, scores, comparison.reference) for scores in verification.emulators
        },
        "left_out": list(verification.left_out),
    }


def story_of(config: CompareConfig, comparison: Comparison, command: str) -> Notes:
    """What the report tells beside the scores: the ranking, and the loss of the first network."""
    level = f"{100 * comparison.verification.level:g} %"
    facts = {}
    for number, row in enumerate(comparison.rows, 1):
        words = [f"{row.label}: {row.status}{': ' * bool(row.reason)}{row.reason}"]
        if row.score is not None:
            words.append(f"score {row.score:.4g}{_between(row.interval)}")
        if row.difference is not None:
            words.append(f"{row.difference:+.4g}{_between(row.difference_interval)} against {comparison.reference}")
        if row.result is not None and row.result.update is not None:
            words.append(f"kept after {row.result.update} updates, {row.result.seconds:.0f} s")
        words += [f"{count} {kind} weights" for kind, count in row.parameters.items() if count]
        facts[f"rank {number}"] = ", ".join(words)
    for number, text in enumerate(comparison.story.notes, 1):
        facts[f"note {number}"] = text
    logs = [log for info in comparison.story.rows for log in info.logs]
    best = comparison.lines[0]
    score = f"the geometric mean over lead times of {config.validation.score}"
    found = f"{best.label} is best by {score}" if best.score is not None else f"No emulator has a finite {score[4:]}"
    return Notes(
        title=f"{config.name}: {len(comparison.lines)} emulators compared",
        summary=f"{found}, from the same {len(comparison.starts)} starts. Intervals are of {level}.",
        command=command,
        log=logs[0] if logs else None,
        facts=facts,
    )


def _label_and_seed(member: str, infos: Mapping[str, Any], result: Any) -> tuple[str, int | str]:
    for label, info in infos.items():
        if member in info.members:
            seeds = dict(zip(info.members, info.seeds, strict=False))
            return label, seeds.get(member, "")
    return member, "" if result is None else result.seed  # a run that failed keeps its label


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.3g} to {interval[1]:.3g})"


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _changes(stored: Path, config: CompareConfig) -> list[str]:
    try:
        before, now = resolve(load(CompareConfig, with_rows(read_yaml(stored)))), resolve(config)
    except MeshcastError:
        return ["its configuration, which this version does not read,"]
    return [key for key in now if before[key] != now[key] and key not in ELSEWHERE]
