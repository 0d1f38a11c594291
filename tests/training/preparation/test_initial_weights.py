"""Weights from another emulator: the same function where inputs were added, and nothing taken or dropped silently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator, build_network
from emulator.networks.cnn import CNNConfig
from emulator.networks.config import NetworkConfig
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics
from emulator.state import State
from emulator.task import Task, Variable
from graphs.edges.build import GraphConfig, HopEdges, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring
from tests.emulator.worlds import FRAME
from training.preparation.initial_weights import start_weights, taken_over
from training.strategies import StrategyConfig

PROCESSOR = ProcessorConfig(num_layers=1, latent_size=16, hidden_size=8)
GNN = GNNConfig(processor=PROCESSOR)
U, V, Q = (Variable(name, "prognostic") for name in "uvq")
EAST, NORTH = replace(U, partner="v"), replace(V, partner="u")
MULTI = GNNConfig(processor=PROCESSOR, graph=GraphConfig(processor=MultiMeshEdges()))


def network(config: NetworkConfig, variables: tuple[Variable, ...], mesh: Mesh, history: int = 1) -> NeuralEmulator:
    """A network whose weights are all drawn at random, so that none is zero by chance."""
    task = Task(variables, FRAME, history=history)
    emulator = build_network(config, task, mesh, len(task.static))
    with torch.no_grad():
        for weight in emulator.network.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape))
        emulator.inputs.statics.copy_(torch.randn(emulator.inputs.statics.shape))
    return emulator


def trained(config: NetworkConfig, *arguments: Any) -> TrainedEmulator:
    emulator = network(config, *arguments)
    statistics = Statistics((), *np.zeros((6, 0)))
    return TrainedEmulator("another", emulator, config, statistics)


def stepped(emulator: NeuralEmulator, values: torch.Tensor, forcing: int = 0) -> torch.Tensor:
    batch, _, history, nodes, _ = values.shape
    given = torch.ones(batch, history + 1, nodes, forcing)
    with torch.no_grad():
        return emulator.step(State(values, np.zeros(batch, dtype=np.int64)), given)[0].now


@pytest.mark.parametrize("config", [GNN, CNNConfig(width=16, num_layers=2), replace(GNN, linear_reach=4)])
def test_with_added_variables_the_function_is_the_old_one_at_first(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    forced = (V, Variable("a", "forcing"), Variable("b", "static"))
    other = trained(config, (V,), ring(16))
    emulator = network(config, (U, *forced), ring(16), 2)
    lines = taken_over(emulator, config, other, "runs/other")
    values = torch.randn(3, 1, 2, 16, 2)
    old = stepped(other.emulator, values[:, :, 1:, :, 1:])
    torch.testing.assert_close(stepped(emulator, values, 1)[..., 1:], old)
    assert (
        "start at zero: u at -1, v at -1, u at 0, forcing a at -1, forcing a at 0, forcing a at 1, static b."
        in (lines[1])
    )
    assert lines[2] == "Outputs that it did not have start as the first guess: u."


def test_variables_in_another_order_are_taken_by_name() -> None:
    torch.manual_seed(0)
    other = trained(GNN, (U, V), ring(16))
    emulator = network(GNN, (V, U), ring(16))
    taken_over(emulator, GNN, other, "runs/other")
    values = torch.randn(3, 1, 1, 16, 2)
    torch.testing.assert_close(stepped(emulator, values.flip(-1)).flip(-1), stepped(other.emulator, values))


def test_a_wind_among_added_variables_stays_the_same_wind() -> None:
    torch.manual_seed(0)
    other = trained(GNN, (EAST, NORTH), icosphere(1))
    emulator = network(GNN, (Q, EAST, NORTH), icosphere(1))
    taken_over(emulator, GNN, other, "runs/other")
    values = torch.randn(3, 1, 1, 42, 3)
    torch.testing.assert_close(stepped(emulator, values)[..., 1:], stepped(other.emulator, values[..., 1:]))


def test_another_number_of_nodes_takes_every_weight() -> None:
    hops = replace(GNN, graph=GraphConfig(processor=HopEdges(hops=(1, 2))))
    other = trained(hops, (U,), ring(16))
    emulator = network(hops, (U,), ring(32))
    assert len(taken_over(emulator, hops, other, "runs/other")) == 1
    for name, weight in emulator.network.named_parameters():
        assert torch.equal(weight, dict(other.emulator.network.named_parameters())[name])


def test_a_finer_mesh_takes_the_shortest_edges_weights_for_shorter_ones() -> None:
    other = trained(MULTI, (U,), icosphere(2))
    emulator = network(MULTI, (U,), icosphere(3))
    lines = taken_over(emulator, MULTI, other, "runs/other")
    old, new = (each.network.processor[0].neighbours for each in (other.emulator, emulator))
    assert (len(old), len(new)) == (3, 4)
    assert torch.equal(new[:3], old) and torch.equal(new[3], old[2])
    assert lines[1] == "Edges shorter than any it had take the weights of its shortest ones: processor.0.neighbours."


def test_what_has_no_place_is_refused_by_name_with_both_shapes() -> None:
    other = trained(GNN, (U,), ring(16))
    wider = GNNConfig(processor=replace(PROCESSOR, hidden_size=9, num_layers=2))
    emulator = network(wider, (U,), ring(16))
    before = {name: weight.clone() for name, weight in emulator.network.named_parameters()}
    with pytest.raises(MeshcastError) as refused:
        taken_over(emulator, wider, other, "runs/other")
    assert "processor.0.own.weight: [8, 16] there, [9, 16] here" in str(refused.value)
    assert "processor.1.own.weight: none there, [9, 16] here" in str(refused.value)
    assert "training.fresh" in str(refused.value)
    assert all(torch.equal(weight, before[name]) for name, weight in emulator.network.named_parameters())
    lines = taken_over(emulator, wider, other, "runs/other", ("processor.*",))
    assert lines[1].startswith("At random start, by training.fresh: processor.0.")
    assert torch.equal(emulator.network.encoder.weight, other.emulator.network.encoder.weight)
    assert torch.equal(emulator.network.processor[0].own.weight, before["processor.0.own.weight"])


@pytest.mark.parametrize(
    ("config", "variables", "message"),
    [
        (CNNConfig(width=16), (U,), r"its emulator.kind is gnn, this one's is cnn"),
        (GNNConfig(processor=PROCESSOR, first_guess=RidgeConfig()), (U,), r"its emulator.first_guess.kind is persist"),
        (GNN, (V,), r"has what this one lacks: input u at 0, output u"),
    ],
)
def test_weights_that_would_mean_something_else_are_refused(
    config: NetworkConfig, variables: tuple[Variable, ...], message: str
) -> None:
    other = trained(GNN, (U,), ring(16))
    with pytest.raises(MeshcastError, match=message):
        taken_over(network(config, variables, ring(16)), config, other, "runs/other")


def test_emulators_without_weights_of_their_own_are_refused() -> None:
    emulator = network(GNN, (U,), ring(16))
    closed: Any = PersistenceConfig().build(emulator.task, emulator.mesh)
    other = TrainedEmulator("still", closed, PersistenceConfig(), Statistics((), *np.zeros((6, 0))))
    with pytest.raises(MeshcastError, match=r"it is a persistence, which has no network\. Give an emulator"):
        taken_over(emulator, GNN, other, "runs/still")


def test_other_settings_and_scales_are_told() -> None:
    other = trained(GNN, (U,), ring(16))
    other.emulator.inputs.std.fill_(2.0)
    config = replace(GNN, conserving="flux")
    assert taken_over(network(GNN, (U,), ring(16)), config, other, "x")[1:] == [
        "Configured otherwise there: conserving fixer, here flux.",
        "Scales are those of the new data: standard deviation of u 1, there 2; "
        "what the first guess leaves of u 1, there 2.",
    ]


def test_frozen_weights_keep_no_gradient_and_all_frozen_is_refused() -> None:
    emulator = network(GNN, (U,), ring(16))
    start_weights(emulator, GNN, StrategyConfig(frozen=("encoder.*", "*.bias")), taken=True)
    for name, weight in emulator.network.named_parameters():
        assert weight.requires_grad == (not name.startswith("encoder.") and not name.endswith(".bias"))
    with pytest.raises(MeshcastError, match=r"frozen has the pattern 'enc', which fits none .* encoder.weight"):
        start_weights(emulator, GNN, StrategyConfig(frozen=("enc",)), taken=True)
    with pytest.raises(MeshcastError, match=r"nothing is left to train"):
        start_weights(emulator, GNN, StrategyConfig(frozen=("*",)), taken=True)


def test_a_file_that_is_no_emulator_is_refused(tmp_path: Path) -> None:
    emulator = network(GNN, (U,), ring(16))
    strategies = StrategyConfig(initialise_from=str(tmp_path / "nothing"))
    with pytest.raises(MeshcastError, match=r"Expected a checkpoint at .*nothing, but found nothing"):
        start_weights(emulator, GNN, strategies, taken=True)
    start_weights(emulator, GNN, strategies, taken=False)  # a run that goes on has weights already
