"""Activation checkpointing changes what is kept for the gradient, and no number."""

from __future__ import annotations

import pytest
import torch

from emulator.networks.cnn import CNNConfig
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.layers import edge_blocks
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.recomputation import recompute_rounds
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig, TransformerRound
from emulator.networks.processors.interaction import AnemoiGraphConvolutionConfig, GraphCastConfig, InteractionRound
from emulator.networks.processors.pyg import PyGConfig
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.ring import ring

SIZES = {"num_layers": 3, "latent_size": 16, "hidden_size": 8}
ON_A_MESH = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1))
NETWORKS = {
    "by position": (GNNConfig(processor=ProcessorConfig(**SIZES)), ring(24)),
    "kernel": (GNNConfig(processor=ProcessorConfig(**SIZES), graph=ON_A_MESH), icosphere(2)),
    "interaction": (GNNConfig(processor=ProcessorConfig(kind="interaction", **SIZES)), icosphere(1)),
    "graphcast": (GNNConfig(processor=GraphCastConfig(**SIZES), graph=ON_A_MESH), icosphere(2)),
    "anemoi's convolution": (GNNConfig(processor=AnemoiGraphConvolutionConfig(**SIZES)), icosphere(1)),
    "anemoi's transformer": (GNNConfig(processor=AnemoiGraphTransformerConfig(**SIZES)), icosphere(1)),
    "a library's layer": (GNNConfig(processor=PyGConfig(layer="GATv2Conv", **SIZES)), icosphere(1)),
}


def passed(network: torch.nn.Module, features: torch.Tensor) -> tuple[int, torch.Tensor, list[torch.Tensor]]:
    """The bytes that are kept outside of what is computed again, the output, and all gradients."""
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        network(features)
    network.zero_grad()
    output = network(features)
    output.square().mean().backward()
    return sum(kept.values()), output.detach(), [w.grad.clone() for w in network.parameters() if w.grad is not None]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_rounds_computed_again_give_the_same_gradients_to_the_bit(name: str, precision: str) -> None:
    config, mesh = NETWORKS[name]
    torch.manual_seed(0)
    network = config.build(FeatureLayout(2, 1, 0, 2, 1), mesh)
    torch.nn.init.normal_(network.decoder[-1].weight)
    features = torch.randn(4, mesh.num_nodes, 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        kept, output, gradients = passed(network, features)
        assert recompute_rounds(network)
        kept_less, same_output, same_gradients = passed(network, features)
    assert torch.equal(output, same_output)
    assert all(map(torch.equal, gradients, same_gradients)) and len(gradients) == len(same_gradients) > 3
    assert kept_less < 0.5 * kept


@pytest.mark.parametrize(
    ("name", "round_of_messages"), [("graphcast", InteractionRound), ("anemoi's transformer", TransformerRound)]
)
def test_a_round_on_blocks_of_edges_is_computed_again_once_and_its_blocks_keep_nothing(
    name: str, round_of_messages: type[torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_blocks, "NUMBERS", 2000)  # many blocks, each with a backward pass of its own
    config, mesh = NETWORKS[name]
    network = config.build(FeatureLayout(2, 1, 0, 2, 1), mesh)
    calls, runs, forward = [], [], round_of_messages.forward
    monkeypatch.setattr(round_of_messages, "forward", lambda *given: calls.append(1) or forward(*given))
    run, record = edge_blocks._Run.of, runs.append
    monkeypatch.setattr(edge_blocks._Run, "of", lambda *given: record(given[3] is not None) or run(*given))
    for again, computed in ((False, 1), (True, 2)):
        recompute_rounds(network, again)
        calls.clear()
        runs.clear()
        output = network(torch.randn(2, mesh.num_nodes, 2))
        rounds, blocks = len(calls), len(runs)
        assert blocks > 2 * rounds
        assert not any(runs) if again else all(runs)  # a graph of its own is kept of each block, or of none
        output.square().mean().backward()
        assert len(calls) == computed * rounds
        assert len(runs) == (1 + 2 * again) * blocks


def test_a_network_without_rounds_says_so() -> None:
    mesh: Mesh = ring(24)
    assert not recompute_rounds(CNNConfig(width=4, num_layers=1).build(FeatureLayout(1, 1, 0, 1, 1), mesh))
