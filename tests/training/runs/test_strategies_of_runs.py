"""Whole runs under a strategy: their early end, the same after an interruption, a start from another's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emulator.baselines.persistence import PersistenceConfig
from emulator.build import load_emulator
from emulator.networks.gnn import GNNConfig
from graphs.errors import MeshcastError
from tests.training.runs.test_fit import folder_of, interrupt_after, log, same, weights
from tests.training.worlds import PROCESSOR, experiment
from training.experiment import ExperimentConfig, TrainingConfig
from training.metrics_log import read_log
from training.optimisation.keras_training import refuse_what_torch_alone_does
from training.optimisation.standstill import KEY
from training.resumable import read_checkpoint, updates_done
from training.runs.fit import fit, refuse_strategies_of_closed_form, stages_by_length
from training.runs.run_hash import run_hash

STILL = {"learning_rate": 1e-12, "noise": 0.01}  # no validation is better than another


def interrupted(config: ExperimentConfig, update: int, monkeypatch: pytest.MonkeyPatch) -> ExperimentConfig:
    """The same run, interrupted once a validation's checkpoint is written, and gone on with."""
    config = replace(config, name=f"interrupted-{update}")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, update)
        fit(config, progress=False)
    fit(config, resume="auto", progress=False)
    return config


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentConfig, list[str]]:
    """A run that ends after three validations, and what it said."""
    folder, said = tmp_path_factory.mktemp("impatient"), []
    config = experiment(folder, training={**STILL, "patience": 2}, validation={"every": 4})
    fit(config, progress=False, notice=said.append)
    return config, said


def test_a_run_ends_when_its_patience_does(impatient: tuple[ExperimentConfig, list[str]]) -> None:
    config, said = impatient
    assert [row[0] for row in log(folder_of(config))] == [0, 4, 8, 12]  # of 24
    assert (folder_of(config) / "done.json").is_file()
    assert said[-1] == "Ended after 12 updates: the last 2 validations were no better."
    assert "or until 2 validations in a row were no better" in (folder_of(config) / "methods.md").read_text()


@pytest.mark.parametrize("update", [8, 12])
def test_patience_goes_on_where_a_run_was_interrupted(
    impatient: tuple[ExperimentConfig, list[str]], update: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = interrupted(impatient[0], update, monkeypatch)
    assert log(folder_of(config)) == log(folder_of(impatient[0]))
    assert same(weights(folder_of(config)), weights(folder_of(impatient[0])))
    assert updates_done(folder_of(config) / "last.ckpt") == 12


@pytest.mark.parametrize("update", [4, 8, 12])
def test_every_state_of_a_strategy_is_resumed(tmp_path: Path, update: int, monkeypatch: pytest.MonkeyPatch) -> None:
    curriculum = ((0.5, 1), (0.25, 2), (0.25, 3))
    strategies = {"curriculum": curriculum, "plateau": 1, "random_unroll": True, "gradient_steps": 1}
    settings = {**STILL, **strategies, "frozen": ("encoder.*",), "updates": 16}
    whole = experiment(tmp_path, name="whole", training=settings, validation={"every": 4})
    fit(whole, progress=False)
    assert read_checkpoint(folder_of(whole) / "last.ckpt")[KEY]["stage"] == 2
    losses = [row["loss"] for row in read_log(folder_of(whole) / "losses.csv")]
    by_share = replace(whole, name="by-share", training=replace(whole.training, plateau=None))
    fit(by_share, progress=False)
    assert losses != [row["loss"] for row in read_log(folder_of(by_share) / "losses.csv")]
    config = interrupted(whole, update, monkeypatch)
    assert log(folder_of(config)) == log(folder_of(whole))
    assert same(weights(folder_of(config)), weights(folder_of(whole)))


def test_a_budget_counts_drawn_steps_by_their_mean() -> None:
    training = TrainingConfig(curriculum=((0.75, 1), (0.25, 3)), random_unroll=True)
    stages = stages_by_length(training)
    assert sum(share * steps for share, steps in stages) == 0.75 * 1 + 0.25 * 2
    assert stages_by_length(replace(training, random_unroll=False)) == training.curriculum


def test_frozen_weights_stay_as_they_started_and_the_others_do_not(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"frozen": ("encoder.*", "processor.*"), "updates": 8})
    fit(config, progress=False)
    reference = experiment(tmp_path, name="untrained", training={"learning_rate": 1e-30, "updates": 1})
    fit(reference, progress=False)
    after, before = weights(folder_of(config)), weights(folder_of(reference))
    for name, value in after.items():
        if name.startswith(("emulator.network", "averaged.network")) and value.is_floating_point():
            stays = "decoder" not in name
            assert bool((value == before[name]).all()) == stays, name


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A finished run, for others to start from."""
    config = experiment(tmp_path_factory.mktemp("first"), name="first", training={"learning_rate": 1e-2})
    fit(config, progress=False)
    return config


def test_a_run_starts_as_good_as_the_emulator_it_takes_its_weights_from(
    first: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.safetensors"
    source.write_bytes((folder_of(first) / "emulator.safetensors").read_bytes())
    training = replace(first.training, initialise_from=str(source))
    config = replace(first, name="second", training=training)
    said: list[str] = []
    fit(config, progress=False, notice=said.append)
    assert any(line.endswith(f"weights start as those of first in {source}.") for line in said)
    rows = read_log(folder_of(config) / "metrics.csv")
    best = load_emulator(folder_of(first)).metadata["validation_score"]
    assert rows[0]["validation_score"] == pytest.approx(best, rel=1e-6)
    assert "started from those of another emulator" in (folder_of(config) / "methods.md").read_text()
    other = replace(config, name="third")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 8)
        fit(other, progress=False)
    source.unlink()  # which a run that goes on no longer needs
    fit(other, resume="auto", progress=False)
    assert same(weights(folder_of(other)), weights(folder_of(config)))


def test_the_weights_a_run_starts_from_are_in_its_hash(first: ExperimentConfig, tmp_path: Path) -> None:
    data = {"train": "a", "validation": "b"}
    source = tmp_path / "source.safetensors"
    config = replace(first, training=replace(first.training, initialise_from=str(source)))
    found = set()
    for name in ("first", "other"):
        run = first if name == "first" else replace(first, name=name, training=replace(first.training, seed=5))
        if name == "other":
            fit(run, progress=False)
        source.write_bytes((folder_of(run) / "emulator.safetensors").read_bytes())
        found.add(run_hash(config, data))
    assert len(found | {run_hash(first, data)}) == 3


def test_keras_networks_and_closed_forms_refuse_strategies_by_key(tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match=r"This asks for training.loss_unit=tendency, training.patience=3\."):
        refuse_what_torch_alone_does(TrainingConfig(loss_unit="tendency", patience=3))
    with pytest.raises(MeshcastError, match=r"This asks for training.loss=crps, training.members=2\."):
        refuse_what_torch_alone_does(TrainingConfig(loss="crps", members=2))
    config = experiment(tmp_path, emulator=PersistenceConfig(), training={"patience": 3})
    with pytest.raises(MeshcastError, match=r"A persistence is fitted in closed form.* training.patience=3"):
        refuse_strategies_of_closed_form(config)
    refuse_strategies_of_closed_form(replace(config, emulator=GNNConfig(processor=PROCESSOR)))
    refuse_strategies_of_closed_form(replace(config, training=TrainingConfig()))
