"""The stretched mesh: fine inside, coarse around, one triangulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs, default_config
from graphs.edges.connect import multi_mesh
from graphs.edges.edge_features import arc_lengths
from graphs.errors import MeshcastError
from graphs.geometry import great_circle_distance, to_xyz
from graphs.mesh import EARTH_RADIUS
from graphs.meshes.icosphere import faces_by_level, icosphere, side_length, sides_by_level
from graphs.meshes.limited_area import CapWindow, limited_area
from graphs.meshes.points import points
from graphs.meshes.stretched import StretchedMesh, stretched

CONFIG = StretchedMesh(level=2, inner_level=4, centre=(50.0, 15.0), radius_km=2500.0)


def sides_of(faces: np.ndarray) -> set[tuple[int, int]]:
    pairs = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    return {tuple(pair) for pair in np.sort(pairs, axis=1).tolist()}


@pytest.mark.parametrize(
    ("level", "inner", "radius_km"), [(0, 2, 3000.0), (1, 3, 1500.0), (2, 4, 2500.0), (3, 5, 900.0)]
)
def test_a_stretched_mesh_is_one_closed_surface(level, inner, radius_km):
    mesh = stretched(StretchedMesh(level, inner, (-37.0, 200.0), radius_km))
    sides = sides_of(mesh.faces)
    assert mesh.num_nodes - len(sides) + len(mesh.faces) == 2  # Euler
    assert 3 * len(mesh.faces) == 2 * len(sides)  # every side has two faces: no node hangs
    a, b, c = (mesh.positions[mesh.faces[:, corner]] for corner in range(3))
    assert np.all(np.sum(np.cross(b - a, c - a) * (a + b + c), axis=1) > 0)  # anticlockwise from outside


def test_it_is_the_fine_icosphere_inside_and_the_coarse_one_far_away():
    mesh, fine, coarse = stretched(CONFIG), icosphere(4), icosphere(2)
    angle = [great_circle_distance(one.positions, to_xyz(50.0, 15.0)) * EARTH_RADIUS / 1e3 for one in (mesh, fine)]
    assert np.array_equal(mesh.positions[angle[0] <= 2500.0], fine.positions[angle[1] <= 2500.0])
    assert np.array_equal(mesh.positions[: coarse.num_nodes], coarse.positions)
    far = angle[0] > 9000.0
    assert np.all(np.flatnonzero(far) < coarse.num_nodes)
    assert mesh.num_nodes < fine.num_nodes / 3
    assert mesh.levels == (12, 42, 162, mesh.levels[3], mesh.num_nodes)


def test_its_areas_are_those_of_its_voronoi_cells():
    mesh = stretched(CONFIG)
    expected = points(mesh.latitudes, mesh.longitudes, whole_sphere=True)
    assert mesh.areas == pytest.approx(expected.areas, rel=1e-6)


def test_neighbours_of_each_level_are_the_icospheres_where_the_mesh_is_one():
    mesh = icosphere(4)
    for found, faces in zip(sides_by_level(mesh), faces_by_level(mesh), strict=True):
        assert {tuple(pair) for pair in np.sort(found, axis=1).tolist()} == sides_of(faces)


def test_neighbours_of_a_window_are_its_parents():
    globe = icosphere(3)
    area, nodes = limited_area(globe, CapWindow((45.0, 10.0), 3000.0, 1200.0))
    for found, faces in zip(sides_by_level(area), faces_by_level(globe), strict=True):
        within = {side for side in sides_of(faces) if np.isin(side, nodes).all()}
        assert {tuple(pair) for pair in np.sort(nodes[found], axis=1).tolist()} == within


def test_neighbours_on_a_stretched_mesh_join_every_node_and_every_level():
    mesh = stretched(CONFIG)
    levels = sides_by_level(mesh)
    assert np.array_equal(np.unique(levels[-1]), np.arange(mesh.num_nodes))
    for level in (0, 1, 2):
        assert len(levels[level]) == 30 * 4**level
    assert len(levels[3]) > 100


def test_messages_on_a_stretched_mesh_reach_a_limited_area_and_the_globe():
    area, _ = limited_area(icosphere(4), CapWindow((50.0, 15.0), 2500.0, 900.0))
    for grid in (area, icosphere(2)):
        graphs = build_graphs(GraphConfig(MultiMeshEdges(), mesh=CONFIG), grid)
        assert graphs.mesh is not None and graphs.encoder is not None and graphs.decoder is not None
        assert all(graph.in_degrees.min() > 0 for graph in graphs.named().values())
        assert torch.equal(graphs.decoder.in_degrees, torch.full((grid.num_nodes,), 3))
        lengths = arc_lengths(grid, graphs.mesh, graphs.encoder.edge_index)
        assert lengths.max() < 0.75 * 1.195 * side_length(2)
    assert graphs.mesh.num_nodes == stretched(CONFIG).num_nodes
    few = build_graphs(GraphConfig(MultiMeshEdges(levels=(3, 4)), mesh=CONFIG), area).processor
    assert few.num_edges < build_graphs(GraphConfig(MultiMeshEdges(), mesh=CONFIG), area).processor.num_edges


def test_a_window_of_an_icosphere_passes_messages_over_all_its_levels():
    area, nodes = limited_area(icosphere(3), CapWindow((45.0, 10.0), 3000.0, 1200.0))
    found = multi_mesh(area)
    keep = np.isin(np.arange(642), nodes)
    whole, number = multi_mesh(icosphere(3)), torch.from_numpy(np.cumsum(keep) - 1)
    assert torch.equal(found, number[whole[:, torch.from_numpy(keep)[whole].all(dim=0)]])
    assert torch.equal(build_graphs(default_config(area), area).processor.edge_index, found)


def test_nodes_without_levels_have_none_to_join():
    with pytest.raises(MeshcastError, match=r"without them.*mesh: \{kind: icosphere, level: 4\}"):
        sides_by_level(points([0.0, 10.0, 20.0], [0.0, 5.0, 0.0], whole_sphere=False))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inner_level": 2}, "must be finer"),
        ({"level": -1}, "must be finer"),
        ({"centre": (100.0, 0.0)}, "latitudes lie in -90 to 90"),
        ({"radius_km": 0.0}, "must be positive"),
        ({"inner_level": 3, "radius_km": 1.0, "centre": (88.0, 3.0)}, "nothing is finer"),
        ({"inner_level": 25}, "finer than 10 m"),
    ],
)
def test_a_stretched_mesh_that_makes_no_sense_is_refused(given, words):
    settings = {"level": 2, "inner_level": 4, "centre": (50.0, 15.0), "radius_km": 2500.0} | given
    with pytest.raises(MeshcastError, match=words):
        stretched(StretchedMesh(**settings))
