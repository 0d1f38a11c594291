"""Checkpoints to resume from: one flipped bit is noticed, and the checkpoint before it is there."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator import checkpoint
from emulator.build import load_emulator
from graphs.errors import MeshcastError
from tests.training.worlds import experiment
from training.experiment import ExperimentConfig
from training.json_file import write_json
from training.optimisation.callbacks import KeepCheckpoints
from training.resumable import DIGEST, checkpoint_path, checkpoints_of, digest_of, new_checkpoint, read_checkpoint
from training.run_folder import Resume
from training.runs.fit import fit


class Killed(BaseException):
    pass


def killed_after(
    config: ExperimentConfig, update: int, monkeypatch: pytest.MonkeyPatch, resume: Resume = "never"
) -> Path:
    """The folder of a run that ended once its checkpoint of an update was written."""
    keep = KeepCheckpoints.on_validation_end

    def keep_then_die(self: KeepCheckpoints, trainer: Any, module: Any) -> None:
        keep(self, trainer, module)
        if trainer.global_step == update:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(KeepCheckpoints, "on_validation_end", keep_then_die)
        fit(config, resume=resume, progress=False)
    return Path(config.output) / config.name


def flipped(path: Path, place: int, bit: int = 0) -> bytes:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    return bytes(content)


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder / "last.ckpt")["state_dict"])


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = experiment(tmp_path, name="whole")
    fit(config, progress=False)
    assert [path.name for path in checkpoints_of(tmp_path / "whole")] == ["last.ckpt"]  # a finished run needs no other
    folder = killed_after(replace(config, name="damaged"), 16, monkeypatch)
    assert [path.name for path in checkpoints_of(folder)] == ["last.ckpt", "last-1.ckpt"]
    last = folder / "last.ckpt"
    weight = next(iter(weights(folder).values()))
    last.write_bytes(flipped(last, last.read_bytes().index(weight.numpy().tobytes())))
    with caplog.at_level(logging.WARNING):
        fit(replace(config, name="damaged"), resume="auto", progress=False)
    assert "does not match its digest" in caplog.text and "goes on from last-1.ckpt, after update 8" in caplog.text
    assert same(weights(folder), weights(tmp_path / "whole"))
    kept, expected = (checkpoint.read(tmp_path / name / "emulator.safetensors")[0] for name in ("damaged", "whole"))
    assert same(kept, expected)


def test_where_every_checkpoint_is_damaged_the_run_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(tmp_path, training={"updates": 16})
    folder = killed_after(config, 16, monkeypatch)
    for path in checkpoints_of(folder):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        MeshcastError, match=r"(?s)last\.ckpt cannot be.*last-1\.ckpt cannot be.*to start the run again"
    ):
        fit(config, resume="auto", progress=False)
    emulator = folder / "emulator.safetensors"
    emulator.write_bytes(flipped(emulator, -3))
    with pytest.raises(MeshcastError, match=r"altered since.*The run cannot go on without its best emulator"):
        fit(config, resume="auto", progress=False)


def test_a_run_killed_at_its_last_word_leaves_no_earlier_checkpoint_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(tmp_path)

    def die(*given: Any) -> None:
        write_json(*given)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("training.run_folder.write_json", die)
        fit(config, progress=False)
    fit(config, resume="auto", progress=False)
    folder = Path(config.output) / config.name
    assert [path.name for path in checkpoints_of(folder)] == ["last.ckpt"] and (folder / "done.json").is_file()


def test_as_many_checkpoints_are_kept_as_asked_for_and_a_last_one_is_always_there(tmp_path: Path) -> None:
    for keep, expected in ((3, [5, 4, 3]), (1, [6]), (2, [7, 6])):
        for update in range(1, 6) if keep == 3 else [expected[0]]:
            with new_checkpoint(tmp_path, keep) as path:
                torch.save({"global_step": update}, path)
                before = [file.is_file() for file in (tmp_path / "last.ckpt",)]
        found = [read_checkpoint(path)["global_step"] for path in checkpoints_of(tmp_path)]
        assert found == expected and (before == [True] or update == 1)
    with pytest.raises(MeshcastError, match="checkpoints must be at least 1"):
        experiment(tmp_path, training={"checkpoints": 0})


def test_no_flipped_bit_of_a_checkpoint_changes_what_is_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    content = {
        "global_step": 3,
        "state_dict": {"w": torch.from_numpy(random.normal(size=(8, 8))), "n": torch.tensor(2)},
        "best": 0.25,
        "loops": [{"ready": 1, "name": "fit"}, (1, None, True)],
    }
    path = checkpoint_path(tmp_path)
    torch.save({**content, DIGEST: digest_of(content)}, path)
    whole, refused = path.read_bytes(), 0
    damaged = tmp_path / "damaged.ckpt"
    for place in random.choice(len(whole), 400, replace=False).tolist():
        damaged.write_bytes(flipped(path, place, place % 8))
        try:
            read = read_checkpoint(damaged)
        except MeshcastError:
            refused += 1
        else:
            assert digest_of(read) == digest_of(content)
    assert refused > 200


def test_no_flipped_bit_of_an_emulator_changes_what_is_read(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 1})
    fit(config, progress=False)
    path = tmp_path / "run" / "emulator.safetensors"
    arrays, metadata = checkpoint.read(path)
    random = np.random.default_rng(1)
    damaged, size = tmp_path / "damaged.safetensors", len(path.read_bytes())
    for place in (*range(0, 64, 3), *random.choice(size, 200, replace=False).tolist()):
        damaged.write_bytes(flipped(path, place, place % 8))
        try:
            found, described = checkpoint.read(damaged)
        except MeshcastError:
            continue
        assert same(found, arrays) and described == metadata
    load_emulator(path)
