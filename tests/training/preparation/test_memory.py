"""A network that would not fit in memory is refused before its mesh is built."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from emulator.networks.cnn import CNNConfig
from emulator.networks.config import NetworkConfig
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.fno import FNOConfig
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.graph_convolution import GraphConvolutionConfig
from emulator.networks.interaction_network import InteractionNetworkConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.lstm import LSTMConfig
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig
from emulator.networks.processors.interaction import AnemoiGraphConvolutionConfig, GraphCastConfig
from emulator.networks.processors.pyg import PyGConfig
from emulator.networks.structured import StructuredConfig
from emulator.networks.transformer import TransformerConfig
from emulator.networks.unet import UNetConfig
from graphs import available_memory
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian
from graphs.meshes.grids import GaussianGrid
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.ring import ring
from training.experiment import TrainingConfig
from training.preparation.memory import least_numbers, refuse_too_large_network

TRAINING = TrainingConfig(batch_size=8, accelerator="cpu")


def network(level: int) -> GNNConfig:
    graph = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=level))
    return GNNConfig(graph=graph, processor=ProcessorConfig(num_layers=2, latent_size=16, hidden_size=8))


def test_graphs_that_do_not_fit_are_refused_with_their_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**30)
    with pytest.raises(MeshcastError, match=r"about 2,621,442 nodes.* level"):
        refuse_too_large_network(network(9), icosphere(2), 1, TRAINING)


def test_an_update_that_does_not_fit_is_refused_though_its_graphs_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**30)
    refuse_too_large_network(network(6), icosphere(2), 1, TRAINING)
    with pytest.raises(MeshcastError, match=r"800 samples .*162 nodes .*training\.batch_size"):
        refuse_too_large_network(network(6), icosphere(2), 1, replace(TRAINING, batch_size=800))


def bytes_kept(config: NetworkConfig, mesh: Mesh, history: int) -> int:
    """Of a batch of eight."""
    return 4 * 8 * least_numbers(config, mesh, history)[1]


def test_half_precision_keeps_half_and_a_longer_loss_more(monkeypatch: pytest.MonkeyPatch) -> None:
    amounts: list[int] = []
    config, mesh = network(3), icosphere(2)
    whole = bytes_kept(config, mesh, 1)
    monkeypatch.setattr("training.preparation.memory.refuse_too_large", lambda amount, *_: amounts.append(amount))
    for changed in (TRAINING, replace(TRAINING, precision="bf16-mixed"), replace(TRAINING, unroll=4)):
        refuse_too_large_network(config, mesh, 1, changed)
    assert amounts[1::2] == [whole, whole // 2, 4 * whole]


SIZES = {"num_layers": 2, "latent_size": 16, "hidden_size": 8}
NETWORKS = {
    "feed-forward": FFNNConfig(width=8),
    "local feed-forward": FFNNConfig(scope="local", width=8),
    "whole lstm": LSTMConfig(scope="whole", width=8),
    "lstm": LSTMConfig(width=8, num_layers=2),
    "transformer": TransformerConfig(width=8, num_layers=2, patch=2),
    "graph convolution": GraphConvolutionConfig(width=8, num_layers=3),
    "interaction network": InteractionNetworkConfig(width=8, num_layers=2),
    "gnn": GNNConfig(processor=ProcessorConfig(**SIZES)),
    "gnn of interactions": GNNConfig(processor=ProcessorConfig(kind="interaction", **SIZES)),
    "gnn of graphcast": GNNConfig(processor=GraphCastConfig(**SIZES)),
    "gnn of anemoi's convolution": GNNConfig(processor=AnemoiGraphConvolutionConfig(**SIZES)),
    "gnn of anemoi's transformer": GNNConfig(processor=AnemoiGraphTransformerConfig(**SIZES)),
    "gnn of a library's layer": GNNConfig(processor=PyGConfig(layer="TransformerConv", **SIZES)),
    "gnn on a mesh": network(1),
    "cnn": CNNConfig(width=8, num_layers=2),
    "unet": UNetConfig(width=8, num_levels=1),
    "fno": FNOConfig(width=8, num_layers=2, modes=4),
}
MESHES = {"ring": ring(32), "icosphere": icosphere(2), "gaussian": gaussian(4)}


@pytest.mark.parametrize(
    ("name", "mesh"), [pair for pair in product(NETWORKS, MESHES) if pair != ("gnn on a mesh", "ring")]
)
def test_what_is_counted_of_a_network_is_what_it_really_keeps(name: str, mesh: str) -> None:
    config, nodes = NETWORKS[name], MESHES[mesh]
    if isinstance(config, StructuredConfig) and mesh == "icosphere":
        config = replace(config, grid=GaussianGrid(number=4))
    network, kept = config.build(FeatureLayout(3, 1, 0, 3, 1), nodes), []
    for batch in (8, 16):
        storages: dict[int, int] = {}

        def count(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network(torch.randn(batch, nodes.num_nodes, 3))
        kept.append(sum(storages.values()))
    really = kept[1] - kept[0]
    if isinstance(config, LSTMConfig):  # on a CPU a fused kernel keeps a workspace of its own
        assert 0.02 * really < bytes_kept(config, nodes, 3) <= really
    else:
        assert bytes_kept(config, nodes, 3) == really


@pytest.mark.parametrize("config", [LSTMConfig(scope="whole", width=50), FFNNConfig(width=50)])
def test_a_whole_field_with_too_many_weights_is_refused(
    config: LSTMConfig | FFNNConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = icosphere(3)
    really = sum(w.numel() for w in config.build(FeatureLayout(1, 1, 0, 1, 1), mesh).parameters())
    assert least_numbers(config, mesh, 1)[0] == really
    monkeypatch.setattr(available_memory, "available_memory", lambda: 10 * really)
    with pytest.raises(MeshcastError, match=r"of kind (lstm|ffnn) with [0-9,]+ or more weights for 642 nodes"):
        refuse_too_large_network(config, mesh, 1, TRAINING)


def test_a_network_with_too_large_an_update_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**30)
    refuse_too_large_network(NETWORKS["transformer"], icosphere(2), 2, TRAINING)
    with pytest.raises(MeshcastError, match=r"update of 800000 samples on 162 nodes"):
        refuse_too_large_network(NETWORKS["transformer"], icosphere(2), 2, replace(TRAINING, batch_size=800_000))


class UnforeseenNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.outside = nn.Linear(3, 1000), nn.Linear(1000, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.outside(torch.tanh(self.inside(features)))


class UnforeseenConfig(NetworkConfig):
    kind = "unforeseen"

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> nn.Module:
        return UnforeseenNetwork()


def test_a_new_network_needs_no_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    config, mesh = UnforeseenConfig(), icosphere(2)
    assert least_numbers(config, mesh, 3)[:2] == (5_001, 162 * (3 + 1000))  # what comes in, and the activation
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**20)
    with pytest.raises(MeshcastError, match="update of 8 samples on 162 nodes"):
        refuse_too_large_network(config, mesh, 3, TRAINING)
