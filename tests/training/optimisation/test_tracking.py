"""Tracking: an offline Weights & Biases run, read back with wandb's own records."""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from emulator.data.forcing_sources import forcings_of
from emulator.foundation.configuration import resolve
from graphs.errors import MeshcastError
from tests.emulator.worlds import WEATHER, fitted, weather_fields
from tests.time_limits import HUNG
from tests.training.worlds import experiment
from training.accounting import TrackingConfig
from training.experiment import TrainingConfig, ValidationConfig
from training.metrics_log import read_log
from training.optimisation.callbacks import draw, first_forecast
from training.optimisation.module import EmulatorModule
from training.preparation.windows import Windows
from training.runs.fit import fit

wandb = pytest.importorskip("wandb")


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


def test_an_offline_run_holds_configuration_metrics_and_pictures(tmp_path: Path) -> None:
    config = replace(experiment(tmp_path), tracking=TrackingConfig(wandb="offline", project="tests"))
    fit(config, progress=False)
    folder = tmp_path / "run"
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    run = read_back(path)

    assert run.name == "run" and run.exit_code == 0
    assert run.config["training"] == resolve(config)["training"]
    assert run.config["emulator"]["kind"] == "gnn"

    rows = {row["update"]: row for row in read_log(folder / "metrics.csv")}
    scores = {row["trainer/global_step"]: row for row in run.history if "validation_score" in row}
    assert list(scores) == [0, 8, 16, 24] == list(rows)
    for update, row in scores.items():
        for name in ("validation_score", "learning_rate"):
            assert row[name] == pytest.approx(rows[update][name], rel=1e-6)
    assert any("loss" in row for row in run.history)

    pictures = [row for row in run.history if "forecast/_type" in row]
    assert [row["trainer/global_step"] for row in pictures] == [0, 8, 16, 24]
    for row in pictures:
        (name,) = row["forecast/filenames"]
        picture = path.parent / "files" / name
        assert hashlib.sha256(picture.read_bytes()).hexdigest()[:20] == picture.stem.split("_")[-1]
        assert np.std(matplotlib.image.imread(picture)) > 0.01


def test_the_next_run_in_one_process_has_a_record_of_its_own(tmp_path: Path) -> None:
    for name in ("first", "second"):
        config = experiment(tmp_path, name=name, training={"updates": 2})
        fit(replace(config, tracking=TrackingConfig(wandb="offline")), progress=False)
    for name in ("first", "second"):
        (path,) = (tmp_path / name).glob("wandb/offline-run-*/*.wandb")
        assert read_back(path).name == name


def test_a_failed_run_is_recorded_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("the machine fails")

    monkeypatch.setattr(EmulatorModule, "training_step", fail)
    config = replace(experiment(tmp_path), tracking=TrackingConfig(wandb="offline"))
    with pytest.raises(RuntimeError, match="the machine fails"):
        fit(config, progress=False)
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    assert read_back(path).exit_code == 1
    assert wandb.run is None


def test_what_cannot_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: Any) -> None:
        raise wandb.errors.UsageError("api_key not configured")

    monkeypatch.setattr(wandb, "init", refuse)
    config = replace(experiment(tmp_path), tracking=TrackingConfig(wandb="online"))
    with pytest.raises(MeshcastError, match=r"api_key not configured.*tracking.wandb=offline"):
        fit(config, progress=False)


def test_without_tracking_nothing_is_recorded(tmp_path: Path) -> None:
    fit(experiment(tmp_path, training={"updates": 2}), progress=False)
    assert not list((tmp_path / "run").glob("wandb*"))


def test_a_grid_is_drawn_as_maps_of_truth_forecast_and_error() -> None:
    fields = weather_fields()
    windows = Windows(fields, WEATHER, 3, forcings_of(WEATHER, fields.mesh, fields))
    module = EmulatorModule(fitted(WEATHER, fields), windows, windows, TrainingConfig(), ValidationConfig())
    forecast = first_forecast(module)
    assert forecast.values.shape == (1, 1, 3, fields.mesh.num_nodes, 2)
    assert forecast.init_time.tolist() == [fields.times[1]] and forecast.trajectory.tolist() == [-1]
    assert len(draw(module).axes) >= 9  # three lead times, three panels
