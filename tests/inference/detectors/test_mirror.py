"""The textbook graph layer knows no direction on a ring; edges with displacements do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.build import build_network
from emulator.networks.config import NetworkConfig
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.graph_convolution import GraphConvolutionConfig
from emulator.neural import NeuralEmulator
from emulator.physics.ring_equations import Advection
from emulator.physics.ring_solver import RingSolver
from emulator.state import State
from graphs.edges.build import GraphConfig, HopEdges
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring
from inference.detectors.mirror import mirror_difference, mirrored

HOPS = GraphConfig(processor=HopEdges(hops=(1, 2)))


def solver(speed: float = 1.0) -> RingSolver:
    return RingSolver(Advection(speed=speed), ring(16, 1.0), 0.05)


def states() -> State:
    values = torch.randn(4, 1, 1, 16, 1, generator=torch.Generator().manual_seed(0))
    return State(values, np.zeros(4, dtype=np.int64))


def network(config: NetworkConfig) -> NeuralEmulator:
    """With random weights everywhere, the last layer too."""
    torch.manual_seed(0)
    emulator = build_network(config, solver().task, solver().mesh, 0)
    for weight in emulator.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return emulator


def test_a_mirror_keeps_node_zero_and_undoes_itself() -> None:
    once = mirrored(states())
    assert torch.equal(once.values[..., 0, 0], states().values[..., 0, 0])
    assert torch.equal(once.values[..., 1, 0], states().values[..., -1, 0])
    assert torch.equal(mirrored(once).values, states().values)


def test_whatever_its_weights_the_textbook_layer_knows_no_direction() -> None:
    textbook = network(GraphConvolutionConfig(width=8, num_layers=3, graph=HOPS))
    assert mirror_difference(textbook, states()) < 1e-5


def test_edges_with_displacements_know_a_direction() -> None:
    graph = network(GNNConfig(graph=HOPS, processor=ProcessorConfig(num_layers=2, latent_size=8, hidden_size=8)))
    assert mirror_difference(graph, states()) > 0.1


def test_advection_knows_a_direction_and_rest_none() -> None:
    assert mirror_difference(solver(), states()) > 1.0
    assert mirror_difference(solver(speed=0.0), states()) < 1e-5


def test_a_mirror_stands_on_a_ring() -> None:
    emulator = build_network(GraphConvolutionConfig(width=4, num_layers=1), solver().task, icosphere(1), 0)
    with pytest.raises(MeshcastError, match="on a ring without forcings"):
        mirror_difference(emulator, states())
