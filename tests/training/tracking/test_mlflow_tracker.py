"""MLflow's store, read back by MLflow's own client, and servers that fail; its import alone takes seconds."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from emulator.build import load_emulator
from emulator.data.initial import initial_conditions
from emulator.neural import NeuralEmulator
from graphs.errors import MeshcastError
from tests.time_limits import HUNG
from tests.training.tracking.trackers import crash, picture_names
from tests.training.worlds import experiment
from training.accounting import TrackingConfig
from training.experiment import ExperimentConfig
from training.metrics_log import read_log
from training.runs.fit import fit
from training.tracking import mlflow_tracker, record
from training.tracking.mlflow_tracker import client_of

ABSENT = "mlflow is not installed: pip install 'meshcast[tracking]'"


def tracked(folder: Path, uri: str = "local", **settings: Any) -> ExperimentConfig:
    """A tiny experiment, tracked by MLflow; of a uri that is local its model is registered."""
    model = "ring-net" if uri == "local" else None
    return replace(experiment(folder, **settings), tracking=TrackingConfig(mlflow=uri, registered_model=model))


def forecast(folder: Path, data: Path) -> Any:
    """The first step of an emulator from the first state of some data."""
    trained = load_emulator(folder / "emulator.safetensors")
    start = initial_conditions(str(data), trained.emulator.task, trained.emulator.mesh, "0").state
    empty = np.zeros((start.values.shape[0], 2, trained.emulator.mesh.num_nodes, 0), np.float32)
    return trained.emulator.step(start, torch.from_numpy(empty))[0].values


@pytest.mark.slow
def test_a_run_resumed_is_one_run_of_mlflow_whose_registered_model_forecasts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason=ABSENT)
    config, folder = tracked(tmp_path), tmp_path / "run"
    crash(config, 13, monkeypatch)
    client, number = client_of("local", tmp_path, "meshcast")
    (broken,) = client.search_runs([number])
    assert broken.info.status == "FAILED" and broken.data.metrics["validation_score"] > 0
    fit(config, progress=False, resume="auto")
    fit(config, progress=False, resume="auto")  # done: nothing is registered twice

    (run,) = client.search_runs([number])
    assert run.info.run_id == broken.info.run_id and run.info.status == "FINISHED" and run.info.run_name == "run"
    assert run.data.params["training.updates"] == "24" and run.data.params["emulator.kind"] == "gnn"
    assert len(run.data.tags["meshcast.hash"]) == 16 and run.data.tags["meshcast.versions.torch"]
    rows = {int(row["update"]): row for row in read_log(folder / "metrics.csv")}
    for name in ("validation_score", "validation_loss", "learning_rate"):
        history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert history == [(update, pytest.approx(row[name], rel=1e-6)) for update, row in rows.items()]
    losses = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert losses == [row["update"] for row in read_log(folder / "losses.csv")]
    assert run.data.metrics["final/persistence"] > 0
    listed = [Path(item.path).name for item in client.list_artifacts(run.info.run_id, "pictures")]
    assert sorted(listed) == picture_names(folder)

    (version,) = client.search_model_versions("name = 'ring-net'")
    assert version.run_id == run.info.run_id
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    fetched = Path(mlflow.artifacts.download_artifacts(f"models:/ring-net/{version.version}", dst_path=str(tmp_path)))
    names = [path.name for path in fetched.rglob("*") if path.is_file()]
    assert "emulator.safetensors" in names and not any(name.endswith((".pkl", ".pt", ".pth")) for name in names)
    digest = hashlib.sha256((fetched / "emulator.safetensors").read_bytes()).hexdigest()
    assert version.tags["sha256"] == digest
    assert digest == hashlib.sha256((folder / "emulator.safetensors").read_bytes()).hexdigest()
    data = tmp_path / "data" / "waves_valid.npy"
    assert forecast(fetched, data).equal(forecast(folder, data))


class Handler(http.server.BaseHTTPRequestHandler):
    """The few answers of a tracking server that one run asks for, until it dies after so many of them."""

    answers: ClassVar[int] = 0
    asked: ClassVar[list[str]] = []
    folder: ClassVar[str] = ""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        kind = type(self)
        kind.asked.append(self.path)
        if len(kind.asked) > kind.answers:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        info = {"run_id": "1", "run_uuid": "1", "experiment_id": "1", "artifact_uri": kind.folder}
        run = {"info": info, "data": {}}
        answer = {"experiment": {"experiment_id": "1", "name": "meshcast"}, "run": run, "runs": [], "metrics": []}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def dying_server(answers: int, folder: Path) -> Iterator[tuple[str, type[Handler]]]:
    """A server on this machine that answers so many requests, and cuts the line from then on."""
    kind = type("Dying", (Handler,), {"answers": answers, "asked": [], "folder": str(folder)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def trained_beside(config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, list[str]]:
    """The weights of a run beside a tracker that fails, and the lines about it."""
    for name, seconds in (("OPENS_WITHIN", 2.0), ("ENDS_WITHIN", 2.0)):
        monkeypatch.setattr(record, name, seconds)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    lines: list[str] = []
    begun = time.monotonic()
    fit(config, progress=False, notice=lines.append)
    assert time.monotonic() - begun < HUNG
    folder = Path(config.output) / config.name
    assert (folder / "done.json").is_file()
    assert [row["update"] for row in read_log(folder / "metrics.csv")] == [0, 8, 16, 24]
    return weights_of(folder), [line for line in lines if line.startswith("MLflow")]


def weights_of(folder: Path) -> bytes:
    """All weights of a run's emulator."""
    emulator = load_emulator(folder / "emulator.safetensors").emulator
    assert isinstance(emulator, NeuralEmulator)
    return b"".join(value.numpy().tobytes() for value in emulator.state_dict().values())


@pytest.mark.slow
def test_no_outage_of_a_server_stops_or_changes_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason=ABSENT)
    fit(experiment(tmp_path, name="alone"), progress=False)
    alone = weights_of(tmp_path / "alone")
    again = "of this run. Started again with resume=auto, the run brings it there."

    found, lines = trained_beside(tracked(tmp_path, nobody(), name="nobody"), monkeypatch)
    assert found == alone and len(lines) == 2
    assert "Connection refused" in lines[0] or "Max retries" in lines[0]
    assert lines[1] == f"MLflow lacks everything {again}"

    with silent_server() as address:
        found, lines = trained_beside(tracked(tmp_path, address, name="silent"), monkeypatch)
    assert found == alone and lines[-1] == f"MLflow lacks everything {again}"

    with dying_server(20, tmp_path / "artifacts") as (address, server):
        found, lines = trained_beside(tracked(tmp_path, address, name="dying"), monkeypatch)
    assert found == alone and len(server.asked) > 20
    assert lines[0].startswith("MLflow fails: ") and lines[-1].startswith("MLflow lacks ")


@pytest.mark.slow
def test_what_a_server_missed_is_brought_to_it_once_the_run_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason=ABSENT)
    config = tracked(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_tracker, "client_of", _unreachable)
        lines: list[str] = []
        fit(config, progress=False, notice=lines.append)
        assert [line.split(".")[0] for line in lines if line.startswith("MLflow")] == [
            "MLflow fails: no route to host",
            "MLflow lacks everything of this run",
        ]
    fit(config, progress=False, resume="auto")
    client, number = client_of("local", tmp_path, "meshcast")
    (run,) = client.search_runs([number])
    history = client.get_metric_history(run.info.run_id, "validation_score")
    assert [metric.step for metric in history] == [0, 8, 16, 24] and run.info.status == "FINISHED"
    assert len(client.search_model_versions("name = 'ring-net'")) == 1


def _unreachable(*args: Any) -> Any:
    raise ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"mlflow": "mlruns"}, "is off, local, or the address .*'mlruns'.*Folders as stores"),
        ({"mlflow": "file:///mlruns"}, "Folders as stores"),
        ({"mlflow": "https://me:secret@example.org"}, "holds a password.*MLFLOW_TRACKING_PASSWORD"),
        ({"registered_model": "net"}, "tracking.mlflow is off"),
        ({"mlflow": "local", "registered_model": "a/b"}, "a name without / and :"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(MeshcastError, match=reason) as refusal:
        TrackingConfig(**settings)
    assert "secret" not in str(refusal.value)
