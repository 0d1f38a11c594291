"""Processes that share a training: one decides, and where one is gone the others say which."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment

from graphs.errors import MeshcastError
from tests.training.ranks import on_ranks
from tests.training.worlds import experiment
from training import processes
from training.experiment import ExperimentConfig, TrainingConfig
from training.optimisation import checkpoint_files
from training.optimisation.gradient_descent import _plugins
from training.optimisation.module import EmulatorModule
from training.processes import decided, is_first_process, sharing, started_by
from training.run_folder import run_folder
from training.runs.fit import fit
from training.shares import BATCH_SIZE

ANSWER = timedelta(seconds=2)  # that a process has to answer, on a machine of these tests
FOUR = {"batch_size": BATCH_SIZE, "global_batch_size": 4}


def together(folder: Path, count: int, name: str = "run", nodes: int = 1, **training: Any) -> ExperimentConfig:
    """An experiment on several processes."""
    shared = {"devices": count // nodes, "num_nodes": nodes, "strategy": "ddp", **FOUR, **training}
    return experiment(folder, name=name, training=shared, validation={"cases": count})


def ended(config: ExperimentConfig, spoil: Callable[[int], None] = lambda rank: None) -> tuple[list[int], str]:
    """Exit codes and words of the processes of a training, each spoilt first in a way of its own."""

    def run(rank: int) -> int:
        processes.ANSWER = ANSWER
        spoil(rank)
        try:
            fit(config, resume="auto", progress=False, notice=print)
        except MeshcastError as error:
            print(f"Error: {error}")
            return error.exit_code
        return 0

    nodes = config.training.num_nodes
    return on_ranks(Path(config.output) / "logs", run, config.training.devices, nodes)


def at_update(update: int, what: Callable[[], Any]) -> None:
    """Have something happen in this process's training step after so many updates."""
    step = EmulatorModule.training_step

    def training_step(self: EmulatorModule, batch: Any, batch_index: int) -> torch.Tensor:
        if self.global_step == update:
            what()
        return step(self, batch, batch_index)

    EmulatorModule.training_step = training_step  # type: ignore[method-assign]


@pytest.mark.parametrize("lost", [0, 2])
def test_a_process_that_is_killed_is_named_by_all_others(tmp_path: Path, lost: int) -> None:
    # Two nodes: the process opposite to it in a ring hears of it last.
    config = together(tmp_path, 4, nodes=2)
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    codes, said = ended(config, lambda rank: at_update(9, kill) if rank == lost else None)
    assert codes == [-9 if rank == lost else 75 for rank in range(4)]
    assert said.count(f"Error: Process {lost} of 4 (") == 3 and said.count("resume=auto goes on from there") == 3
    codes, said = ended(config)
    assert codes == [0, 0, 0, 0] and (run_folder(config) / "done.json").is_file(), said


def test_a_fault_of_one_process_is_what_the_others_end_with(tmp_path: Path) -> None:
    def spoil(rank: int) -> None:
        def fail() -> None:
            raise MeshcastError("The disk of this node fails.")

        at_update(9, fail) if rank == 1 else None

    codes, said = ended(together(tmp_path, 2), spoil)
    assert codes == [2, 2]
    assert "1: Error: The disk of this node fails." in said and "has ended: The disk of this node fails." in said


def test_a_loss_that_is_not_finite_ends_all_processes_and_the_one_is_named(tmp_path: Path) -> None:
    loss = EmulatorModule.loss

    def failing(self: EmulatorModule, batch: Any) -> torch.Tensor:
        return loss(self, batch) * (float("nan") if self.global_step == 10 else 1.0)

    def spoil(rank: int) -> None:
        if rank == 1:
            EmulatorModule.loss = failing  # type: ignore[method-assign]

    codes, said = ended(together(tmp_path, 2), spoil)
    assert codes == [2, 2]
    assert "0: Error: The loss of update 11 is nan in process 1." in said
    assert "1: Error: The loss of update 11 is nan, on the samples from 1970-" in said


def test_a_disk_that_is_full_at_a_checkpoint_ends_all_processes_with_one_message(tmp_path: Path) -> None:
    def refuse(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def spoil(rank: int) -> None:
        checkpoint_files.write_checkpoint = refuse

    config = together(tmp_path, 2)
    codes, said = ended(config, spoil)
    assert codes == [2, 2] and said.count("Error: ") == 1
    assert "0: Error: No room left: the disk is full" in said and "last.ckpt was not written" in said
    assert not (run_folder(config) / "last.ckpt").exists() and not list(run_folder(config).glob("*.part"))


def test_what_the_first_process_refuses_ends_the_others_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    codes, said = ended(together(tmp_path, 2))
    assert codes == [2, 2] and said.count("Error: ") == 1 and "0: Error: " in said


def test_a_decision_reaches_all_processes(tmp_path: Path) -> None:
    config = together(tmp_path, 2)

    def run(rank: int) -> int:
        with sharing(config.training):
            found = [decided(lambda: {"rank": rank, "taken": [1, None]}), decided(lambda: rank)]
        return int(found != [{"rank": 0, "taken": [1, None]}, 0])

    assert on_ranks(tmp_path / "logs", run, 2)[0] == [0, 0]
    assert decided(lambda: "alone") == "alone"


@pytest.mark.parametrize(
    ("variables", "devices", "said"),
    [
        ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4"}, 2, "torchrun has started 4 processes.*are 2.*nproc-per-node"),
        ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}, 1, "torchrun has started 2 processes.*are 1"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "1"}, 2, "srun has started 1 process, .*are 2.*ntasks-per-node"),
        ({"SLURM_JOB_NAME": "bash", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}, 2, "named bash.*--job-name=NAME"),
        ({"LOCAL_RANK": "0"}, 2, "LOCAL_RANK is 0.*Start it by torchrun, or unset LOCAL_RANK"),
    ],
)
def test_other_processes_than_share_a_training_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], devices: int, said: str
) -> None:
    for name, value in ({"SLURM_PROCID": "0"} | variables).items():
        monkeypatch.setenv(name, value)
    config = experiment(tmp_path, training={"devices": devices, "strategy": "ddp"})
    with pytest.raises(MeshcastError, match=said):
        fit(config, progress=False)


def test_a_training_of_one_process_writes_whatever_number_a_scheduler_gave_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # srun --ntasks=4 over four seeds: each is a training of its own.
    for name, value in {"SLURM_PROCID": "3", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    assert started_by() == ("srun", 4) and not is_first_process() and is_first_process(1)
    fit(experiment(tmp_path, training={"updates": 2}), progress=False)
    assert (tmp_path / "run" / "done.json").is_file() and (tmp_path / "run" / "config.yaml").is_file()


def test_a_shell_in_a_job_is_no_process_that_srun_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert started_by() == ("", 1)  # a batch script: no step
    (*_, own) = _plugins(TrainingConfig(devices=2))
    assert isinstance(own, LightningEnvironment)  # which starts the second process itself
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert started_by() == ("srun", 2) and len(_plugins(TrainingConfig(devices=2))) == 1
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert started_by() == ("", 1)
