"""From configuration to checkpoint and back: the same emulator, or a message that says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator.baselines.ridge import RidgeConfig
from emulator.build import (
    EmulatorSection,
    TrainedEmulator,
    build_network,
    fit_closed_form,
    graphs_of,
    is_closed_form,
    load_emulator,
    save_emulator,
)
from emulator.checkpoint import read, save
from emulator.emulator_config import EmulatorConfig
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.configuration import adapter_of, load
from emulator.networks.gnn import GNNConfig
from emulator.normalise import Statistics
from emulator.parameter_budget import with_parameters
from emulator.plugins import PluginConfig, find_plugin, is_network, load_plugins
from emulator.protocol import Emulator, rollout
from emulator.training_part import TrainingPart
from graphs.edges.build import GraphConfig, MultiMeshEdges, NearestEdges, StencilEdges
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh
from inference.comparison.family_panels import family_of
from tests.emulator.test_parameter_budget import num_parameters
from tests.emulator.worlds import SMALL, WAVES, WEATHER, fitted, starting_from, wave_fields, weather_fields, with_ridge

ROOT = Path(__file__).resolve().parent.parent.parent
EARLIER = Path(__file__).parent / "earlier_checkpoints"  # on waves, each with its forecast two steps on


def saved(tmp_path: Path, emulator: Emulator, config: Any, fields: Any) -> Path:
    """A checkpoint of an emulator, with the statistics of its fields."""
    names = tuple(variable.name for variable in emulator.task.predicted)
    valid = np.isfinite(fields.read(slice(0, 1), names)[0, 0])
    path = tmp_path / "emulator.safetensors"
    trained = TrainedEmulator("GNN", emulator, config, Statistics.of(fields, names), {"update": 7}, valid)
    save_emulator(path, trained)
    return path


CONFIGS = {
    "stencil": GNNConfig(graph=GraphConfig(StencilEdges(radius=1)), processor=SMALL),
    "nearest": GNNConfig(graph=GraphConfig(NearestEdges(neighbours=5)), processor=SMALL),
    "interaction": GNNConfig(processor=replace(SMALL, kind="interaction")),
    "on ridge": with_ridge(2),
}


@pytest.mark.parametrize(
    "change",
    [
        {"experiment": "a text"},
        {"experiment": {"data": None}},
        {"experiment": {"data": {"forcing_tables": [3]}}},
        {"dataset": None},
    ],
    ids=str,
)
def test_a_checkpoint_whose_training_is_told_in_other_types_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    fields = wave_fields()
    path = saved(tmp_path, RidgeConfig().build(WAVES, fields.mesh), RidgeConfig(), fields)
    arrays, metadata = read(path)
    save(path, arrays, {**metadata, **change})
    with pytest.raises(MeshcastError, match=r"not a whole emulator's.*(experiment|dataset)"):
        load_emulator(path)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_checkpoint_forecasts_what_was_saved_bit_for_bit(tmp_path: Path, name: str) -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields, CONFIGS[name])
    emulator.correction_std.fill_(0.3)
    path = saved(tmp_path, emulator, CONFIGS[name], fields)
    torch.manual_seed(5)
    back = load_emulator(path)
    assert torch.initial_seed() == 5
    assert back.config == CONFIGS[name] and back.emulator.task == WEATHER and back.metadata["update"] == 7
    assert back.valid is not None and not back.valid[:, 1].all() and back.valid[:, 0].all()
    np.testing.assert_array_equal(back.emulator.mesh.positions, fields.mesh.positions)
    state, forcings = starting_from(fields, WEATHER, [0, 9]), Forcings(ComputedForcings(fields.mesh))
    for (one, rain), (other, other_rain) in zip(
        rollout(emulator, state, forcings, 3), rollout(back.emulator, state, forcings, 3), strict=True
    ):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(rain, other_rain)


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_a_checkpoint_keeps_the_mesh_and_the_links_of_its_grid(tmp_path: Path, kind: str) -> None:
    fields, graph = weather_fields(), GraphConfig(MultiMeshEdges(), IcosphereMesh(level=5))
    config = GNNConfig(graph=graph, processor=replace(SMALL, kind=kind))
    emulator = fitted(WEATHER, fields, config)
    path = saved(tmp_path, emulator, config, fields)
    back = load_emulator(path).emulator
    kept, loaded = graphs_of(emulator), graphs_of(back)
    assert kept is not None and loaded is not None and kept.mesh is not None and loaded.mesh is not None
    np.testing.assert_array_equal(loaded.mesh.positions, kept.mesh.positions)
    assert list(loaded.named()) == ["encoder", "processor", "decoder"]
    for one, other in zip(kept.named().values(), loaded.named().values(), strict=True):
        assert torch.equal(one.edge_index, other.edge_index) and torch.equal(one.edge_features, other.edge_features)
    state, forcings = starting_from(fields, WEATHER, [0, 9]), Forcings(ComputedForcings(fields.mesh))
    one, other = (list(rollout(e, state, forcings, 3))[-1][0].values for e in (emulator, back))
    np.testing.assert_array_equal(one, other)


def test_a_checkpoint_with_edges_among_its_weights_still_loads(tmp_path: Path) -> None:
    """As written before graphs were stored once: edge features in single precision, beside the weights."""
    fields, config = weather_fields(), CONFIGS["nearest"]
    emulator = fitted(WEATHER, fields, config)
    path = saved(tmp_path, emulator, config, fields)
    arrays, metadata = read(path)
    for name in ("edge_index", "edge_features"):
        edges = arrays.pop(f"graphs.processor.{name}")
        arrays[f"emulator.network.processor_graph.{name}"] = edges.float() if edges.is_floating_point() else edges
    metadata["mesh"]["graphs"] = {}
    save(path, arrays, metadata)
    back = load_emulator(path).emulator
    state, forcings = starting_from(fields, WEATHER, [0]), Forcings(ComputedForcings(fields.mesh))
    one, other = (next(iter(rollout(e, state, forcings, 1)))[0].now for e in (emulator, back))
    torch.testing.assert_close(one, other, equal_nan=True)


def test_a_loaded_emulator_is_not_trained_by_accident(tmp_path: Path) -> None:
    fields = wave_fields()
    back = load_emulator(saved(tmp_path, fitted(WAVES, fields), GNNConfig(processor=SMALL), fields)).emulator
    assert isinstance(back, torch.nn.Module)
    assert not back.training and not any(weight.requires_grad for weight in back.parameters())


@pytest.mark.parametrize("absent", ["task", "mesh", "statistics", "emulator", "name"])
def test_a_checkpoint_that_lacks_a_part_is_refused(tmp_path: Path, absent: str) -> None:
    fields = wave_fields()
    path = saved(tmp_path, fitted(WAVES, fields), GNNConfig(processor=SMALL), fields)
    arrays, metadata = read(path)
    save(path, arrays, {name: value for name, value in metadata.items() if name != absent})
    with pytest.raises(MeshcastError, match=f"not a whole emulator's.*{absent}"):
        load_emulator(path)


def test_a_checkpoint_from_a_later_version_says_so_in_plain_words(tmp_path: Path) -> None:
    fields = wave_fields()
    path = saved(tmp_path, fitted(WAVES, fields), GNNConfig(processor=SMALL), fields)
    arrays, metadata = read(path)
    metadata["mesh"]["version"] = 99
    save(path, arrays, metadata)
    with pytest.raises(MeshcastError, match=r"cannot be used: These graphs are of format 99"):
        load_emulator(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    fields = wave_fields()
    path = saved(tmp_path, fitted(WAVES, fields), GNNConfig(processor=replace(SMALL, latent_size=6)), fields)
    with pytest.raises(MeshcastError, match="do not fit its configuration"):
        load_emulator(path)


# Plug-ins -------------------------------------------------------------------------------------------------------------

NETWORK = """
import torch
class Pointwise(torch.nn.Module):
    def __init__(self, num_inputs, num_outputs, mesh, width=4):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(num_inputs, width), torch.nn.Linear(width, num_outputs))
    def forward(self, features):
        return self.layers(features)
EMULATORS = {"pointwise": Pointwise}
"""


@pytest.fixture
def plugin(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(text)
        return path

    return write


def test_a_plug_in_network_is_built_saved_and_loaded(tmp_path: Path, plugin: Any) -> None:
    load_plugins([plugin(NETWORK)])
    config = PluginConfig("pointwise", options={"width": 3})
    assert is_network(find_plugin("pointwise")) and not is_closed_form(config)
    fields = wave_fields()
    emulator = build_network(config, WAVES, fields.mesh, 0)
    emulator.inputs.take(TrainingPart(fields))
    back = load_emulator(saved(tmp_path, emulator, config, fields))
    assert back.config == config
    state = starting_from(fields, WAVES, [0])
    one, other = (next(iter(rollout(e, state, Forcings(), 1)))[0] for e in (emulator, back.emulator))
    assert torch.equal(one.now, other.now)


@pytest.mark.parametrize("path", sorted(EARLIER.glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_checkpoint_of_an_earlier_version_forecasts_as_it_did(path: Path) -> None:
    if path.stem.startswith("keras"):
        pytest.importorskip("tensorflow")
    expected = np.load(EARLIER / "forecasts.npz")[path.stem]
    steps = list(rollout(load_emulator(path).emulator, starting_from(wave_fields(), WAVES, [0]), Forcings(), 2))
    np.testing.assert_allclose(steps[-1][0].now.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_there_are_checkpoints_of_an_earlier_version() -> None:
    assert len(list(EARLIER.glob("*.safetensors"))) == len(np.load(EARLIER / "forecasts.npz").files) == 10


def test_a_network_from_outside_the_package_is_a_kind_as_any_other(tmp_path: Path) -> None:
    path = ROOT / "tests" / "plugins" / "neighbour_mean.py"
    content = {"emulator": {"kind": "neighbour_mean", "width": 4, "first_guess": {"kind": "persistence"}}}
    load_plugins([path])
    try:
        config = load(EmulatorSection, content).emulator
        assert not is_closed_form(config) and family_of("neighbour_mean") == "convolutional, spectral"
        with pytest.raises(MeshcastError, match=r"got 'neighbor_mean', .*; did you mean neighbour_mean\?"):
            load(EmulatorSection, {"emulator": {"kind": "neighbor_mean"}})
        wide = with_parameters(config, 1_000, num_parameters)
        assert abs(num_parameters(wide) - 1_000) < 10
        fields = wave_fields()
        emulator = build_network(config, WAVES, fields.mesh, 0)
        emulator.inputs.take(TrainingPart(fields))
        torch.nn.init.normal_(emulator.network.layers[-1].weight)
        back = load_emulator(saved(tmp_path, emulator, config, fields), [path])
        state = starting_from(fields, WAVES, [0])
        one, other = (next(iter(rollout(e, state, Forcings(), 1)))[0] for e in (emulator, back.emulator))
        assert torch.equal(one.now, other.now)
    finally:
        del EmulatorConfig.registered["neighbour_mean"]
        adapter_of.cache_clear()
    with pytest.raises(MeshcastError, match=r"emulator\.kind: got 'neighbour_mean', expected one of persistence"):
        load(EmulatorSection, content)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("family = 'graph'", "Mine needs a field `kind"),
        ("family = 'grap'; kind: Literal['mine'] = 'mine'", "The family of Mine .* Did you mean 'graph'"),
        ("family = 'graph'; kind: Literal['cnn'] = 'cnn'", "Mine is of kind cnn, but so is CNNConfig"),
    ],
)
def test_a_kind_that_is_not_whole_is_refused(plugin: Any, body: str, message: str) -> None:
    text = f"""
from dataclasses import dataclass
from typing import Literal
from emulator.emulator_config import EmulatorConfig

@dataclass(frozen=True)
class Mine(EmulatorConfig):
    {body}

EMULATORS = {{"mine": Mine}}
"""
    with pytest.raises(MeshcastError, match=message):
        load_plugins([plugin(text)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('oh')", "fails when it is run: ValueError: oh"),
        ("EMULATORS = []", "needs a dictionary EMULATORS"),
        ("x = 1", "needs a dictionary EMULATORS"),
        ("def f(:", "fails when it is run: SyntaxError"),
    ],
)
def test_a_plug_in_file_that_does_not_work_says_why(plugin: Any, text: str, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        load_plugins([plugin(text)])


def test_a_plug_in_class_without_its_methods_is_refused_by_name(plugin: Any) -> None:
    load_plugins([plugin("class Half:\n    def fit(self): pass\n    def step(self): pass\nEMULATORS = {'half': Half}")])
    with pytest.raises(MeshcastError, match=r"'half' is neither .* it lacks arrays, from_arrays"):
        find_plugin("half")


def test_an_unknown_plug_in_names_those_known(tmp_path: Path, plugin: Any) -> None:
    load_plugins([plugin(NETWORK)])
    with pytest.raises(MeshcastError, match=r"No plug-in is called 'pointwize'.*pointwise"):
        find_plugin("pointwize")
    with pytest.raises(MeshcastError, match="There is no plug-in file"):
        load_plugins([tmp_path / "absent.py"])


def test_a_closed_form_knows_what_it_is() -> None:
    assert is_closed_form(RidgeConfig()) and not is_closed_form(GNNConfig())
    fields = wave_fields()
    ridge = fit_closed_form(RidgeConfig(radii=(1,), penalties=(1e-6,)), WAVES, TrainingPart(fields))
    assert isinstance(ridge, Emulator)


OUTSIDE = """
from dataclasses import dataclass
from typing import Literal

from emulator.baselines.persistence import Persistence, PersistenceConfig


@dataclass(frozen=True)
class FadingConfig(PersistenceConfig):
    kind: Literal["fading"] = "fading"
    share: float = 0.5

    def build(self, task, mesh):
        return Fading(self, task, mesh)


class Fading(Persistence):
    def step(self, state, forcing, generator=None):
        later, diagnostic = super().step(state, forcing)
        return state.followed_by(self.config.share * later.now, later.valid_time), diagnostic


EMULATORS = {"fading": FadingConfig}
"""


def test_a_baseline_from_outside_the_package_is_a_kind_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "fading.py"
    path.write_text(OUTSIDE)
    load_plugins([path])
    try:
        config = load(EmulatorSection, {"emulator": {"kind": "fading", "share": 0.25}}).emulator
        assert is_closed_form(config) and family_of("fading") == "closed forms, solvers"
        fields = wave_fields()
        emulator = fit_closed_form(config, WAVES, TrainingPart(fields))
        back = load_emulator(saved(tmp_path, emulator, config, fields), [path])
        state = starting_from(fields, WAVES, [0])
        following = next(iter(rollout(back.emulator, state, Forcings(), 1)))[0]
        assert torch.equal(following.now, 0.25 * state.now)
    finally:
        del EmulatorConfig.registered["fading"]
        adapter_of.cache_clear()
