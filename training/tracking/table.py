"""The final table of a comparison as a record of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emulator.foundation.threads import Notice
from training.accounting import TrackingConfig
from training.tracking.mlflow_tracker import client_of
from training.tracking.tracker import refuse_absent
from training.tracking.wandb_tracker import begin

WITHIN = 120.0  # seconds that a comparison, which is written by then, waits for a tracker
Rows = Sequence[Mapping[str, Any]]


def refuse_absent_trackers(config: TrackingConfig) -> None:
    """Raise MeshcastError where the package of a tracker that is asked for is not installed."""
    for package, asked in (("wandb", config.wandb != "off"), ("mlflow", config.mlflow != "off")):
        if asked:
            refuse_absent(package, f"tracking.{package}")


def track_table(
    config: TrackingConfig, name: str, folder: Path, output: Path, rows: Rows, notice: Notice = lambda line: None
) -> None:
    """Record the final table of a comparison, each row's score by its label; nothing where no tracker is on.

    A tracker that fails or does not answer is only said, to `notice`: all that it was to hold is in the folder.
    """
    tasks: dict[str, Callable[[], None]] = {}
    if config.wandb != "off":
        tasks["Weights & Biases"] = lambda: _to_wandb(config, name, folder, rows)
    if config.mlflow != "off":
        tasks["MLflow"] = lambda: _to_mlflow(config, name, output, rows)
    for tracker, task in tasks.items() if rows else ():
        faults: list[BaseException] = []
        thread = threading.Thread(target=_caught, args=(task, faults), daemon=True)
        thread.start()
        thread.join(WITHIN)
        if thread.is_alive() or faults:
            reason = faults[0] if faults else f"no answer within {WITHIN:.0f} s"
            notice(f"{tracker} lacks the table of {name}: {reason}. It stands in {folder}.")


def _to_wandb(config: TrackingConfig, name: str, folder: Path, rows: Rows) -> None:
    import wandb

    assert config.wandb != "off"
    columns: list[str | int] = list(rows[0])
    run = begin(
        name=f"{name}, table", project=config.project, dir=str(folder), mode=config.wandb, job_type="comparison"
    )
    cells = [[json.dumps(row[str(column)]) for column in columns] for row in rows]
    run.log({"comparison": wandb.Table(columns=columns, data=cells)})
    run.summary.update({f"score/{label}": score for label, score in _scores(rows).items()})
    run.finish(exit_code=0)


def _to_mlflow(config: TrackingConfig, name: str, output: Path, rows: Rows) -> None:
    client, experiment = client_of(config.mlflow, output, config.project)
    run = client.create_run(experiment, run_name=f"{name}, table").info.run_id
    client.log_dict(run, {"comparison": [dict(row) for row in rows]}, "comparison.json")
    for label, score in _scores(rows).items():
        client.log_metric(run, f"score/{label}", score)
    client.set_terminated(run, "FINISHED")


def _scores(rows: Rows) -> dict[str, float]:
    return {row["label"]: row["score"] for row in rows if row["score"] is not None}


def _caught(task: Callable[[], None], faults: list[BaseException]) -> None:
    try:
        task()
    except BaseException as error:  # whatever a tracker raises
        faults.append(error)
