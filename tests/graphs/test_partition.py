"""Nodes divided among shards: all of them once, in pieces of equal work, with the halos that their edges ask for."""

from __future__ import annotations

import numpy as np
import pytest

from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs, default_graphs
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon
from graphs.partition import NODE_WORK, Partition, Shard, partition


def worlds() -> dict[str, tuple[ModelGraphs, Mesh]]:
    sphere, grid = icosphere(3), latlon(np.linspace(85.0, -85.0, 18), np.arange(0.0, 360.0, 10.0))
    return {
        "data on the mesh": (default_graphs(sphere), sphere),
        "grid and mesh": (build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=3)), grid), grid),
    }


@pytest.fixture(params=worlds(), scope="module")
def world(request: pytest.FixtureRequest) -> tuple[ModelGraphs, Mesh]:
    return worlds()[request.param]


def edges_of(cut: Partition, name: str, graphs: ModelGraphs, shard: int) -> list[tuple[int, int]]:
    """The edges of a shard's two graphs, by the numbers of their ends in the whole."""
    found = cut.edges(name, graphs.named()[name], shard)
    senders, receivers = graphs.named()[name].edge_index.numpy()
    edges = []
    for ends in (found.interior, found.rim):
        some = ends.receivers[receivers] >= 0
        assert (ends.senders[senders[some]] >= 0).all(), "a receiver's sender is not there"
        edges += list(zip(senders[some].tolist(), receivers[some].tolist(), strict=True))
    return edges


@pytest.mark.parametrize("count", [2, 3, 8])
def test_every_node_and_every_edge_is_in_one_shard(world: tuple[ModelGraphs, Mesh], count: int) -> None:
    graphs, grid = world
    cut = partition(graphs, grid, count)
    for division in (cut.grid, cut.mesh):
        assert sorted(division.order.tolist()) == list(range(len(division.owner)))
        for shard in range(count):
            assert (division.owner[division.nodes(shard)] == shard).all()
            assert (division.places()[division.nodes(shard)] == np.arange(division.sizes[shard])).all()
    for name, graph in graphs.named().items():
        edges = [edge for shard in range(count) for edge in edges_of(cut, name, graphs, shard)]
        assert sorted(edges) == sorted(zip(*graph.edge_index.tolist(), strict=True))


def test_what_a_shard_sends_is_what_the_others_wait_for(world: tuple[ModelGraphs, Mesh]) -> None:
    graphs, grid = world
    cut = partition(graphs, grid, 3)
    halos = {
        (name, one): cut.edges(name, graph, one).halo for name, graph in graphs.named().items() for one in range(3)
    }
    for (name, one), halo in halos.items():
        nodes = np.split(cut.sides(name)[0].nodes(one)[halo.sending], np.cumsum(halo.sent)[:-1])
        for other, sent in enumerate(nodes):
            there = halos[name, other]
            waiting = np.split(there.nodes, np.cumsum(there.received)[:-1])[one]
            assert sent.tolist() == waiting.tolist()
        assert halo.sent[one] == halo.received[one] == 0


def test_interior_nodes_hear_their_own_shard_alone(world: tuple[ModelGraphs, Mesh]) -> None:
    graphs, grid = world
    cut = partition(graphs, grid, 2)
    for name, graph in graphs.named().items():
        from_, to = cut.sides(name)
        senders, receivers = graph.edge_index.numpy()
        for shard in range(2):
            interior = to.nodes(shard)[: to.interiors[shard]]
            assert len(interior) > 0
            assert (from_.owner[senders[np.isin(receivers, interior)]] == shard).all()


def test_shards_have_equal_work_and_few_nodes_to_hear() -> None:
    mesh = icosphere(5)
    graphs = default_graphs(mesh)
    cut = partition(graphs, mesh, 4)
    work = 1 + NODE_WORK + graphs.processor.in_degrees.numpy()
    shares = np.array([work[cut.grid.nodes(shard)].sum() for shard in range(4)]) / work.sum()
    assert np.abs(shares - 0.25).max() < 0.001
    halos = [len(cut.edges("processor", graphs.processor, shard).halo.nodes) for shard in range(4)]
    assert max(halos) < 0.12 * mesh.num_nodes / 4  # half of that at each further level


def test_a_shard_without_nodes_is_refused() -> None:
    mesh = icosphere(0)
    with pytest.raises(MeshcastError, match=r"12 nodes cannot be split over 13 .*would have no node"):
        partition(default_graphs(mesh), mesh, 13)
    with pytest.raises(MeshcastError, match="shards 0 to 1"):
        Shard(2, 2)
