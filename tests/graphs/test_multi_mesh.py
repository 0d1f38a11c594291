"""Edges over several levels of an icosphere, and links between it and any grid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from graphs.edges.build import (
    GraphConfig,
    LinkConfig,
    MultiMeshEdges,
    NearestEdges,
    RadiusEdges,
    TriangleEdges,
    build_graphs,
    default_config,
    default_graphs,
)
from graphs.edges.connect import containing_triangle, multi_mesh
from graphs.errors import MeshcastError
from graphs.geometry import great_circle_distance
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, faces_by_level, icosphere, trim
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring

TURN = np.array([[-0.5, -np.sqrt(0.75), 0.0], [np.sqrt(0.75), -0.5, 0.0], [0.0, 0.0, 1.0]])
quick = settings(max_examples=25, deadline=None)


@st.composite
def levels_and_subsets(draw: st.DrawFn) -> tuple[int, list[int]]:
    level = draw(st.integers(0, 4))
    return level, draw(st.lists(st.integers(0, level), min_size=1, unique=True))


def pairs(edge_index: torch.Tensor) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in edge_index.T}


def ten_degrees() -> Mesh:
    return latlon(np.linspace(90, -90, 19), np.arange(36) * 10.0)


@pytest.mark.parametrize("level", range(9))
def test_all_levels_have_as_many_edges_as_the_formula_says(level: int) -> None:
    edges = multi_mesh(icosphere(level))
    assert edges.shape[1] == 60 * (4 ** (level + 1) - 1) // 3
    assert bool((edges[1].diff() >= 0).all())


@quick
@given(levels_and_subsets())
def test_a_subset_of_levels_is_the_union_of_its_levels(case) -> None:
    level, subset = case
    mesh = icosphere(level)
    edges = multi_mesh(mesh, subset)
    assert edges.shape[1] == sum(60 * 4**one for one in subset)
    found = pairs(edges)
    assert len(found) == edges.shape[1]
    assert found == {(b, a) for a, b in found}
    assert found == set().union(*(pairs(multi_mesh(mesh, [one])) for one in subset))
    assert int(edges.max()) < mesh.levels[max(subset)]


@quick
@given(levels_and_subsets())
def test_every_edge_is_a_side_of_a_face_of_its_level(case) -> None:
    level, subset = case
    mesh = icosphere(level)
    faces = faces_by_level(mesh)
    allowed = {
        frozenset(side)
        for one in subset
        for face in faces[one].tolist()
        for side in zip(face, face[1:] + face[:1], strict=True)
    }
    assert {frozenset(pair) for pair in pairs(multi_mesh(mesh, subset))} == allowed


@quick
@given(levels_and_subsets())
def test_a_turn_by_120_degrees_takes_edges_to_edges(case) -> None:
    level, subset = case
    mesh = icosphere(level)
    image = cKDTree(mesh.positions).query(mesh.positions @ TURN.T)[1]
    found = pairs(multi_mesh(mesh, subset))
    assert {(int(image[a]), int(image[b])) for a, b in found} == found


def test_features_of_the_multi_mesh_stay_under_a_turn() -> None:
    mesh = icosphere(3)
    graph = default_graphs(mesh).processor
    assert isinstance(default_config(mesh).processor, MultiMeshEdges)
    image = torch.from_numpy(cKDTree(mesh.positions).query(mesh.positions @ TURN.T)[1])
    key = graph.receivers * mesh.num_nodes + graph.senders
    turned = image[graph.receivers] * mesh.num_nodes + image[graph.senders]
    place = torch.searchsorted(key, turned)
    assert torch.allclose(graph.edge_features[place], graph.edge_features, atol=1e-11)


def test_long_edges_span_four_scales() -> None:
    graph = default_graphs(icosphere(4)).processor
    lengths = graph.edge_features[:, graph.feature_names.index("length")]
    assert lengths.max() == 1
    assert 1 / 20 < lengths.min() < 1 / 16


@pytest.mark.parametrize("levels", [[], [0, 0], [5], [-1]])
def test_levels_that_are_not_there_are_refused(levels: list[int]) -> None:
    with pytest.raises(MeshcastError, match="different ones of 0 to 3, at least one"):
        multi_mesh(icosphere(3), levels)


def test_coarse_levels_alone_leave_nodes_unheard_and_are_refused() -> None:
    with pytest.raises(MeshcastError, match="receivers of the processor have no sender"):
        build_graphs(GraphConfig(MultiMeshEdges(levels=(0, 1))), icosphere(2))


def test_a_mesh_without_levels_has_no_multi_mesh() -> None:
    with pytest.raises(MeshcastError, match="Levels belong to an icosphere"):
        multi_mesh(ten_degrees())


# The triangle around a point ------------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_weights_of_the_triangle_rebuild_the_point(level: int, seed: int) -> None:
    place = np.random.default_rng(seed).normal(size=(50, 3))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    grid = Mesh(place, np.full(50, 1 / 50), (50,), ten_degrees().domain)
    mesh = icosphere(level)
    edges, weights = containing_triangle(mesh, grid)
    assert torch.equal(edges[1], torch.arange(50).repeat_interleave(3))
    corners, share = edges[0].reshape(-1, 3).numpy(), weights.reshape(-1, 3).numpy()
    assert share.min() >= 0
    assert share.sum(axis=1) == pytest.approx(1, abs=1e-12)
    rebuilt = np.einsum("pc,pcx->px", share, mesh.positions[corners])
    assert rebuilt / np.linalg.norm(rebuilt, axis=1, keepdims=True) == pytest.approx(place, abs=1e-12)
    assert mesh.faces is not None
    assert {tuple(row) for row in corners.tolist()} <= {tuple(sorted(face)) for face in mesh.faces.tolist()}


@pytest.mark.parametrize("level", [0, 3])
def test_a_node_of_the_mesh_is_heard_alone_by_the_point_on_it(level: int) -> None:
    mesh = icosphere(level)
    edges, weights = containing_triangle(mesh, mesh)
    own = (edges[0] == edges[1]).numpy()
    assert own.sum() == mesh.num_nodes
    assert weights.numpy()[own] == pytest.approx(1, abs=1e-12)
    assert weights.numpy()[~own] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("grid", [ten_degrees(), icosphere(2), icosphere(4)], ids=["latlon", "coarser", "finer"])
def test_a_turn_by_120_degrees_takes_triangles_to_triangles_even_on_their_sides(grid: Mesh) -> None:
    mesh = icosphere(3)
    on_mesh = cKDTree(mesh.positions).query(mesh.positions @ TURN.T)[1]
    if grid.structured:
        row, column = np.divmod(np.arange(grid.num_nodes), 36)
        on_grid = row * 36 + (column + 12) % 36
    else:
        on_grid = cKDTree(grid.positions).query(grid.positions @ TURN.T)[1]
    edges, _ = containing_triangle(mesh, grid)
    assert {(int(on_mesh[a]), int(on_grid[b])) for a, b in pairs(edges)} == pairs(edges)


def test_a_point_outside_a_limited_mesh_is_named() -> None:
    mesh = icosphere(3)
    north = trim(mesh, mesh.latitudes > 20)
    with pytest.raises(MeshcastError, match=r"2 of 3 grid points lie in no triangle .* node 1 at 10.00 N, 40.00 E"):
        containing_triangle(north, points([60.0, 10.0, -80.0], [0.0, 40.0, 90.0]))


def test_a_mesh_without_faces_has_no_triangles() -> None:
    with pytest.raises(MeshcastError, match="need a mesh with faces"):
        containing_triangle(ten_degrees(), ten_degrees())


# Grid to mesh and back ------------------------------------------------------------------------------------------------


def test_a_grid_reaches_the_mesh_and_hears_from_it() -> None:
    grid = ten_degrees()
    graphs = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=2)), grid)
    assert graphs.mesh is not None and graphs.encoder is not None and graphs.decoder is not None
    assert (graphs.encoder.num_senders, graphs.encoder.num_receivers) == (grid.num_nodes, 162)
    assert (graphs.decoder.num_senders, graphs.decoder.num_receivers) == (162, grid.num_nodes)
    assert graphs.decoder.num_edges == 3 * grid.num_nodes
    assert graphs.decoder.feature_names[-1] == "weight"
    assert len(torch.unique(graphs.encoder.senders)) == grid.num_nodes  # nobody speaks in vain


def test_the_encoder_hears_all_within_its_reach_and_no_others() -> None:
    grid, mesh = ten_degrees(), icosphere(2)
    encoder = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=2)), grid).encoder
    assert encoder is not None and mesh.faces is not None
    angle = great_circle_distance(grid.positions[:, None], mesh.positions[None])
    sides = great_circle_distance(mesh.positions[mesh.faces], mesh.positions[np.roll(mesh.faces, 1, axis=1)])
    expected = {(int(a), int(b)) for a, b in np.argwhere(angle <= 0.6 * sides.max() * (1 + 1e-9))}
    assert pairs(encoder.edge_index) == expected


def test_a_mesh_finer_than_the_grid_hears_the_nearest_point() -> None:
    grid = latlon(np.linspace(60, -60, 5), np.arange(8) * 45.0)
    encoder = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=3)), grid).encoder
    assert encoder is not None
    assert bool((encoder.in_degrees >= 1).all())
    mesh = icosphere(3)
    lonely = int(torch.nonzero(encoder.in_degrees == 1)[0])
    sender = int(encoder.senders[encoder.receivers == lonely])
    assert sender == np.argmax(grid.positions @ mesh.positions[lonely])


@pytest.mark.parametrize(
    "link", [TriangleEdges(), NearestEdges(neighbours=2), RadiusEdges(distance=3000e3)], ids=lambda link: link.kind
)
def test_links_of_every_kind_lead_there_and_back(link: LinkConfig) -> None:
    grid = ten_degrees()
    graphs = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1), link, link), grid)
    for graph in (graphs.encoder, graphs.decoder):
        assert graph is not None
        assert graph.in_degrees.min() > 0


def test_isolated_receivers_are_refused() -> None:
    with pytest.raises(MeshcastError, match="receivers of the encoder have no sender"):
        build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=4), RadiusEdges(distance=100e3)), ten_degrees())


def test_a_limited_area_keeps_the_part_of_the_mesh_it_reaches() -> None:
    grid = latlon(np.linspace(60, 30, 16), np.linspace(-10, 30, 21))
    whole = icosphere(4)
    graphs = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=4)), grid)
    mesh = graphs.mesh
    assert mesh is not None and graphs.encoder is not None
    assert mesh.domain.kind == "limited_area"
    assert 50 < mesh.num_nodes < 250
    distance, node = cKDTree(whole.positions).query(mesh.positions)
    assert distance.max() == 0
    # between kept nodes, the edges of the whole
    number = {int(old): new for new, old in enumerate(node)}
    expected = {(number[a], number[b]) for a, b in pairs(multi_mesh(whole)) if a in number and b in number}
    assert pairs(graphs.processor.edge_index) == expected
    # every kept node hears a grid point or is the corner of a triangle around one
    decoder = graphs.decoder
    assert decoder is not None
    reach = pairs(graphs.encoder.edge_index)
    assert {b for _, b in reach} | set(decoder.senders.tolist()) == set(range(mesh.num_nodes))
    assert graphs.encoder.in_degrees.min() > 0


def test_a_ring_has_no_icosphere() -> None:
    with pytest.raises(MeshcastError, match="cannot carry the messages of a ring"):
        build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1)), ring(10))


def test_an_encoder_without_a_mesh_is_refused() -> None:
    with pytest.raises(MeshcastError, match="An encoder or a decoder needs a mesh"):
        GraphConfig(MultiMeshEdges(), encoder=TriangleEdges())


def test_rows_of_points_on_the_poles_hear_their_triangle() -> None:
    grid = ten_degrees()
    assert np.allclose(grid.positions[:36], grid.positions[0])  # 36 nodes on one place
    graphs = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=2)), grid)
    assert graphs.decoder is not None
    around = graphs.decoder.senders[: 3 * 36].reshape(36, 3)
    assert bool((around == around[0]).all())
    weight = graphs.decoder.edge_features[: 3 * 36, -1]
    assert weight.numpy() == pytest.approx(1 / 3, abs=1e-9)  # a face's centre
