"""A graph network split over processes: outputs and gradients are those of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from emulator.foundation.shard_group import ShardGroup
from emulator.networks.gnn import EncodeProcessDecode, GNNConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.message_rounds import ProcessorConfig
from emulator.networks.processors.interaction import GraphCastConfig
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from graphs.partition import Shard
from tests.processes import in_processes

LAYOUT = FeatureLayout(1, 5, 0, 5, 3, winds=((1, 2),))
SMALL = ProcessorConfig(num_layers=2, latent_size=16, hidden_size=16)
GRID = latlon(np.linspace(80.0, -80.0, 9), np.arange(0.0, 360.0, 20.0))
ON_ITSELF = GNNConfig(processor=SMALL), icosphere(2)
ON_A_MESH = GNNConfig(processor=SMALL, graph=GraphConfig(MultiMeshEdges(), IcosphereMesh(level=2))), GRID


def drawn(network: EncodeProcessDecode) -> EncodeProcessDecode:
    """The network with a decoder that is not zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.decoder[-1].weight.normal_(generator=generator)
        network.decoder[-1].bias.normal_(generator=generator)
    return network


def build(config: GNNConfig, mesh: Mesh, shard: Shard | None = None) -> EncodeProcessDecode:
    torch.manual_seed(0)
    if shard is None:
        return drawn(config.build(LAYOUT, mesh))
    return drawn(config.build_shard(LAYOUT, mesh, ShardGroup(shard)))


def loss_of(output: Tensor, nodes: Tensor) -> Tensor:
    """A number that depends on every output in a way of its own; a shard's sum up to the whole's."""
    weights = torch.sin(1.0 + nodes.to(output.dtype))[:, None] * torch.arange(1, 4, dtype=output.dtype)
    return (weights * output.square()).sum()


def of_whole(config: GNNConfig, mesh: Mesh, features: Tensor) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    network = build(config, mesh).to(features.dtype)
    features = features.clone().requires_grad_()
    output = network(features)
    loss = loss_of(output, torch.arange(mesh.num_nodes))
    loss.backward()
    assert features.grad is not None
    return output.detach(), loss.detach(), [weight.grad for weight in network.parameters()], features.grad  # type: ignore[misc]


def shard_of(config: GNNConfig, mesh: Mesh, features: Tensor, count: int) -> Callable[[int], tuple[Any, ...]]:
    def run(rank: int) -> tuple[Any, ...]:
        network = build(config, mesh, Shard(rank, count)).to(features.dtype)
        assert network.partition is not None
        nodes = torch.from_numpy(network.partition.grid.nodes(rank))
        mine = features.index_select(1, nodes).requires_grad_()
        output = network(mine)
        loss = loss_of(output, nodes)
        loss.backward()
        loss = loss.detach()
        dist.all_reduce(loss)
        gradients = []
        for weight in network.parameters():
            assert weight.grad is not None
            dist.all_reduce(weight.grad)
            gradients.append(weight.grad.numpy())
        assert mine.grad is not None
        return (
            nodes.numpy(),
            output.detach().numpy(),
            float(loss),
            gradients,
            mine.grad.numpy(),
            list(network.state_dict()),
        )

    return run


def close(found: Any, expected: Tensor, tolerance: float) -> bool:
    scale = float(expected.abs().max())
    return float((torch.as_tensor(found) - expected).abs().max()) <= tolerance * scale


def assert_the_whole(config: GNNConfig, mesh: Mesh, count: int, dtype: torch.dtype, tolerance: float) -> None:
    features = torch.randn(2, mesh.num_nodes, 5, generator=torch.Generator().manual_seed(2), dtype=dtype)
    output, loss, gradients, to_features = of_whole(config, mesh, features)
    names = list(build(config, mesh).state_dict())
    found = in_processes(count, shard_of(config, mesh, features, count))
    assert sorted(np.concatenate([nodes for nodes, *_ in found])) == list(range(mesh.num_nodes))
    for nodes, mine, total, weights, to_mine, named in found:
        assert named == names
        assert close(mine, output[:, nodes], tolerance)
        assert abs(total - float(loss)) <= tolerance * abs(float(loss))
        assert close(to_mine, to_features[:, nodes], tolerance)
        for weight, expected in zip(weights, gradients, strict=True):
            assert close(weight, expected, tolerance)


@pytest.mark.parametrize("case", [ON_ITSELF, ON_A_MESH], ids=["data on the mesh", "grid and mesh"])
def test_two_shards_give_the_outputs_and_gradients_of_the_whole(case: tuple[GNNConfig, Mesh]) -> None:
    assert_the_whole(*case, 2, torch.float64, 1e-12)


def test_the_fused_kernel_gives_them_to_the_rounding_of_single_precision() -> None:
    assert_the_whole(*ON_A_MESH, 2, torch.float32, 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", [ON_ITSELF, ON_A_MESH], ids=["data on the mesh", "grid and mesh"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_so_do_four_shards(case: tuple[GNNConfig, Mesh], dtype: torch.dtype) -> None:
    assert_the_whole(*case, 4, dtype, 1e-12 if dtype == torch.float64 else 2e-5)


@pytest.mark.slow
def test_so_do_shards_that_have_no_interior() -> None:
    graph = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1))
    assert_the_whole(GNNConfig(processor=SMALL, graph=graph), GRID, 7, torch.float64, 1e-12)


def test_a_network_alone_says_how_many_processes_it_needs() -> None:
    network = build(*ON_ITSELF, Shard(0, 2))
    assert network.partition is not None
    with pytest.raises(MeshcastError, match="torchrun --nproc-per-node 2"):
        network(torch.zeros(1, network.partition.grid.sizes[0], 5))


@pytest.mark.parametrize(
    ("config", "mesh", "message"),
    [
        (GNNConfig(processor=GraphCastConfig(num_layers=1, latent_size=8, hidden_size=8)), icosphere(1), "graphcast"),
        (GNNConfig(processor=ProcessorConfig("interaction")), icosphere(1), "interaction"),
        (GNNConfig(linear_reach=1), ring(24), "linear_reach"),
        (GNNConfig(conserving="flux"), icosphere(1), "flux"),
        (GNNConfig(), ring(24), "few relative positions"),
    ],
    ids=["graphcast", "interaction", "linear path", "fluxes", "positions"],
)
def test_what_cannot_be_split_is_refused_by_name(config: GNNConfig, mesh: Mesh, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        build(config, mesh, Shard(0, 2))


def test_more_shards_than_nodes_are_refused() -> None:
    with pytest.raises(MeshcastError, match=r"162 nodes cannot be split over 200 processes.*would have no node"):
        build(*ON_ITSELF, Shard(0, 200))
