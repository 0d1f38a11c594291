"""What may be tried is spelt shortly, held against the experiment, and never half understood."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from emulator.baselines.ridge import RidgeConfig
from emulator.emulator_config import EmulatorConfig
from emulator.networks.cnn import CNNConfig
from emulator.networks.config import NetworkConfig
from emulator.networks.gnn import GNNConfig
from emulator.networks.transformer import TransformerConfig
from emulator.plugins import PluginConfig
from graphs.errors import MeshcastError
from tests.training.worlds import experiment
from training.experiment import ExperimentConfig
from training.tuning.default_space import default_space
from training.tuning.settings import varied
from training.tuning.space import Choice, Range, Space, fitted, scattered, settings_of_point, space_of

RATE = "training.learning_rate"


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    return experiment(tmp_path)


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("1e-4..1e-1 log", Range(1e-4, 1e-1, log=True)),
        (" 1e-4 .. 1e-1  log ", Range(1e-4, 1e-1, log=True)),
        ("2..8", Range(2, 8, whole=True)),
        ("16..64 step 16", Range(16, 64, step=16, whole=True)),
        ("0..0.1", Range(0, 0.1)),
        ("-1...5", Range(-1, 0.5)),
        ({"low": 1e-4, "high": 0.1, "log": True}, Range(1e-4, 0.1, log=True)),
        ({"low": 1, "high": 9, "step": 2}, Range(1, 9, step=2, whole=True)),
        ([0, 0.01], Choice((0, 0.01))),
        ([["u"], None], Choice((["u"], None))),
    ],
)
def test_ranges_and_lists_are_read_as_they_are_meant(text: Any, axis: Range | Choice) -> None:
    assert space_of({RATE: text}).axes[RATE] == axis


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (0.1, "takes a range or a list"),
        ("small", "1e-4..1e-1 log"),
        ("1e-1..1e-4 log", "low end must lie below"),
        ("1..1", "low end must lie below"),
        ("0..0.1 log", "low end above 0"),
        ("1..8 log step 2", "leave out log or step"),
        ("1..8 step 9", "a step lies above 0 and within"),
        ([], "lists no value"),
        ([0.1, 0.1], "lists a value twice"),
        ({"min": 0, "max": 1}, "takes a range or a list"),
        ({"low": "a", "high": 1}, "takes a range or a list"),
    ],
)
def test_what_is_neither_range_nor_list_is_refused_by_its_path(text: Any, words: str) -> None:
    with pytest.raises(MeshcastError, match=words) as error:
        space_of({"training.noise": text})
    assert "training.noise" in str(error.value)


def test_other_paths_than_those_of_training_and_emulator_are_refused(config: ExperimentConfig) -> None:
    for path in ("data.train", "validation.steps", "training.seed", "name"):
        with pytest.raises(MeshcastError, match="cannot be tried"):
            space_of({path: [1, 2]})
    with pytest.raises(MeshcastError, match="Put it below its kind"):
        space_of({"emulator.kind": ["gnn", "cnn"], "emulator.width": [1, 2]})
    with pytest.raises(MeshcastError, match=r"training\.udpates.*did you mean"):
        fitted(space_of({"training.udpates": "1..9"}), config)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({RATE: "-1e-3..1e-1"}, "learning_rate must be positive"),
        ({"training.unroll": "0..4"}, "unroll must be at least 1"),
        ({"training.unroll": "1.5..4"}, "unroll"),
        ({"training.unroll": "1..4 step 0.5"}, "whole numbers"),
        ({"training.loss": "1..4"}, "loss"),
        ({"training.loss": ["mse", "msee"]}, "msee"),
        ({"training.optimiser": ["adamw", 3]}, "optimiser"),
        ({"emulator.kind": ["gnn", "cnnn"]}, "cnnn"),
        ({"emulator.kind": ["gnn", "ridge"]}, "closed form"),
        ({"emulator.kind": {"gnn": {"widht": "2..4"}}}, "widht"),
        ({"emulator.kind": {"gnn": 3}}, "takes what is tried of it"),
    ],
)
def test_values_that_the_experiment_would_refuse_are_refused_before_any_trial(
    config: ExperimentConfig, content: dict[str, Any], words: str
) -> None:
    with pytest.raises(MeshcastError, match=words):
        fitted(space_of(content), config)


def test_a_range_between_whole_numbers_is_of_them_only_where_the_key_is(config: ExperimentConfig) -> None:
    asked = {"training.noise": "0..1", "training.unroll": "1..4", "training.warm_up": "1..100 log"}
    found = fitted(space_of(asked), config)
    whole = {path: axis.whole for path, axis in found.axes.items() if isinstance(axis, Range)}
    assert whole == {"training.noise": False, "training.unroll": True, "training.warm_up": True}


def test_of_every_number_of_a_range_as_many_trials_are_made() -> None:
    axis = Range(1, 4, whole=True)
    assert Counter(axis.at((n + 0.5) / 400) for n in range(400)) == {1: 100, 2: 100, 3: 100, 4: 100}
    steps = Range(16, 48, step=16, whole=True)
    assert [steps.at(share) for share in (0.0, 0.4, 0.99)] == [16, 32, 48]
    assert [Range(1e-4, 1e-2, log=True).at(share) for share in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    assert Choice(("a", "b")).at(1.0) == "b"
    assert steps.holds(32) and not steps.holds(40) and not steps.holds(64) and not Range(0, 1).holds(True)


def test_scattered_points_fill_the_space_and_the_first_do_not_depend_on_how_many() -> None:
    space = space_of({RATE: "1e-4..1e-1 log", "training.noise": "0..0.1", "training.unroll": "1..4"})
    points = scattered(space, 16, seed=3)
    assert scattered(space, 5, seed=3) == points[:5] and scattered(space, 5, seed=4) != points[:5]
    decades = Counter(math.floor(math.log10(point[RATE])) for point in points)
    assert set(decades) == {-4, -3, -2} and max(decades.values()) <= 6
    assert Counter(point["training.unroll"] for point in points) == {1: 4, 2: 4, 3: 4, 4: 4}


def test_a_kind_of_emulator_has_axes_of_its_own(config: ExperimentConfig) -> None:
    space = fitted(
        space_of(
            {
                RATE: "1e-4..1e-1 log",
                "emulator.kind": {"gnn": {"processor.num_layers": "1..4"}, "cnn": {"width": "2..8"}},
            }
        ),
        config,
    )
    for point in scattered(space, 16, seed=0):
        settings = settings_of_point(point)
        network = varied(config, settings, "test").emulator
        if settings["emulator.kind"] == "gnn":
            assert set(settings) == {"emulator.kind", RATE, "emulator.processor.num_layers"}
            assert isinstance(network, GNNConfig) and network.processor.latent_size == 8  # as configured
        else:
            assert set(settings) == {"emulator.kind", RATE, "emulator.width"}
            assert isinstance(network, CNNConfig) and network.num_layers == CNNConfig().num_layers
    assert len(list(space_of({"emulator.kind": {"gnn": {"a": [1, 2]}, "cnn": {}}, RATE: [1, 2, 3]}).points())) == 9


def test_another_kind_keeps_what_all_networks_share(tmp_path: Path) -> None:
    config = experiment(tmp_path, emulator=GNNConfig(first_guess=RidgeConfig(), node_statistics=True))
    found = varied(config, {"emulator.kind": "transformer"}, "test").emulator
    assert found == TransformerConfig(first_guess=RidgeConfig(), node_statistics=True)


def test_the_experiment_as_it_stands_is_a_point_where_it_lies_in_the_space(config: ExperimentConfig) -> None:
    space = fitted(
        space_of({RATE: "1e-4..1e-1 log", "emulator.kind": {"gnn": {"processor.num_layers": "1..4"}, "cnn": {}}}),
        config,
    )
    assert space.point_of(config) == {"emulator.kind": "gnn", RATE: 2e-3, "gnn:processor.num_layers": 1}
    assert space_of({RATE: "1e-4..1e-3 log"}).point_of(config) is None
    assert space_of({"emulator.kind": ["cnn", "fno"]}).point_of(config) is None


def test_every_kind_of_network_has_a_default_space(config: ExperimentConfig) -> None:
    kinds = [
        kind
        for kind, cls in EmulatorConfig.registered.items()
        if issubclass(cls, NetworkConfig) and not issubclass(cls, PluginConfig) and "test" not in kind
    ]
    space = fitted(default_space(config, kinds), config)
    assert {RATE, "training.noise", "training.weight_decay"} == set(space.axes)
    for kind in kinds:
        assert any("width" in path or "size" in path for path in space.kinds[kind]), kind
        for share in (0.0, 0.5, 1.0):
            own = {f"emulator.{path}": axis.at(share) for path, axis in space.kinds[kind].items()}
            varied(config, {"emulator.kind": kind, **own}, "test")
    assert space.kinds["transformer"]["width"] == Range(16, 64, step=4, whole=True)
    assert default_space(config).axes["emulator.processor.num_layers"] == Range(1, 8, whole=True)
    with pytest.raises(MeshcastError, match="Nothing to try"):
        fitted(Space(), config)
