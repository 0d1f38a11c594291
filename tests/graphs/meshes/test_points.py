"""Any points: their shares of the sphere, their neighbours."""

import numpy as np
import pytest
import torch

from graphs.edges.build import (
    GraphConfig,
    NearestEdges,
    RadiusEdges,
    StencilEdges,
    build_graphs,
    default_config,
    default_graphs,
)
from graphs.edges.connect import nearest, neighbour_table, relative_positions, within
from graphs.edges.edge_features import arc_lengths, edge_features
from graphs.errors import MeshcastError
from graphs.geometry import great_circle_distance, to_latlon
from graphs.graph import Graph
from graphs.mesh import EARTH_RADIUS, Domain, Mesh
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring


def fibonacci(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearly even points along a spiral from pole to pole."""
    i = np.arange(num_nodes) + 0.5
    return np.degrees(np.arcsin(1 - 2 * i / num_nodes)), i * 180 * (3 - np.sqrt(5)) % 360


def test_corners_of_a_cube_share_the_sphere_evenly() -> None:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / np.sqrt(3)
    mesh = points(*to_latlon(corners))
    assert mesh.domain.kind == "sphere"
    assert mesh.areas == pytest.approx(np.full(8, 1 / 8))


def test_nearly_even_points_have_nearly_even_areas_and_right_means() -> None:
    mesh = points(*fibonacci(800))
    assert mesh.domain.kind == "sphere"
    assert mesh.areas * 800 == pytest.approx(np.ones(800), abs=0.1)
    assert mesh.areas @ mesh.positions == pytest.approx(np.zeros(3), abs=1e-3)


def test_a_grid_given_as_points_has_the_areas_of_its_cells() -> None:
    whole = latlon(np.arange(-87.5, 90, 5), np.arange(0, 360, 5.0))
    assert points(whole.latitudes, whole.longitudes).areas == pytest.approx(whole.areas, rel=0.02)
    part = latlon(np.arange(40, 60, 1.0), np.arange(-5, 15, 1.0))
    mesh = points(part.latitudes, part.longitudes)
    assert mesh.domain.kind == "limited_area"
    assert mesh.shape == (400,)
    assert mesh.areas == pytest.approx(part.areas, rel=0.04)  # rim rows take the area of the row inside


def test_a_band_with_a_hole_at_each_pole_is_limited() -> None:
    band = latlon(np.arange(-60, 61, 2.0), np.arange(0, 360, 2.0))
    assert points(band.latitudes, band.longitudes).domain.kind == "limited_area"


def test_few_or_flat_points_get_equal_areas() -> None:
    assert points([10, 20], [0, 0]).areas.tolist() == [0.5, 0.5]
    assert points([0, 0, 0, 0], [0, 10, 20, 30]).areas == pytest.approx(np.full(4, 0.25))


def test_known_areas_are_taken() -> None:
    assert points([0, 10], [0, 0], areas=[1, 3]).areas.tolist() == [0.25, 0.75]
    with pytest.raises(MeshcastError, match="2 positive numbers"):
        points([0, 10], [0, 0], areas=[1, -3])


@pytest.mark.parametrize(
    ("latitudes", "longitudes", "message"),
    [
        (
            [0, 91, 92],
            [0, 0, 0],
            "2 of 3 nodes have a latitude outside -90 to 90 degrees; the first is node 1 with 91",
        ),
        ([0, np.nan], [0, 0], "1 of 2 nodes have a latitude.* Give degrees north"),
        ([0, 1], [0, 500], "longitude outside -360 to 360"),
        ([0, 1], [0], "one latitude and one longitude, but there are 2 and 1"),
        ([5, 1, 5], [10, 0, 370 - 360], "1 pair of nodes stand on the same place; the first are nodes 0 and 2"),
        ([90, 0, 90], [10, 0, 20], "1 pair of nodes .* nodes 0 and 2 at 90 N, 10 E. Drop one of each"),
    ],
)
def test_impossible_points_are_refused(latitudes, longitudes, message) -> None:
    with pytest.raises(MeshcastError, match=message):
        points(latitudes, longitudes)


def test_points_in_one_plane_cannot_cover_the_sphere() -> None:
    with pytest.raises(MeshcastError, match="Set whole_sphere to false"):
        points([0, 0, 0, 0], [0, 90, 180, 270], whole_sphere=True)


def test_nearest_neighbours_are_those_a_full_search_finds() -> None:
    senders, receivers = points(*fibonacci(150)), points(*fibonacci(40))
    distance = great_circle_distance(receivers.positions[:, None], senders.positions[None])
    expected = np.sort(np.argsort(distance, axis=1)[:, :5], axis=1)
    edges = nearest(senders, receivers, 5)
    assert torch.equal(edges[1], torch.arange(40).repeat_interleave(5))
    assert edges[0].view(40, 5).tolist() == expected.tolist()


def test_within_a_distance_are_those_a_full_search_finds() -> None:
    senders, receivers = points(*fibonacci(150)), points(*fibonacci(40))
    distance = EARTH_RADIUS * great_circle_distance(receivers.positions[:, None], senders.positions[None])
    target, source = np.nonzero(distance <= 2e6)
    assert within(senders, receivers, 2e6).tolist() == [source.tolist(), target.tolist()]


def test_a_node_is_no_neighbour_of_its_own_even_on_a_pole() -> None:
    mesh = latlon(np.linspace(90, -90, 7), np.arange(0, 360, 30.0))
    for edges in (nearest(mesh, mesh, 4), within(mesh, mesh, 3e6)):
        assert not bool((edges[0] == edges[1]).any())
    assert torch.equal(torch.bincount(nearest(mesh, mesh, 4)[1]), torch.full((84,), 4))


def test_nodes_on_exactly_one_place_still_have_as_many_neighbours_as_asked_for() -> None:
    pole = Mesh(np.tile([0.0, 0.0, 1.0], (6, 1)), np.full(6, 1 / 6), (6,), Domain("sphere", 1.0))
    edges = nearest(pole, pole, 2)
    assert not bool((edges[0] == edges[1]).any())
    assert torch.equal(torch.bincount(edges[1]), torch.full((6,), 2))


def test_edges_carry_vectors_from_the_senders_frame_to_the_receivers() -> None:
    mesh = points(*fibonacci(120))
    edges = within(mesh, mesh, 3e6)
    forward = edge_features(mesh, mesh, edges)[0].T
    backward = edge_features(mesh, mesh, edges.flip(0))[0].T
    # The sender sees the receiver along `backward`; carried over, that is the way the edge comes in, minus `forward`.
    east, north, cosine, sine = backward[0], backward[1], forward[3], forward[4]
    assert torch.allclose(cosine * east - sine * north, -forward[0], atol=1e-9)
    assert torch.allclose(sine * east + cosine * north, -forward[1], atol=1e-9)


def test_neighbours_inside_one_mesh_exclude_the_node_itself_and_are_symmetric_by_distance() -> None:
    mesh = points(*fibonacci(200))
    edges = within(mesh, mesh, 2e6)
    pairs = {tuple(pair) for pair in edges.T.tolist()}
    assert {(b, a) for a, b in pairs} == pairs
    assert arc_lengths(mesh, mesh, edges).max() * EARTH_RADIUS <= 2e6


def test_a_distance_that_reaches_nobody_names_who_is_missed() -> None:
    mesh = points([50, 51, 50.5, -33], [0, 1, 2, 151])
    with pytest.raises(MeshcastError, match=r"1 of 4 receivers .* the first is node 3 at -33.00 N, 151.00 E"):
        build_graphs(GraphConfig(RadiusEdges(distance=500e3)), mesh)
    assert build_graphs(GraphConfig(NearestEdges(neighbours=2)), mesh).processor.in_degrees.min() > 0


def test_impossible_neighbourhoods_are_refused() -> None:
    mesh = points([0, 10, 20], [0, 5, 1])
    with pytest.raises(MeshcastError, match=r"1 to 2 .*3 "):
        nearest(mesh, mesh, 3)
    with pytest.raises(MeshcastError, match="1 to 2 nearest neighbours here, but 0"):
        nearest(mesh, mesh, 0)
    with pytest.raises(MeshcastError, match="must be positive, but is -1"):
        within(mesh, mesh, -1)
    with pytest.raises(MeshcastError, match="cannot be connected"):
        nearest(ring(10), mesh, 1)


def test_a_neighbour_table_refuses_two_senders_at_one_place() -> None:
    graph = Graph(torch.tensor([[0, 1], [2, 2]]), torch.ones(2, 1, dtype=torch.float64), 3, 3, ("displacement",))
    classes, table = relative_positions(graph)
    with pytest.raises(MeshcastError, match="Receiver 2 has 2 edges at relative position 0"):
        neighbour_table(graph, classes, len(table))


def test_relative_positions_need_displacements() -> None:
    graph = Graph(torch.tensor([[0], [0]]), torch.ones(1, 1, dtype=torch.float64), 1, 1, ("colour",))
    with pytest.raises(MeshcastError, match="need displacements among the edge features, but these are"):
        relative_positions(graph)


@pytest.mark.parametrize("mesh", [ring(3), ring(64), latlon([0, 1], [0, 1, 2]), points(*fibonacci(50)),
                                  points([0, 1], [0, 0])], ids=lambda mesh: mesh.describe())  # fmt: skip
def test_every_mesh_has_a_default_graph_that_reaches_every_node(mesh) -> None:
    graphs = default_graphs(mesh)
    assert list(graphs.named()) == ["processor"]
    assert graphs.processor.in_degrees.min() > 0
    assert default_config(mesh).processor.kind in ("hops", "stencil", "nearest")


def test_a_stencil_of_a_wrong_kind_is_named() -> None:
    with pytest.raises(MeshcastError, match="kind hops, stencil, nearest, radius or multi_mesh"):
        build_graphs(GraphConfig("everything"), ring(5))  # type: ignore[arg-type]
    with pytest.raises(MeshcastError, match="without structure"):
        build_graphs(GraphConfig(StencilEdges()), ring(5))
