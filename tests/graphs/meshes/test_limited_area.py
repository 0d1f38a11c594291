"""Windows of a mesh: what lies inside, what is boundary, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from graphs.errors import MeshcastError
from graphs.geometry import great_circle_distance, to_xyz
from graphs.mesh import EARTH_RADIUS
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.limited_area import BoxWindow, CapWindow, distance_beyond, limited_area
from graphs.meshes.points import points
from graphs.meshes.ring import ring
from graphs.storage import from_heterodata, pack, to_heterodata, unpack

CAP = CapWindow(centre=(45.0, 10.0), radius_km=3000.0, boundary_km=1200.0)


def test_a_cap_holds_the_nodes_within_its_radius_and_a_ring_around_them():
    globe = icosphere(3)
    area, nodes = limited_area(globe, CAP)
    distance = great_circle_distance(globe.positions, to_xyz(45.0, 10.0)) * EARTH_RADIUS / 1e3
    assert np.array_equal(nodes, np.flatnonzero(distance <= 4200.0))
    assert np.array_equal(area.boundary, distance[nodes] > 3000.0)
    assert area.domain.kind == "limited_area"
    assert np.allclose(area.positions, globe.positions[nodes])
    assert area.areas.sum() == pytest.approx(1.0, abs=1e-12)


def test_weights_are_nothing_on_the_boundary_and_in_proportion_to_areas_inside():
    area, _ = limited_area(icosphere(3), CAP)
    inside = ~area.boundary
    assert np.all(area.weights[area.boundary] == 0.0)
    assert area.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.allclose(area.weights[inside] / area.areas[inside], 1.0 / area.areas[inside].sum())
    assert np.array_equal(icosphere(1).weights, icosphere(1).areas)


def test_levels_of_a_window_stay_nested_and_its_faces_lie_within():
    globe = icosphere(3)
    area, nodes = limited_area(globe, CAP)
    assert area.levels == tuple(int(np.sum(nodes < count)) for count in globe.levels)
    assert area.levels[-1] == area.num_nodes
    corners = {tuple(sorted(face)) for face in nodes[area.faces].tolist()}
    within = np.isin(globe.faces, nodes).all(axis=1)
    assert corners == {tuple(sorted(face)) for face in globe.faces[within].tolist()}


def test_a_box_crosses_the_date_line_and_keeps_a_grid_a_grid():
    globe = latlon(np.arange(85.0, -90.0, -10.0), np.arange(0.0, 360.0, 10.0))
    window = BoxWindow(north=26.0, west=160.0, south=-26.0, east=-150.0, boundary_km=1200.0)
    area, nodes = limited_area(globe, window)
    assert area.structured and area.shape[0] * area.shape[1] == len(nodes)
    columns = area.longitudes.reshape(area.shape)[0]
    assert np.allclose(np.diff(columns) % 360.0, 10.0)
    inside = ~area.boundary
    assert np.all(np.abs(area.latitudes[inside]) < 26.0)
    assert np.array_equal(np.unique(area.longitudes[inside].round()), [160, 170, 180, 190, 200, 210])
    ring_of_nodes = area.boundary.reshape(area.shape)
    assert (
        ring_of_nodes[0].all() and ring_of_nodes[-1].all() and ring_of_nodes[:, 0].all() and ring_of_nodes[:, -1].all()
    )


def test_distance_from_a_box_is_that_to_its_nearest_place():
    window = BoxWindow(north=40.0, west=-20.0, south=10.0, east=30.0, boundary_km=100.0)
    latitudes, longitudes = np.array([25.0, 60.0, 80.0, -35.0, 25.0]), np.array([0.0, 10.0, 170.0, 90.0, 100.0])
    asked = points(latitudes, longitudes, whole_sphere=False)
    found = distance_beyond(window, asked) / EARTH_RADIUS
    rows, columns = np.meshgrid(np.linspace(10.0, 40.0, 601), np.linspace(-20.0, 30.0, 1001), indexing="ij")
    box = to_xyz(rows.ravel(), columns.ravel())
    expected = [great_circle_distance(place, box).min() for place in asked.positions]
    assert found == pytest.approx(expected, abs=1e-3)
    assert found[0] == 0.0


def test_a_boundary_survives_a_file_and_anemois_form():
    from graphs.edges.build import default_graphs

    area, _ = limited_area(icosphere(2), CapWindow((45.0, 10.0), 4000.0, 2500.0))
    arrays, metadata = pack(area)
    assert np.array_equal(unpack(arrays, metadata).mesh.boundary, area.boundary)
    again = from_heterodata(to_heterodata(area, default_graphs(area)))
    assert np.array_equal(again.mesh.boundary, area.boundary)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (lambda: CapWindow((45.0, 10.0), 100.0, 1200.0), "nodes inside"),
        (lambda: CapWindow((45.0, 10.0), 3000.0, 100.0), "boundary_km to"),
        (lambda: CapWindow((45.0, 10.0), 30000.0, 1200.0), "needs no boundary"),
        (lambda: CapWindow((95.0, 10.0), 3000.0, 1200.0), "latitudes"),
        (lambda: CapWindow((45.0, 10.0), -1.0, 1200.0), "radius_km must be positive"),
        (lambda: BoxWindow(10.0, 0.0, 20.0, 30.0, 1200.0), "north of its south"),
        (lambda: BoxWindow(20.0, -10.0, 10.0, 350.0, 1200.0), "must differ"),
    ],
)
def test_a_window_that_cannot_be_cut_is_refused(window, words):
    with pytest.raises(MeshcastError, match=words):
        limited_area(icosphere(3), window())


def test_a_ring_has_no_window():
    with pytest.raises(MeshcastError, match="out of the sphere"):
        limited_area(ring(12), CAP)
