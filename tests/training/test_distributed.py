"""Two processes train one network: together they take the updates that one process with their whole batch takes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.build import load_emulator
from emulator.foundation.configuration import dump
from emulator.protocol import rollout
from graphs.errors import MeshcastError
from tests.emulator.worlds import starting_from
from tests.time_limits import HUNG
from tests.training.worlds import experiment
from training.metrics_log import read_log
from training.optimisation.gradient_descent import WindowData
from training.preparation.prepared import prepare, windows_of
from training.run_folder import is_first_process
from training.runs.fit import fit

ROOT = Path(__file__).parents[2]


def meshcast(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line, in processes of its own."""
    return subprocess.run(
        [sys.executable, "-m", "meshcast", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HUNG,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_two_processes_train_validate_each_start_once_and_write_one_checkpoint(tmp_path: Path) -> None:
    # Three validation starts on two processes: padded to four, one would count twice.
    alone = experiment(tmp_path, name="alone", training={"updates": 10, "batch_size": 4})
    fit(alone, progress=False)
    pair = experiment(tmp_path, name="pair", training={"updates": 10, "batch_size": 2, "devices": 2, "strategy": "ddp"})
    dump(pair, tmp_path / "pair.yaml")
    done = meshcast("train", tmp_path / "pair.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr.count("emulator.safetensors") == 1

    left = {path.name for path in (tmp_path / "pair").iterdir()}
    files = {"config.yaml", "metrics.csv", "losses.csv", "last.ckpt", "emulator.safetensors", "done.json"}
    assert left == files | {"closed_forms.json", "data.json", "energy.json", "methods.md", "references.bib"}
    one, two = (read_log(tmp_path / name / "metrics.csv") for name in ("alone", "pair"))
    assert [row["update"] for row in two] == [row["update"] for row in one] == [0, 8, 10]
    np.testing.assert_allclose(
        [row["validation_score"] for row in two], [row["validation_score"] for row in one], rtol=1e-5
    )
    # The mean of the two processes' gradients is the gradient of the whole batch.
    first, second = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in ("alone", "pair")
    )
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-5)

    emulator = load_emulator(tmp_path / "pair" / "emulator.safetensors").emulator
    prepared = prepare(alone)
    state = starting_from(prepared.validation, prepared.task, [0])  # type: ignore[arg-type]
    states = [following for following, _ in rollout(emulator, state, prepared.validation_forcings, 5)]
    assert torch.isfinite(states[-1].values).all()


@pytest.mark.parametrize("further", [{"RANK": "1"}, {"LOCAL_RANK": "1"}, {"NODE_RANK": "1"}, {"SLURM_PROCID": "2"}])
def test_only_the_first_of_all_processes_writes(monkeypatch: pytest.MonkeyPatch, further: dict[str, str]) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "0")
    assert is_first_process()
    for name, value in further.items():
        monkeypatch.setenv(name, value)
    assert not is_first_process()


def test_more_processes_than_validation_starts_are_refused(tmp_path: Path) -> None:
    config = experiment(tmp_path, validation={"cases": 1})
    windows, starts = windows_of(prepare(config))
    data = WindowData(windows, starts, config.training, start=0)
    data._rank = lambda: (1, 2)  # type: ignore[method-assign]
    with pytest.raises(MeshcastError, match=r"2 processes validate on 1 starts.*Set validation\.cases to 2"):
        data.val_dataloader()


def test_what_each_process_takes_is_its_share(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"batch_size": 2})
    windows, starts = windows_of(prepare(config))
    taken = []
    for rank in range(2):
        data = WindowData(windows, starts, replace(config.training), start=0)
        data._rank = lambda rank=rank: (rank, 2)  # type: ignore[method-assign]
        taken.append([int(time) for batch in data.val_dataloader() for time in batch["valid_time"]])
    assert len(taken[0]) == 2 and len(taken[1]) == 1
    assert sorted(taken[0] + taken[1]) == sorted(int(starts[index]["valid_time"]) for index in range(3))
