"""The SavedModel of a Keras emulator: it forecasts the same, and needs no Meshcast."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emulator.baselines.first_guess import ForcedStep
from emulator.baselines.forced_response import ForcedResponseConfig, ImpulseResponseConfig, PatternScalingConfig
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator, build_network
from emulator.features.departures import DeparturesConfig
from emulator.fields import Fields
from emulator.networks.gnn import GNNConfig
from emulator.networks.keras_networks.keras_models import KerasCNNConfig, KerasConfig, KerasLSTMConfig
from emulator.networks.keras_networks.tensorflow_library import tensorflow
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.saved_model import DESCRIPTION, export_saved_model
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from tests.emulator.networks.questions import drawn
from tests.emulator.test_boundary import WIND, globe, windowed
from tests.emulator.worlds import (
    FRAME,
    SMALL,
    WAVES,
    WEATHER,
    starting_from,
    wave_fields,
    weather_fields,
)

STEPS = 3
CNN = KerasCNNConfig(width=5, num_layers=2)
CONSERVED = Task((Variable("u", "prognostic", bounds=(-1.5, 1.5), conserved=True),), FRAME, history=2)


def trained_on(config: Any, task: Task, fields: Fields) -> TrainedEmulator:
    """An emulator with the scales of the fields and weights at random."""
    torch.manual_seed(0)
    emulator = build_network(config, task, fields.mesh, len(task.static))
    emulator.inputs.take(TrainingPart(fields))
    emulator.correction_std.fill_(0.3)
    drawn(emulator.network)
    if isinstance(emulator.first_guess, NeighbourhoodMap):
        nn.init.normal_(emulator.first_guess.weights, std=0.1)
    if isinstance(emulator.first_guess, ForcedStep):
        response = emulator.first_guess.model
        nn.init.normal_(response.slopes)
        nn.init.normal_(response.weights, std=0.1)
        response.curvature.fill_(0.3)
    statistics = TrainingPart(fields).statistics(task)
    return TrainedEmulator("exported", emulator.eval().requires_grad_(False), config, statistics)


class Given:
    """Forcings, and what lies around a limited area, at random but for their size."""

    def __init__(self, emulator: NeuralEmulator, batch: int) -> None:
        task, generator = emulator.task, torch.Generator().manual_seed(1)
        columns = len(task.forcing) + (len(task.prognostic) if task.boundary else 0)
        shape = (batch, task.history + STEPS, emulator.mesh.num_nodes, columns)
        self.values = torch.randn(shape, generator=generator)

    def window(self, state: State, task: Task, done: int) -> torch.Tensor:
        return self.values[:, done : done + task.history + 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: (GNNConfig(processor=SMALL), WAVES), "is of kind gnn. Train one of kind keras_cnn"),
    ],
)
def test_what_tensorflow_cannot_say_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    config, task = change()
    with pytest.raises(MeshcastError, match=said):
        export_saved_model(trained_on(config, task, wave_fields()), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def library() -> Any:
    pytest.importorskip("tensorflow", reason="TensorFlow is absent: pip install 'meshcast[tensorflow]'")
    return tensorflow()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "task", "fields"),
    [
        (CNN, WAVES, wave_fields),
        (replace(CNN, first_guess=RidgeConfig(radii=(2,), penalties=(1e-6,))), WAVES, wave_fields),
        (replace(CNN, first_guess=ForcedResponseConfig()), WEATHER, weather_fields),
        (replace(CNN, first_guess=ImpulseResponseConfig()), WEATHER, weather_fields),
        (replace(CNN, first_guess=PatternScalingConfig()), WEATHER, weather_fields),
        (CNN, CONSERVED, wave_fields),
        (CNN, WEATHER, weather_fields),
        (KerasLSTMConfig(width=4), WEATHER, weather_fields),
        (KerasLSTMConfig(width=4), WIND, lambda: windowed(globe())),
    ],
    ids=["waves", "ridge", "forced", "impulse", "pattern", "conserved", "weather", "lstm", "limited area"],
)
def test_its_forecasts_are_those_before_saving(
    config: KerasConfig, task: Task, fields: Any, library: Any, tmp_path: Path
) -> None:
    source = fields()
    trained = trained_on(config, task, source)
    state = starting_from(source, task, [0, 2])
    given = Given(trained.emulator, 2)
    written = export_saved_model(trained, tmp_path / "exported")
    step = library.saved_model.load(str(written)).signatures["serving_default"]
    values = state.values[:, 0].numpy()
    for done, (after, diagnostic) in enumerate(rollout(trained.emulator, state, given, STEPS)):
        expected = after.now if diagnostic is None else torch.cat([after.now, diagnostic], dim=-1)
        forcing = library.constant(given.window(state, task, done).numpy())
        following = step(state=library.constant(values), forcing=forcing)["next"].numpy()
        scale = trained.emulator.inputs.std.numpy()
        np.testing.assert_allclose(
            following / scale, expected[:, 0].numpy() / scale, rtol=1e-6, atol=3e-5
        )  # 290 K in float32
        values = np.concatenate([values[:, 1:], following[:, None, :, : len(task.prognostic)]], axis=1)
    assert np.nanmax(np.abs(values[:, -1] - state.values[:, 0, -1].numpy())) > 0.01


@pytest.mark.slow
def test_it_forecasts_without_meshcast_and_says_what_it_forecasts(library: Any, tmp_path: Path) -> None:
    fields = wave_fields()
    trained = trained_on(CNN, WAVES, fields)
    written = export_saved_model(trained, tmp_path / "exported")
    state = starting_from(fields, WAVES, [0])
    np.save(tmp_path / "state.npy", state.values[:, 0].numpy())
    program = """
import sys
import numpy as np, tensorflow as tf
state = np.load("state.npy")
step = tf.saved_model.load("exported/1").signatures["serving_default"]
forcing = np.zeros((1, 2, state.shape[2], 0), np.float32)
np.save("next.npy", step(state=tf.constant(state), forcing=tf.constant(forcing))["next"])
assert not {"emulator", "graphs", "meshcast", "torch"} & set(sys.modules)
"""
    command = [sys.executable, "-I", "-c", program]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (after, _), *_ = rollout(trained.emulator, state, Given(trained.emulator, 1), 1)
    np.testing.assert_allclose(np.load(tmp_path / "next.npy"), after.now[:, 0].numpy(), rtol=0, atol=1e-5)
    said = json.loads((written / DESCRIPTION).read_text())
    assert (said["prognostic"], said["history"], said["mesh"]) == (["u"], 1, "ring of 24 nodes, length 1")


@pytest.mark.slow
def test_what_stands_there_is_not_overwritten_and_departures_are_refused(library: Any, tmp_path: Path) -> None:
    trained = trained_on(CNN, WAVES, wave_fields())
    export_saved_model(trained, tmp_path)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(MeshcastError, match="is there already"):
        export_saved_model(trained, tmp_path)
    monthly = trained_on(replace(CNN, first_guess=ForcedResponseConfig(by="month")), WEATHER, weather_fields())
    with pytest.raises(MeshcastError, match="depends on the month, which a SavedModel"):
        export_saved_model(monthly, tmp_path / "new")
    departing = trained_on(replace(CNN, departures=DeparturesConfig()), WEATHER, weather_fields())
    with pytest.raises(MeshcastError, match="depends on the date"):
        export_saved_model(departing, tmp_path / "new")
