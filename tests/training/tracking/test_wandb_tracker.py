"""Weights & Biases: an offline Weights & Biases run, read back with wandb's own records."""

from __future__ import annotations

import base64
import getpass
import hashlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from emulator.build import load_emulator, package_versions
from emulator.data.forcing_sources import forcings_of
from emulator.foundation.configuration import resolve
from emulator.networks.keras_networks.keras_models import KerasCNNConfig
from graphs.errors import MeshcastError
from tests.emulator.worlds import WEATHER, fitted, weather_fields
from tests.time_limits import HUNG
from tests.training.tracking.trackers import crash, picture_names
from tests.training.worlds import experiment
from training.accounting import TrackingConfig
from training.experiment import ExperimentConfig
from training.metrics_log import read_log
from training.optimisation.forecast_picture import draw, first_forecast
from training.preparation.windows import Windows
from training.runs.fit import fit
from training.tracking import wandb_tracker

wandb = pytest.importorskip("wandb")
ROOT = Path(__file__).parents[3]


@dataclass
class TrackedRun:
    """What one .wandb file says."""

    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def records(path: Path) -> Iterator[Any]:
    """wandb's protocol buffers out of its LevelDB log: blocks of 32 KiB, pieces headed by checksum, length and type."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(content):
        room = 32_768 - place % 32_768
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a full record, or the last piece of one
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def read_back(path: Path) -> TrackedRun:
    """The run, once wandb's own process has written the end of it, shortly after `finish` returns."""
    for _ in range(10 * HUNG):
        run = _read(path)
        if run.exit_code is not None:
            break
        time.sleep(0.1)
    return run


def _read(path: Path) -> TrackedRun:
    run = TrackedRun()
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                run.name = record.run.display_name
                run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            case "history":
                items = {"/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                run.history.append(items)
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def tracked(folder: Path, **settings: Any) -> ExperimentConfig:
    """A tiny experiment, tracked in files."""
    return replace(experiment(folder, **settings), tracking=TrackingConfig(wandb="offline", project="tests"))


def steps_of(run: TrackedRun, name: str) -> list[int]:
    """The updates at which a run has a value of this name."""
    return [row["_step"] for row in run.history if name in row]


def test_an_offline_run_resumed_is_one_record_with_all_of_its_history_pictures_scores_and_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = tracked(tmp_path), tmp_path / "run"
    crash(config, 13, monkeypatch)
    (first,) = folder.glob("wandb/offline-run-*/*.wandb")
    broken = read_back(first)
    assert broken.exit_code == 1 and steps_of(broken, "validation_score") == [0, 8]
    lines: list[str] = []
    fit(config, progress=False, resume="auto", notice=lines.append)
    assert not any("Weights" in line for line in lines)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert path.stem == first.stem and not first.exists()  # the same identifier, in one store
    run = read_back(path)

    assert run.name == "run" and run.exit_code == 0
    assert run.config["training"] == resolve(config)["training"]
    assert run.config["emulator"]["kind"] == "gnn"
    facts = run.config["meshcast"]
    assert len(facts["hash"]) == 16 and facts["versions"] == package_versions()
    assert facts["data"]["train"] == load_emulator(folder / "emulator.safetensors").metadata["dataset"]["fingerprint"]

    rows = {int(row["update"]): row for row in read_log(folder / "metrics.csv")}
    scores = {row["_step"]: row for row in run.history if "validation_score" in row}
    assert list(scores) == [0, 8, 16, 24] == list(rows)
    for update, row in scores.items():
        for name in ("validation_score", "validation_loss", "learning_rate", "epoch"):
            assert row[name] == pytest.approx(rows[update][name], rel=1e-6)
    losses = {row["_step"]: row["loss"] for row in run.history if "loss" in row}
    assert losses == pytest.approx({row["update"]: row["loss"] for row in read_log(folder / "losses.csv")}, rel=1e-6)
    assert [row["_step"] for row in run.history] == sorted({*rows, *losses})  # each update once

    pictures = [row for row in run.history if "forecast/_type" in row]
    assert [row["_step"] for row in pictures] == [0, 8, 16, 24]
    for row, drawn in zip(pictures, picture_names(folder), strict=True):
        picture = path.parent / "files" / row["forecast/path"]
        assert picture.read_bytes() == (folder / "pictures" / drawn).read_bytes()
        assert np.std(matplotlib.image.imread(picture)) > 0.01

    (artifact,) = (record.artifact for record in records(path) if record.WhichOneof("record_type") == "artifact")
    contents = {content.path: content for content in artifact.manifest.contents}
    model = contents["emulator.safetensors"]
    assert artifact.name == "emulator-run" and artifact.type == "model"
    kept = (folder / "emulator.safetensors").read_bytes()
    assert base64.b64decode(model.digest) == hashlib.md5(kept).digest() and Path(model.local_path).read_bytes() == kept
    summary = final_summary(path)
    best = min(row["validation_score"] for row in rows.values())
    assert summary["final/validation_score"] == pytest.approx(best, rel=1e-6)
    assert summary["final/persistence"] > 0 and "final/kwh" in summary


def test_nothing_of_the_machine_or_the_user_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_ENVIRONMENT", "swordfish")
    monkeypatch.setattr(sys, "argv", ["meshcast", "--password", "swordfish"])
    fit(tracked(tmp_path, training={"updates": 2}), progress=False)
    (store,) = (tmp_path / "run").glob("wandb/offline-run-*")
    read_back(next(store.glob("*.wandb")))
    names = {path.name for path in store.rglob("*") if path.is_file()}
    assert not {"wandb-metadata.json", "requirements.txt", "output.log", "diff.patch", "conda-environment.yaml"} & names
    content = next(store.glob("*.wandb")).read_bytes()
    for private in (b"swordfish", socket.gethostname().encode() + b'"', getpass.getuser().encode() + b'"'):
        assert private not in content
    kinds = {record.WhichOneof("record_type") for record in records(next(store.glob("*.wandb")))}
    assert not kinds & {"stats", "environment", "output", "output_raw"}


def test_the_next_run_in_one_process_has_a_record_of_its_own(tmp_path: Path) -> None:
    for name in ("first", "second"):
        fit(tracked(tmp_path, name=name, training={"updates": 2}), progress=False)
    for name in ("first", "second"):
        (path,) = (tmp_path / name).glob("wandb/offline-run-*/*.wandb")
        assert read_back(path).name == name
    assert wandb.run is None


def online(folder: Path) -> ExperimentConfig:
    return replace(experiment(folder), tracking=TrackingConfig(wandb="online"))


def test_a_run_online_without_a_login_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "login", lambda **options: False)
    with pytest.raises(MeshcastError, match=r"nobody is logged in.*tracking.wandb=offline"):
        fit(online(tmp_path), progress=False)
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_a_key_that_the_server_refuses_ends_a_new_run_and_not_one_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = wandb.init

    def refuse(**options: Any) -> Any:
        if options["mode"] == "online":
            raise wandb.errors.AuthenticationError("the key is not known\nand more")
        return begin(**options)

    monkeypatch.setattr(wandb, "init", refuse)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    monkeypatch.setattr(wandb_tracker, "refuse_unreachable", lambda: None)
    with pytest.raises(MeshcastError, match=r"refuses this run: the key is not known"):
        fit(online(tmp_path), progress=False)
    crash(replace(online(tmp_path), tracking=TrackingConfig()), 13, monkeypatch)
    lines: list[str] = []
    fit(online(tmp_path), progress=False, resume="auto", notice=lines.append)
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    assert steps_of(read_back(path), "validation_score") == [0, 8, 16, 24]
    said = [line for line in lines if line.startswith("Weights & Biases")]
    assert said == [
        "Weights & Biases cannot be reached: the key is not known. The run is recorded in files, for `wandb sync`.",
        f"Weights & Biases: Upload what is in {path.parent}: wandb sync {path.parent}",
    ]


def test_files_that_a_full_disk_cuts_short_are_named_and_earlier_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B itself says nothing: its file then ends in the middle of a record."""
    config, folder = tracked(tmp_path), tmp_path / "run"
    crash(config, 13, monkeypatch)
    (earlier,) = folder.glob("wandb/offline-run-*/*.wandb")
    monkeypatch.setattr(wandb_tracker, "WRITES_WITHIN", 0.1)
    whole = wandb_tracker.has_end
    monkeypatch.setattr(wandb_tracker, "has_end", lambda store: whole(_cut(store, tmp_path / "cut")))
    lines: list[str] = []
    fit(config, progress=False, resume="auto", notice=lines.append)
    said = [line for line in lines if line.startswith("Weights & Biases")]
    assert said[0].endswith("is cut short, as on a disk that is full.") and earlier.is_file()
    assert said[1:] == [
        "Weights & Biases lacks the end of this run. Started again with resume=auto, the run brings it there."
    ]
    monkeypatch.setattr(wandb_tracker, "has_end", whole)
    monkeypatch.setattr(wandb_tracker, "WRITES_WITHIN", HUNG)
    lines.clear()
    fit(config, progress=False, resume="auto", notice=lines.append)
    assert not lines
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert steps_of(read_back(path), "validation_score") == [0, 8, 16, 24]


def _cut(store: Path, copy: Path) -> Path:
    copy.write_bytes(store.read_bytes()[:-100])
    return copy


def test_without_tracking_nothing_is_recorded(tmp_path: Path) -> None:
    fit(experiment(tmp_path, training={"updates": 2}), progress=False)
    assert not {"wandb", "pictures", "tracking.json"} & {path.name for path in (tmp_path / "run").iterdir()}


def final_summary(path: Path) -> dict[str, Any]:
    """What a run says of itself at its end."""
    summaries = [record.summary for record in records(path) if record.WhichOneof("record_type") == "summary"]
    return {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for found in summaries
        for item in found.update
    }


def test_a_grid_is_drawn_as_maps_of_truth_forecast_and_error() -> None:
    fields = weather_fields()
    windows = Windows(fields, WEATHER, 3, forcings_of(WEATHER, fields.mesh, fields))
    emulator = fitted(WEATHER, fields)
    forecast = first_forecast(emulator, windows)
    assert forecast.values.shape == (1, 1, 3, fields.mesh.num_nodes, 2)
    assert forecast.init_time.tolist() == [fields.times[1]] and forecast.trajectory.tolist() == [-1]
    assert len(draw(emulator, windows).axes) >= 9  # three lead times, three panels


ONLINE = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.training.worlds import experiment
from training.accounting import TrackingConfig
from training.runs.fit import fit
config = replace(experiment(Path(sys.argv[1])), tracking=TrackingConfig(wandb="online"))
fit(config, progress=False, resume="auto", notice=lambda line: print(line, flush=True))
"""


class AnswersHalf(http.server.BaseHTTPRequestHandler):
    """A server that is there, and never answers a question."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_POST(self) -> None:
        time.sleep(60)  # longer than W&B waits

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("listens", [False, True])
def test_a_server_that_does_not_answer_leaves_the_whole_run_in_files(tmp_path: Path, listens: bool) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), AnswersHalf)
    if listens:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        server.server_close()
    address = {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": 40 * "a"}
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"} | address
    command = [sys.executable, "-c", ONLINE, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=4 * HUNG)
    if listens:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    run = read_back(path)
    assert run.exit_code == 0 and steps_of(run, "validation_score") == [0, 8, 16, 24]
    said = [line for line in done.stdout.splitlines() if line.startswith("Weights & Biases")]
    assert len(said) == 2 and "cannot be reached" in said[0] and said[1].endswith(f"wandb sync {path.parent}")


@pytest.mark.slow
def test_a_run_killed_and_resumed_twice_is_one_store_without_a_gap(tmp_path: Path) -> None:
    killed = ONLINE.replace('"online"', '"offline", tensorboard=True').replace(
        "config = ",
        "import os\nfrom training.optimisation.module import EmulatorModule\nstep = EmulatorModule.training_step\n"
        "def dying(module, *args):\n"
        "    os._exit(9) if module.global_step == int(sys.argv[2]) else None\n"
        "    return step(module, *args)\n"
        "EmulatorModule.training_step = dying\nconfig = ",
    )
    for update, code in ((10, 9), (19, 9), (-1, 0)):
        command = [sys.executable, "-c", killed, str(tmp_path), str(update)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=4 * HUNG)
        assert done.returncode == code, done.stderr
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    run = read_back(path)
    assert steps_of(run, "validation_score") == steps_of(run, "forecast/_type") == [0, 8, 16, 24]
    assert (
        len(steps_of(run, "loss")) == len(set(steps_of(run, "loss"))) == len(read_log(path.parents[2] / "losses.csv"))
    )


@pytest.mark.slow
def test_a_network_in_keras_is_tracked_as_any_other(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'meshcast[tensorflow]'")
    config = tracked(tmp_path, emulator=KerasCNNConfig(num_layers=1, width=4, kernel_size=3))
    fit(config, progress=False)
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    run = read_back(path)
    assert steps_of(run, "validation_score") == steps_of(run, "forecast/_type") == [0, 8, 16, 24]
    assert steps_of(run, "loss") == [row["update"] for row in read_log(tmp_path / "run" / "losses.csv")]
