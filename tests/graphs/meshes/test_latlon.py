"""Grids of latitudes and longitudes: their cells cover the sphere, their stencils know its seams."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.edges.build import GraphConfig, StencilEdges, build_graphs
from graphs.edges.connect import neighbour_table, relative_positions, stencil
from graphs.errors import MeshcastError
from graphs.meshes.latlon import grid_axes, latlon
from graphs.meshes.points import points

quick = settings(max_examples=30, deadline=None)
UK = (np.arange(58.0, 49.9, -0.25), np.arange(-10.0, 2.1, 0.25))  # 33 x 49


def graph_of(mesh, **config):
    return build_graphs(GraphConfig(StencilEdges(**config)), mesh).processor


def test_areas_of_a_grid_of_cells_are_those_of_the_sphere() -> None:
    mesh = latlon(np.arange(-87.5, 90, 5.0), np.arange(0, 360, 10.0))
    edges = np.radians(np.arange(-90, 90.1, 5.0))
    exact = np.diff(np.sin(edges)) * np.radians(10.0) / (4 * np.pi)
    assert mesh.areas.reshape(mesh.shape) == pytest.approx(np.repeat(exact[:, None], 36, axis=1), rel=1e-12)


def test_rows_on_the_poles_share_their_cap() -> None:
    mesh = latlon(np.linspace(90, -90, 61), np.arange(0, 360, 3.0))
    cap = (1 - np.sin(np.radians(88.5))) / 2
    assert mesh.areas.reshape(61, 120)[[0, -1]].sum(axis=1) == pytest.approx([cap, cap], rel=1e-12)
    assert mesh.longitudes.reshape(61, 120)[0] == pytest.approx(np.arange(0, 360, 3.0))


def test_a_gaussian_grid_reaches_the_poles() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(32)
    mesh = latlon(np.degrees(np.arcsin(nodes)), np.arange(64) * 5.625)
    assert mesh.domain.kind == "sphere"
    # Cells halfway between rows come near the quadrature weights, least so at the poles.
    assert mesh.areas.reshape(32, 64).sum(axis=1) * 2 == pytest.approx(weights, rel=0.06)


def test_a_limited_area_ends_where_its_cells_do() -> None:
    mesh = latlon([10.0, 20.0], [0.0, 10.0, 20.0])
    south, north = np.diff(np.sin(np.radians([5, 15, 25])))
    assert mesh.domain.kind == "limited_area"
    assert mesh.areas.reshape(2, 3) == pytest.approx(np.outer([south, north], np.ones(3)) / (3 * (south + north)))


def test_an_area_mean_of_a_field_of_degree_two_is_right() -> None:
    mesh = latlon(np.arange(-89, 90, 2.0), np.arange(0, 360, 2.0))
    assert mesh.areas @ mesh.positions**2 == pytest.approx([1 / 3] * 3, abs=2e-4)


@quick
@given(st.integers(2, 12), st.integers(4, 20), st.booleans(), st.sampled_from([0.0, -180.0, 350.0, 33.3]))
def test_any_convention_of_a_global_grid_is_known_as_global(rows, columns, descending, start) -> None:
    latitudes = np.linspace(-80, 80, rows)[:: -1 if descending else 1]
    longitudes = start + np.arange(columns) * 360.0 / columns
    wrapped = (longitudes + 180) % 360 - 180
    for written in (longitudes, wrapped, longitudes % 360):
        mesh = latlon(latitudes, written)
        assert mesh.domain.kind == "sphere"
        assert mesh.shape == (rows, columns)
        assert mesh.areas.sum() == pytest.approx(1)
        assert np.allclose((mesh.longitudes[:columns] - longitudes + 180) % 360, 180, atol=1e-9)


def test_a_domain_across_greenwich_or_the_date_line_is_limited() -> None:
    assert latlon([50, 51], [350, 355, 0, 5]).domain.kind == "limited_area"
    assert latlon([50, 51], [170, 175, -180, -175]).domain.kind == "limited_area"
    assert latlon([50, 51], [0, 120, 240], periodic=False).domain.kind == "limited_area"


@pytest.mark.parametrize(
    ("latitudes", "longitudes", "message"),
    [
        ([0, 95], [0, 1], "-90 to 90 degrees, but one is 95"),
        ([0, 10, 5], [0, 1], "rise or fall all the way, but run 10, 5 at rows 1 and 2"),
        ([0, 0, 5], [0, 1], "rise or fall all the way"),
        ([0, 1], [0, 1, 1], "same meridian twice, 1 and 1"),
        ([0, 1], [0, 120, 240, 360], "same meridian twice, 0 first and 360 last. Drop the last"),
        ([0, 1], [30, 20, 10], "must run eastward"),
        ([0, 1], [0, 1, 2, 357, 358, 359], "jump from 2 to 357, .* Order the axis .* from 357 eastward to 2"),
        ([0, 1], [0, 1000], "degrees within -360 to 720, but one is 1000"),
        ([0, np.nan], [0, 1], "Latitudes must be finite, but number 1"),
        ([[0, 1]], [0, 1], "one axis of numbers, but have shape"),
        ([], [0, 1], "one axis of numbers"),
    ],
)
def test_impossible_axes_are_refused(latitudes, longitudes, message) -> None:
    with pytest.raises(MeshcastError, match=message):
        latlon(latitudes, longitudes)


def test_axes_are_found_again_in_a_list_of_nodes() -> None:
    mesh = latlon(*UK)
    stored = mesh.latitudes.astype(np.float32), mesh.longitudes.astype(np.float32)
    axes = grid_axes(*stored)
    assert axes is not None
    assert axes[0] == pytest.approx(UK[0], abs=1e-4)
    assert latlon(*axes).same_nodes(mesh)
    assert grid_axes(stored[0][:-1], stored[1][:-1]) is None
    assert grid_axes(stored[0], stored[1][::-1]) is None
    assert grid_axes(stored[0], np.roll(stored[1], 3)) is None


@quick
@given(st.integers(3, 8), st.integers(7, 12), st.integers(1, 3), st.sampled_from(["square", "disc"]), st.booleans())
def test_a_global_stencil_is_cut_only_at_the_first_and_last_row(rows, columns, radius, shape, self_edges) -> None:
    mesh = latlon(np.linspace(-60, 60, rows), np.arange(columns) * 360 / columns)
    edges = stencil(mesh, radius, shape, self_edges)
    offsets = [
        (di, dj)
        for di in range(-radius, radius + 1)
        for dj in range(-radius, radius + 1)
        if (shape == "square" or di * di + dj * dj <= radius * radius) and (self_edges or (di, dj) != (0, 0))
    ]
    assert edges.shape[1] == sum(max(rows - abs(di), 0) * columns for di, _ in offsets)
    pairs = {tuple(pair) for pair in edges.T.tolist()}
    assert len(pairs) == edges.shape[1]
    assert {(b, a) for a, b in pairs} == pairs


def test_a_limited_stencil_ends_at_all_four_sides() -> None:
    graph = graph_of(latlon(*UK), radius=1)
    corner, side, inner = 4 * 3, 2 * (31 + 47) * 5, 31 * 47 * 8
    assert graph.num_edges == corner + side + inner
    assert int(graph.in_degrees[0]) == 3


def test_relative_positions_of_a_grid_count_rows_north_and_columns_east() -> None:
    mesh = latlon(*UK)  # rows run southward
    graph = graph_of(mesh, radius=1, self_edges=True)
    classes, table = relative_positions(graph)
    assert table.tolist() == [[north, east] for north in (-1, 0, 1) for east in (-1, 0, 1)]
    neighbours = neighbour_table(graph, classes, len(table))
    node = 10 * 49 + 20
    assert neighbours[node].tolist() == [node + 48, node + 49, node + 50, node - 1, node, node + 1,
                                         node - 50, node - 49, node - 48]  # fmt: skip
    none = mesh.num_nodes
    assert neighbours[0].tolist() == [none, 49, 50, none, 0, 1, none, none, none]


@pytest.mark.parametrize("columns", [6, 7])
def test_columns_are_counted_the_short_way_around(columns) -> None:
    mesh = latlon([-30, 0, 30], np.arange(columns) * 360 / columns)
    graph = graph_of(mesh, radius=2)
    _, table = relative_positions(graph)
    assert sorted(set(table[:, 1].tolist())) == [-2, -1, 0, 1, 2]
    east = graph.edge_features[:, graph.feature_names.index("offset_east")]
    displacement = graph.edge_features[:, graph.feature_names.index("displacement_east")]
    same_row = graph.edge_features[:, graph.feature_names.index("offset_north")] == 0
    assert torch.equal(east[same_row].sign(), displacement[same_row].sign())


def test_offsets_agree_with_displacements_whichever_way_the_rows_run() -> None:
    for latitudes in (UK[0], UK[0][::-1]):
        graph = graph_of(latlon(latitudes, UK[1]), radius=2)
        features = dict(zip(graph.feature_names, graph.edge_features.T, strict=True))
        straight = features["offset_east"] == 0
        assert torch.equal(features["offset_north"].sign()[straight], features["displacement_north"].sign()[straight])
        metric = torch.hypot(features["displacement_east"], features["displacement_north"])
        assert torch.allclose(metric, features["length"])
        assert float(features["length"].max()) == pytest.approx(1)


def test_stencils_name_what_they_cannot_do() -> None:
    with pytest.raises(MeshcastError, match=r"needs a grid of latitudes and longitudes.*kind: nearest"):
        stencil(points([0, 10, 20], [0, 5, 1]), 1)
    mesh = latlon([0, 10], [0, 90, 180, 270])
    with pytest.raises(MeshcastError, match="radius of 1 to 1, but it is 2"):
        stencil(mesh, 2)
    with pytest.raises(MeshcastError, match="but it is 0"):
        stencil(mesh, 0)
