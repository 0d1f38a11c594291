"""The launch files: they can be read, and pass on what a training needs to go on."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from emulator.foundation.configuration import load
from meshcast.commands.configs import shipped_config, shipped_configs
from training.experiment import ExperimentConfig

LAUNCH = Path(__file__).parents[2] / "configs/launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
IN_A_JOB = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "seeds", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS_PER_NODE": "4", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "DEVICES": "4", "NODES": "2",
}  # fmt: skip


def started(script: Path, folder: Path, code: int, **variables: str) -> tuple[int, dict[str, str]]:
    """The exit code of a launch file, and the words of each command that it called in place of the real ones."""
    for name in ("srun", "scontrol", "torchrun", "sleep"):
        command = folder / name
        command.write_text(f'#!/bin/sh\necho "$@" >> {folder}/{name}.said\nexit {code if name != "scontrol" else 0}\n')
        command.chmod(0o755)
    environment = {**IN_A_JOB, **variables, "PATH": f"{folder}:{os.environ['PATH']}"}
    arguments = ["bash", str(script), "shallow-water", "training.updates=9"]
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    return ended.returncode, {path.stem: path.read_text() for path in folder.glob("*.said")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_launch_file_starts_a_training_that_goes_on(script: Path, tmp_path: Path) -> None:
    code, said = started(script, tmp_path, code=2)
    assert code == 2 and "scontrol" not in said  # a mistake is not repeated
    words = " ".join(said.values())
    assert "meshcast train shallow-water training.updates=9 resume=auto" in words
    overrides = [word for word in words.split() if re.fullmatch(r"(training\.)?[a-z_]+=\S+", word)]
    config = load(ExperimentConfig, shipped_config("shallow-water"), [w for w in overrides if w[:6] != "resume"])
    processes = (1, 1) if "array" in script.name else (4, 2)
    assert (config.training.devices, config.training.num_nodes) == processes and config.training.updates == 9


@pytest.mark.parametrize("script", [path for path in SCRIPTS if "slurm" in path.name], ids=lambda path: path.name)
@pytest.mark.parametrize("code", [75, 129, 137, 138, 143])
def test_what_another_start_goes_on_from_is_queued_again_but_not_for_ever(
    script: Path, tmp_path: Path, code: int
) -> None:
    for folder, restarts in (("first", "0"), ("last", "50")):
        (tmp_path / folder).mkdir()
        ended, said = started(script, tmp_path / folder, code, SLURM_RESTART_COUNT=restarts)
        assert ended == code and ("scontrol" in said) == (folder == "first")
    assert "requeue 7" in (tmp_path / "first" / "scontrol.said").read_text()


def test_the_job_of_kubernetes_is_of_one_form_for_all_its_pods() -> None:
    job = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
    master, worker = (job["spec"]["pytorchReplicaSpecs"][name] for name in ("Master", "Worker"))
    assert job["kind"] == "PyTorchJob" and master["template"] == worker["template"]
    command = master["template"]["spec"]["containers"][0]["command"][-1]
    assert f"--nnodes={master['replicas'] + worker['replicas']} " in command and "resume=auto" in command
    overrides = re.findall(r"\b(?:training\.)\w+=\S+", command)
    assert load(ExperimentConfig, shipped_config("shallow-water"), overrides).training.process_batch == 8


def test_launch_files_are_no_experiments() -> None:
    assert not any("launch" in str(path) or name == "kubernetes" for name, path in shipped_configs().items())
