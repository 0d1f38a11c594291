"""What may be edited before a run is resumed, what may not, and what follows."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emulator.foundation.configuration import load
from graphs.errors import MeshcastError
from tests.training.ranks import on_ranks
from tests.training.test_processes import FOUR, at_update
from tests.training.test_resumable import killed_after
from tests.training.worlds import experiment
from training.configuration_changes import changes, refuse_another_run
from training.experiment import ExperimentConfig
from training.metrics_log import read_log
from training.optimisation.optimiser import warm_up_cosine
from training.resumable import read_checkpoint, updates_done
from training.runs.fit import fit
from training.shares import BATCH_SIZE


def with_training(config: ExperimentConfig, **training: Any) -> ExperimentConfig:
    return replace(config, training=replace(config.training, **training))


def test_a_change_is_named_by_its_dotted_path_with_both_values(tmp_path: Path) -> None:
    before = experiment(tmp_path)
    now = with_training(before, learning_rate=1e-4, curriculum=((0.5, 1), (0.5, 2)))
    now = replace(now, data=replace(now.data, train=replace(now.data.train, source=["a.npy"])))
    said = [str(change) for change in changes(before, now)]
    assert "training.learning_rate: 0.002 before, 0.0001 now" in said
    assert "training.curriculum: [] before, [[0.5, 1], [0.5, 2]] now" in said
    assert f"data.train.source: {before.data.train.source} before, [a.npy] now" in said and len(said) == 3
    assert changes(before, before) == []


@pytest.mark.parametrize(
    "training",
    [
        {"num_workers": 2}, {"threads": 1}, {"max_time": "2h"}, {"checkpoints": 3}, {"accelerator": "auto"},
        {"devices": 2, "batch_size": 2}, {"num_nodes": 4, "batch_size": 1}, {"accumulate": 2, "batch_size": 2},
        {"batch_size": BATCH_SIZE, "global_batch_size": 4, "devices": 2, "strategy": "ddp"},
    ],
)  # fmt: skip
def test_what_leaves_samples_and_science_alone_passes_and_is_said(tmp_path: Path, training: dict[str, Any]) -> None:
    before = experiment(tmp_path)
    said = refuse_another_run(tmp_path, before, with_training(before, **training))
    assert said[0].startswith("Resumed with training.") and "before" in said[0]
    assert any("share each update now" in line for line in said[1:]) == (
        "devices" in training or "num_nodes" in training
    )


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"loss": "mae"}, r"training\.loss: mse before, mae now"),
        ({"seed": 5}, r"training\.seed: 0 before, 5 now"),
        ({"updates": 12}, r"training\.updates: 24 before, 12 now"),
        ({"precision": "64-true"}, r"training\.precision: 32-true before, 64-true now"),
        ({"devices": 2}, r"took 4 samples, and would take 8 now, of 2 processes x 1 accumulated x 4 samples a batch\."
         r" Set training\.batch_size=null and training\.global_batch_size=4"),
        ({"accumulate": 3}, "took 4 samples, and would take 12 now"),
    ],
)  # fmt: skip
def test_what_would_be_another_run_is_refused_with_both_values(
    tmp_path: Path, training: dict[str, Any], said: str
) -> None:
    before = experiment(tmp_path)
    with pytest.raises(MeshcastError, match=f"(?s)holds a run of another configuration.*{said}"):
        refuse_another_run(tmp_path, before, with_training(before, **training))


def test_a_run_goes_on_with_more_updates_and_the_schedule_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(tmp_path, training={"curriculum": ((0.5, 1), (0.5, 2))})
    folder, said = killed_after(config, 16, monkeypatch), []
    longer = with_training(config, updates=48)
    fit(longer, resume="auto", progress=False, notice=said.append)
    assert "Resumed with training.updates: 24 before, 48 now." in said
    assert any("learning rate, the curriculum and averages" in line for line in said)
    assert load(ExperimentConfig, folder / "config.yaml") == longer
    rows = {row["update"]: row for row in read_log(folder / "metrics.csv")}
    peak = config.training.learning_rate
    assert rows[16]["learning_rate"] == pytest.approx(peak * warm_up_cosine(16, 4, 24))
    assert rows[24]["learning_rate"] == pytest.approx(peak * warm_up_cosine(24, 4, 48))
    # The first update after it already takes the new schedule's rate, which the checkpoint does not hold.
    state = read_checkpoint(folder / "last.ckpt")
    assert state["global_step"] == 48 and state["optimizer_states"][0]["param_groups"][0]["lr"] == 0.0


def test_the_first_update_after_the_end_takes_the_rate_of_the_new_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = experiment(tmp_path)
    fit(config, progress=False)
    before = read_checkpoint(tmp_path / "run" / "last.ckpt")["state_dict"]
    assert (tmp_path / "run" / "done.json").is_file()
    folder = killed_after(with_training(config, updates=32), 32, monkeypatch, resume="auto")
    assert updates_done(folder / "last.ckpt") == 32 and not (folder / "done.json").exists()
    after = read_checkpoint(folder / "last.ckpt")["state_dict"]
    assert any(not torch.equal(after[name], before[name]) for name in before)
    fit(with_training(config, updates=32), resume="auto", progress=False)
    assert [row["update"] for row in read_log(folder / "metrics.csv")] == [0, 8, 16, 24, 32]
    with caplog.at_level(logging.INFO):
        fit(with_training(config, updates=32, threads=1), resume="auto", progress=False)
    assert "is done" in caplog.text


@pytest.mark.parametrize(("devices", "accumulate", "then"), [(2, 1, (1, 2)), (1, 2, (2, 1)), (2, 2, (1, 1))])
def test_a_run_goes_on_with_the_same_samples_on_another_number_of_processes(
    tmp_path: Path, devices: int, accumulate: int, then: tuple[int, int]
) -> None:
    config = experiment(tmp_path, name="whole", training={**FOUR, "precision": "64-true"})
    fit(config, progress=False)
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    for (processes, batches), dies in (((devices, accumulate), True), (then, False)):
        strategy = "ddp" if processes > 1 else "auto"
        shared = with_training(replace(config, name="run"), devices=processes, accumulate=batches, strategy=strategy)

        def run(rank: int, shared: ExperimentConfig = shared, dies: bool = dies) -> None:
            at_update(13, kill) if dies else None
            fit(shared, resume="auto", progress=False)

        codes, said = on_ranks(tmp_path / "logs", run, processes)
        assert codes == [-9 if dies else 0] * processes, said
    one, two = (read_checkpoint(tmp_path / name / "last.ckpt")["state_dict"] for name in ("whole", "run"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-12, atol=1e-12)
    rows = [[row["loss"] for row in read_log(tmp_path / name / "losses.csv")] for name in ("whole", "run")]
    assert rows[0] == pytest.approx(rows[1], rel=1e-7)
