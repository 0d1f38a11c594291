"""States between steps: both ends hold whatever the network says, and so do means, masks, bounds and boundaries."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emulator.baselines.persistence import PersistenceConfig
from emulator.between import Between, BetweenConfig, legendre, parts_of_a_step
from emulator.build import TrainedEmulator, graphs_of, load_emulator, save_emulator
from emulator.checkpoint import read, save
from emulator.emulator_config import EmulatorConfig
from emulator.features.conservation import Conservation
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig
from emulator.networks.interaction_network import InteractionNetworkConfig
from emulator.networks.keras_networks.keras_models import KerasCNNConfig
from emulator.networks.unet import UNetConfig
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics, partners_of
from emulator.state import State, Step
from emulator.task import Task
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.meshes.grids import LatLonGrid
from tests.emulator.test_boundary import NEIGHBOURS, WIND, globe, true_boundary, windowed
from tests.emulator.worlds import SMALL, WEATHER, fitted, starting_from, weather_fields

GLOBE = globe()
FREE = replace(
    WIND,
    boundary=False,
    variables=(replace(WIND.variables[0], conserved=True), *WIND.variables[1:]),
)


def between(emulator: NeuralEmulator, network: EmulatorConfig | None = None, terms: int = 3) -> Between:
    """One whose network says something: every weight drawn at random."""
    config = BetweenConfig(network=network or GNNConfig(processor=SMALL))
    torch.manual_seed(1)
    module = Between(config, emulator, terms, graphs_of(emulator))
    for weight in module.network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return module.eval().requires_grad_(False)


def one_step(task: Task, emulator: NeuralEmulator, forcings: Forcings, state: State) -> tuple[Tensor, Step]:
    forcing = forcings.window(state, task, 0)
    return forcing, emulator.step(state, forcing)


def test_both_ends_hold_and_a_fraction_is_what_the_formula_says() -> None:
    emulator = fitted(FREE, GLOBE)
    state = starting_from(GLOBE, FREE, [3, 5])
    forcing, step = one_step(FREE, emulator, Forcings(), state)
    made = between(emulator)
    terms = made.coefficients(state, forcing, step)
    assert (
        terms.shape == (2, 1, 3, GLOBE.mesh.num_nodes, 3) and terms.abs().min(dim=-2).values.min() < terms.abs().max()
    )
    assert torch.equal(made.at(0.0, state, step, terms), state.now)
    torch.testing.assert_close(made.at(1.0, state, step, terms), step[0].now, rtol=1e-6, atol=1e-5)
    f, (a, b, c) = 0.25, terms.unbind(2)
    x = 2 * f - 1
    sum_ = a + x * b + (1.5 * x**2 - 0.5) * c
    expected = (0.75 * state.now + 0.25 * step[0].now + f * (1 - f) * sum_)[..., 1:]  # h is held to its area mean
    torch.testing.assert_close(made.at(f, state, step, terms)[..., 1:], expected, rtol=1e-5, atol=1e-4)
    assert np.array_equal(legendre(np.array([0.5]), 3), [[1.0, 0.0, -0.5]])


def test_area_means_are_kept_between_steps() -> None:
    emulator = fitted(FREE, GLOBE)
    state = starting_from(GLOBE, FREE, [3])
    _, step = one_step(FREE, emulator, Forcings(), state)
    areas = torch.from_numpy(GLOBE.mesh.areas)
    mean = (state.now[0, 0, :, 0].double() * areas).sum()
    for fields in between(emulator).states(state, step, Forcings(), 0, 4):
        assert abs((fields[0, 0, :, 0].double() * areas).sum() - mean) < 1e-6
        assert (fields[0, 0, :, 0] - torch.lerp(state.now, step[0].now, 0.5)[0, 0, :, 0]).abs().max() > 0.1


def test_masks_stay_bounds_hold_and_what_is_diagnosed_comes_along() -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    forcings = Forcings(ComputedForcings(fields.mesh))
    state = starting_from(fields, WEATHER, [5])
    _, step = one_step(WEATHER, emulator, forcings, state)
    made = between(emulator)
    made.correction_std.fill_(-1e4)
    (half,) = made.states(state, step, forcings, 0, 2)
    land = torch.isnan(state.now[0, 0, :, 1])
    assert half.shape == (1, 1, fields.mesh.num_nodes, 3)
    assert torch.equal(torch.isnan(half[0, 0]), torch.stack([land & False, land, land & False], dim=-1))
    assert half[0, 0, ~land, 1].min() == 271.0 and half[..., 2].min() == 0.0 and half[..., 2].max() > 0.0


def test_the_boundary_of_a_limited_area_is_the_one_given_at_that_time() -> None:
    fine = windowed(globe())
    task = replace(WIND, time_step=TimeStep.parse("6h"), history=1)
    emulator = fitted(task, fine, NEIGHBOURS)
    state = starting_from(fine, task, [4])
    forcings = true_boundary(fine, [0])
    step = emulator.step(state, forcings.window(state, task, 0))
    (half,) = between(emulator).states(state, step, forcings, 0, 2)
    truth = torch.from_numpy(fine.values[5, 0])
    mask = torch.from_numpy(fine.mesh.boundary)
    assert (
        torch.equal(half[0, 0, mask], truth[mask]) and not torch.isclose(half[0, 0, ~mask], truth[~mask]).any(0).all()
    )


@pytest.mark.parametrize(
    "network",
    [
        GNNConfig(processor=SMALL),
        InteractionNetworkConfig(width=8, num_layers=1),
        UNetConfig(width=4, grid=LatLonGrid(spacing=22.5, south=-78.75, north=78.75)),
    ],
)
def test_networks_of_other_kinds_answer_too(network: EmulatorConfig) -> None:
    emulator = fitted(FREE, GLOBE)
    state = starting_from(GLOBE, FREE, [3])
    _, step = one_step(FREE, emulator, Forcings(), state)
    made = list(between(emulator, network, terms=2).states(state, step, Forcings(), 0, 3))
    assert len(made) == 2 and all(torch.isfinite(fields).all() for fields in made)


def trained_on_weather(path: Path, with_between: bool) -> TrainedEmulator:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    statistics = Statistics.of(fields, ("2t", "sst", "tp"), partners_of(WEATHER))
    made = between(emulator) if with_between else None
    trained = TrainedEmulator("weather", emulator, GNNConfig(processor=SMALL), statistics, {}, None, made)
    save_emulator(path, trained)
    return trained


def test_a_checkpoint_brings_it_back_and_one_without_has_none(tmp_path: Path) -> None:
    trained = trained_on_weather(tmp_path / "with.safetensors", with_between=True)
    again = load_emulator(tmp_path / "with.safetensors").between
    assert trained.between is not None and again is not None and again.config == trained.between.config
    for name, weight in trained.between.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    trained_on_weather(tmp_path / "without.safetensors", with_between=False)
    assert load_emulator(tmp_path / "without.safetensors").between is None
    arrays, metadata = read(tmp_path / "with.safetensors")
    assert metadata["between"]["network"] is not None
    metadata["between"]["network"] = None  # not written so, but a file can say anything
    save(tmp_path / "none.safetensors", arrays, metadata)
    as_emulator = load_emulator(tmp_path / "none.safetensors").between
    assert as_emulator is not None and as_emulator.config == trained.between.config
    arrays["between.correction_std"] = torch.ones(2, 3)
    save(tmp_path / "other.safetensors", arrays, metadata)
    with pytest.raises(MeshcastError, match="do not fit its configuration"):
        load_emulator(tmp_path / "other.safetensors")


def test_outputs_are_whole_steps_or_whole_fractions_of_one() -> None:
    step, made = TimeStep.parse("12h"), between(fitted(FREE, GLOBE))
    assert parts_of_a_step(step, "1h", made) == (12, 1)
    assert parts_of_a_step(step, "36h", None) == (1, 3)
    own = TimeStep(4, "second", 0.2, "s")
    assert parts_of_a_step(own, "0.05", made) == (4, 1) and own.part(4) == TimeStep(1, "second", 0.05, "s")
    with pytest.raises(MeshcastError, match="no network for states between its steps"):
        parts_of_a_step(step, "1h", None)
    for every in ("5h", "7m"):
        with pytest.raises(MeshcastError, match="no whole fraction of the time step 12h"):
            parts_of_a_step(step, every, made)
    with pytest.raises(MeshcastError, match="no whole fraction"):
        parts_of_a_step(own, "0.025", made)


def test_what_cannot_be_a_network_between_steps_is_refused() -> None:
    for wrong, says in (
        ({"terms": 0}, "terms must be 1 to"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"network": GNNConfig(node_statistics=True)}, "node_statistics has no use"),
    ):
        with pytest.raises(MeshcastError, match=says):
            BetweenConfig(**wrong)


def test_by_default_it_is_a_network_like_the_emulators_and_starts_from_its_weights() -> None:
    own = GNNConfig(processor=SMALL, conserving="flux", graph=GraphConfig(MultiMeshEdges()))
    emulator = fitted(FREE, GLOBE)
    config = BetweenConfig(share=0.2).for_emulator(own)
    assert config.share == 0.2 and config.network == GNNConfig(processor=SMALL)
    assert BetweenConfig(network=UNetConfig()).for_emulator(own).network == UNetConfig()
    with pytest.raises(MeshcastError, match="kind persistence is no network in PyTorch"):
        BetweenConfig().for_emulator(PersistenceConfig())
    with pytest.raises(MeshcastError, match="kind keras_cnn is no network in PyTorch"):
        BetweenConfig().for_emulator(KerasCNNConfig())
    torch.manual_seed(1)
    made = Between(config, emulator, 3, graphs_of(emulator))
    before = copy.deepcopy(dict(made.network.named_parameters()))
    made.start_from(emulator.network)
    given = dict(emulator.network.named_parameters())
    for name, weight in made.network.named_parameters():
        if name.startswith("decoder.2"):
            assert torch.equal(weight, before[name])
        elif weight.shape == given[name].shape:
            assert torch.equal(weight, given[name]) and not torch.equal(weight, before[name]), name
        else:
            assert name.startswith("encoder")
            shared = given[name].shape[1]
            assert torch.equal(weight[:, :shared], given[name])
            assert torch.equal(weight[:, shared:], before[name][:, shared:])
    state = starting_from(GLOBE, FREE, [3])
    forcing, step = one_step(FREE, emulator, Forcings(), state)
    assert not made.coefficients(state, forcing, step).any(), "untrained, it interpolates along a line"


def test_conservation_of_a_step_is_not_overwritten_by_what_lies_within() -> None:
    emulator = fitted(FREE, GLOBE)
    state = starting_from(GLOBE, FREE, [3])
    _, step = one_step(FREE, emulator, Forcings(), state)
    assert isinstance(emulator.inputs.conservation, Conservation)
    before = emulator.inputs.conservation.correction
    list(between(emulator).states(state, step, Forcings(), 0, 3))
    assert emulator.inputs.conservation.correction is before
