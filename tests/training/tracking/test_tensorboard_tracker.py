"""TensorBoard's event files, read back by TensorBoard's own reader."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.training.tracking.trackers import crash, picture_names
from tests.training.worlds import experiment
from training.accounting import TrackingConfig
from training.json_file import read_json, write_json
from training.metrics_log import read_log
from training.runs.fit import fit

pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'meshcast[tracking]'")


def events(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What TensorBoard finds in a folder, all of it. Without TensorFlow, whose import takes seconds."""
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def test_a_run_that_crashed_and_went_on_is_one_history_read_by_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(experiment(tmp_path), tracking=TrackingConfig(tensorboard=True))
    folder = tmp_path / "run"
    crash(config, 13, monkeypatch)
    # As after a kill between an event and the note of it: the events of update 8 are then written again.
    noted = read_json(folder / "tracking.json", "")
    assert noted["tensorboard_update"] == 8
    write_json(folder / "tracking.json", {**noted, "tensorboard_update": 5})
    fit(config, progress=False, resume="auto")

    found = events(folder, monkeypatch)
    rows = {int(row["update"]): row for row in read_log(folder / "metrics.csv")}
    for name in ("validation_score", "validation_loss", "learning_rate"):
        read = {event.step: event.value for event in found.Scalars(name)}
        assert list(read) == [0, 8, 16, 24] and len(found.Scalars(name)) == 4
        assert read == pytest.approx({update: row[name] for update, row in rows.items()}, rel=1e-6)
    losses = [(event.step, event.value) for event in found.Scalars("loss")]
    assert [step for step, _ in losses] == [row["update"] for row in read_log(folder / "losses.csv")]
    pictures = found.Images("forecast")
    assert [event.step for event in pictures] == [0, 8, 16, 24]
    for event, name in zip(pictures, picture_names(folder), strict=True):
        assert event.encoded_image_string == (folder / "pictures" / name).read_bytes()
    texts = {tag: found.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in found.Tags()["tensors"]}
    assert json.loads(texts["config/text_summary"])["training"]["updates"] == 24
    digest = hashlib.sha256((folder / "emulator.safetensors").read_bytes()).hexdigest()
    assert json.loads(texts["model/text_summary"]) == {"file": "emulator.safetensors", "sha256": digest}
    (final,) = found.Scalars("final/validation_score")
    assert final.value == pytest.approx(min(row["validation_score"] for row in rows.values()), rel=1e-6)


def test_a_folder_that_cannot_be_written_is_said_once_and_filled_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(experiment(tmp_path), tracking=TrackingConfig(tensorboard=True))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tensorboard").write_text("a file where the folder belongs")
    lines: list[str] = []
    trained = fit(config, progress=False, notice=lines.append)
    said = [line for line in lines if line.startswith("TensorBoard")]
    assert trained.metadata["update"] > 0 and len(said) == 2
    assert said[0].startswith("TensorBoard fails: [Errno 17] File exists")
    assert said[1].endswith("lacks everything of this run. Started again with resume=auto, the run brings it there.")
    (folder / "tensorboard").unlink()
    lines.clear()
    fit(config, progress=False, notice=lines.append, resume="auto")
    assert not lines
    found = events(folder, monkeypatch)
    assert [event.step for event in found.Scalars("validation_score")] == [0, 8, 16, 24]
    assert [event.step for event in found.Images("forecast")] == [0, 8, 16, 24]
