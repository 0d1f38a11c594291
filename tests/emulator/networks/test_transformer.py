"""The Transformer over history and space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.networks.transformer import Attention, ClusterReader, TransformerConfig
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import (
    MESHES,
    QUESTIONS,
    RING_LAYOUT,
    a_checkpoint_says_the_same,
    emulator_of,
    features_of,
    left_after_fitting,
    network_of,
    shifting_waves,
)

SMALL = TransformerConfig(width=8, num_layers=1, num_heads=2, patch=2)


@pytest.mark.parametrize("patch", [1, 2, 5])
@pytest.mark.parametrize("mesh", MESHES)
def test_it_answers_as_every_network_does(mesh: str, patch: int, tmp_path: Path) -> None:
    config = replace(SMALL, patch=patch)
    for question in QUESTIONS:
        question(config, MESHES[mesh]())
    a_checkpoint_says_the_same(config, MESHES[mesh](), tmp_path)


def test_attention_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    layer, tokens = Attention(6, 2), torch.randn(1, 5, 6)
    normed = layer.norm(tokens)[0].detach().numpy()
    q, k, v = np.split(normed @ layer.questions.weight.detach().numpy().T, 3, axis=1)
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        score = np.exp(q[:, part] @ k[:, part].T / np.sqrt(3))
        heads.append(score / score.sum(axis=1, keepdims=True) @ v[:, part])
    expected = layer.out(torch.from_numpy(np.concatenate(heads, axis=1)).float())
    torch.testing.assert_close(layer(tokens)[0], expected)


def test_any_node_hears_any_other_at_any_time() -> None:
    network = network_of(SMALL, RING_LAYOUT, ring(24))
    features = torch.randn(1, 24, 2, requires_grad=True)
    network(features)[0, 3].sum().backward()
    assert features.grad is not None and features.grad.abs().min() > 0


def test_it_knows_where_it_is() -> None:
    network = network_of(SMALL, RING_LAYOUT, ring(24))
    output = network(torch.zeros(1, 24, 2))[0, ::2]
    assert output.std(dim=0).max() > 1e-3


def test_nodes_of_a_cluster_may_stand_in_any_order() -> None:
    mesh = MESHES["icosphere"]()
    network = emulator_of(replace(SMALL, patch=2), mesh).network
    assert isinstance(network.reader, ClusterReader)
    features = features_of(emulator_of(SMALL, mesh))
    before = network(features)
    members = network.patches.members
    order = torch.tensor([1, 0, *range(2, members.shape[1])])
    network.patches.members.copy_(members[:, order].clone())
    network.reader.offsets.copy_(network.reader.offsets[:, order].clone())
    places = network.patches.places
    patch, slot = places // members.shape[1], places % members.shape[1]
    network.patches.places.copy_(patch * members.shape[1] + order[slot])
    torch.testing.assert_close(network(features), before)


def test_it_learns_which_way_a_wave_goes() -> None:
    network = network_of(TransformerConfig(width=16, num_layers=1, num_heads=2, patch=2), RING_LAYOUT, ring(16))
    assert left_after_fitting(network, *shifting_waves(16, 8, seed=0), updates=100) < 0.02


def test_heads_that_do_not_share_the_width_are_refused() -> None:
    with pytest.raises(MeshcastError, match=r"4 heads .*30 channels.*32"):
        TransformerConfig(width=30)
