"""A network that would not fit in memory is refused before its mesh is built."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emulator.gnn import GNNConfig
from emulator.networks.encode_process_decode import ProcessorConfig
from emulator.networks.graph_buffers import GraphBuffers
from emulator.networks.processors import InteractionLayer
from graphs import available_memory
from graphs.build import GraphConfig, IcosphereMesh, MultiMeshEdges, build_graphs
from graphs.errors import MeshcastError
from graphs.icosphere import icosphere
from graphs.ring import ring
from training.experiment import TrainingConfig
from training.memory import least_kept, refuse_too_large_network

TRAINING = TrainingConfig(batch_size=8, accelerator="cpu")


def network(level: int) -> GNNConfig:
    graph = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=level))
    return GNNConfig(graph=graph, processor=ProcessorConfig(num_layers=2, latent_size=16, hidden_size=8))


def test_graphs_that_do_not_fit_are_refused_with_their_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**30)
    with pytest.raises(MeshcastError, match=r"about 2,621,442 nodes and [0-9,]+ edges needs about .* lower level"):
        refuse_too_large_network(network(9), icosphere(2), TRAINING)


def test_an_update_that_does_not_fit_is_refused_though_its_graphs_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**30)
    refuse_too_large_network(network(6), icosphere(2), TRAINING)
    with pytest.raises(MeshcastError, match=r"update of 800 samples on 40,962 nodes .* training.batch_size"):
        refuse_too_large_network(network(6), icosphere(2), replace(TRAINING, batch_size=800))


def test_what_is_refused_is_no_more_than_a_layer_really_keeps() -> None:
    config, kept = network(2), 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    mesh = icosphere(2)
    graph = GraphBuffers(build_graphs(GraphConfig(MultiMeshEdges()), mesh).processor).graph
    layer = InteractionLayer(16, graph.edge_features.shape[1], 8)
    latent = torch.zeros(8, mesh.num_nodes, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        layer(graph, latent, latent)
    assert least_kept(config, mesh.num_nodes, TRAINING) / 2 <= kept  # of one of two layers


def test_half_precision_keeps_half_and_a_longer_loss_more() -> None:
    config = network(3)
    whole = least_kept(config, 642, TRAINING)
    assert 2 * least_kept(config, 642, replace(TRAINING, precision="bf16-mixed")) == whole
    assert least_kept(config, 642, replace(TRAINING, unroll=4)) == 4 * whole


def test_a_ring_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 1)
    refuse_too_large_network(GNNConfig(), ring(64), TRAINING)
