"""MLflow: a tracking server, or a database beside the runs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.tracking.tracker import Outcome, RefusedError, Row, TrackedRun, refuse_absent

LOCAL, ARTIFACTS = "mlflow.db", "mlartifacts"
REFUSALS = ("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED")
TAG = "meshcast.id"
MOST_METRICS, MOST_PARAMS, LONGEST = 1000, 100, 6000  # of one request, and characters of a parameter
ENVIRONMENT = {  # what MLflow would wait for and send by itself, unless the user says so
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
SEEN = ("validation_score", "loss", "learning_rate")  # metrics one of which every row has


class MlflowTracker:
    """One run of MLflow, found again by a tag of its own; its steps are updates, and what it keeps are plain files.

    uri: of a tracking server or database; `local` is mlflow.db beside the runs, with its files in mlartifacts.
    model: name in MLflow's registry under which a finished run registers a version; None for none.
    Raises MeshcastError where the package is missing.
    """

    name = "MLflow"
    key = "mlflow"

    def __init__(self, run: TrackedRun, uri: str, model: str | None) -> None:
        refuse_absent("mlflow", f"tracking.mlflow={uri}")
        self._tracked, self._uri, self._model = run, uri, model
        self._client: Any = None
        self._run_id = ""
        self.notices: list[str] = []

    def open(self) -> int:
        """See `Tracker`."""
        self._client, experiment = client_of(self._uri, self._tracked.output, self._tracked.project)
        self._run_id = self._found(experiment).info.run_id
        self._client.update_run(self._run_id, status="RUNNING")
        for name, value in _flat(self._tracked.facts).items():
            self._client.set_tag(self._run_id, f"meshcast.{name}", value[:LONGEST])
        self._client.log_dict(self._run_id, dict(self._tracked.config), "config.json")
        return max((m.step for key in SEEN for m in self._client.get_metric_history(self._run_id, key)), default=-1)

    def log(self, rows: Sequence[Row]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        batch: list[Any] = []
        for row in rows:
            if row.picture is not None:  # first: a row that is there has its picture
                self._client.log_artifact(self._run_id, str(row.picture), "pictures")
            metrics = [Metric(name, value, 0, row.update) for name, value in row.values.items()]
            if len(batch) + len(metrics) > MOST_METRICS:
                self._client.log_batch(self._run_id, metrics=batch)
                batch = []
            batch += metrics
        self._client.log_batch(self._run_id, metrics=batch)

    def finish(self, outcome: Outcome) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        if outcome.model is not None:
            for path in (outcome.model, *outcome.files):
                self._client.log_artifact(self._run_id, str(path), "model")
            if self._model is not None:
                self._register(outcome.model, self._model)
        self._client.log_batch(self._run_id, metrics=[Metric(n, v, 0, 0) for n, v in outcome.scores.items()])
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[outcome.status]
        self._client.set_terminated(self._run_id, status)

    def remedy(self) -> str:
        """See `Tracker`."""
        return ""

    def _found(self, experiment: str) -> Any:
        """Return the run with our tag, or a new one."""
        from mlflow.entities import Param

        client, tag = self._client, self._tracked.memory.id
        if runs := client.search_runs([experiment], f"tags.`{TAG}` = '{tag}'"):
            return runs[0]
        run = client.create_run(experiment, run_name=self._tracked.name, tags={TAG: tag})
        params = [Param(name, value) for name, value in _flat(self._tracked.config).items() if len(value) <= LONGEST]
        for first in range(0, len(params), MOST_PARAMS):
            client.log_batch(run.info.run_id, params=params[first : first + MOST_PARAMS])
        return run

    def _register(self, model: Path, name: str) -> None:
        """Register the model as a version, unless this run has done so already."""
        from mlflow.exceptions import MlflowException

        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for version in self._client.search_model_versions(f"name = '{name}'"):
            if version.run_id == self._run_id and version.tags.get("sha256") == digest:
                return
        source = f"{self._client.get_run(self._run_id).info.artifact_uri}/model"
        self._client.create_model_version(name, source, self._run_id, tags={"sha256": digest})


def client_of(uri: str, output: Path, project: str) -> tuple[Any, str]:
    """Return MLflow's client, and the identifier of a project as an experiment, made where it is missing.

    uri: as in the configuration; `local` is mlflow.db in `output`.
    Raises RefusedError where the server takes neither the project nor the login.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    place = None
    if uri == "local":
        output.mkdir(parents=True, exist_ok=True)
        uri, place = f"sqlite:///{(output / LOCAL).resolve()}", (output / ARTIFACTS).resolve().as_uri()
    client = MlflowClient(uri)
    try:
        experiment = client.get_experiment_by_name(project)
        if experiment is None:
            return client, client.create_experiment(project, artifact_location=place)
    except MlflowException as error:
        if error.error_code in REFUSALS:
            raise RefusedError(str(error)) from None
        raise
    return client, experiment.experiment_id


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested names and values as `training.updates`, texts."""
    flat: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat
