"""Keras networks are fitted in TensorFlow as torch networks are in torch: update by update the same course."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from emulator.baselines.ridge import RidgeConfig
from emulator.build import build_network, load_emulator
from emulator.data.forcing_sources import forcings_of
from emulator.networks.cnn import CNNConfig
from emulator.networks.keras_networks.keras_models import KerasCNNConfig, KerasLSTMConfig, keras_network_of
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from tests.emulator.networks.questions import drawn
from tests.emulator.worlds import WEATHER, weather_fields
from tests.training.worlds import experiment
from training.experiment import ExperimentConfig, TrainingConfig, ValidationConfig
from training.metrics_log import read_log
from training.optimisation import keras_training
from training.optimisation.keras_examples import example_of
from training.optimisation.keras_training import KerasFit, refuse_what_torch_alone_does
from training.optimisation.long_rollout import LongRollout
from training.optimisation.module import EmulatorModule
from training.preparation.windows import Windows
from training.runs.dry_run import dry_run
from training.runs.fit import fit
from training.runs.study import Run, run_study

SMALL = KerasCNNConfig(width=6, num_layers=2, kernel_size=5)
NUMBERS = ("update", "epoch", "loss", "validation_loss", "validation_score", "learning_rate")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"unroll": 2}, "unroll of 2 steps"),
        ({"curriculum": ((0.5, 1), (0.5, 3))}, "unroll of 3 steps"),
        ({"pushforward": 1}, "pushforward=1"),
        ({"optimiser": "muon"}, "optimiser=muon"),
        ({"precision": "bf16-mixed"}, "precision=bf16-mixed"),
        ({"accumulate": 2}, "training.accumulate=2"),
        ({"devices": 2}, "2 devices on 1 nodes"),
    ],
)
def test_what_only_torch_does_is_refused_with_what_to_use(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(MeshcastError, match=f"{said}.*kind: cnn"):
        refuse_what_torch_alone_does(TrainingConfig(**setting))


def twin_of(config: KerasCNNConfig) -> CNNConfig:
    return CNNConfig(**{item.name: getattr(config, item.name) for item in fields(config) if item.name != "kind"})


@pytest.fixture
def tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is absent: pip install 'meshcast[tensorflow]'")


needs_tensorflow = [pytest.mark.slow, pytest.mark.usefixtures("tensorflow")]


def marked(test: Any) -> Any:
    for mark in needs_tensorflow:
        test = mark(test)
    return test


def folder_of(config: ExperimentConfig) -> Path:
    return Path(config.output) / config.name


def log(config: ExperimentConfig) -> list[dict[str, float]]:
    """The log without its times."""
    return [{name: row[name] for name in NUMBERS} for row in read_log(folder_of(config) / "metrics.csv")]


def weather(training: TrainingConfig, task: Task) -> tuple[NeuralEmulator, Windows, NeuralEmulator]:
    """Forcings, a static, bounds, masked nodes and a diagnostic variable: a Keras emulator, windows, its torch twin."""
    fields = weather_fields()
    windows = Windows(fields, task, 1, forcings_of(task, fields.mesh, fields), noise=training.noise_kind)
    config = KerasCNNConfig(width=5, num_layers=2)
    twin = emulator_on(fields, twin_of(config), task)
    drawn(twin.network)
    emulator = emulator_on(fields, config, task)
    layout = FeatureLayout.of(task, emulator.inputs)
    emulator.network = keras_network_of(twin.network, layout, fields.mesh)
    return emulator, windows, twin


def emulator_on(fields: Any, config: Any, task: Task) -> NeuralEmulator:
    emulator = build_network(config, task, fields.mesh, len(task.static))
    emulator.inputs.take(TrainingPart(fields))
    emulator.correction_std.fill_(0.3)
    return emulator


def conserving(task: Task) -> Task:
    """The task with the area mean of every prognostic variable kept."""
    kept = [replace(v, conserved=v.role == "prognostic") for v in task.variables]
    return replace(task, variables=tuple(kept))


# Where a gradient is nearly nothing AdamW follows its sign, which the rounding of the area means decides.
@pytest.mark.parametrize(
    ("task", "loss_name", "close"),
    [(WEATHER, "mse", 1e-4), (conserving(WEATHER), "mse", 5e-4), (WEATHER, "pseudo_huber", 1e-4)],
    ids=["free", "conserved", "pseudo_huber"],
)
@marked
def test_both_twins_have_one_loss_and_take_one_step(task: Task, loss_name: str, close: float) -> None:
    training = TrainingConfig(
        batch_size=4, updates=20, warm_up=0, noise=0.1, weight_decay=0.1, gradient_clip=0.05, loss=loss_name,
        decayed="matrices", average_last=0.95,
    )  # fmt: skip
    torch.manual_seed(1)  # of the weights, see above
    emulator, windows, twin = weather(training, task)
    keras_fit = KerasFit(emulator, training)
    module = EmulatorModule(twin, windows, windows, training, ValidationConfig())
    module.trainer = type("Trainer", (), {"global_step": 0, "max_steps": 20, "should_stop": False})()
    optimiser = module.configure_optimizers()["optimizer"]
    for update, batch in zip(range(1, 4), DataLoader(windows, batch_size=4), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = keras_training.learning_rate_at(training, update - 1)
        optimiser.zero_grad()
        loss = module.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), training.gradient_clip)
        optimiser.step()
        module.trainer.global_step = update
        module.on_train_batch_end(None, batch, update)
        said = float(keras_fit.step(example_of(emulator, windows, training, batch)))
        assert said == pytest.approx(loss.item(), rel=1e-4)  # what float32 leaves of 280 K
    features = torch.randn(2, emulator.mesh.num_nodes, emulator.network.model.input_shape[-1])
    candidates = keras_fit.candidates()
    assert list(candidates) == list(module.candidates) == ["moving average", "average of the last", "last"]
    for name, emulator in module.candidates.items():
        with torch.no_grad():
            expected = emulator.network(features)
        torch.testing.assert_close(candidates[name].network(features), expected, rtol=1e-2, atol=close)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """The configuration of a finished run."""
    averaged = {"average_last": 0.5, "decayed": "matrices"}
    config = experiment(tmp_path_factory.mktemp("keras"), "reference", SMALL, training=averaged)
    fit(config, progress=False)
    return config


@marked
def test_one_seed_gives_both_twins_one_course(reference: ExperimentConfig) -> None:
    config = replace(reference, name="twin", emulator=twin_of(SMALL))
    fit(config, progress=False)
    for row, twins in zip(log(reference), log(config), strict=True):
        assert row == pytest.approx(twins, rel=1e-4, nan_ok=True)
    scores = [row["validation_score"] for row in log(reference)]
    assert scores[-1] < scores[0]  # and learn something


@marked
def test_a_rollout_through_the_protocol_is_one_made_by_hand_in_keras(reference: ExperimentConfig) -> None:
    import tensorflow as tf

    emulator = load_emulator(folder_of(reference) / "emulator.safetensors").emulator
    starts = Windows(reference.data.validation.open(), emulator.task, 5, None, most=2)
    state, forcings = starts.start_of(next(iter(DataLoader(starts, batch_size=2))))
    forecast = torch.stack([after.now[:, 0] for after, _ in rollout(emulator, state, forcings, 5)])
    emulator.network.give()
    mean, std, scale = (
        tensor.numpy() for tensor in (emulator.inputs.mean, emulator.inputs.std, emulator.correction_std)
    )
    now, by_hand = tf.constant(state.now[:, 0].numpy()), []
    for _ in range(5):
        normalised = (now - mean) / std
        now = (normalised + scale * emulator.network.model(normalised)) * std + mean
        by_hand.append(now.numpy())
    torch.testing.assert_close(forecast, torch.from_numpy(np.stack(by_hand)), rtol=0, atol=1e-5)
    assert (forecast[-1] - state.now[:, 0]).abs().max() > 0.01


@marked
def test_an_interrupted_run_goes_on_bit_for_bit(reference: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step = KerasFit.step

    def interrupted(self: KerasFit, example: Any) -> Any:
        if self.update == 19:
            raise KeyboardInterrupt
        return step(self, example)

    config = replace(reference, name="interrupted")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(KerasFit, "step", interrupted)
        fit(config, progress=False)
    assert len(log(config)) == 3  # 0, 8, 16
    fit(config, resume="auto", progress=False)
    assert log(config)[1:] == log(reference)[1:]
    first, second = (torch.load(folder_of(c) / "last.ckpt", weights_only=True) for c in (config, reference))
    for group in ("weights", "averages", "means", "optimiser"):
        assert all(torch.equal(one, other) for one, other in zip(first[group], second[group], strict=True))


@marked
def test_minutes_become_updates_and_a_dry_run_tells_them(tmp_path: Path) -> None:
    config = experiment(tmp_path, "timed", SMALL, training={"minutes": 0.01})
    fit(config, progress=False)
    budget = json.loads((folder_of(config) / "budget.json").read_text())
    assert budget["updates"] == int(0.6 / budget["seconds_per_update"]) == log(config)[-1]["update"]
    assert dry_run(experiment(tmp_path, "dry", SMALL))["seconds per update"] > 0


@marked
def test_how_long_forecasts_last_takes_part_in_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lives = iter([24.0, 24.0, 3.0, 3.0])
    monkeypatch.setattr(LongRollout, "lived", lambda self, emulator: next(lives))
    config = experiment(tmp_path, "long", SMALL, validation={"long_rollout": 0.5})
    trained = fit(config, progress=False)
    rows = read_log(folder_of(config) / "metrics.csv")
    assert [row["rollout_steps"] for row in rows] == [24.0, 24.0, 3.0, 3.0]
    assert rows[2]["validation_score"] < rows[1]["validation_score"] < 5 * rows[2]["validation_score"]
    assert trained.metadata["update"] == 8 and trained.metadata["long_rollout"] == {"steps": 24, "lived": 24.0}


@marked
def test_a_study_counts_the_weights_and_tells_a_run_that_diverges(tmp_path: Path) -> None:
    wild = {"learning_rate": 1e18, "gradient_clip": 1e18, "warm_up": 0}
    runs = [
        Run("lstm", experiment(tmp_path, "study", KerasLSTMConfig(width=4, radius=1))),
        Run("wild", experiment(tmp_path, "study", SMALL, training=wild)),
    ]
    lstm, diverged = run_study(runs, tmp_path / "results", progress=False)
    assert lstm.status == "done"
    assert lstm.parameters == {"trainable": 4 * 4 * (3 + 4 + 1) + 5, "fixed": 0}
    assert diverged.status == "diverged"
    assert diverged.validation_score is not None  # of the first guess, before it all


@marked
def test_a_ridge_first_guess_is_corrected(tmp_path: Path) -> None:
    ridge = RidgeConfig(radii=(1,), penalties=(1e-6,), rollout_steps=3)
    trained = fit(experiment(tmp_path, "ridge", replace(SMALL, first_guess=ridge)), progress=False)
    assert trained.metadata["validation_score"] < 0.3
