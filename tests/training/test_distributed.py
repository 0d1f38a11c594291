"""Two processes train one network: together they take the updates that one process with their whole batch takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator.build import load_emulator
from emulator.foundation.configuration import dump
from emulator.networks.gnn import GNNConfig
from emulator.protocol import rollout
from graphs.errors import MeshcastError
from tests.emulator.worlds import starting_from
from tests.time_limits import HUNG
from tests.torture.training_kills import outcome
from tests.training.jobs import PATIENCE, process_with, wait_for, world
from tests.training.ranks import free_port, on_ranks
from tests.training.worlds import TRAINING, experiment
from training.metrics_log import read_log
from training.optimisation.gradient_descent import WindowData
from training.preparation.prepared import prepare, windows_of
from training.processes import is_first_process
from training.resumable import read_checkpoint
from training.runs.fit import fit
from training.shares import BATCH_SIZE

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


SHARED = [("2 x 1", 2, 2), ("1 x 2", 1, 2), ("2 x 2", 2, 1)]  # processes x batch, processes, accumulated batches


@pytest.mark.parametrize(("name", "devices", "accumulate"), SHARED[:2])
def test_an_update_is_the_same_however_its_samples_are_shared(
    tmp_path: Path, name: str, devices: int, accumulate: int
) -> None:
    weights, score, loss = differences(tmp_path, devices, accumulate, updates=14, precision="64-true")
    assert weights < 1e-12 and score < 1e-9 and loss < 1e-7  # the logs have eight digits


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "most"), [("64-true", 1e-12), ("32-true", 1e-4)])
@pytest.mark.parametrize(("name", "devices", "accumulate"), SHARED)
def test_two_hundred_updates_of_the_default_network_are_the_same(
    tmp_path: Path, name: str, devices: int, accumulate: int, precision: str, most: float
) -> None:
    settings: dict[str, Any] = {"updates": 200, "precision": precision, "warm_up": 20}  # a descent that settles
    weights, *_ = differences(tmp_path, devices, accumulate, every=50, emulator=GNNConfig(), **settings)
    assert weights < most


def differences(
    folder: Path, devices: int, accumulate: int, every: int = 8, emulator: GNNConfig | None = None, **training: Any
) -> tuple[float, float, float]:
    """How far weights, validation scores and losses are, relatively, from those of one process and batch."""
    training |= {"batch_size": BATCH_SIZE, "global_batch_size": 4}
    world: dict[str, Any] = {"emulator": emulator, "validation": {"every": every}}
    alone = experiment(folder, name="alone", training=training, **world)
    shared = {"devices": devices, "accumulate": accumulate, "strategy": "ddp" if devices > 1 else "auto"}
    together = experiment(folder, name="together", training=training | shared, **world)
    fit(alone, progress=False)
    if devices > 1:
        codes, said = on_ranks(folder / "logs", lambda rank: fit(together, progress=False) and None, devices)
        assert not any(codes), said
    else:
        fit(together, progress=False)
    one, two = (read_checkpoint(folder / name / "last.ckpt")["state_dict"] for name in ("alone", "together"))
    pairs = [(one[name], two[name]) for name in one if one[name].is_floating_point() and one[name].numel()]
    assert {value.dtype for pair in pairs for value in pair} == {getattr(torch, f"float{training['precision'][:2]}")}
    weights = max(float((first - second).abs().max() / first.abs().max().clamp_min(1e-30)) for first, second in pairs)
    scores, losses = (
        [[row[column] for row in read_log(folder / name / file)[first:]] for name in ("alone", "together")]
        for file, column, first in (("metrics.csv", "validation_score", 0), ("losses.csv", "loss", 0))
    )
    assert len(losses[0]) == len(losses[1])
    kept = [load_emulator(folder / name / "emulator.safetensors").metadata for name in ("alone", "together")]
    for pair, metadata in zip(scores, kept, strict=True):
        pair.append(metadata["validation_score"])  # of the best, to all digits
    relative = [np.max(np.abs(np.subtract(*pair)) / np.abs(pair[0])) for pair in (scores, losses)]
    return weights, float(relative[0]), float(relative[1])


@pytest.mark.slow
def test_two_torchruns_start_again_where_a_process_is_killed_and_come_to_the_same_weights(tmp_path: Path) -> None:
    config, plugin = world(tmp_path, 0.1, num_nodes=2, strategy="ddp", updates=150)
    codes, said = on_ranks(tmp_path / "logs", lambda rank: fit(config, progress=False) and None, 1, nodes=2)
    assert codes == [0, 0], said
    name = f"two-{os.getpid()}"
    variables = {
        "NODES": "2",
        "DEVICES": "1",
        "HOST": f"127.0.0.1:{free_port()}",
        "NAME": name,
        "PYTHONPATH": str(ROOT),
    }
    bin_folder = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1", "PATH": bin_folder, "GLOO_SOCKET_IFNAME": "lo"}
    command = ["bash", ROOT / "configs/launch/torchrun.sh", "job.yaml", f"--plugin={plugin}"]
    with (tmp_path / "said.txt").open("wb") as log:
        agents = [subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log) for _ in range(2)]
        wait_for(tmp_path / "job", 50)
        os.kill(process_with(TORCHELASTIC_RUN_ID=name, RANK="1"), signal.SIGKILL)
        assert [agent.wait(PATIENCE) for agent in agents] == [0, 0], (tmp_path / "said.txt").read_text()
    assert "Process 1 of 2 (" in (tmp_path / "said.txt").read_text()
    assert outcome(tmp_path / "job") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"global_batch_size": 8}, r"global_batch_size is 8, but training\.batch_size.*given too: 4"),
        (
            {"batch_size": BATCH_SIZE, "global_batch_size": 10, "devices": 2, "accumulate": 2},
            r"of 10 does not divide among 4 batches: training\.devices of 2 .*accumulate of 2\. Set it to 8 or 12",
        ),
        (
            {"batch_size": BATCH_SIZE, "global_batch_size": 2, "num_nodes": 4},
            r"of 2 does not divide among 4 batches.*num_nodes of 4.*Set it to 4 or 4|Set it to 4",
        ),
    ],
)
def test_a_global_batch_that_cannot_be_is_refused_with_those_that_can(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(MeshcastError, match=said):
        replace(TRAINING, **setting)


def test_the_batch_of_a_process_follows_the_global_one_and_a_line_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    shared = {"batch_size": BATCH_SIZE, "global_batch_size": 4, "accumulate": 2, "updates": 2}
    fit(experiment(tmp_path, training=shared), progress=False, notice=said.append)
    assert "An update takes 4 samples: 1 process x 2 batches x 2 samples." in said
    assert read_log(tmp_path / "run" / "metrics.csv")[-1]["epoch"] == pytest.approx(2 * 4 / 44)


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
