"""The ring closes upon itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.edges.build import GraphConfig, HopEdges, build_graphs
from graphs.edges.connect import neighbour_table, relative_positions, ring_hops, within
from graphs.edges.edge_features import edge_features
from graphs.errors import MeshcastError
from graphs.graph import Graph
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring

rings = st.integers(5, 60)
quick = settings(max_examples=30, deadline=None)


@st.composite
def rings_with_hops(draw: st.DrawFn) -> tuple[int, list[int]]:
    nodes = draw(rings)
    return nodes, draw(st.lists(st.integers(1, (nodes - 1) // 2), min_size=1, max_size=4, unique=True))


def test_nodes_are_evenly_spaced_and_areas_sum_to_one() -> None:
    mesh = ring(10, length=4.0)
    assert mesh.longitudes == pytest.approx(np.arange(10) * 36.0)
    assert mesh.areas.sum() == pytest.approx(1, abs=1e-15)
    assert mesh.domain.size == 4.0
    assert mesh.domain.periodic


def test_a_ring_of_two_nodes_is_refused() -> None:
    with pytest.raises(MeshcastError, match="at least 3 nodes, but num_nodes is 2"):
        ring(2)


@quick
@given(rings_with_hops())
def test_every_node_has_two_senders_a_hop_and_every_edge_its_opposite(case) -> None:
    nodes, hops = case
    edges = ring_hops(ring(nodes), hops)
    pairs = {tuple(pair) for pair in edges.T.tolist()}
    assert edges.shape == (2, 2 * len(hops) * nodes)
    assert len(pairs) == edges.shape[1]
    assert {(b, a) for a, b in pairs} == pairs
    assert torch.equal(torch.bincount(edges[1]), torch.full((nodes,), 2 * len(hops)))


@quick
@given(rings_with_hops())
def test_displacements_are_whole_hops_and_sum_to_zero_at_every_node(case) -> None:
    nodes, hops = case
    mesh = ring(nodes, length=3.0)
    graph = build_graphs(GraphConfig(HopEdges(hops=tuple(hops))), mesh).processor
    assert graph.feature_names == ("displacement", "length")
    displacement = graph.edge_features[:, 0]
    summed = torch.zeros(nodes, dtype=torch.float64).index_add_(0, graph.receivers, displacement)
    assert summed.abs().max() < 1e-12
    whole = displacement * max(hops)
    shift = (graph.senders - graph.receivers + nodes // 2) % nodes - nodes // 2
    assert torch.allclose(whole, shift.double(), atol=1e-9)
    assert torch.equal(graph.edge_features[:, 1], displacement.abs())
    assert displacement.abs().max() == pytest.approx(1)


def test_the_sender_to_the_right_has_a_positive_displacement_across_the_seam() -> None:
    mesh = ring(8)
    features, _ = edge_features(mesh, mesh, torch.tensor([[0, 7], [7, 0]]))
    assert features[:, 0].tolist() == pytest.approx([1, -1])


def test_a_ring_looks_the_same_from_every_node() -> None:
    graph = build_graphs(GraphConfig(HopEdges(hops=(1, 2, 4))), ring(20)).processor
    classes, table = relative_positions(graph)
    assert table.squeeze(1).tolist() == pytest.approx([-1, -0.5, -0.25, 0.25, 0.5, 1])
    neighbours = neighbour_table(graph, classes, len(table))
    offsets = torch.tensor([-4, -2, -1, 1, 2, 4])
    assert torch.equal(neighbours, (torch.arange(20)[:, None] + offsets) % 20)


def test_a_distance_on_the_ring_is_measured_along_it() -> None:
    mesh = ring(16, length=32.0)
    assert torch.equal(within(mesh, mesh, 4.0), ring_hops(mesh, (1, 2)))
    assert within(mesh, mesh, 1.9).shape == (2, 0)


@pytest.mark.parametrize(
    ("hops", "message"),
    [
        ((0,), r"1 to 4, below half way around, but one is 0"),
        ((1, -2), r"one is -2"),
        ((5,), r"Hops on a ring of 10 nodes must lie in 1 to 4.*one is 5"),
        ((), r"at least one"),
        ((1, 1), r"must be different"),
    ],
)
def test_impossible_hops_are_refused(hops, message) -> None:
    with pytest.raises(MeshcastError, match=message):
        ring_hops(ring(10), hops)


def test_hops_need_a_ring() -> None:
    with pytest.raises(MeshcastError, match=r"ring.* global mesh of 3 x 4"):
        ring_hops(latlon([-60, 0, 60], [0, 90, 180, 270]), (1,))


def test_a_ring_or_a_table_that_no_memory_holds_is_refused_before_it_is_built() -> None:
    with pytest.raises(MeshcastError, match=r"A ring of 1,000,000,000,000 nodes needs .* Choose fewer"):
        ring(10**12)
    graph = Graph(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 1), 10**7, 10**7)
    with pytest.raises(MeshcastError, match=r"A table of 10,000,000 receivers by 5,000,000 relative positions needs"):
        neighbour_table(graph, torch.zeros(0, dtype=torch.int64), 5 * 10**6)


def test_names_of_edge_features_are_texts() -> None:
    with pytest.raises(MeshcastError, match=r"Names of edge features are texts, but these are \(1,\)"):
        Graph(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(1, 1), 1, 1, (1,))
