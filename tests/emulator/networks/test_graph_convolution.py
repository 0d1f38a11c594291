"""The textbook graph layer: by hand, and why it cannot tell right from left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from emulator.networks.gnn import EncodeProcessDecode, ProcessorConfig
from emulator.networks.graph_convolution import GraphConvolutionConfig
from emulator.networks.interaction_network import InteractionNetworkConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from graphs.edges.build import GraphConfig, HopEdges, MultiMeshEdges, default_graphs
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import (
    MESHES,
    QUESTIONS,
    RING_LAYOUT,
    a_checkpoint_says_the_same,
    drawn,
    left_after_fitting,
    network_of,
    shifting_waves,
)

SMALL = GraphConvolutionConfig(width=8, num_layers=2)
ONE_STATE = FeatureLayout(times=1, num_prognostic=1, num_forcing=0, num_inputs=1, num_outputs=1)


def mirrored(values: torch.Tensor) -> torch.Tensor:
    """Of a ring's nodes, the one at -x in place of that at x."""
    return values.roll(-1, dims=1).flip(1)


def kernel_network() -> nn.Module:
    torch.manual_seed(0)
    processor = ProcessorConfig(num_layers=1, latent_size=8, hidden_size=8)
    return drawn(EncodeProcessDecode(1, 1, default_graphs(ring(24)), processor))


@pytest.mark.parametrize("mesh", MESHES)
def test_it_answers_as_every_network_does(mesh: str, tmp_path: Path) -> None:
    for question in QUESTIONS:
        question(SMALL, MESHES[mesh]())
    a_checkpoint_says_the_same(SMALL, MESHES[mesh](), tmp_path)


def test_a_layer_is_that_of_the_textbook() -> None:
    config = GraphConvolutionConfig(width=3, num_layers=1, graph=GraphConfig(HopEdges(hops=(1,))))
    network = network_of(config, ONE_STATE, ring(5))
    features = torch.randn(1, 5, 1)
    latent, layer = network.encoder(features)[0], network.layers[0]
    summed = torch.stack([latent[i] + latent[i - 1] + latent[(i + 1) % 5] for i in range(5)])
    expected = network.decoder(nn.functional.silu(nn.functional.linear(summed, layer.weight, layer.bias)))
    torch.testing.assert_close(network(features)[0], expected)


def test_a_mirrored_field_gives_the_mirrored_answer_whatever_the_weights() -> None:
    features = torch.randn(4, 24, 1)
    for seed in range(3):
        network = network_of(SMALL, ONE_STATE, ring(24), seed)
        torch.testing.assert_close(network(mirrored(features)), mirrored(network(features)), rtol=0, atol=1e-6)


def test_networks_that_know_where_a_sender_stands_have_no_such_symmetry() -> None:
    features = torch.randn(4, 24, 1)
    interaction = network_of(InteractionNetworkConfig(width=8, num_layers=2), ONE_STATE, ring(24))
    for network in (kernel_network(), interaction):
        answer = network(features)
        assert (network(mirrored(features)) - mirrored(answer)).abs().max() > 0.1 * answer.std()


def test_from_one_state_it_never_learns_which_way_a_wave_goes() -> None:
    """Waves of all phases that move right: its best answer is the mean of right and left, which is nearly nothing."""
    both, target = shifting_waves(24, 6, seed=0)
    now = both[..., 1:]
    left = left_after_fitting(network_of(SMALL, ONE_STATE, ring(24)), now, target, updates=100)
    assert left > 0.9
    assert left_after_fitting(kernel_network(), now, target, updates=60) < 0.05


def test_from_two_states_it_does() -> None:
    network = network_of(SMALL, RING_LAYOUT, ring(24))
    assert left_after_fitting(network, *shifting_waves(24, 6, seed=0), updates=100) < 0.1


def test_a_mesh_of_its_own_is_refused() -> None:
    config = GraphConvolutionConfig(graph=GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1)))
    with pytest.raises(MeshcastError, match=r"asks for a mesh of kind icosphere. Leave out graph.mesh"):
        network_of(config, ONE_STATE, icosphere(2))
