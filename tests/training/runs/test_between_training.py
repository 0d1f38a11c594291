"""The network for states between steps: learnt from the times within a step, beside the emulator's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from emulator.baselines.persistence import PersistenceConfig
from emulator.between import BetweenConfig
from emulator.build import load_emulator
from emulator.checkpoint import read
from emulator.networks.gnn import GNNConfig
from graphs.errors import MeshcastError
from tests.training.worlds import PROCESSOR, experiment
from training.experiment import ExperimentConfig
from training.preparation.prepared import prepare
from training.preparation.windows import WindowsWithin
from training.runs.between import _ends, with_between
from training.runs.budget import add_to_budget, keep_budget, read_budget
from training.runs.dry_run import dry_run
from training.runs.fit import fit
from training.task_config import TaskConfig

BETWEEN = BetweenConfig(network=GNNConfig(processor=PROCESSOR), share=0.8)
LONG = {"task": TaskConfig(("u",), time_step="4 steps")}


def waves(folder: Path, between: BetweenConfig | None = BETWEEN, **sections: object) -> ExperimentConfig:
    """Waves that move four nodes a step, of which the three times within are learnt."""
    return experiment(folder, between=between, validation={"steps": 1, "every": 100}, **(LONG | sections))


def test_it_is_learnt_from_the_times_within_a_step_and_changes_nothing_of_the_emulator(tmp_path: Path) -> None:
    sections = {"training": {"updates": 80, "learning_rate": 1e-2}}
    plain = fit(waves(tmp_path, None, name="plain", **sections), progress=False)
    said: list[str] = []
    trained = fit(waves(tmp_path, name="with", **sections), progress=False, notice=said.append)
    for name, weight in plain.emulator.state_dict().items():
        assert torch.equal(weight, trained.emulator.state_dict()[name]), name
    outcome = trained.metadata["between_training"]
    assert outcome["updates"] == 64 and outcome["error"] < 0.5 * outcome["linear_error"]
    assert any("between steps err by" in line for line in said)
    stored = load_emulator(tmp_path / "with").between
    assert stored is not None and trained.between is not None and plain.between is None
    for name, weight in trained.between.state_dict().items():
        assert torch.equal(weight, stored.state_dict()[name]), name
    assert read(tmp_path / "with" / "emulator.safetensors")[1]["between_training"] == outcome


def test_it_learns_from_the_emulators_own_steps_and_starts_from_its_weights(tmp_path: Path) -> None:
    """A step that goes astray is what it is given, not the truth after it; untrained, it has the emulator's weights."""
    config = waves(tmp_path, BetweenConfig(share=0.8), training={"updates": 4, "learning_rate": 1e-12})
    trained = fit(config, progress=False)
    assert trained.between is not None
    assert trained.between.config.network == replace(config.emulator, graph=None)
    taken_over = dict(trained.emulator.network.processor.named_parameters())
    for name, weight in trained.between.network.processor.named_parameters():
        torch.testing.assert_close(weight, taken_over[name], rtol=0, atol=1e-6)
    prepared = prepare(config)
    windows = WindowsWithin(prepared.train, prepared.task, prepared.part.provider)
    batch = default_collate([windows[3, 9], windows[0, 1]])
    state, forcing, (following, _) = _ends(trained.between, windows, batch)
    assert torch.equal(following.now, trained.emulator.step(state, forcing)[0].now)
    assert not torch.allclose(following.now[:, 0], batch["values"][:, 1], atol=1e-2)


def test_windows_hold_the_times_within_and_skip_missing_ones(tmp_path: Path) -> None:
    prepared = prepare(waves(tmp_path))
    windows = WindowsWithin(prepared.train, prepared.task, prepared.part.provider)
    assert windows.fractions.tolist() == [0.25, 0.5, 0.75] and len(windows) == 4 * 8
    item = windows[3, 9]  # of the second trajectory, from its second frame
    expected = prepared.train.read(slice(1, 6), ["u"], 1)[:, 0]
    np.testing.assert_array_equal(np.concatenate([item["values"][:1], item["within"], item["values"][1:]]), expected)
    prepared.train.missing = frozenset({5})
    fewer = WindowsWithin(prepared.train, prepared.task, prepared.part.provider)
    assert sorted(set(fewer.pairs[:, 1])) == [0, 6, 7]


def test_a_run_broken_off_between_goes_on_to_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = waves(tmp_path)
    whole = fit(replace(config, name="whole"), progress=False)

    def broken(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("training.runs.fit.with_between", broken)
        fit(config, progress=False)
    again = fit(config, resume="auto", progress=False)
    assert whole.between is not None and again.between is not None
    for name, weight in whole.between.state_dict().items():
        assert torch.equal(weight, again.between.state_dict()[name]), name


def test_a_share_of_the_minutes_is_kept_for_it(tmp_path: Path) -> None:
    config = waves(tmp_path, training={"minutes": 0.01}, name="with")
    folders = tmp_path / "without", tmp_path / "with"
    for folder, section in zip(folders, (None, BETWEEN), strict=True):
        keep_budget(folder, replace(config, between=section), 0.005, 0.001)
    alone, beside = (read_budget(folder)["updates"] for folder in folders)
    assert 4.5 * beside < alone < 5.5 * beside
    trained = fit(config, progress=False)
    assert trained.metadata["between_training"]["updates"] == read_budget(tmp_path / "with")["between_updates"] > 1
    add_to_budget(tmp_path / "with", between_updates=7)
    again = with_between(prepare(config), load_emulator(tmp_path / "with"), tmp_path / "with", lambda line: None)
    assert again.metadata["between_training"]["updates"] == 7


def test_where_nothing_lies_between_it_is_refused_before_the_training(tmp_path: Path) -> None:
    for config, says in (
        (waves(tmp_path, task=TaskConfig(("u",))), "comes every 1 frame, as the emulator steps"),
        (waves(tmp_path, emulator=PersistenceConfig()), "adds to an emulator that is a network"),
    ):
        for train in (dry_run, fit):
            with pytest.raises(MeshcastError, match=says):
                train(config)
    assert not (tmp_path / "run" / "emulator.safetensors").exists()
