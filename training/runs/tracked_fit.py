"""What trackers are given of a fit: what identifies it, and how it ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator.build import TrainedEmulator, is_closed_form, package_versions
from emulator.foundation.threads import Notice
from training.experiment import ExperimentConfig
from training.json_file import read_json
from training.metrics_log import MetricsLog
from training.preparation.prepared import PreparedData
from training.resumable import checkpoints_of
from training.runs.closed_forms import FILE as CLOSED_FORMS
from training.runs.energy import read_energy
from training.runs.run_hash import run_hash
from training.source_commit import source_commit
from training.tracking.record import RunRecord, is_behind, tracked

KEPT = ("config.yaml", "metrics.csv", "losses.csv", "methods.md", "references.bib", CLOSED_FORMS, "energy.json")


@contextmanager
def tracked_fit(config: ExperimentConfig, folder: Path, data: PreparedData, notice: Notice) -> Iterator[RunRecord]:
    """Yield the record of a fit, by nobody of a closed form, which has no history."""
    if is_closed_form(config.emulator):
        yield RunRecord(folder, notice)
        return
    with tracked(config, folder, lambda: _facts(config, data), bool(checkpoints_of(folder)), notice) as record:
        yield record


def say_finished(record: RunRecord, folder: Path, trained: TrainedEmulator) -> None:
    """Give a record the final scores of a fit, its emulator, and the files beside that."""
    if not record:
        return
    scores = {name: trained.metadata.get(name) for name in ("validation_score", "update")}
    if (folder / CLOSED_FORMS).is_file():
        scores |= read_json(folder / CLOSED_FORMS, "Remove it to do without.")["closed_forms"]
    if (energy := read_energy(folder)) is not None:
        scores["kwh"] = energy["kwh"]
    files = tuple(folder / name for name in KEPT if (folder / name).is_file())
    record.finished(scores, folder / "emulator.safetensors", files)


def bring_up_to_date(
    config: ExperimentConfig, folder: Path, data: PreparedData | None, trained: TrainedEmulator, notice: Notice
) -> None:
    """Bring trackers what they lack of a finished fit, as after an outage."""
    if is_closed_form(config.emulator) or not is_behind(config, folder):
        return
    with tracked(config, folder, lambda: _facts(config, data or PreparedData()), True, notice) as record:
        log = MetricsLog(folder / "metrics.csv", 1, start=sys.maxsize)
        record.follow(log, sys.maxsize)
        say_finished(record, folder, trained)


def _facts(config: ExperimentConfig, data: PreparedData) -> dict[str, Any]:
    fingerprints = data.fingerprints(config.data)
    commit = {"commit": found} if (found := source_commit()) else {}
    return {"hash": run_hash(config, fingerprints), "data": fingerprints, "versions": package_versions(), **commit}
