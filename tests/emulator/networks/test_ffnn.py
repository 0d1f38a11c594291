"""Feed-forward networks: what the whole field's hears, and what a node's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from emulator.networks.ffnn import FFNNConfig
from graphs.mesh import Mesh
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

CONFIGS = {
    "whole": FFNNConfig(width=8, num_layers=1),
    "local": FFNNConfig(scope="local", width=8, num_layers=1, radius=1),
}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
@pytest.mark.parametrize("mesh", [build() for build in MESHES.values()], ids=MESHES)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_feed_forward_network(config: FFNNConfig, mesh: Mesh, question: Callable[[FFNNConfig, Mesh], None]) -> None:
    question(config, mesh)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_checkpoint_says_the_same(config: FFNNConfig, tmp_path: Path) -> None:
    a_checkpoint_says_the_same(config, icosphere(1), tmp_path)


def test_a_local_network_hears_its_radius_and_is_the_same_everywhere() -> None:
    network = network_of(FFNNConfig(scope="local", radius=2), RING_LAYOUT, ring(24))
    features = torch.randn(1, 24, 2, generator=torch.Generator().manual_seed(0))
    answer = network(features)
    torch.testing.assert_close(network(features.roll(5, dims=1)), answer.roll(5, dims=1))
    features[:, 10] += 1.0
    received = torch.nonzero((network(features) - answer).abs().amax(dim=(0, 2)) > 1e-6).ravel()
    assert received.tolist() == [8, 9, 10, 11, 12]


def test_a_local_network_learns_how_waves_move() -> None:
    network = network_of(FFNNConfig(scope="local", width=16, num_layers=1), RING_LAYOUT, ring(24))
    assert left_after_fitting(network, *shifting_waves(24, 8, seed=0), updates=100) < 0.05
