"""The textbook interaction network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from emulator.networks.interaction_network import Interaction, InteractionNetworkConfig
from graphs.edges.build import GraphConfig, NearestEdges, build_graphs
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import (
    MESHES,
    QUESTIONS,
    RING_LAYOUT,
    a_checkpoint_says_the_same,
    left_after_fitting,
    network_of,
    shifting_waves,
)

SMALL = InteractionNetworkConfig(width=6, num_layers=2)


@pytest.mark.parametrize("mesh", MESHES)
def test_it_answers_as_every_network_does(mesh: str, tmp_path: Path) -> None:
    for question in QUESTIONS:
        question(SMALL, MESHES[mesh]())
    a_checkpoint_says_the_same(SMALL, MESHES[mesh](), tmp_path)


def test_a_round_is_that_of_the_paper_edge_by_edge() -> None:
    """On edges of which some nodes send more than they hear."""
    torch.manual_seed(0)
    graph = build_graphs(GraphConfig(NearestEdges(neighbours=4)), icosphere(1)).processor
    layer = Interaction(5, graph.edge_features.shape[1])
    nn.init.normal_(layer.last.bias)
    latent = torch.randn(2, graph.num_senders, 5)
    received = torch.zeros(2, graph.num_receivers, 5)
    for (sender, receiver), known in zip(graph.edge_index.T, graph.edge_features.float(), strict=True):
        inputs = torch.cat([latent[:, receiver], latent[:, sender], known.expand(2, -1)], dim=-1)
        received[:, receiver] += layer.last(nn.functional.silu(layer.first(inputs)))
    expected = layer.update(torch.cat([latent, received], dim=-1))
    torch.testing.assert_close(layer(graph, latent), expected, rtol=1e-4, atol=1e-5)


def test_features_keep_their_size_from_round_to_round() -> None:
    torch.manual_seed(0)
    network = network_of(InteractionNetworkConfig(), RING_LAYOUT, ring(64))
    latent = network.encoder(torch.randn(4, 64, 2))
    sizes = [float(latent.std().detach())]
    for layer in network.layers:
        latent = layer(network.graph.graph, latent)
        sizes.append(float(latent.std(dim=1).mean().detach()))
    assert 0.2 * sizes[0] < min(sizes[1:]) and max(sizes[1:]) < 5 * sizes[0]


def test_it_learns_which_way_a_wave_goes_from_one_state() -> None:
    network = network_of(InteractionNetworkConfig(width=16, num_layers=1), RING_LAYOUT, ring(16))
    features, target = shifting_waves(16, 8, seed=0)
    features[..., 0] = 0.0  # no past
    assert left_after_fitting(network, features, target, updates=100) < 0.05
