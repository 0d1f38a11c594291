"""Jobs of a real Slurm, ended and queued again, come to the weights of a training that nobody ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture.training_kills import outcome
from tests.training.jobs import PATIENCE, ROOT, process_with, wait_for, world
from tests.training.ranks import on_ranks
from tests.training.slurm_cluster import missing, run, slurm
from training.runs.fit import fit

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "Slurm is there")]

LAUNCH = ROOT / "configs/launch"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("slurm")
    command = folder / "meshcast"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m meshcast "$@"\n')
    command.chmod(0o755)
    with slurm(folder) as environment:
        here = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        yield environment | here | {"MESHCAST": str(command)}


def ended(job: str, environment: dict[str, str], log: Path) -> str:
    """The state in which a job leaves the queue."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        said = run(["scontrol", "show", "job", job], environment)
        states = {word.removeprefix("JobState=") for word in said.split() if word.startswith("JobState=")}
        if states <= {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}:
            return ", ".join(sorted(states))
        time.sleep(0.5)
    raise TimeoutError(f"{said}\n{log.read_text() if log.exists() else ''}")


def test_a_job_of_two_nodes_ended_by_its_limit_by_scancel_and_by_a_kill_equals_one_that_was_not(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    config, plugin = world(tmp_path, 0.15, num_nodes=2, strategy="ddp")
    codes, said = on_ranks(tmp_path / "logs", lambda rank: fit(config, progress=False) and None, 1, nodes=2)
    assert codes == [0, 0], said
    folder, log = tmp_path / "job", tmp_path / "job.log"
    # 300 updates of .15 s take three quarters of a minute: Slurm sends USR1 to the tasks before they are over.
    options = ["--parsable", "--ntasks-per-node=1", "--gpus-per-node=0", "--cpus-per-task=1", f"--output={log}",
               f"--chdir={tmp_path}", "--time=1", "--signal=USR1@35"]  # fmt: skip
    start = ["sbatch", *options, LAUNCH / "slurm.sh", "job.yaml", f"--plugin={plugin}"]
    job = run(start, cluster).strip()
    wait_for(folder, 20)
    run(["scancel", job], cluster)
    assert ended(job, cluster, log) == "CANCELLED"
    job = run(start, cluster).strip()
    assert ended(job, cluster, log) == "COMPLETED", log.read_text()
    text = log.read_text()
    assert "Ended by SIGUSR1; " in text and "the job is queued again" in text and "start 2 on n[1-2]" in text, text
    assert outcome(folder) == outcome(tmp_path / "whole")


def test_a_task_that_is_killed_is_named_and_the_job_queued_again(cluster: dict[str, str], tmp_path: Path) -> None:
    _, plugin = world(tmp_path, 0.1, num_nodes=2, strategy="ddp", updates=150)
    log = tmp_path / "job.log"
    options = ["--parsable", "--ntasks-per-node=1", "--gpus-per-node=0", "--cpus-per-task=1", f"--output={log}",
               f"--chdir={tmp_path}", "--time=10"]  # fmt: skip
    job = run(["sbatch", *options, LAUNCH / "slurm.sh", "job.yaml", f"--plugin={plugin}"], cluster).strip()
    wait_for(tmp_path / "job", 50)
    os.kill(process_with(SLURM_JOB_ID=job, SLURM_PROCID="1", SLURM_STEP_ID="0"), signal.SIGKILL)
    assert ended(job, cluster, log) == "COMPLETED", log.read_text()
    assert "is gone. What was learned" in log.read_text() and "queued again" in log.read_text()


def test_an_array_is_a_training_for_each_seed(cluster: dict[str, str], tmp_path: Path) -> None:
    config, plugin = world(tmp_path, 0.0, updates=50)
    options = ["--parsable", "--gpus=0", "--cpus-per-task=1", f"--chdir={tmp_path}", "--array=0-1",
               f"--output={tmp_path}/%a.log"]  # fmt: skip
    start = ["sbatch", *options, LAUNCH / "slurm-array.sh", "job.yaml", f"--plugin={plugin}"]
    job = run(start, cluster | {"NAME": "job"}).strip()
    assert ended(job, cluster, tmp_path / "0.log") == "COMPLETED", (tmp_path / "0.log").read_text()
    for seed in range(2):
        alone = replace(config, name=f"seed{seed}", training=replace(config.training, seed=seed))
        fit(alone, progress=False)
        assert outcome(tmp_path / f"job-seed{seed}") == outcome(tmp_path / f"seed{seed}")
