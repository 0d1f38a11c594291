"""Trainings on GPUs: one, two processes that share it, and two with NCCL between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.ranks import on_ranks
from tests.training.worlds import experiment
from training.metrics_log import read_log
from training.resumable import read_checkpoint
from training.runs.fit import fit
from training.shares import BATCH_SIZE

COMMAND = "python -m pytest tests/training/test_gpu_training.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason=f"there is no GPU here; on a machine with one, run {COMMAND}"
    ),
]


def trained(folder: Path, name: str, per_node: int = 1, nodes: int = 1, **training: Any) -> dict[str, torch.Tensor]:
    """Weights of a training in processes of its own: CUDA cannot be used in a fork of a process that has used it."""
    several = {"devices": per_node, "num_nodes": nodes, "strategy": "ddp"} if per_node * nodes > 1 else {}
    shared = {"batch_size": BATCH_SIZE, "global_batch_size": 4, "accelerator": "gpu", **several, **training}
    config = experiment(folder, name=name, training=shared)
    codes, said = on_ranks(folder / f"{name}-logs", lambda rank: fit(config, progress=False) and None, per_node, nodes)
    assert not any(codes), said
    return dict(read_checkpoint(folder / name / "last.ckpt")["state_dict"])


def test_two_processes_on_one_gpu_equal_one(tmp_path: Path) -> None:
    one = trained(tmp_path, "one", precision="64-true")
    two = trained(tmp_path, "two", nodes=2, precision="64-true", backend="gloo")  # each node's first GPU: the same
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-10, atol=1e-10)


def test_a_gpu_learns_as_the_cpu_does_in_single_and_half_precision(tmp_path: Path) -> None:
    scores = {}
    for name, settings in {
        "cpu": {"accelerator": "cpu"}, "gpu": {}, "half": {"precision": "bf16-mixed"},
    }.items():  # fmt: skip
        trained(tmp_path, name, **settings)
        scores[name] = read_log(tmp_path / name / "metrics.csv")[-1]["validation_score"]
    assert scores["gpu"] == pytest.approx(scores["cpu"], rel=1e-2)
    assert scores["half"] == pytest.approx(scores["cpu"], rel=2e-1)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason=f"there are no two GPUs here; where there are, run {COMMAND}")
def test_two_gpus_with_nccl_equal_one(tmp_path: Path) -> None:
    one, two = trained(tmp_path, "one", precision="64-true"), trained(tmp_path, "two", 2, precision="64-true")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-10, atol=1e-10)
